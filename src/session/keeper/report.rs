//! What the keeper tells: the latest state to the handles, and what happened to the log.

use http::HeaderValue;
use tracing::{debug, error, warn};

use super::Keeper;
use crate::session::Bearer;
use crate::session::error::Error;
use crate::session::issuer::Issuer;
use crate::session::shared::Latest;
use crate::session::state::Store;

impl<I: Issuer> Keeper<I> {
    pub(super) fn note_problem(&mut self, problem: Option<String>) {
        if let Some(problem) = problem.as_ref().filter(|_| self.problem != problem) {
            warn!(error = problem, "the state directory is not as it should be");
        }
        self.problem = problem;
    }

    pub(super) fn say_failure(&self, error: &Error) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        let cause = cause.as_deref();
        // Once, not with every attempt: what does not change is in `status`.
        if self.state.error().is_some_and(|known| known.code() == error.code()) {
            debug!(error = %error, cause, "no token");
        } else if error.retry_after().is_some() {
            warn!(error = %error, cause, "no token; trying again");
        } else {
            error!(error = %error, cause, hint = error.hint(), "no token");
        }
    }

    /// Tells everybody.
    pub(super) fn publish(&mut self) {
        let now = self.desk.clock.now();
        let token = self.state.token();
        let generation = token.map(|token| token.generation);
        if self.bearer.as_ref().map(|bearer| bearer.generation) != generation {
            let access = self.held.as_ref().and_then(|held| held.pair.as_ref());
            self.bearer = access.zip(generation).and_then(|(pair, generation)| {
                let text = zeroize::Zeroizing::new(format!("Bearer {}", pair.access.expose()));
                let mut header = HeaderValue::from_str(&text).ok()?;
                header.set_sensitive(true);
                Some(Bearer { header, generation, probes: 0 })
            });
        }
        let held = self.held.as_ref();
        let refresh_left = held.and_then(|held| held.pair.as_ref()?.refresh_left(now));
        // Also while it is tried again: until one has succeeded.
        let unsaved = match self.state.store() {
            Store::Failed { .. } | Store::Writing => self.writer.trouble().map(|reason| {
                format!("the session could not be saved and would be lost by a restart: {reason}")
            }),
            Store::Durable => None,
        };
        self.shared.publish(Latest {
            bearer: self.bearer.clone(),
            token,
            busy: self.state.is_busy(now.boot),
            due: self.state.due(),
            error: self.state.error(),
            lacks_access: self.state.lacks_access(),
            flights: self.flights,
            account: held.and_then(|held| held.account.clone()),
            origin: self.origin,
            keeping: self.home.as_ref().map(|(_, keeping)| keeping.clone()),
            refresh_deadline: refresh_left.map(|left| now.boot + left),
            saved: token.is_some() && self.state.store() == Store::Durable,
            degraded: unsaved.or_else(|| self.problem.clone()),
        });
    }
}
