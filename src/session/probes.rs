//! Probes: one in flight, and its verdict shared with everybody who asks about the same token.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

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
    /// Even a new token is refused: there is no better one to be had.
    NoAccess,
    /// It is gone; there is another, or will be.
    Replaced,
    /// Nobody can say.
    Unclear,
}

/// The probe in flight, who waits for it, and the last verdict.
#[derive(Debug, Default)]
pub(super) struct Probes {
    running: Option<JoinHandle<Probe>>,
    generation: u64,
    waiting: Vec<(u64, oneshot::Sender<Judged>)>,
    last: Option<(u64, Judged, Duration)>,
}

impl Probes {
    /// Answers about the token of this generation, now or once a probe has ended.
    pub(super) fn ask<I: Issuer>(
        &mut self,
        desk: &Arc<Desk<I>>,
        generation: u64,
        header: HeaderValue,
        now: Duration,
        reply: oneshot::Sender<Judged>,
    ) {
        if let Some((_, judged, until)) = self.last.filter(|(known, _, _)| *known == generation)
            && now < until
        {
            let _ = reply.send(if judged == Judged::Alive { Judged::WasAlive } else { judged });
            return;
        }
        self.waiting.push((generation, reply));
        if self.running.is_none() {
            self.generation = generation;
            let (desk, deadline) = (desk.clone(), now + CEILING);
            self.running = Some(apart(async move {
                tokio::select! {
                    found = desk.issuer.probe(&header) => found,
                    () = desk.clock.reaches(deadline) => Probe::Unclear,
                }
            }));
        }
    }

    /// Waits for the end of the probe in flight. Giving up the wait changes nothing.
    pub(super) async fn ended(&mut self) -> (u64, Probe) {
        let found = join(&mut self.running).await.unwrap_or(Probe::Unclear);
        (self.generation, found)
    }

    /// Answers everybody who waits, and keeps the verdict for a while.
    pub(super) fn answer(&mut self, generation: u64, judged: Judged, now: Duration) {
        let span = match judged {
            Judged::Alive | Judged::WasAlive => FRESH,
            Judged::NoAccess => LATCHED,
            Judged::Unclear => AGAIN,
            Judged::Replaced => Duration::ZERO,
        };
        self.last = Some((generation, judged, now + span));
        for (asked, reply) in self.waiting.drain(..) {
            // Who asked about another token finds out by asking again.
            let _ = reply.send(if asked == generation { judged } else { Judged::Replaced });
        }
    }
}

/// How long a living token is believed to live on: the time in which a burst of refused requests
/// comes back. A token revoked within it is noticed when it is over.
const FRESH: Duration = Duration::from_secs(5);

/// How often an account without API access is looked at again.
const LATCHED: Duration = Duration::from_secs(5 * 60);

/// Shortest time between two probes without a verdict.
const AGAIN: Duration = Duration::from_secs(1);

/// Longest probe.
const CEILING: Duration = Duration::from_secs(10);
