//! Probes: one in flight, and its verdict shared with everybody who asks about the same token.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::endpoint::{Issuer, Probe};
use super::permission_cache::RequestKey;
use super::task::{join_slot, spawn};
use super::token_fetch::FetchContext;

/// What is known about a token that was answered with 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeVerdict {
    /// It is alive, so the 401 was about permission.
    Alive,
    /// The same, from a verdict that is a few seconds old: good for this 401, not to be
    /// remembered.
    AliveBefore,
    /// The probe says nothing about this 401: ask again.
    Retry,
    /// Even a new token is refused: there is no better one to be had.
    NoAccess,
    /// It is gone; there is another, or will be.
    Replaced,
    /// Nobody can say.
    Unclear,
}

/// A 401: which token it was to, and how many probes had begun when its request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RejectedToken {
    pub(super) generation: u64,
    pub(super) probes_started: u64,
}

/// One who waits for a verdict.
#[derive(Debug)]
pub(super) struct ProbeWaiter {
    pub(super) rejection: RejectedToken,
    /// What was refused, to be remembered.
    pub(super) request: Option<RequestKey>,
    pub(super) reply: oneshot::Sender<ProbeVerdict>,
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
    started: u64,
    waiters: Vec<ProbeWaiter>,
    last: Option<(u64, ProbeVerdict, Duration)>,
}

impl Probes {
    /// Answers about a token of ours, now or once a probe has ended. Returns how many probes have
    /// begun.
    pub(super) fn submit<I: Issuer>(
        &mut self,
        desk: &Arc<FetchContext<I>>,
        waits: ProbeWaiter,
        header: HeaderValue,
        now: Duration,
    ) -> u64 {
        let rejection = waits.rejection;
        if let Some(judged) = self.cached(rejection, now) {
            let _ = waits.reply.send(if judged == ProbeVerdict::Alive {
                ProbeVerdict::AliveBefore
            } else {
                judged
            });
            return self.started;
        }
        self.waiters.push(waits);
        if self.running.is_none() {
            self.generation = rejection.generation;
            self.started += 1;
            let (desk, deadline) = (desk.clone(), now + PROBE_TIMEOUT);
            self.running = Some(spawn(async move {
                tokio::select! {
                    found = desk.issuer.probe(&header) => found,
                    () = desk.clock.wait_until(deadline) => Probe::Unclear,
                }
            }));
        }
        self.started
    }

    /// Returns the last verdict, if it is fresh and about this 401.
    fn cached(&self, rejection: RejectedToken, now: Duration) -> Option<ProbeVerdict> {
        let (generation, judged, until) = self.last?;
        let is_known = generation == rejection.generation && now < until;
        (is_known && self.applies_to(rejection, judged)).then_some(judged)
    }

    fn applies_to(&self, rejection: RejectedToken, judged: ProbeVerdict) -> bool {
        judged != ProbeVerdict::Alive || rejection.probes_started < self.started
    }

    /// Waits for the end of the probe in flight. Giving up the wait changes nothing.
    pub(super) async fn wait_result(&mut self) -> (u64, Probe) {
        let found = join_slot(&mut self.running).await.unwrap_or(Probe::Unclear);
        (self.generation, found)
    }

    /// Answers everybody who waits, and keeps the verdict for a while. What turns out to be about
    /// permission is noted first: whoever asks the same a moment later needs no probe.
    pub(super) fn resolve(
        &mut self,
        generation: u64,
        judged: ProbeVerdict,
        now: Duration,
        note: impl Fn(&RequestKey),
    ) {
        let span = match judged {
            ProbeVerdict::Alive | ProbeVerdict::AliveBefore => ALIVE_TTL,
            ProbeVerdict::NoAccess => NO_ACCESS_TTL,
            ProbeVerdict::Unclear => UNCLEAR_TTL,
            ProbeVerdict::Replaced | ProbeVerdict::Retry => Duration::ZERO,
        };
        self.last = Some((generation, judged, now + span));
        for ProbeWaiter { rejection, request: asked, reply } in std::mem::take(&mut self.waiters) {
            let is_about = rejection.generation == generation && self.applies_to(rejection, judged);
            if let Some(asked) = asked.filter(|_| is_about && judged == ProbeVerdict::Alive) {
                note(&asked);
            }
            let _ = reply.send(if is_about { judged } else { ProbeVerdict::Retry });
        }
    }
}

/// How long a living token is believed to have lived: the time in which a burst of requests that
/// were sent before the probe comes back.
const ALIVE_TTL: Duration = Duration::from_secs(5);

/// How often an account without API access is looked at again.
const NO_ACCESS_TTL: Duration = Duration::from_secs(5 * 60);

/// Shortest time between two probes without a verdict.
const UNCLEAR_TTL: Duration = Duration::from_secs(1);

/// Longest probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
