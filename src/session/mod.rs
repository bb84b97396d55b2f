//! The bearer token: who holds it, when it is renewed.
//!
//! Requests look at the latest state and never wait while a valid token exists. One task
//! (`task.rs`) owns the state (`state.rs`), asks the issuer (`endpoint.rs`) and keeps the pair at
//! rest (`sealed_file.rs`). [`Session`] is the handle to it: clones are cheap, and dropping a request
//! that waits here cancels nothing.

pub mod endpoint;
pub mod state;

mod binding;
mod crypto;
mod epoch;
mod error;
mod event;
mod login;
mod login_attempts;
mod offline_session;
mod permission_cache;
mod probe;
mod record;
mod resume;
mod schedule;
mod sealed_file;
mod shared;
mod status;
mod task;
mod token_fetch;
mod token_response;
mod token_store;
mod totp;
mod write_queue;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};
use tokio::sync::{mpsc, oneshot, watch};

pub use self::endpoint::Issuer;
pub use self::error::{Cause, Error, MissingLogin};
pub use self::offline_session::{
    LoginRejection, OfflineSession, origins_with_login, remove_all, self_test_keychain, set_locked,
};
use self::permission_cache::RequestKey;
use self::probe::{ProbeVerdict, RejectedToken};
use self::shared::{Availability, CommandSender, SessionCommand, SharedSession};
pub use self::status::{LastError, SessionState, SessionStatus, StoreInfo};
#[doc(hidden)]
pub use self::task::FetchStep;
pub use self::task::SessionTask;
use crate::clock::Clock;
use crate::config;
use crate::credentials::Credentials;

/// A cheap handle to the token keeper.
#[derive(Clone, Debug)]
pub struct Session {
    shared: Arc<SharedSession>,
    commands: CommandSender,
    /// Whose answers are judged: empty for the API itself.
    host: Arc<str>,
}

/// Whether a request's body can be sent a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// There is none, or it is kept.
    Replayable,
    /// It streams, and is gone once sent.
    Streaming,
}

/// A ready-made `Authorization` value and the token generation it came from.
#[derive(Clone, Debug)]
pub struct Bearer {
    header: HeaderValue,
    generation: u64,
    /// How many probes had begun when it was taken: a verdict from before says nothing about what
    /// is sent with it.
    probes_started: u64,
}

impl Bearer {
    /// Returns the header value, marked sensitive.
    pub fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// Returns the name of the token, for [`Session::mark_valid`].
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// What a 401 was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnauthorizedCause {
    /// The token was dead and there is a newer one: send the request again with it.
    TokenReplaced,
    /// The token is good and the account lacks permission: relay the 401 as it is.
    MissingPermission,
    /// The token was dead and no other can be had.
    Unavailable(Error),
}

impl Session {
    /// Makes a session and its keeper. Nothing happens before [`SessionTask::run`] is spawned.
    ///
    /// `directory` is the profile's state directory; `None` keeps everything in memory.
    pub fn new<I: Issuer>(
        config: &config::Session,
        directory: Option<PathBuf>,
        credentials: Credentials,
        issuer: I,
        clock: Clock,
    ) -> (Self, SessionTask<I>) {
        let shared = Arc::new(SharedSession::new(clock.clone(), config.wait));
        let (commands, received) = mpsc::unbounded_channel();
        let keeper = SessionTask::new(
            config,
            directory,
            credentials,
            issuer,
            clock,
            shared.clone(),
            received,
        );
        (Self { shared, commands, host: "".into() }, keeper)
    }

    /// Returns a handle for another host that takes the same token.
    #[must_use]
    pub fn with_host(&self, host: &str) -> Self {
        Self { host: host.into(), ..self.clone() }
    }

    /// Returns at once when a token is valid, else waits for the one being asked for.
    ///
    /// Waits at most `session.wait`. A body that cannot be sent twice also waits near the end of
    /// the token's life, until the token was renewed or proved alive.
    ///
    /// # Errors
    ///
    /// One variant per reason why there is no token, at once where waiting cannot help.
    pub async fn wait_ready(&self, body: BodyKind) -> Result<(), Error> {
        let now = self.shared.clock.boot();
        let deadline = now + self.shared.wait;
        let token = self.shared.latest().token.filter(|token| token.is_valid(now));
        match (token, body) {
            (Some(_), BodyKind::Replayable) => Ok(()),
            (Some(token), BodyKind::Streaming) if !token.is_near_expiry(now) => Ok(()),
            (Some(token), BodyKind::Streaming) => {
                Box::pin(self.wait_verified(token.generation, deadline)).await
            }
            (None, BodyKind::Replayable | BodyKind::Streaming) => {
                Box::pin(self.wait_newer(None, deadline)).await
            }
        }
    }

    /// Returns a token that is valid now; waits as [`Session::wait_ready`] does where there is none.
    ///
    /// # Errors
    ///
    /// As [`Session::wait_ready`].
    pub async fn acquire(&self, body: BodyKind) -> Result<Bearer, Error> {
        if let Some(bearer) = self.cached(body) {
            return Ok(bearer);
        }
        Box::pin(self.wait_ready(body)).await?;
        if let Ok(bearer) = self.bearer() {
            return Ok(bearer);
        }
        // It ended between the two lines.
        Box::pin(self.wait_ready(body)).await?;
        self.bearer()
    }

    /// Returns the latest token if a request with such a body need not wait for another.
    fn cached(&self, body: BodyKind) -> Option<Bearer> {
        let now = self.shared.clock.boot();
        let latest = self.shared.latest();
        let token = latest.token.filter(|token| token.is_valid(now))?;
        let lasts = body == BodyKind::Replayable || !token.is_near_expiry(now);
        let bearer = latest.bearer.as_ref().filter(|_| lasts)?;
        Some(Bearer { probes_started: self.shared.probes_started(), ..bearer.clone() })
    }

    /// Returns the latest token, if it is valid now. Never waits.
    ///
    /// # Errors
    ///
    /// As [`Session::wait_ready`].
    pub fn bearer(&self) -> Result<Bearer, Error> {
        let now = self.shared.clock.boot();
        let latest = self.shared.latest();
        match &latest.bearer {
            Some(bearer) if latest.is_valid(now) => {
                Ok(Bearer { probes_started: self.shared.probes_started(), ..bearer.clone() })
            }
            Some(_) | None => {
                let left = latest.next_attempt.unwrap_or_default().saturating_sub(now);
                Err(latest.unavailable_error(left))
            }
        }
    }

    /// Says what the 401 to a request with this token was about.
    ///
    /// Call it once per 401. A request is replayed at most once.
    pub async fn classify_unauthorized(
        &self,
        bearer: &Bearer,
        method: &Method,
        path: &str,
    ) -> UnauthorizedCause {
        let now = self.shared.clock.boot();
        let Bearer { generation, probes_started: probes, .. } = *bearer;
        let asked = RequestKey::new(&self.host, method, path);
        let current = self.shared.latest().token.map(|token| token.generation);
        if current == Some(generation)
            && !asked.is_probe()
            && self.shared.permission_cache().contains(&asked, now)
        {
            return UnauthorizedCause::MissingPermission;
        }
        let deadline = now + self.shared.wait;
        match self
            .request_probe(RejectedToken { generation, probes_started: probes }, Some(&asked))
            .await
        {
            ProbeVerdict::Alive | ProbeVerdict::AliveBefore | ProbeVerdict::NoAccess => {
                UnauthorizedCause::MissingPermission
            }
            ProbeVerdict::Replaced => match self.wait_newer(Some(generation), deadline).await {
                Ok(()) => UnauthorizedCause::TokenReplaced,
                Err(error) => UnauthorizedCause::Unavailable(error),
            },
            ProbeVerdict::Unclear | ProbeVerdict::Retry => {
                UnauthorizedCause::Unavailable(Error::Unavailable {
                    retry_after: Duration::from_secs(1),
                    cause: Some(Cause::new(
                        "Nexudus could not be asked whether the token is alive",
                    )),
                })
            }
        }
    }

    /// Notes that an answer other than 401 came to the token of this generation.
    ///
    /// Costs an atomic load. It tells a token that was refused from its birth (no API access)
    /// from one that was revoked later.
    pub fn mark_valid(&self, generation: u64) {
        self.shared.mark_valid(generation);
    }

    /// Returns what `status` shows.
    pub fn status(&self) -> Arc<SessionStatus> {
        Arc::new(SessionStatus::new(&self.shared.latest(), self.shared.clock.boot()))
    }

    /// Returns a receiver that wakes after each change; the number only grows.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.subscribe()
    }

    /// Tells that the stored login has changed: latches are opened, and a token is asked for if
    /// none is valid or the account is another. Returns once the login that is stored now is the one
    /// in use, or it is known why not: no request after that is sent as another account.
    pub async fn credentials_changed(&self) {
        let (reply, answer) = oneshot::channel();
        self.send(SessionCommand::CredentialsChanged(reply));
        let _ = answer.await;
    }

    /// Renews now and waits for the outcome.
    ///
    /// # Errors
    ///
    /// Why there is no newer token.
    pub async fn refresh(&self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.send(SessionCommand::Refresh(reply));
        answer
            .await
            .unwrap_or(Err(Error::Unavailable { retry_after: SHUTDOWN_RETRY_AFTER, cause: None }))
    }

    /// Drops the session, here and at rest, and stays not logged in until
    /// [`Session::credentials_changed`] or a restart. Returns when that is so.
    pub async fn log_out(&self) {
        let (reply, answer) = oneshot::channel();
        self.send(SessionCommand::LogOut(reply));
        let _ = answer.await;
    }

    /// Drops the token from memory and answers [`Error::Locked`] until unlocked, across restarts.
    pub async fn lock(&self) {
        self.set_locked(true).await;
    }

    /// Ends [`Session::lock`] and resumes.
    pub async fn unlock(&self) {
        self.set_locked(false).await;
    }

    /// Waits until the newest pair is durable, for [`FLUSH_TIMEOUT`] at most; starts nothing new.
    pub async fn flush(&self) {
        let (reply, answer) = oneshot::channel();
        self.send(SessionCommand::Flush(reply));
        let _ = tokio::time::timeout(FLUSH_TIMEOUT, answer).await;
    }

    async fn set_locked(&self, locked: bool) {
        let (reply, answer) = oneshot::channel();
        self.send(SessionCommand::Lock { locked, reply });
        let _ = answer.await;
    }

    /// Waits for a valid token, newer than `generation` if there is one.
    async fn wait_newer(&self, generation: Option<u64>, deadline: Duration) -> Result<(), Error> {
        let mut changes = self.shared.subscribe();
        let mut nudged = false;
        loop {
            let now = self.shared.clock.boot();
            let (outlook, current) = {
                let latest = self.shared.latest();
                let current = latest.token.map(|token| token.generation);
                (latest.availability(now, deadline), current)
            };
            match outlook {
                Availability::Ready if generation.is_none() || current > generation => {
                    return Ok(());
                }
                Availability::Fail(error) => return Err(error),
                Availability::Wait { nudge: true } if !nudged => {
                    nudged = true;
                    self.send(SessionCommand::Tick);
                }
                Availability::Ready | Availability::Wait { .. } => {}
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return Err(Error::Unavailable { retry_after: SHUTDOWN_RETRY_AFTER, cause: None });
                },
                () = self.shared.clock.wait_until(deadline) => {
                    let latest = self.shared.latest();
                    let left = latest.next_attempt.unwrap_or_default().saturating_sub(deadline);
                    return Err(latest.unavailable_error(left));
                }
            }
        }
    }

    /// Waits until the token was renewed or proved alive.
    async fn wait_verified(&self, generation: u64, deadline: Duration) -> Result<(), Error> {
        let mut changes = self.shared.subscribe();
        let before = self.shared.latest().fetches_ended;
        let (reply, answer) = oneshot::channel();
        self.send(SessionCommand::RenewalRequested { generation, reply });
        if answer.await.unwrap_or(false) {
            let renewed = |this: &Self| {
                let latest = this.shared.latest();
                before < latest.fetches_ended
                    || latest.token.is_none_or(|token| token.generation != generation)
            };
            while !renewed(self) {
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { break },
                    () = self.shared.clock.wait_until(deadline) => break,
                }
            }
        }
        let current = self.shared.latest().token.map(|token| token.generation);
        if current != Some(generation) {
            return self.wait_newer(None, deadline).await;
        }
        // Nothing was sent yet: the last verdict will do.
        match self.request_probe(RejectedToken { generation, probes_started: 0 }, None).await {
            ProbeVerdict::Replaced => self.wait_newer(Some(generation), deadline).await,
            // By our own record it is valid, and there is nobody else to ask.
            ProbeVerdict::Alive
            | ProbeVerdict::AliveBefore
            | ProbeVerdict::NoAccess
            | ProbeVerdict::Unclear
            | ProbeVerdict::Retry => self.wait_newer(None, deadline).await,
        }
    }

    /// Asks the keeper about a token, and what was `asked` with it if it was refused.
    async fn request_probe(
        &self,
        rejection: RejectedToken,
        asked: Option<&RequestKey>,
    ) -> ProbeVerdict {
        loop {
            let (reply, answer) = oneshot::channel();
            self.send(SessionCommand::ClassifyUnauthorized {
                rejection,
                asked: asked.cloned(),
                reply,
            });
            let judged = answer.await.unwrap_or(ProbeVerdict::Unclear);
            if judged != ProbeVerdict::Retry {
                return judged;
            }
        }
    }

    /// Sends to the keeper. Once it is gone the answers tell, so nothing is lost by silence here.
    fn send(&self, command: SessionCommand) {
        let _ = self.commands.send(command);
    }
}

/// When to come back to a daemon whose keeper has ended: it is stopping.
const SHUTDOWN_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Longest wait for the last pair to become durable.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
