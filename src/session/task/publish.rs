//! What the keeper tells: the latest state to the handles, and what happened to the log.

use std::time::Duration;

use http::HeaderValue;
use tracing::{debug, error, info, warn};

use super::SessionTask;
use crate::config::{self, with_profile_flag};
use crate::session::Bearer;
use crate::session::endpoint::Issuer;
use crate::session::error::Error;
use crate::session::schedule::Token;
use crate::session::shared::Snapshot;
use crate::session::state::Durability;
use crate::session::status::StoreInfo;
use crate::session::token_fetch::FetchResult;
use crate::session::token_store::TokenStore;

impl<I: Issuer> SessionTask<I> {
    pub(super) fn set_problem(&mut self, problem: Option<String>) {
        if let Some(problem) = problem.as_ref().filter(|_| self.problem != problem) {
            warn!(error = problem, "trouble with the saved session");
        }
        self.problem = problem;
    }

    /// Notes where the pair is kept from now on. Memory that nobody asked for is told once.
    pub(super) fn set_store(&mut self, found: Option<(TokenStore, StoreInfo)>) {
        let Some((home, keeping)) = found else { return };
        let is_new = self.store.as_ref().is_none_or(|(_, known)| *known != keeping);
        let wanted = self.context.config.store == config::SessionStore::Memory;
        if is_new && matches!(home, TokenStore::Memory) && !wanted {
            warn!(why = keeping.reason, "the session is kept in memory and ends with this process");
        }
        self.store = Some((home, keeping));
    }

    pub(super) fn log_issued(&self, end: &FetchResult, token: &Token) {
        let generation = token.generation;
        let left = token.left(self.context.clock.now().boot);
        let rounded = Duration::from_secs((left + Duration::from_millis(500)).as_secs());
        let expires_in = humantime::format_duration(rounded);
        match end {
            FetchResult::LoggedIn => info!(generation, %expires_in, "logged in"),
            FetchResult::Renewed => info!(generation, %expires_in, "token renewed"),
            FetchResult::Resumed | FetchResult::Unchanged | FetchResult::Failed(..) => {
                info!(generation, %expires_in, "session resumed");
            }
        }
    }

    pub(super) fn log_failure(&self, error: &Error) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        let cause = cause.as_deref();
        // Once, not with every attempt: what does not change is in `status`.
        if self.state.error().is_some_and(|known| known.code() == error.code()) {
            debug!(error = %error, cause, "no token");
        } else if error.retry_after().is_some() {
            warn!(error = %error, cause, "no token; trying again");
        } else {
            let hint = with_profile_flag(&error.hint(), self.context.credentials.profile());
            error!(error = %error, cause, hint, "no token");
        }
    }

    /// Tells everybody.
    pub(super) fn publish(&mut self) {
        let now = self.context.clock.now();
        let token = self.state.token();
        let generation = token.map(|token| token.generation);
        if self.bearer.as_ref().map(|bearer| bearer.generation) != generation {
            let access = self.record.as_ref().and_then(|held| held.pair.as_ref());
            self.bearer = access.zip(generation).and_then(|(pair, generation)| {
                let text = zeroize::Zeroizing::new(format!("Bearer {}", pair.access.expose()));
                let mut header = HeaderValue::from_str(&text).ok()?;
                header.set_sensitive(true);
                Some(Bearer { header, generation, probes_started: 0 })
            });
        }
        let held = self.record.as_ref();
        let refresh_left = held.and_then(|held| held.pair.as_ref()?.refresh_left(now));
        // Also while it is tried again: until one has succeeded.
        let unsaved = match self.state.store() {
            Durability::Failed { .. } | Durability::Writing => {
                self.session_writes.last_error().map(|reason| {
                    format!(
                        "the session could not be saved and would be lost by a restart: {reason}"
                    )
                })
            }
            Durability::Durable => None,
        };
        self.shared.publish(Snapshot {
            bearer: self.bearer.clone(),
            token,
            is_busy: self.state.is_busy(now.boot),
            next_attempt: self.state.due(),
            error: self.state.error(),
            lacks_access: self.state.lacks_access(),
            fetches_ended: self.fetches_ended,
            account: held.and_then(|held| held.account.clone()),
            login_source: self.login_source,
            store: self.store.as_ref().map(|(_, keeping)| keeping.clone()),
            refresh_deadline: refresh_left.map(|left| now.boot + left),
            is_saved: token.is_some() && self.state.store() == Durability::Durable,
            degraded: unsaved.or_else(|| self.problem.clone()),
        });
    }
}
