//! Probes: at most one is in flight, and all callers that ask about the same token share its
//! verdict.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::context::FetchContext;
use super::endpoint::{Issuer, Probe};
use super::permission_cache::RequestKey;
use crate::session::spawn::{join_slot, spawn};

/// The verdict about the token of a request that got a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeVerdict {
    /// The token is alive, so the 401 was about permission.
    Alive,
    /// The same, from a verdict that is a few seconds old: good for this 401, not to be
    /// remembered.
    AliveBefore,
    /// The probe says nothing about this 401: probe again.
    Retry,
    /// The API rejects even a new token: another would be no better.
    NoAccess,
    /// The token is dead; there is another, or will be.
    Replaced,
    /// The probe brought no verdict.
    Unclear,
}

/// The token of a request that got a 401, and how many probes had begun when the request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RejectedToken {
    pub(crate) generation: u64,
    pub(crate) probes_started: u64,
}

/// A caller that waits for a verdict.
#[derive(Debug)]
pub(crate) struct ProbeWaiter {
    pub(crate) rejection: RejectedToken,
    /// The request that was refused, for the permission cache.
    pub(crate) request: Option<RequestKey>,
    pub(crate) reply: oneshot::Sender<ProbeVerdict>,
}

/// The probe in flight, the callers that wait for it, and the last verdict.
///
/// The verdict that a token is alive applies only to requests which were sent before the probe,
/// because the token may have been revoked since. The verdict that a token is dead applies to all
/// requests.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    running: Option<JoinHandle<Probe>>,
    generation: u64,
    /// How many probes have begun.
    started: u64,
    waiters: Vec<ProbeWaiter>,
    last: Option<(u64, ProbeVerdict, Duration)>,
}

impl Probes {
    /// Replies about a token of ours, now or once a probe has ended. Returns how many probes have
    /// begun.
    pub(crate) fn submit<I: Issuer>(
        &mut self,
        context: &Arc<FetchContext<I>>,
        waiter: ProbeWaiter,
        header: HeaderValue,
        now: Duration,
    ) -> u64 {
        let rejection = waiter.rejection;
        if let Some(verdict) = self.cached(rejection, now) {
            let is_alive = verdict == ProbeVerdict::Alive;
            let _ = waiter.reply.send(if is_alive { ProbeVerdict::AliveBefore } else { verdict });
            return self.started;
        }
        self.waiters.push(waiter);
        if self.running.is_none() {
            self.generation = rejection.generation;
            self.started += 1;
            let (context, deadline) = (context.clone(), now + PROBE_TIMEOUT);
            self.running = Some(spawn(async move {
                tokio::select! {
                    found = context.issuer.probe(&header) => found,
                    () = context.clock.wait_until(deadline) => Probe::Unclear,
                }
            }));
        }
        self.started
    }

    /// Says whether a probe is in flight.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Returns the last verdict, if it is fresh and about this 401.
    fn cached(&self, rejection: RejectedToken, now: Duration) -> Option<ProbeVerdict> {
        let (generation, verdict, until) = self.last?;
        let is_known = generation == rejection.generation && now < until;
        (is_known && self.applies_to(rejection, verdict)).then_some(verdict)
    }

    fn applies_to(&self, rejection: RejectedToken, verdict: ProbeVerdict) -> bool {
        verdict != ProbeVerdict::Alive || rejection.probes_started < self.started
    }

    /// Waits for the end of the probe in flight. Giving up the wait changes nothing.
    pub(crate) async fn wait_result(&mut self) -> (u64, Probe) {
        let found = join_slot(&mut self.running).await.unwrap_or(Probe::Unclear);
        (self.generation, found)
    }

    /// Replies to all callers that wait, and caches the verdict for a while. Requests that lack
    /// permission are recorded first: the same request a moment later needs no probe.
    pub(crate) fn resolve(
        &mut self,
        generation: u64,
        verdict: ProbeVerdict,
        now: Duration,
        record: impl Fn(&RequestKey),
    ) {
        let ttl = match verdict {
            ProbeVerdict::Alive | ProbeVerdict::AliveBefore => ALIVE_TTL,
            ProbeVerdict::NoAccess => NO_ACCESS_TTL,
            ProbeVerdict::Unclear => UNCLEAR_TTL,
            ProbeVerdict::Replaced | ProbeVerdict::Retry => Duration::ZERO,
        };
        self.last = Some((generation, verdict, now + ttl));
        for ProbeWaiter { rejection, request, reply } in std::mem::take(&mut self.waiters) {
            let applies = rejection.generation == generation && self.applies_to(rejection, verdict);
            if let Some(request) = request.filter(|_| applies && verdict == ProbeVerdict::Alive) {
                record(&request);
            }
            let _ = reply.send(if applies { verdict } else { ProbeVerdict::Retry });
        }
    }
}

/// How long the verdict that a token is alive holds: the time in which the responses to a burst of
/// requests that were sent before the probe come back.
const ALIVE_TTL: Duration = Duration::from_secs(5);

/// How often an account without API access is probed again.
const NO_ACCESS_TTL: Duration = Duration::from_secs(5 * 60);

/// Shortest time between two probes without a verdict.
const UNCLEAR_TTL: Duration = Duration::from_secs(1);

/// Longest probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
