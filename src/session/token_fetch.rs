//! One attempt to find a pair, from beginning to end. The keeper spawns it apart from everybody
//! who waits for it, so nobody's impatience ends it.
//!
//! The order is: a newer saved pair, the refresh token, the password. The lock across processes
//! is taken before the single-use token is read and goes back to the keeper with the new pair,
//! which lets go of it once the pair is durable. Killed at any point, the next start finds either
//! a refresh token that works, or one that Nexudus has already replaced; that one is refused, and
//! the password is next.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::binding::Binding;
use super::endpoint::{Grant, Issuer};
use super::epoch::Epochs;
use super::error::{Cause, Error};
use super::event::FetchRequest;
use super::login::credentials_error;
use super::login_attempts::{self, LoginAttempts};
use super::record::{StoredSession, TokenPair};
use super::sealed_file::SessionLock;
use super::status::StoreInfo;
use super::task::run_blocking;
use super::token_response::{TokenError, TokenGrant};
use super::token_store::{TokenStore, format_write_error};
use crate::clock::Clock;
use crate::config;
use crate::credentials::{self, CredentialSource, Credentials, ResolvedLogin};

/// What every attempt needs.
#[derive(Debug)]
pub(super) struct FetchContext<I> {
    pub(super) config: config::Session,
    pub(super) directory: Option<PathBuf>,
    pub(super) binding: Binding,
    pub(super) credentials: Credentials,
    pub(super) attempts: LoginAttempts,
    pub(super) epochs: Epochs,
    pub(super) issuer: I,
    pub(super) clock: Clock,
    pub(super) on_step: fn(FetchStep),
    /// Whether the log says that a session of another origin is left alone.
    pub(super) other_origins_logged: AtomicBool,
}

impl<I: Issuer> FetchContext<I> {
    pub(super) fn new(
        config: config::Session,
        directory: Option<PathBuf>,
        credentials: Credentials,
        issuer: I,
        clock: Clock,
    ) -> Self {
        let binding = Binding::new(issuer.origin(), credentials.profile());
        let attempts = directory.as_ref().map(|path| path.join(login_attempts::FILE_NAME));
        Self {
            attempts: LoginAttempts::new(attempts, &binding.origin),
            epochs: Epochs::new(directory.as_deref()),
            config,
            directory,
            binding,
            credentials,
            issuer,
            clock,
            on_step: |_| {},
            other_origins_logged: AtomicBool::new(false),
        }
    }
}

/// The steps of an attempt, between any two of which the process may be killed.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchStep {
    /// The lock across processes is held.
    Locked,
    /// A new client id is at rest.
    ClientIdStored,
    /// The password attempt is noted.
    AttemptRecorded,
    /// The request is about to leave.
    SendingRequest,
    /// The answer is here, and nobody knows.
    ResponseReceived,
    /// The new pair is used.
    Published,
    /// The new pair, or whether the session is locked, is about to be written.
    Writing,
    /// The new pair is durable.
    Stored,
}

/// One attempt.
#[derive(Debug)]
pub(super) struct TokenFetch<I> {
    pub(super) context: Arc<FetchContext<I>>,
    pub(super) request: FetchRequest,
    pub(super) outcome: FetchOutcome,
    deadline: Duration,
    pub(super) ambiguous_refresh: Option<Cause>,
}

/// What an attempt leaves behind, whatever its end.
#[derive(Debug, Default)]
pub(super) struct FetchOutcome {
    /// The newest record known.
    pub(super) record: Option<StoredSession>,
    /// The lock, if it was taken.
    pub(super) lock: Option<SessionLock>,
    /// Where the pair is kept, once that is known.
    pub(super) store: Option<(TokenStore, StoreInfo)>,
    /// Where the login was read.
    pub(super) login_source: Option<CredentialSource>,
    /// What is wrong with the saved session, or with the state directory.
    pub(super) problem: Option<String>,
    /// Whether that is a session from before the last login or logout.
    pub(super) is_superseded: bool,
    /// Whether the login is another account's than what was held.
    pub(super) account_changed: bool,
    /// Whether a login that has changed is still to be read.
    pub(super) credentials_unreadable: bool,
}

/// Why an attempt failed, and the shortest time until the next one makes sense.
pub(super) type FetchError = (Error, Option<Duration>);

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum FetchResult {
    /// With a new pair for the refresh token, in [`FetchOutcome::record`].
    Renewed,
    /// With a new pair for the password, in [`FetchOutcome::record`].
    LoggedIn,
    /// With a saved pair, in [`FetchOutcome::record`].
    Resumed,
    /// The login is that of the account whose token is held.
    Unchanged,
    /// Without a pair.
    Failed(Error, Option<Duration>),
}

impl<I: Issuer> TokenFetch<I> {
    /// Prepares an attempt with what earlier ones have left.
    pub(super) fn new(
        context: Arc<FetchContext<I>>,
        request: FetchRequest,
        outcome: FetchOutcome,
    ) -> Self {
        Self { context, request, outcome, deadline: Duration::MAX, ambiguous_refresh: None }
    }

    /// Makes the attempt.
    pub(super) async fn run(mut self) -> (FetchResult, FetchOutcome) {
        self.outcome.problem = None;
        self.outcome.is_superseded = false;
        self.outcome.account_changed = false;
        let end = match self.attempt().await {
            Ok(end) => end,
            Err((error, wait)) => FetchResult::Failed(error, wait),
        };
        (end, self.outcome)
    }

    async fn attempt(&mut self) -> Result<FetchResult, FetchError> {
        self.outcome.credentials_unreadable = self.request.credentials_changed;
        self.find_store().await?;
        self.deadline = self.context.clock.now().boot + FETCH_TIMEOUT;
        let (mut found, mut lost) = (None, None);
        let mut account = self.context.credentials.account();
        if self.request.credentials_changed {
            (found, lost) = self.changed_login().await?;
            account = found.as_ref().map(|found| found.login.email.clone());
        }
        // Reading needs no lock, since files are replaced whole: a restart resumes at once.
        self.load_saved().await;
        if self.has_fresh(account.as_deref()) {
            return Ok(FetchResult::Resumed);
        }
        if let Some(cause) = lost {
            let (retry_after, cause) = (Duration::ZERO, Some(cause));
            return Err((Error::CredentialsUnavailable { retry_after, cause }, None));
        }
        self.outcome.credentials_unreadable = false;
        if self.request.credentials_changed
            && self.own_record(account.as_deref()).is_some()
            && self.request.has_valid_token
        {
            return Ok(FetchResult::Unchanged);
        }
        self.check_account(account.as_deref());
        self.acquire_lock().await?;
        self.load_saved().await;
        if self.has_fresh(account.as_deref()) {
            return Ok(FetchResult::Resumed);
        }
        self.check_account(account.as_deref());
        if let Some(end) = self.refresh(account.as_deref(), false).await? {
            return Ok(end);
        }
        let found = match found {
            Some(found) => found,
            None => match self.load_login().await {
                Ok(found) => found,
                Err(credentials::Error::Missing(absence)) => {
                    return self.without_password(account.as_deref(), absence).await;
                }
                Err(error @ credentials::Error::Incomplete { .. }) => {
                    return self.without_complete_login(account.as_deref(), error).await;
                }
                Err(error) => return Err((credentials_error(error), None)),
            },
        };
        self.log_in(found).await
    }

    /// Notes whether what is held is another account's: it must serve nobody, whatever comes next.
    fn check_account(&mut self, account: Option<&str>) {
        self.outcome.account_changed =
            self.outcome.record.is_some() && self.own_record(account).is_none();
    }

    /// Reads the login that has changed; or says why it cannot be known, where it was in a keychain
    /// that is not there any more.
    async fn changed_login(
        &mut self,
    ) -> Result<(Option<ResolvedLogin>, Option<Cause>), FetchError> {
        let error = match self.load_login().await {
            Ok(found) => return Ok((Some(found), None)),
            Err(error) => error,
        };
        let was_there = self.outcome.login_source == Some(CredentialSource::Keychain);
        match error {
            credentials::Error::Missing(Some(trouble)) if was_there => {
                Ok((None, Some(Cause::new(trouble.to_string()))))
            }
            credentials::Error::Missing(Some(_)) if self.missing_key().is_some() => {
                Ok((None, self.missing_key()))
            }
            // A login without a password leaves only a saved session.
            credentials::Error::Missing(_) | credentials::Error::Incomplete { .. } => {
                self.outcome.login_source = None;
                Ok((None, None))
            }
            error @ (credentials::Error::Command(_)
            | credentials::Error::Locked
            | credentials::Error::Unavailable(_)) => Err((credentials_error(error), None)),
        }
    }

    /// Reads the login. That may take a person's finger: its time does not count.
    async fn load_login(&mut self) -> Result<ResolvedLogin, credentials::Error> {
        let before = self.context.clock.now();
        let found = self.context.credentials.load().await;
        self.deadline += self.context.clock.now().since(before);
        if let Ok(found) = &found {
            self.outcome.login_source = Some(found.source);
        }
        found
    }

    async fn acquire_lock(&mut self) -> Result<(), FetchError> {
        let Some(directory) =
            self.context.directory.clone().filter(|_| self.outcome.lock.is_none())
        else {
            return Ok(());
        };
        let patience = self.context.clock.now().boot + LOCK_TIMEOUT;
        loop {
            let directory = directory.clone();
            match run_blocking(move || SessionLock::try_acquire(&directory)).await {
                Ok(Some(lock)) => {
                    self.outcome.lock = Some(lock);
                    (self.context.on_step)(FetchStep::Locked);
                    return Ok(());
                }
                Ok(None) if self.context.clock.now().boot < patience => {
                    tokio::time::sleep(LOCK_POLL_INTERVAL).await;
                }
                Ok(None) => {
                    let cause = "another process is renewing the session";
                    return Err(transient(Cause::new(cause), None));
                }
                // Where nothing can be written there is no saved session to protect either.
                Err(error) => {
                    self.outcome.problem =
                        Some(format_write_error(self.context.directory.as_deref(), &error));
                    return Ok(());
                }
            }
        }
    }

    /// Offers the refresh token; `None` when there is none that helps.
    pub(super) async fn refresh(
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
            Ok(issued) => {
                let (account, client_id) = (record.account.clone(), record.client_id.clone());
                self.set_record(issued, Some(pair), account, client_id);
                Ok(Some(FetchResult::Renewed))
            }
            Err(TokenError::Refused | TokenError::TotpRequired | TokenError::PasswordReset) => {
                // Somebody who does not know the lock may have been faster.
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
            // Nexudus answers 500 to ordinary refusals too: a password may help after a while.
            Err(TokenError::Ambiguous(cause))
                if AMBIGUOUS_REFRESH_THRESHOLD <= self.request.failures
                    && !self.request.has_valid_token =>
            {
                self.ambiguous_refresh = Some(cause);
                Ok(None)
            }
            Err(TokenError::Ambiguous(cause)) => Err(transient(cause, None)),
            Err(TokenError::Transient { retry_after, cause }) => Err(transient(cause, retry_after)),
        }
    }

    /// Asks, for as long as the ceiling allows.
    pub(super) async fn issue(
        &self,
        grant: &Grant,
        client_id: &str,
    ) -> Result<TokenGrant, TokenError> {
        (self.context.on_step)(FetchStep::SendingRequest);
        let answer = tokio::select! {
            answer = self.context.issuer.issue(grant, client_id) => answer,
            () = self.context.clock.wait_until(self.deadline) => {
                Err(TokenError::Ambiguous(Cause::new("the token endpoint gave no answer in time")))
            }
        };
        (self.context.on_step)(FetchStep::ResponseReceived);
        answer
    }

    pub(super) fn set_record(
        &mut self,
        issued: TokenGrant,
        offered: Option<&TokenPair>,
        account: Option<String>,
        client_id: String,
    ) {
        let epochs = &self.context.epochs;
        let known = self.outcome.record.as_ref().map_or(0, |held| held.generation);
        let known = known.max(self.request.newer_than.unwrap_or(0)).max(epochs.generation());
        let (epoch, generation) = (epochs.current(), known.saturating_add(1));
        epochs.observe(epoch, generation);
        let pair = Some(TokenPair::new(issued, offered, self.context.clock.now()));
        self.outcome.record = Some(StoredSession { epoch, generation, client_id, account, pair });
    }
}

pub(super) fn transient(cause: Cause, retry_after: Option<Duration>) -> FetchError {
    let wait = retry_after.map(|wait| wait.min(MAX_RETRY_AFTER));
    (Error::Unavailable { retry_after: wait.unwrap_or_default(), cause: Some(cause) }, wait)
}

pub(super) fn transient_after(cause: Cause, wait: Duration) -> FetchError {
    (Error::Unavailable { retry_after: wait, cause: Some(cause) }, Some(wait))
}

/// Longest attempt, not counting the reading of the login.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for another process, which may be in an attempt of its own.
const LOCK_TIMEOUT: Duration = Duration::from_secs(25);

/// How often the lock is tried.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// After so many failures a 500 to the refresh token is taken for a refusal.
const AMBIGUOUS_REFRESH_THRESHOLD: u32 = 2;

/// Longest `Retry-After` that is honoured: as long as our own waits become.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
