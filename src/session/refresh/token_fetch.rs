//! One attempt to get a token pair, from beginning to end.
//!
//! The session task spawns the attempt apart from the requests that wait for it, so that a request
//! that gives up does not end it.
//!
//! The order is: a newer saved pair, the refresh token, the password. The lock across processes is
//! acquired before the single-use token is read, and goes back to the session task with the new
//! pair; the task releases it once the pair is durable. If the process is killed at any point, the
//! next start finds a refresh token that works, or one that Nexudus has already replaced: that one
//! is refused, and the password is next.

use std::sync::Arc;
use std::time::Duration;

use super::context::{FetchContext, FetchStep};
use super::endpoint::{Grant, Issuer};
use super::outcome::{FetchError, FetchOutcome, FetchResult};
use super::token_response::TokenError;
use crate::config::UpstreamAuth;
use crate::credentials::{self, CredentialSource, ResolvedLogin};
use crate::session::error::{Cause, Error};
use crate::session::state::event::FetchRequest;
use crate::session::store::record::{StoredSession, TokenPair};
use crate::session::store::session_lock::SessionLock;
use crate::session::store::token_store::format_write_error;
use crate::session::token::TokenGrant;

/// One attempt.
#[derive(Debug)]
pub(crate) struct TokenFetch<I> {
    pub(crate) context: Arc<FetchContext<I>>,
    pub(crate) request: FetchRequest,
    pub(crate) outcome: FetchOutcome,
    pub(crate) deadline: Duration,
    /// Why the refresh token brought neither a pair nor a clear refusal.
    pub(crate) ambiguous_refresh: Option<Cause>,
}

impl<I: Issuer> TokenFetch<I> {
    /// Prepares an attempt with the state that earlier ones have left.
    pub(crate) fn new(
        context: Arc<FetchContext<I>>,
        request: FetchRequest,
        outcome: FetchOutcome,
    ) -> Self {
        Self { context, request, outcome, deadline: Duration::MAX, ambiguous_refresh: None }
    }

    /// Makes the attempt.
    pub(crate) async fn run(mut self) -> (Result<FetchResult, FetchError>, FetchOutcome) {
        self.outcome.problem = None;
        self.outcome.is_superseded = false;
        self.outcome.account_changed = false;
        let result = self.attempt().await;
        (result, self.outcome)
    }

    async fn attempt(&mut self) -> Result<FetchResult, FetchError> {
        if self.context.issuer.auth() == UpstreamAuth::Basic {
            return self.attempt_basic().await;
        }
        if self.context.fleet.is_some() {
            return self.attempt_fleet().await;
        }
        let has_changed_login = self.request.has_changed_login();
        self.outcome.credentials_unreadable = has_changed_login;
        let context = self.context.clone();
        context.unless_stopping(self.open_store()).await??;
        self.start_deadline();
        let mut account = self.context.credentials.account();
        let mut changed = ChangedLogin::None;
        if has_changed_login {
            changed = self.changed_login().await?;
            account = changed.login().map(|found| found.login.email.clone());
        }
        let account = account.as_deref();
        // Reading needs no lock, since files are replaced whole: a restart resumes at once.
        self.load_saved().await;
        if self.has_fresh(account) {
            return Ok(FetchResult::Resumed);
        }
        let login = changed.into_login()?;
        self.outcome.credentials_unreadable = false;
        if has_changed_login && self.own_record(account).is_some() && self.request.has_valid_token {
            return Ok(FetchResult::Unchanged);
        }
        self.check_account(account);
        self.acquire_lock().await?;
        self.load_saved().await;
        if self.has_fresh(account) {
            return Ok(FetchResult::Resumed);
        }
        self.check_account(account);
        if let Some(result) = self.refresh(account, false).await? {
            return Ok(result);
        }
        self.log_in_or_resume(account, login).await
    }

    /// Limits the attempt, from now on.
    pub(crate) fn start_deadline(&mut self) {
        self.deadline = self.context.clock.now().boot + FETCH_TIMEOUT;
    }

    /// Logs in, or tries the remaining ways where no source has a whole login.
    async fn log_in_or_resume(
        &mut self,
        account: Option<&str>,
        login: Option<ResolvedLogin>,
    ) -> Result<FetchResult, FetchError> {
        let loaded = match login {
            Some(login) => Ok(login),
            None => self.load_login().await?,
        };
        match loaded {
            Ok(login) => self.log_in(login).await,
            Err(credentials::Error::Missing(keychain)) => {
                self.without_password(account, keychain).await
            }
            Err(error @ credentials::Error::Incomplete { .. }) => {
                self.without_complete_login(account, error).await
            }
            Err(
                error @ (credentials::Error::Command(_)
                | credentials::Error::Unusable(_)
                | credentials::Error::File(_)
                | credentials::Error::Locked
                | credentials::Error::Unavailable(_)),
            ) => Err(error.into()),
        }
    }

    /// Records whether the record held is of another account: then no request may use it, however
    /// the attempt ends.
    pub(crate) fn check_account(&mut self, account: Option<&str>) {
        self.outcome.account_changed =
            self.outcome.record.is_some() && self.own_record(account).is_none();
    }

    /// Reads the login that has changed.
    async fn changed_login(&mut self) -> Result<ChangedLogin, FetchError> {
        let error = match self.load_login().await? {
            Ok(login) => return Ok(ChangedLogin::Found(login)),
            Err(error) => error,
        };
        let was_in_keychain = self.outcome.login_source == Some(CredentialSource::Keychain);
        match error {
            credentials::Error::Missing(Some(keychain)) if was_in_keychain => {
                return Ok(ChangedLogin::Unknown(Cause::new(keychain.to_string())));
            }
            credentials::Error::Missing(Some(_)) => {
                if let Some(cause) = self.missing_key() {
                    return Ok(ChangedLogin::Unknown(cause));
                }
            }
            credentials::Error::Missing(None) | credentials::Error::Incomplete { .. } => {}
            error @ (credentials::Error::Command(_)
            | credentials::Error::Unusable(_)
            | credentials::Error::File(_)
            | credentials::Error::Locked
            | credentials::Error::Unavailable(_)) => return Err(error.into()),
        }
        // A login without a password leaves only a saved session.
        self.outcome.login_source = None;
        Ok(ChangedLogin::None)
    }

    /// Reads the login. The user may have to confirm that with a finger: the time does not count.
    pub(crate) async fn load_login(
        &mut self,
    ) -> Result<Result<ResolvedLogin, credentials::Error>, FetchError> {
        let before = self.context.clock.now();
        let found = self.context.unless_stopping(self.context.credentials.load()).await?;
        self.deadline += self.context.clock.now().since(before);
        if let Ok(found) = &found {
            self.outcome.login_source = Some(found.source);
        }
        Ok(found)
    }

    pub(crate) async fn acquire_lock(&mut self) -> Result<(), FetchError> {
        let context = self.context.clone();
        let Some(directory) = context.directory.as_deref().filter(|_| self.outcome.lock.is_none())
        else {
            return Ok(());
        };
        match SessionLock::acquire(directory, &context.clock, LOCK_TIMEOUT).await {
            Ok(Some(lock)) => {
                self.outcome.lock = Some(lock);
                (context.on_step)(FetchStep::Locked);
            }
            Ok(None) => {
                let cause = Cause::new("another process is renewing the session");
                return Err(FetchError::transient(cause, None));
            }
            // Where nothing can be written there is no saved session to protect either.
            Err(error) => self.outcome.problem = Some(format_write_error(Some(directory), &error)),
        }
        Ok(())
    }

    /// Offers the refresh token; `None` when no refresh token helps. One that our own record calls
    /// lapsed is offered only with `even_stale`.
    pub(crate) async fn refresh(
        &mut self,
        account: Option<&str>,
        even_stale: bool,
    ) -> Result<Option<FetchResult>, FetchError> {
        let now = self.context.clock.now();
        self.drop_if_superseded().await;
        let Some(record) = self.own_record(account).cloned() else { return Ok(None) };
        let Some(pair) = &record.pair else { return Ok(None) };
        let stale = pair.refresh_left(now).is_none_or(|left| left.is_zero());
        let Some(refresh) = pair.refresh.clone().filter(|_| even_stale || !stale) else {
            return Ok(None);
        };
        match self.issue(&Grant::Refresh(refresh), &record.client_id).await {
            Ok(grant) => {
                let (account, client_id) = (record.account.clone(), record.client_id.clone());
                self.set_record(grant, Some(pair), account, client_id);
                Ok(Some(FetchResult::Renewed))
            }
            Err(TokenError::Refused | TokenError::TotpRequired | TokenError::PasswordReset) => {
                // A process that does not use the lock may have been faster.
                self.load_saved().await;
                if self.has_fresh(account) {
                    return Ok(Some(FetchResult::Resumed));
                }
                if let Some(pair) = self.outcome.record.as_mut().and_then(|held| held.pair.as_mut())
                {
                    pair.refresh = None;
                }
                Ok(None)
            }
            // Nexudus responds with 500 to ordinary refusals too: a password may help after a
            // while.
            Err(TokenError::Ambiguous(cause))
                if AMBIGUOUS_REFRESH_THRESHOLD <= self.request.failures
                    && !self.request.has_valid_token =>
            {
                self.ambiguous_refresh = Some(cause);
                Ok(None)
            }
            Err(TokenError::Ambiguous(cause)) => Err(FetchError::transient(cause, None)),
            Err(
                TokenError::Transient { retry_after, cause }
                | TokenError::Unavailable { retry_after, cause },
            ) => Err(FetchError::transient(cause, retry_after)),
        }
    }

    /// Requests a pair from the token endpoint, until the attempt's deadline.
    pub(crate) async fn issue(
        &self,
        grant: &Grant,
        client_id: &str,
    ) -> Result<TokenGrant, TokenError> {
        (self.context.on_step)(FetchStep::SendingRequest);
        let response = tokio::select! {
            response = self.context.issuer.issue(grant, client_id) => response,
            () = self.context.clock.wait_until(self.deadline) => {
                Err(TokenError::Ambiguous(Cause::new(match self.context.issuer.auth() {
                    UpstreamAuth::Bearer => "the token endpoint did not respond in time",
                    UpstreamAuth::Basic => "Nexudus did not respond in time",
                })))
            }
        };
        (self.context.on_step)(FetchStep::ResponseReceived);
        response
    }

    /// Makes a record of the granted tokens the newest one.
    pub(crate) fn set_record(
        &mut self,
        grant: TokenGrant,
        offered: Option<&TokenPair>,
        account: Option<String>,
        client_id: String,
    ) {
        let epochs = &self.context.epochs;
        let known = self.outcome.record.as_ref().map_or(0, |held| held.generation);
        let known = known.max(self.request.newer_than.unwrap_or(0)).max(epochs.generation());
        let (epoch, generation) = (epochs.current(), known.saturating_add(1));
        epochs.observe(epoch, generation);
        let pair = Some(TokenPair::new(grant, offered, self.context.clock.now()));
        self.outcome.record = Some(StoredSession { epoch, generation, client_id, account, pair });
    }
}

/// A login after a change.
enum ChangedLogin {
    Found(ResolvedLogin),
    /// No source has one.
    None,
    /// The login was in a keychain, or there was a key, and either cannot be read now.
    Unknown(Cause),
}

impl ChangedLogin {
    fn login(&self) -> Option<&ResolvedLogin> {
        match self {
            Self::Found(login) => Some(login),
            Self::None | Self::Unknown(_) => None,
        }
    }

    fn into_login(self) -> Result<Option<ResolvedLogin>, Error> {
        match self {
            Self::Found(login) => Ok(Some(login)),
            Self::None => Ok(None),
            Self::Unknown(cause) => {
                let (retry_after, cause) = (Duration::ZERO, Some(cause));
                Err(Error::CredentialsUnavailable { retry_after, cause })
            }
        }
    }
}

/// Longest attempt, not counting the time to read the login.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for another process, which may make an attempt of its own.
const LOCK_TIMEOUT: Duration = Duration::from_secs(25);

/// After so many failures a 500 counts as a refusal of the refresh token.
const AMBIGUOUS_REFRESH_THRESHOLD: u32 = 2;
