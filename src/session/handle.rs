//! The handle to the session: how requests get a token and learn why there is none.
//!
//! Requests read the latest state and never wait while a valid token exists. A request that gives
//! up cancels nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::sync::{mpsc, oneshot, watch};

use super::client_id::ClientIdInUse;
use super::error::{Cause, Error};
use super::refresh::endpoint::Issuer;
use super::refresh::permission_cache::RequestKey;
use super::refresh::probe::{ProbeVerdict, RejectedToken};
use super::refresh::shared::{Availability, CommandSender, SessionCommand, SharedSession};
use super::refresh::task::SessionTask;
use super::status::SessionStatus;
use super::token::Bearer;
use crate::clock::Clock;
use crate::config::{self, UpstreamAuth};
use crate::credentials::Credentials;

/// A cheap handle to the session: clones share one session task.
#[derive(Clone, Debug)]
pub struct Session {
    pub(crate) shared: Arc<SharedSession>,
    commands: CommandSender,
    /// The client id by which a token call is recognised as our own.
    pub(super) client_id: ClientIdInUse,
    /// The scheme of the credentials.
    pub(super) auth: UpstreamAuth,
    /// The host whose responses are classified: empty for the API itself.
    host: Arc<str>,
}

/// Whether a request's body can be sent a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// The request has no body, or a buffered one.
    Replayable,
    /// The body streams, and is gone once sent.
    Streaming,
}

/// Why a request got a 401.
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
    /// Creates a session and its task. Nothing happens before [`SessionTask::run`] is spawned.
    ///
    /// `directory` is the profile's state directory; `None` keeps everything in memory.
    pub fn new<I: Issuer>(
        config: &config::Session,
        directory: Option<PathBuf>,
        credentials: Credentials,
        issuer: I,
        clock: Clock,
    ) -> (Self, SessionTask<I>) {
        let shared = Arc::new(SharedSession::new(clock.clone(), config.wait, credentials.clone()));
        let (commands, received) = mpsc::unbounded_channel();
        let (client_id, auth) = (issuer.client_id_in_use(), issuer.auth());
        let task = SessionTask::new(
            config,
            directory,
            credentials,
            issuer,
            clock,
            shared.clone(),
            received,
        );
        (Self { shared, commands, client_id, auth, host: "".into() }, task)
    }

    /// Returns a handle for another host that takes the same token.
    #[must_use]
    pub fn with_host(&self, host: &str) -> Self {
        Self { host: host.into(), ..self.clone() }
    }

    /// Returns at once while a token is valid, else waits for the next one.
    ///
    /// Waits at most `session.wait`. A request whose body cannot be sent twice also waits near the
    /// end of the token's life, until the token was renewed or proved alive.
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

    /// Returns a token that is valid now; without one, waits as [`Session::wait_ready`] does.
    ///
    /// # Errors
    ///
    /// As [`Session::wait_ready`].
    pub async fn acquire(&self, body: BodyKind) -> Result<Bearer, Error> {
        if self.auth == UpstreamAuth::Basic {
            Box::pin(self.confirm_login()).await;
        }
        if let Some(bearer) = self.cached(body) {
            return Ok(bearer);
        }
        Box::pin(self.wait_ready(body)).await?;
        if let Ok(bearer) = self.bearer() {
            return Ok(bearer);
        }
        // The token expired between the two lines.
        Box::pin(self.wait_ready(body)).await?;
        self.bearer()
    }

    /// Asks whether the login still works, if no response has said so lately: of requests that begin
    /// together after a pause each would be a failed login, where the password was changed.
    async fn confirm_login(&self) {
        let now = self.shared.clock.boot();
        let login = self.shared.latest().token.filter(|login| login.is_valid(now));
        let Some(login) = login.filter(|_| !self.shared.is_login_confirmed(now)) else { return };
        let rejection = RejectedToken { generation: login.generation, probes_started: 0 };
        self.request_probe(rejection, None).await;
    }

    /// Returns the latest token if a request with such a body need not wait for another.
    fn cached(&self, body: BodyKind) -> Option<Bearer> {
        let now = self.shared.clock.boot();
        let latest = self.shared.latest();
        let token = latest.token.filter(|token| token.is_valid(now))?;
        let is_enough = body == BodyKind::Replayable || !token.is_near_expiry(now);
        let bearer = latest.bearer.as_ref().filter(|_| is_enough)?;
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
                Err(self.shared.explain(latest.unavailable_error(left)))
            }
        }
    }

    /// Says why a request with this token got a 401.
    ///
    /// To be called once per 401. A request is sent again at most once.
    pub async fn classify_unauthorized(
        &self,
        bearer: &Bearer,
        method: &Method,
        path: &str,
    ) -> UnauthorizedCause {
        let now = self.shared.clock.boot();
        let Bearer { generation, probes_started, .. } = *bearer;
        let request = RequestKey::new(&self.host, method, path);
        // Each request with a refused password may be a failed login, so that no other is sent
        // before the verdict, and no earlier verdict counts.
        let is_login = self.auth == UpstreamAuth::Basic;
        if is_login {
            self.shared.suspend(generation);
        }
        let current = self.shared.latest().token.map(|token| token.generation);
        if current == Some(generation)
            && !request.is_probe()
            && !is_login
            && self.shared.permission_cache().contains(&request, now)
        {
            return UnauthorizedCause::MissingPermission;
        }
        let deadline = now + self.shared.wait;
        let rejection = RejectedToken { generation, probes_started };
        match self.request_probe(rejection, Some(&request)).await {
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
                    cause: Some(Cause::new("the probe of the token brought no verdict")),
                })
            }
        }
    }

    /// Records that a request with the token of this generation got another response than 401.
    ///
    /// Costs an atomic load. The record tells a token that was rejected from birth (no API access)
    /// from one that was revoked later.
    pub fn mark_valid(&self, generation: u64) {
        self.shared.mark_valid(generation);
        if self.auth == UpstreamAuth::Basic {
            self.shared.record_confirmed_login();
        }
    }

    /// Returns the status for the command `status`.
    pub fn status(&self) -> Arc<SessionStatus> {
        let pending = self.shared.pending_command();
        let now = self.shared.clock.boot();
        Arc::new(SessionStatus::new(&self.shared.latest(), pending, now).with_auth(self.auth))
    }

    /// Returns a receiver that wakes after each change; its number only grows.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.subscribe()
    }

    /// Reloads the stored login and clears login blocks; a token is fetched if none is valid or the
    /// account is another.
    ///
    /// Returns once the stored login is in use or has failed: no request after that is sent as
    /// another account.
    pub async fn credentials_changed(&self) {
        self.call(SessionCommand::CredentialsChanged).await;
    }

    /// Has the next attempt offer a refused login: a person has proved that it works.
    pub fn forget_refusal(&self) {
        let _ = self.commands.send(SessionCommand::ForgetRefusal);
    }

    /// Renews now and waits for the outcome. A pair that is not on disk yet is written first: that
    /// takes at most the 30 s after which a write counts as failed.
    ///
    /// # Errors
    ///
    /// Why there is no newer token.
    pub async fn refresh(&self) -> Result<(), Error> {
        self.call(SessionCommand::Refresh).await.unwrap_or_else(|| Err(stopping()))
    }

    /// Drops the session from memory and from disk; the session stays logged out until
    /// [`Session::credentials_changed`] or a restart. Returns when the file is erased.
    pub async fn log_out(&self) {
        self.call(SessionCommand::LogOut).await;
    }

    /// Drops the token; until [`Session::unlock`] requests fail with [`Error::Locked`].
    pub async fn lock(&self) {
        self.set_locked(true, true).await;
    }

    /// Ends [`Session::lock`].
    pub async fn unlock(&self) {
        self.set_locked(false, true).await;
    }

    /// Waits until the newest pair is durable, for 10 s at most; no attempt starts any more.
    pub async fn flush(&self) {
        let _ = tokio::time::timeout(FLUSH_TIMEOUT, self.call(SessionCommand::Flush)).await;
    }

    /// Locks or unlocks, in a fleet every member or this one.
    pub async fn set_locked(&self, locked: bool, everywhere: bool) {
        self.call(|reply| SessionCommand::Lock { locked, everywhere, reply }).await;
    }

    /// Waits for a valid token, newer than `generation` if there is one.
    async fn wait_newer(&self, generation: Option<u64>, deadline: Duration) -> Result<(), Error> {
        let mut changes = self.shared.subscribe();
        let mut nudged = false;
        loop {
            let now = self.shared.clock.boot();
            let (availability, current) = {
                let latest = self.shared.latest();
                let current = latest.token.map(|token| token.generation);
                (latest.availability(now, deadline), current)
            };
            match availability {
                Availability::Ready if generation.is_none() || current > generation => {
                    return Ok(());
                }
                Availability::Fail(error) => return Err(error),
                Availability::Wait { nudge: true } if !nudged => {
                    nudged = true;
                    let _ = self.commands.send(SessionCommand::Tick);
                }
                Availability::Ready | Availability::Wait { .. } => {}
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return Err(stopping());
                },
                () = self.shared.clock.wait_until(deadline) => {
                    let latest = self.shared.latest();
                    let left = latest.next_attempt.unwrap_or_default().saturating_sub(deadline);
                    return Err(self.shared.explain(latest.unavailable_error(left)));
                }
            }
        }
    }

    /// Waits until the token was renewed or proved alive.
    async fn wait_verified(&self, generation: u64, deadline: Duration) -> Result<(), Error> {
        let mut changes = self.shared.subscribe();
        let before = self.shared.latest().fetches_ended;
        let request = |reply| SessionCommand::RenewalRequested { generation, reply };
        if self.call(request).await == Some(true) {
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
        // No request was sent yet, so the last verdict is new enough.
        match self.request_probe(RejectedToken { generation, probes_started: 0 }, None).await {
            ProbeVerdict::Replaced => self.wait_newer(Some(generation), deadline).await,
            // By our own record the token is valid, and there is no better source.
            ProbeVerdict::Alive
            | ProbeVerdict::AliveBefore
            | ProbeVerdict::NoAccess
            | ProbeVerdict::Unclear
            | ProbeVerdict::Retry => self.wait_newer(None, deadline).await,
        }
    }

    /// Asks the session task about a token, and about the request that got a 401, if any.
    async fn request_probe(
        &self,
        rejection: RejectedToken,
        request: Option<&RequestKey>,
    ) -> ProbeVerdict {
        loop {
            let request = request.cloned();
            let command =
                |reply| SessionCommand::ClassifyUnauthorized { rejection, request, reply };
            match self.call(command).await {
                Some(ProbeVerdict::Retry) => {}
                Some(verdict) => return verdict,
                None => return ProbeVerdict::Unclear,
            }
        }
    }

    /// Sends a command and waits for the reply; `None` once the session task has ended.
    pub(super) async fn call<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> SessionCommand,
    ) -> Option<T> {
        let (reply, response) = oneshot::channel();
        let _ = self.commands.send(command(reply));
        response.await.ok()
    }
}

/// The session task has ended, since the daemon is stopping.
fn stopping() -> Error {
    Error::Unavailable { retry_after: SHUTDOWN_RETRY_AFTER, cause: None }
}

/// When a client should come back to a daemon that is stopping.
const SHUTDOWN_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Longest wait for the last pair to become durable.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
