//! Requests that got a 401: whether the token is dead, or the account lacks permission.

use std::time::Duration;

use tokio::sync::oneshot;
use tracing::warn;

use super::SessionTask;
use crate::session::error::{Cause, Error};
use crate::session::refresh::endpoint::{Issuer, Probe};
use crate::session::refresh::permission_cache::RequestKey;
use crate::session::refresh::probe::{ProbeVerdict, ProbeWaiter, RejectedToken};
use crate::session::state::event::Event;

impl<I: Issuer> SessionTask<I> {
    /// Replies to the caller whose request got a 401, at once or after a probe.
    pub(super) fn handle_unauthorized(
        &mut self,
        rejection: RejectedToken,
        request: Option<RequestKey>,
        reply: oneshot::Sender<ProbeVerdict>,
    ) {
        let now = self.context.clock.now().boot;
        let is_probe = request.as_ref().is_some_and(RequestKey::is_probe);
        // A similar request may have got its verdict since this one looked.
        let is_known = !self.is_basic()
            && request
                .as_ref()
                .is_some_and(|request| self.shared.permission_cache().contains(request, now));
        let current = self.state.token().map(|token| token.generation);
        let header = self.bearer.as_ref().map(|bearer| bearer.header.clone());
        match header.filter(|_| current == Some(rejection.generation)) {
            Some(_) if is_probe => {
                let verdict = self.finish_probe(rejection.generation, Probe::Dead);
                let _ = reply.send(verdict);
            }
            Some(_) if is_known => drop(reply.send(ProbeVerdict::AliveBefore)),
            Some(header) => {
                let waiter = ProbeWaiter { rejection, request, reply };
                let started = self.probes.submit(&self.context, waiter, header, now);
                self.shared.set_probes_started(started);
            }
            None => drop(reply.send(ProbeVerdict::Replaced)),
        }
    }

    /// Takes the result of a probe, replies to all callers that wait for it, and returns the
    /// verdict.
    pub(super) fn finish_probe(&mut self, generation: u64, found: Probe) -> ProbeVerdict {
        let verdict = match found {
            Probe::Alive => {
                self.shared.record_confirmed_login();
                self.step(Event::TokenConfirmed { generation });
                ProbeVerdict::Alive
            }
            Probe::Dead => {
                // A login is proved before any request carries it.
                let proven = self.is_basic() || self.shared.is_marked_valid(generation);
                self.is_login_refused = self.is_basic();
                if self.is_basic() {
                    warn!(generation, "login rejected by Nexudus");
                } else {
                    warn!(generation, "token rejected by Nexudus");
                }
                self.step(Event::TokenRejected { generation, proven });
                self.reject_in_fleet(generation);
                let current = self.state.token().map(|token| token.generation);
                if self.state.lacks_access() && current == Some(generation) {
                    ProbeVerdict::NoAccess
                } else {
                    ProbeVerdict::Replaced
                }
            }
            Probe::Unclear if self.is_basic() => {
                self.doubt_login(generation);
                ProbeVerdict::Unclear
            }
            Probe::Unclear => ProbeVerdict::Unclear,
        };
        let (now, shared) = (self.context.clock.now().boot, &self.shared);
        self.probes.resolve(generation, verdict, now, |request| {
            shared.permission_cache().record(request, now);
        });
        verdict
    }

    /// Withdraws a login of which it is not known whether it still works: attempts, one at a time
    /// and ever more rarely, find out.
    fn doubt_login(&mut self, generation: u64) {
        let current = self.state.token().map(|token| token.generation);
        if current != Some(generation) {
            self.publish();
            return;
        }
        self.perform(Event::AccountChanged);
        if self.fetch.is_none() {
            let cause = Cause::new("Nexudus did not say whether the login still works");
            let (retry_after, cause) = (Duration::ZERO, Some(cause));
            let error = Error::Unavailable { retry_after, cause };
            self.perform(Event::Failed { error, wait: None });
        }
        self.step(Event::Tick);
    }
}
