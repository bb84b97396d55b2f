//! One attempt where several machines share the session: the member is started, told what a person
//! has done, and asked for a token.
//!
//! The member decides when a refresh token or a password is spent (`fleet/`); this attempt waits for
//! what comes of it. The engine's record is read before any password.

use super::endpoint::Issuer;
use super::fleet_issuer::FleetIssuer;
use super::fleet_source::{FleetSource, shared_record};
use super::outcome::{FetchError, FetchResult};
use super::token_fetch::TokenFetch;
use crate::credentials::{CredentialSource, ResolvedLogin};
use crate::fleet::{Identity, Need, Pair, View};
use crate::session::error::{Cause, Error, MissingLogin};
use crate::session::spawn::run_blocking;
use crate::session::store::record::StoredSession;

impl<I: Issuer> TokenFetch<I> {
    /// Asks the member for a token that is good enough.
    pub(crate) async fn attempt_fleet(&mut self) -> Result<FetchResult, FetchError> {
        let context = self.context.clone();
        let Some(source) = &context.fleet else { return Err(left_fleet().into()) };
        let has_changed_login = self.request.has_changed_login();
        self.outcome.credentials_unreadable = has_changed_login;
        context.unless_stopping(self.open_store()).await??;
        source.disk.keep_in(self.outcome.store.as_ref().and_then(|store| store.file.clone()));
        if source.fleet.view().has_left {
            self.outcome.credentials_unreadable = false;
            return Err(left_fleet().into());
        }
        if std::mem::take(&mut self.outcome.forgets_refusal) {
            let context = context.clone();
            // The record in memory counts, whatever the disk does.
            let _ = run_blocking(move || context.attempts.record_success()).await;
        }
        self.start_deadline();
        let failures = source.last_failure().count;
        if !source.fleet.is_started() {
            self.start_member(source).await?;
        } else if has_changed_login && !self.bring_login(source).await? {
            self.outcome.credentials_unreadable = false;
            return Ok(FetchResult::Unchanged);
        } else if self.request.newer_than.is_some() && self.request.has_valid_token {
            // By the session's schedule, which also keeps the refresh token from lapsing, or because a
            // person or a long request wants it.
            source.fleet.renew();
        }
        self.outcome.credentials_unreadable = false;
        self.wait_for_member(source, failures).await
    }

    /// Starts the member with what this machine has: what the last run kept, a session from before,
    /// a login.
    async fn start_member(&mut self, source: &FleetSource) -> Result<(), FetchError> {
        let kept = match source.disk.read().await {
            Ok(kept) => kept,
            Err(error) => {
                self.outcome.problem = Some(error.to_string());
                None
            }
        };
        let saved = self.saved_pair().await;
        let login = self.known_login().await?;
        let account = login.as_ref().ok().map(|(account, _)| account.clone());
        let own = account.or_else(|| saved.as_ref().and_then(|saved| saved.account.clone()));
        let own = own.unwrap_or_default();
        let (client_id, apart_client_id) = self.fleet_client_ids(&own).await;
        let pair = saved.and_then(pair_of);
        if let Some(pair) = &pair {
            source.disk.take_over(pair.access.clone());
        }
        // A login while no daemon ran is newer than what this member kept. Without that the fleet's
        // session, if there is one, wins.
        let (before, brought) = if kept.is_some() { (None, pair) } else { (pair, None) };
        let login = login.ok();
        let identity = Identity { client_id, apart_client_id, login, kept, before };
        let issuer = FleetIssuer::new(self.context.clone());
        source.fleet.start(identity, issuer, source.disk.clone());
        if let Some(pair) = brought {
            source.fleet.bring(pair);
        }
        Ok(())
    }

    /// Tells the fleet of a login that a person has changed; says whether there is something to wait
    /// for.
    async fn bring_login(&mut self, source: &FleetSource) -> Result<bool, FetchError> {
        if let Some(pair) = self.saved_pair().await.and_then(pair_of) {
            source.disk.take_over(pair.access.clone());
            source.fleet.bring(pair);
            self.request.newer_than = source.fleet.view().token.map(|token| token.generation);
            return Ok(true);
        }
        let (account, needs_code) = self.known_login().await?.map_err(FetchError::from)?;
        let view = source.fleet.view();
        let is_same = |token: &crate::fleet::SharedToken| {
            token.account.trim().eq_ignore_ascii_case(account.trim())
        };
        if view.needs.is_none() && view.token.as_ref().is_some_and(is_same) {
            return Ok(false);
        }
        source.fleet.log_in(account, needs_code);
        self.request.newer_than = view.token.map(|token| token.generation);
        Ok(true)
    }

    /// Waits until the member has a token that is good enough, or says why it has none.
    async fn wait_for_member(
        &mut self,
        source: &FleetSource,
        failures: u64,
    ) -> Result<FetchResult, FetchError> {
        let mut views = source.fleet.subscribe();
        let mut asked = source.fleet.asked();
        let mut has_offered = false;
        loop {
            let view = views.borrow_and_update().clone();
            let newer = |generation| self.request.newer_than.is_none_or(|old| old < generation);
            let now = self.context.clock.now();
            let token = view.token.as_ref().filter(|token| newer(token.generation));
            if let Some(token) = token.filter(|token| now.boot < token.expiry) {
                self.outcome.record = Some(shared_record(token, now));
                return Ok(FetchResult::Resumed);
            }
            let failure = source.last_failure();
            if failure.count > failures
                && let Some(error) = failure.error
            {
                return Err(error.into());
            }
            if let Some(need) = view.needs.filter(|_| asked <= view.asks_taken) {
                let login = if has_offered || need != Need::NoPassword {
                    None
                } else {
                    self.known_login().await?.ok()
                };
                let Some((account, needs_code)) = login else {
                    return Err(self.explain_need(need, source).await.into());
                };
                // The login was put there, or can be read, only now.
                source.fleet.log_in(account, needs_code);
                (has_offered, asked) = (true, source.fleet.asked());
            }
            let (clock, deadline) = (self.context.clock.clone(), self.deadline);
            let changed = self.context.unless_stopping(async {
                tokio::select! {
                    changed = views.changed() => changed.is_ok(),
                    () = clock.wait_until(deadline) => false,
                }
            });
            if !changed.await? {
                return Err(FetchError::transient(Cause::new(why_waiting(&view)), None));
            }
        }
    }

    /// Returns why only a person can help.
    async fn explain_need(&mut self, need: Need, source: &FleetSource) -> Error {
        let told = |why| Error::NotLoggedIn(Some(MissingLogin::UnusableSession(Cause::new(why))));
        match need {
            Need::AttemptsLost => told(
                "the engine of the fleet has lost the record of password attempts, so that none is \
                 made",
            ),
            Need::PasswordSpent => source.last_failure().error.unwrap_or_else(|| {
                told("a member of the fleet had its password refused, so that none is offered")
            }),
            Need::NoPassword => self.missing_login_error(None).await,
        }
    }

    /// Returns the account of the stored login and whether it takes a code, without running a command:
    /// the command is for when the password is needed.
    async fn known_login(
        &mut self,
    ) -> Result<Result<(String, bool), crate::credentials::Error>, FetchError> {
        let credentials = &self.context.credentials;
        if credentials.active_source().await == Some(CredentialSource::Command)
            && let Some(account) = credentials.account()
        {
            return Ok(Ok((account, false)));
        }
        let found = self.load_login().await?;
        Ok(found.map(|ResolvedLogin { login, .. }| (login.email, login.second_factor.is_some())))
    }

    /// Returns the session that `login` has saved, or this machine when it was alone.
    async fn saved_pair(&mut self) -> Option<StoredSession> {
        let context = self.context.clone();
        let file = self.outcome.store.as_ref()?.file.clone()?;
        let read = run_blocking(move || {
            context.epochs.load();
            let origin = &context.binding.origin;
            let is_current = |record: &StoredSession| {
                !context.epochs.is_missing_beside(record)
                    && context.epochs.is_current(record, origin)
            };
            file.read().map(|record| record.filter(is_current))
        });
        match read.await {
            Ok(record) => record.filter(|record| record.pair.is_some()),
            Err(error) => {
                self.outcome.problem = Some(error.to_string());
                None
            }
        }
    }

    /// Returns the client ids of a first login and of a session of this machine's own: the fleet's
    /// session and one beside it must have different ones.
    async fn fleet_client_ids(&self, account: &str) -> (String, String) {
        let (context, account) = (self.context.clone(), account.to_owned());
        run_blocking(move || {
            let attempts = &context.attempts;
            // An id that could not be written holds in memory.
            let own = || attempts.client_id(&account, None).0;
            let shared = context.config.client_id.clone().unwrap_or_else(own);
            (shared, attempts.client_id(&format!("cut off: {account}"), None).0)
        })
        .await
    }
}

fn pair_of(saved: StoredSession) -> Option<Pair> {
    let pair = saved.pair?;
    Some(Pair {
        client_id: saved.client_id,
        account: saved.account,
        received: pair.received.wall_millis(),
        access: pair.access,
        refresh: pair.refresh,
        lifetime: pair.lifetime,
    })
}

fn why_waiting(view: &View) -> &'static str {
    if view.is_away {
        "the engine of the fleet cannot be reached"
    } else if view.is_logged_out {
        "the fleet has logged out"
    } else {
        "the fleet has no newer token yet"
    }
}

/// Returns the error of a machine that has left its fleet.
pub(super) fn left_fleet() -> Error {
    Error::NotLoggedIn(Some(MissingLogin::UnusableSession(Cause::new(
        "this machine has left the fleet; a restart joins it again, unless fleet.engine is empty",
    ))))
}
