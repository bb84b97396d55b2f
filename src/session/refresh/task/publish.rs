//! The session task publishes the latest state to the handles, and writes events to the log.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tracing::{debug, error, info, warn};

use super::SessionTask;
use crate::config::{self, with_profile_flag};
use crate::session::error::Error;
use crate::session::refresh::endpoint::Issuer;
use crate::session::refresh::outcome::FetchResult;
use crate::session::refresh::shared::Snapshot;
use crate::session::state::schedule::Token;
use crate::session::store::token_store::{StoreInfo, TokenStore};
use crate::session::token::{Bearer, authorization};

impl<I: Issuer> SessionTask<I> {
    pub(crate) fn set_problem(&mut self, problem: Option<String>) {
        if let Some(problem) = problem.as_ref().filter(|_| self.problem != problem) {
            warn!(error = problem, "could not use the saved session");
        }
        self.problem = problem;
    }

    /// Keeps the pair in `store` from now on. A store in memory that the configuration does not ask
    /// for is logged once.
    pub(crate) fn set_store(&mut self, store: Option<TokenStore>) {
        let Some(store) = store else { return };
        let is_new = self.store.as_ref().is_none_or(|known| known.info != store.info);
        let is_wanted = self.context.config.store == config::SessionStore::Memory;
        if is_new && store.file.is_none() && !is_wanted && !self.is_basic() {
            let why = &store.info.reason;
            warn!(why, "the session is in memory only and ends with this process");
        }
        self.store = Some(store);
    }

    pub(crate) fn log_issued(&self, result: FetchResult, token: &Token) {
        let generation = token.generation;
        let left = token.left(self.context.clock.now().boot);
        if self.is_basic() {
            info!(generation, "logged in; each request carries the login");
            return;
        }
        let expires_in_s = (left + Duration::from_millis(500)).as_secs();
        match result {
            FetchResult::LoggedIn => info!(generation, expires_in_s, "logged in"),
            FetchResult::Renewed => info!(generation, expires_in_s, "token renewed"),
            FetchResult::Resumed | FetchResult::Unchanged => {
                info!(generation, expires_in_s, "session resumed");
            }
        }
    }

    pub(crate) fn log_failure(&self, error: &Error) {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        let cause = cause.as_deref();
        // Logged once, not with every attempt: `status` shows an error that stays.
        if self.state.error().is_some_and(|known| known.code() == error.code()) {
            debug!(error = %error, cause, "no session");
        } else if error.retry_after().is_some() {
            let wait = error.retry_after().filter(|wait| !wait.is_zero());
            let retry_in_s = wait.map(|wait| wait.as_secs_f64());
            warn!(retry_in_s, error = %error, cause, "login failed; trying again");
        } else {
            let hint = with_profile_flag(&error.hint(), self.context.credentials.profile());
            error!(error = %error, cause, hint, "no session");
        }
    }

    /// Publishes the latest state to all handles.
    pub(crate) fn publish(&mut self) {
        let now = self.context.clock.now();
        let token = self.state.token();
        self.update_bearer(token);
        // Each request with a refused login may count against the account: none is sent while it is
        // not known whether this one still works.
        let is_suspended = self.is_basic() && self.probes.is_running();
        let token = token.filter(|_| !is_suspended);
        let held = self.record.as_ref();
        let refresh_left = held.and_then(|held| held.pair.as_ref()?.refresh_left(now));
        self.shared.publish(Snapshot {
            bearer: self.bearer.clone(),
            token,
            is_busy: is_suspended || self.state.is_busy(now.boot),
            next_attempt: self.state.next_attempt(),
            error: self.state.error(),
            lacks_access: self.state.lacks_access(),
            fetches_ended: self.fetches_ended,
            renewals: self.renewals,
            account: held.and_then(|held| held.account.clone()),
            login_source: self.login_source,
            store: self.store_info(),
            refresh_deadline: refresh_left.map(|left| now.boot + left),
            is_saved: token.is_some() && self.state.is_durable(),
            degraded: self.unsaved().or_else(|| self.problem.clone()),
        });
    }

    fn store_info(&self) -> Option<StoreInfo> {
        let known = self.store.as_ref().map(|store| store.info.clone());
        known.or_else(|| self.state.is_logged_out().then(StoreInfo::logged_out))
    }

    /// Makes the `Authorization` value of a new token, once for all requests.
    fn update_bearer(&mut self, token: Option<Token>) {
        let generation = token.map(|token| token.generation);
        if self.bearer.as_ref().map(|bearer| bearer.generation) == generation {
            return;
        }
        let (held, is_basic) = (self.record.as_ref(), self.is_basic());
        let pair = held.and_then(|held| held.pair.as_ref());
        self.bearer = pair.zip(generation).and_then(|(pair, generation)| {
            let header = authorization(self.context.issuer.auth(), &pair.access)?;
            let client_id = held.filter(|_| is_basic).map(|held| held.client_id.as_str());
            let client_id = client_id.and_then(|id| HeaderValue::from_str(id).ok()).map(Arc::new);
            Some(Bearer { header, generation, probes_started: 0, client_id })
        });
    }

    /// Returns why the newest pair is not on disk, until a write has succeeded.
    fn unsaved(&self) -> Option<String> {
        let reason = self.session_writes.last_error().filter(|_| !self.state.is_durable())?;
        Some(format!("the session could not be saved and would be lost by a restart: {reason}"))
    }
}
