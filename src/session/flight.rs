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

use super::answer::{Failure, Issued};
use super::attempts::{self, Attempts};
use super::binding::Binding;
use super::epoch::Epochs;
use super::error::{Cause, Error};
use super::event::Fetch;
use super::home::{Home, unwritable};
use super::issuer::{Grant, Issuer};
use super::keeper::blocking;
use super::login::unread;
use super::record::{Pair, Record};
use super::saved::Lock;
use super::view::Keeping;
use crate::clock::Clock;
use crate::config;
use crate::credentials::{self, Credentials, Found, Origin};

/// What every attempt needs.
#[derive(Debug)]
pub(super) struct Desk<I> {
    pub(super) config: config::Session,
    pub(super) directory: Option<PathBuf>,
    pub(super) binding: Binding,
    pub(super) credentials: Credentials,
    pub(super) attempts: Attempts,
    pub(super) epochs: Epochs,
    pub(super) issuer: I,
    pub(super) clock: Clock,
    pub(super) seen: fn(Step),
    /// Whether the log says that a session of another origin is left alone.
    pub(super) told_elsewhere: AtomicBool,
}

impl<I: Issuer> Desk<I> {
    pub(super) fn new(
        config: config::Session,
        directory: Option<PathBuf>,
        credentials: Credentials,
        issuer: I,
        clock: Clock,
    ) -> Self {
        let binding = Binding::new(issuer.origin(), credentials.profile());
        let attempts = directory.as_ref().map(|path| path.join(attempts::FILE));
        Self {
            attempts: Attempts::new(attempts, &binding.origin),
            epochs: Epochs::new(directory.as_deref()),
            config,
            directory,
            binding,
            credentials,
            issuer,
            clock,
            seen: |_| {},
            told_elsewhere: AtomicBool::new(false),
        }
    }
}

/// The steps of an attempt, between any two of which the process may be killed.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The lock across processes is held.
    Locked,
    /// A new client id is at rest.
    ClientIdKept,
    /// The password attempt is noted.
    Noted,
    /// The request is about to leave.
    Asking,
    /// The answer is here, and nobody knows.
    Answered,
    /// The new pair is used.
    Published,
    /// The new pair, or whether the session is locked, is about to be written.
    Writing,
    /// The new pair is durable.
    Stored,
}

/// One attempt.
#[derive(Debug)]
pub(super) struct Flight<I> {
    pub(super) desk: Arc<Desk<I>>,
    pub(super) fetch: Fetch,
    pub(super) landing: Landing,
    deadline: Duration,
    pub(super) doubt: Option<Cause>,
}

/// What an attempt leaves behind, whatever its end.
#[derive(Debug, Default)]
pub(super) struct Landing {
    /// The newest record known.
    pub(super) held: Option<Record>,
    /// The lock, if it was taken.
    pub(super) lock: Option<Lock>,
    /// Where the pair is kept, once that is known.
    pub(super) home: Option<(Home, Keeping)>,
    /// Where the login was read.
    pub(super) origin: Option<Origin>,
    /// What is wrong with the saved session, or with the state directory.
    pub(super) problem: Option<String>,
    /// Whether that is a session from before the last login or logout.
    pub(super) superseded: bool,
    /// Whether the login is another account's than what was held.
    pub(super) disowned: bool,
    /// Whether a login that has changed is still to be read.
    pub(super) unread: bool,
}

/// Why an attempt failed, and the shortest time until the next one makes sense.
pub(super) type Miss = (Error, Option<Duration>);

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum End {
    /// With a new pair for the refresh token, in [`Landing::held`].
    Renewed,
    /// With a new pair for the password, in [`Landing::held`].
    LoggedIn,
    /// With a saved pair, in [`Landing::held`].
    Read,
    /// The login is that of the account whose token is held.
    Kept,
    /// Without a pair.
    Failed(Error, Option<Duration>),
}

impl<I: Issuer> Flight<I> {
    /// Prepares an attempt with what earlier ones have left.
    pub(super) fn new(desk: Arc<Desk<I>>, fetch: Fetch, landing: Landing) -> Self {
        Self { desk, fetch, landing, deadline: Duration::MAX, doubt: None }
    }

    /// Makes the attempt.
    pub(super) async fn fly(mut self) -> (End, Landing) {
        self.landing.problem = None;
        self.landing.superseded = false;
        self.landing.disowned = false;
        let end = match self.attempt().await {
            Ok(end) => end,
            Err((error, wait)) => End::Failed(error, wait),
        };
        (end, self.landing)
    }

    async fn attempt(&mut self) -> Result<End, Miss> {
        self.landing.unread = self.fetch.changed;
        self.find_home().await?;
        self.deadline = self.desk.clock.now().boot + CEILING;
        let (mut found, mut lost) = (None, None);
        let mut account = self.desk.credentials.account();
        if self.fetch.changed {
            (found, lost) = self.changed_login().await?;
            account = found.as_ref().map(|found| found.login.email.clone());
        }
        // Reading needs no lock, since files are replaced whole: a restart resumes at once.
        self.read().await;
        if self.has_newer(account.as_deref()) {
            return Ok(End::Read);
        }
        if let Some(cause) = lost {
            let (retry_after, cause) = (Duration::ZERO, Some(cause));
            return Err((Error::CredentialsUnavailable { retry_after, cause }, None));
        }
        self.landing.unread = false;
        if self.fetch.changed && self.own(account.as_deref()).is_some() && self.fetch.valid {
            return Ok(End::Kept);
        }
        self.disown(account.as_deref());
        self.take_lock().await?;
        self.read().await;
        if self.has_newer(account.as_deref()) {
            return Ok(End::Read);
        }
        self.disown(account.as_deref());
        if let Some(end) = self.refresh(account.as_deref(), false).await? {
            return Ok(end);
        }
        let found = match found {
            Some(found) => found,
            None => match self.load().await {
                Ok(found) => found,
                Err(credentials::Error::Missing(absence)) => {
                    return self.without_password(account.as_deref(), absence).await;
                }
                Err(error @ credentials::Error::Incomplete { .. }) => {
                    return self.without_whole(account.as_deref(), error).await;
                }
                Err(error) => return Err((unread(error), None)),
            },
        };
        self.log_in(found).await
    }

    /// Notes whether what is held is another account's: it must serve nobody, whatever comes next.
    fn disown(&mut self, account: Option<&str>) {
        self.landing.disowned = self.landing.held.is_some() && self.own(account).is_none();
    }

    /// Reads the login that has changed; or says why it cannot be known, where it was in a keychain
    /// that is not there any more.
    async fn changed_login(&mut self) -> Result<(Option<Found>, Option<Cause>), Miss> {
        let error = match self.load().await {
            Ok(found) => return Ok((Some(found), None)),
            Err(error) => error,
        };
        let was_there = self.landing.origin == Some(Origin::Keychain);
        match error {
            credentials::Error::Missing(Some(trouble)) if was_there => {
                Ok((None, Some(Cause::new(trouble.to_string()))))
            }
            credentials::Error::Missing(Some(_)) if self.lost_key().is_some() => {
                Ok((None, self.lost_key()))
            }
            // A login without a password leaves only a saved session.
            credentials::Error::Missing(_) | credentials::Error::Incomplete { .. } => {
                self.landing.origin = None;
                Ok((None, None))
            }
            error @ (credentials::Error::Command(_)
            | credentials::Error::Locked
            | credentials::Error::Unavailable(_)) => Err((unread(error), None)),
        }
    }

    /// Reads the login. That may take a person's finger: its time does not count.
    async fn load(&mut self) -> Result<Found, credentials::Error> {
        let before = self.desk.clock.now();
        let found = self.desk.credentials.load().await;
        self.deadline += self.desk.clock.now().since(before);
        if let Ok(found) = &found {
            self.landing.origin = Some(found.origin);
        }
        found
    }

    async fn take_lock(&mut self) -> Result<(), Miss> {
        let Some(directory) = self.desk.directory.clone().filter(|_| self.landing.lock.is_none())
        else {
            return Ok(());
        };
        let patience = self.desk.clock.now().boot + PATIENCE;
        loop {
            let directory = directory.clone();
            match blocking(move || Lock::attempt(&directory)).await {
                Ok(Some(lock)) => {
                    self.landing.lock = Some(lock);
                    (self.desk.seen)(Step::Locked);
                    return Ok(());
                }
                Ok(None) if self.desk.clock.now().boot < patience => {
                    tokio::time::sleep(LOCK_AGAIN).await;
                }
                Ok(None) => {
                    let cause = "another process is renewing the session";
                    return Err(passing(Cause::new(cause), None));
                }
                // Where nothing can be written there is no saved session to protect either.
                Err(error) => {
                    self.landing.problem = Some(unwritable(self.desk.directory.as_deref(), &error));
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
    ) -> Result<Option<End>, Miss> {
        let now = self.desk.clock.now();
        self.drop_if_superseded().await;
        let Some(record) = self.own(account).cloned() else { return Ok(None) };
        let Some(pair) = &record.pair else { return Ok(None) };
        let stale = pair.refresh_left(now).is_none_or(|left| left.is_zero());
        let Some(refresh) = pair.refresh.clone().filter(|_| even_stale || !stale) else {
            return Ok(None);
        };
        match self.issue(&Grant::Refresh(refresh), &record.client_id).await {
            Ok(issued) => {
                let (account, client_id) = (record.account.clone(), record.client_id.clone());
                self.hold(issued, Some(pair), account, client_id);
                Ok(Some(End::Renewed))
            }
            Err(Failure::Refused | Failure::TotpRequired | Failure::PasswordReset) => {
                // Somebody who does not know the lock may have been faster.
                self.read().await;
                if self.has_newer(account) {
                    return Ok(Some(End::Read));
                }
                if let Some(pair) = self.landing.held.as_mut().and_then(|held| held.pair.as_mut()) {
                    pair.refresh = None;
                }
                Ok(None)
            }
            // Nexudus answers 500 to ordinary refusals too: a password may help after a while.
            Err(Failure::Unclear(cause)) if FEW <= self.fetch.failures && !self.fetch.valid => {
                self.doubt = Some(cause);
                Ok(None)
            }
            Err(Failure::Unclear(cause)) => Err(passing(cause, None)),
            Err(Failure::Passing { retry_after, cause }) => Err(passing(cause, retry_after)),
        }
    }

    /// Asks, for as long as the ceiling allows.
    pub(super) async fn issue(&self, grant: &Grant, client_id: &str) -> Result<Issued, Failure> {
        (self.desk.seen)(Step::Asking);
        let answer = tokio::select! {
            answer = self.desk.issuer.issue(grant, client_id) => answer,
            () = self.desk.clock.reaches(self.deadline) => {
                Err(Failure::Unclear(Cause::new("the token endpoint gave no answer in time")))
            }
        };
        (self.desk.seen)(Step::Answered);
        answer
    }

    pub(super) fn hold(
        &mut self,
        issued: Issued,
        offered: Option<&Pair>,
        account: Option<String>,
        client_id: String,
    ) {
        let epochs = &self.desk.epochs;
        let known = self.landing.held.as_ref().map_or(0, |held| held.generation);
        let known = known.max(self.fetch.above.unwrap_or(0)).max(epochs.generation());
        let (epoch, generation) = (epochs.current(), known.saturating_add(1));
        epochs.note(epoch, generation);
        let pair = Some(Pair::new(issued, offered, self.desk.clock.now()));
        self.landing.held = Some(Record { epoch, generation, client_id, account, pair });
    }
}

pub(super) fn passing(cause: Cause, retry_after: Option<Duration>) -> Miss {
    let wait = retry_after.map(|wait| wait.min(LONGEST_RETRY));
    (Error::Unavailable { retry_after: wait.unwrap_or_default(), cause: Some(cause) }, wait)
}

pub(super) fn passing_after(cause: Cause, wait: Duration) -> Miss {
    (Error::Unavailable { retry_after: wait, cause: Some(cause) }, Some(wait))
}

/// Longest attempt, not counting the reading of the login.
const CEILING: Duration = Duration::from_secs(30);

/// Longest wait for another process, which may be in an attempt of its own.
const PATIENCE: Duration = Duration::from_secs(25);

/// How often the lock is tried.
const LOCK_AGAIN: Duration = Duration::from_millis(20);

/// After so many failures a 500 to the refresh token is taken for a refusal.
const FEW: u32 = 2;

/// Longest `Retry-After` that is honoured: as long as our own waits become.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
