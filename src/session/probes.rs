//! Probes: one in flight, and its verdict shared with everybody who asks about the same token.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::asked::Asked;
use super::flight::Desk;
use super::issuer::{Issuer, Probe};
use super::keeper::{apart, join};

/// What is known about a token that was answered with 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It is alive, so the 401 was about permission.
    Alive,
    /// The same, from a verdict that is a few seconds old: good for this 401, not to be
    /// remembered.
    WasAlive,
    /// The probe says nothing about this 401: ask again.
    Again,
    /// Even a new token is refused: there is no better one to be had.
    NoAccess,
    /// It is gone; there is another, or will be.
    Replaced,
    /// Nobody can say.
    Unclear,
}

/// A 401: which token it was to, and how many probes had begun when its request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    pub(super) generation: u64,
    pub(super) probes: u64,
}

/// One who waits for a verdict.
#[derive(Debug)]
pub(super) struct Waits {
    pub(super) rejection: Rejection,
    /// What was refused, to be remembered.
    pub(super) asked: Option<Asked>,
    pub(super) reply: oneshot::Sender<Judged>,
}

/// The probe in flight, who waits for it, and the last verdict.
///
/// That a token is alive is believed of requests which were sent before the probe: to a later one
/// it may have been revoked in between. That it is dead is believed of all.
#[derive(Debug, Default)]
pub(super) struct Probes {
    running: Option<JoinHandle<Probe>>,
    generation: u64,
    /// Counts the probes that have begun.
    number: u64,
    waiting: Vec<Waits>,
    last: Option<(u64, Judged, Duration)>,
}

impl Probes {
    /// Answers about a token of ours, now or once a probe has ended. Returns how many probes have
    /// begun.
    pub(super) fn ask<I: Issuer>(
        &mut self,
        desk: &Arc<Desk<I>>,
        waits: Waits,
        header: HeaderValue,
        now: Duration,
    ) -> u64 {
        let rejection = waits.rejection;
        if let Some(judged) = self.known(rejection, now) {
            let _ =
                waits.reply.send(if judged == Judged::Alive { Judged::WasAlive } else { judged });
            return self.number;
        }
        self.waiting.push(waits);
        if self.running.is_none() {
            self.generation = rejection.generation;
            self.number += 1;
            let (desk, deadline) = (desk.clone(), now + CEILING);
            self.running = Some(apart(async move {
                tokio::select! {
                    found = desk.issuer.probe(&header) => found,
                    () = desk.clock.reaches(deadline) => Probe::Unclear,
                }
            }));
        }
        self.number
    }

    /// Returns the last verdict, if it is fresh and about this 401.
    fn known(&self, rejection: Rejection, now: Duration) -> Option<Judged> {
        let (generation, judged, until) = self.last?;
        let is_known = generation == rejection.generation && now < until;
        (is_known && self.is_about(rejection, judged)).then_some(judged)
    }

    fn is_about(&self, rejection: Rejection, judged: Judged) -> bool {
        judged != Judged::Alive || rejection.probes < self.number
    }

    /// Waits for the end of the probe in flight. Giving up the wait changes nothing.
    pub(super) async fn ended(&mut self) -> (u64, Probe) {
        let found = join(&mut self.running).await.unwrap_or(Probe::Unclear);
        (self.generation, found)
    }

    /// Answers everybody who waits, and keeps the verdict for a while. What turns out to be about
    /// permission is noted first: whoever asks the same a moment later needs no probe.
    pub(super) fn answer(
        &mut self,
        generation: u64,
        judged: Judged,
        now: Duration,
        note: impl Fn(&Asked),
    ) {
        let span = match judged {
            Judged::Alive | Judged::WasAlive => FRESH,
            Judged::NoAccess => LATCHED,
            Judged::Unclear => AGAIN,
            Judged::Replaced | Judged::Again => Duration::ZERO,
        };
        self.last = Some((generation, judged, now + span));
        for Waits { rejection, asked, reply } in std::mem::take(&mut self.waiting) {
            let is_about = rejection.generation == generation && self.is_about(rejection, judged);
            if let Some(asked) = asked.filter(|_| is_about && judged == Judged::Alive) {
                note(&asked);
            }
            let _ = reply.send(if is_about { judged } else { Judged::Again });
        }
    }
}

/// How long a living token is believed to have lived: the time in which a burst of requests that
/// were sent before the probe comes back.
const FRESH: Duration = Duration::from_secs(5);

/// How often an account without API access is looked at again.
const LATCHED: Duration = Duration::from_secs(5 * 60);

/// Shortest time between two probes without a verdict.
const AGAIN: Duration = Duration::from_secs(1);

/// Longest probe.
const CEILING: Duration = Duration::from_secs(10);
