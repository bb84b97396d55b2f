//! What the keeper tells: the latest state to the handles, and what happened to the log.

use std::time::Duration;

use http::HeaderValue;
use tracing::{debug, error, info, warn};

use super::Keeper;
use crate::config::{self, in_profile};
use crate::session::Bearer;
use crate::session::error::Error;
use crate::session::flight::End;
use crate::session::home::Home;
use crate::session::issuer::Issuer;
use crate::session::pace::Token;
use crate::session::shared::Latest;
use crate::session::state::Store;
use crate::session::view::Keeping;

impl<I: Issuer> Keeper<I> {
    pub(super) fn note_problem(&mut self, problem: Option<String>) {
        if let Some(problem) = problem.as_ref().filter(|_| self.problem != problem) {
            warn!(error = problem, "trouble with the saved session");
        }
        self.problem = problem;
    }

    /// Notes where the pair is kept from now on. Memory that nobody asked for is told once.
    pub(super) fn take_home(&mut self, found: Option<(Home, Keeping)>) {
        let Some((home, keeping)) = found else { return };
        let is_new = self.home.as_ref().is_none_or(|(_, known)| *known != keeping);
        let wanted = self.desk.config.store == config::Store::Memory;
        if is_new && matches!(home, Home::Memory) && !wanted {
            warn!(why = keeping.why, "the session is kept in memory and ends with this process");
        }
        self.home = Some((home, keeping));
    }

    pub(super) fn say_issued(&self, end: &End, token: &Token) {
        let generation = token.generation;
        let left = token.left(self.desk.clock.now().boot);
        let rounded = Duration::from_secs((left + Duration::from_millis(500)).as_secs());
        let expires_in = humantime::format_duration(rounded);
        match end {
            End::LoggedIn => info!(generation, %expires_in, "logged in"),
            End::Renewed => info!(generation, %expires_in, "token renewed"),
            End::Read | End::Kept | End::Failed(..) => {
                info!(generation, %expires_in, "session resumed");
            }
        }
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
            let hint = in_profile(&error.hint(), self.desk.credentials.profile());
            error!(error = %error, cause, hint, "no token");
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
