//! The bearer token: who holds it, when it is renewed.
//!
//! Requests look at the latest state and never wait while a valid token exists. One task
//! (`keeper.rs`) owns the state (`state.rs`), asks the issuer (`issuer.rs`) and keeps the pair at
//! rest (`saved.rs`). [`Session`] is the handle to it: clones are cheap, and dropping a request
//! that waits here cancels nothing.

pub mod issuer;
pub mod state;

mod answer;
mod asked;
mod attempts;
mod binding;
mod epoch;
mod error;
mod event;
mod flight;
mod home;
mod keeper;
mod login;
mod pace;
mod probes;
mod record;
mod resume;
mod saved;
mod seal;
mod shared;
mod totp;
mod view;
mod visit;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};
use tokio::sync::{mpsc, oneshot, watch};

use self::asked::Asked;
pub use self::error::{Cause, Error, Lack};
pub use self::issuer::Issuer;
pub use self::keeper::Keeper;
#[doc(hidden)]
pub use self::keeper::Step;
use self::probes::{Judged, Rejection};
use self::shared::{Command, Commands, Outlook, Shared};
pub use self::view::{Keeping, Trouble, View, Word};
pub use self::visit::{Denied, Visit, logins, prove, remove, set_locked};
use crate::clock::Clock;
use crate::config;
use crate::credentials::Credentials;

/// A cheap handle to the token keeper.
#[derive(Clone, Debug)]
pub struct Session {
    shared: Arc<Shared>,
    commands: Commands,
    /// Whose answers are judged: empty for the API itself.
    host: Arc<str>,
}

/// Whether a request's body can be sent a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none, or it is kept.
    Replayable,
    /// It streams, and is gone once sent.
    Once,
}

/// A ready-made `Authorization` value and the token generation it came from.
#[derive(Clone, Debug)]
pub struct Bearer {
    header: HeaderValue,
    generation: u64,
    /// How many probes had begun when it was taken: a verdict from before says nothing about what
    /// is sent with it.
    probes: u64,
}

impl Bearer {
    /// Returns the header value, marked sensitive.
    pub fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// Returns the name of the token, for [`Session::proven`].
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// What a 401 was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The token was dead and there is a newer one: send the request again with it.
    Replay,
    /// The token is good and the account lacks permission: relay the 401 as it is.
    Permission,
    /// The token was dead and no other can be had.
    Unavailable(Error),
}

impl Session {
    /// Makes a session and its keeper. Nothing happens before [`Keeper::run`] is spawned.
    ///
    /// `directory` is the profile's state directory; `None` keeps everything in memory.
    pub fn new<I: Issuer>(
        config: &config::Session,
        directory: Option<PathBuf>,
        credentials: Credentials,
        issuer: I,
        clock: Clock,
    ) -> (Self, Keeper<I>) {
        let shared = Arc::new(Shared::new(clock.clone(), config.wait));
        let (commands, received) = mpsc::unbounded_channel();
        let keeper =
            Keeper::new(config, directory, credentials, issuer, clock, shared.clone(), received);
        (Self { shared, commands, host: "".into() }, keeper)
    }

    /// Returns a handle for another host that takes the same token.
    #[must_use]
    pub fn elsewhere(&self, host: &str) -> Self {
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
    pub async fn ready(&self, body: Body) -> Result<(), Error> {
        let now = self.shared.clock.boot();
        let deadline = now + self.shared.wait;
        let token = self.shared.latest().token.filter(|token| token.is_valid(now));
        match (token, body) {
            (Some(_), Body::Replayable) => Ok(()),
            (Some(token), Body::Once) if !token.is_near_expiry(now) => Ok(()),
            (Some(token), Body::Once) => Box::pin(self.verify(token.generation, deadline)).await,
            (None, Body::Replayable | Body::Once) => Box::pin(self.newer(None, deadline)).await,
        }
    }

    /// Returns a token that is valid now; waits as [`Session::ready`] does where there is none.
    ///
    /// # Errors
    ///
    /// As [`Session::ready`].
    pub async fn take(&self, body: Body) -> Result<Bearer, Error> {
        if let Some(bearer) = self.at_hand(body) {
            return Ok(bearer);
        }
        Box::pin(self.ready(body)).await?;
        if let Ok(bearer) = self.bearer() {
            return Ok(bearer);
        }
        // It ended between the two lines.
        Box::pin(self.ready(body)).await?;
        self.bearer()
    }

    /// Returns the latest token if a request with such a body need not wait for another.
    fn at_hand(&self, body: Body) -> Option<Bearer> {
        let now = self.shared.clock.boot();
        let latest = self.shared.latest();
        let token = latest.token.filter(|token| token.is_valid(now))?;
        let lasts = body == Body::Replayable || !token.is_near_expiry(now);
        let bearer = latest.bearer.as_ref().filter(|_| lasts)?;
        Some(Bearer { probes: self.shared.probes(), ..bearer.clone() })
    }

    /// Returns the latest token, if it is valid now. Never waits.
    ///
    /// # Errors
    ///
    /// As [`Session::ready`].
    pub fn bearer(&self) -> Result<Bearer, Error> {
        let now = self.shared.clock.boot();
        let latest = self.shared.latest();
        match &latest.bearer {
            Some(bearer) if latest.is_valid(now) => {
                Ok(Bearer { probes: self.shared.probes(), ..bearer.clone() })
            }
            Some(_) | None => {
                let left = latest.due.unwrap_or_default().saturating_sub(now);
                Err(latest.trouble(left))
            }
        }
    }

    /// Says what the 401 to a request with this token was about.
    ///
    /// Call it once per 401. A request is replayed at most once.
    pub async fn judge(&self, bearer: &Bearer, method: &Method, path: &str) -> Verdict {
        let now = self.shared.clock.boot();
        let Bearer { generation, probes, .. } = *bearer;
        let asked = Asked::new(&self.host, method, path);
        let current = self.shared.latest().token.map(|token| token.generation);
        if current == Some(generation)
            && !asked.is_probe()
            && self.shared.remembered().knows(&asked, now)
        {
            return Verdict::Permission;
        }
        let deadline = now + self.shared.wait;
        match self.ask(Rejection { generation, probes }, Some(&asked)).await {
            Judged::Alive | Judged::WasAlive | Judged::NoAccess => Verdict::Permission,
            Judged::Replaced => match self.newer(Some(generation), deadline).await {
                Ok(()) => Verdict::Replay,
                Err(error) => Verdict::Unavailable(error),
            },
            Judged::Unclear | Judged::Again => Verdict::Unavailable(Error::Unavailable {
                retry_after: Duration::from_secs(1),
                cause: Some(Cause::new("Nexudus could not be asked whether the token is alive")),
            }),
        }
    }

    /// Notes that an answer other than 401 came to the token of this generation.
    ///
    /// Costs an atomic load. It tells a token that was refused from its birth (no API access)
    /// from one that was revoked later.
    pub fn proven(&self, generation: u64) {
        self.shared.prove(generation);
    }

    /// Returns what `status` shows.
    pub fn view(&self) -> Arc<View> {
        Arc::new(View::of(&self.shared.latest(), self.shared.clock.boot()))
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
        self.send(Command::Changed(reply));
        let _ = answer.await;
    }

    /// Renews now and waits for the outcome.
    ///
    /// # Errors
    ///
    /// Why there is no newer token.
    pub async fn refresh(&self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Refresh(reply));
        answer.await.unwrap_or(Err(Error::Unavailable { retry_after: GONE, cause: None }))
    }

    /// Drops the session, here and at rest, and stays not logged in until
    /// [`Session::credentials_changed`] or a restart. Returns when that is so.
    pub async fn forget(&self) {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Forget(reply));
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

    /// Waits until the newest pair is durable, for [`SETTLED`] at most; starts nothing new.
    pub async fn settle(&self) {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Settle(reply));
        let _ = tokio::time::timeout(SETTLED, answer).await;
    }

    async fn set_locked(&self, locked: bool) {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Lock { locked, reply });
        let _ = answer.await;
    }

    /// Waits for a valid token, newer than `generation` if there is one.
    async fn newer(&self, generation: Option<u64>, deadline: Duration) -> Result<(), Error> {
        let mut changes = self.shared.subscribe();
        let mut nudged = false;
        loop {
            let now = self.shared.clock.boot();
            let (outlook, current) = {
                let latest = self.shared.latest();
                let current = latest.token.map(|token| token.generation);
                (latest.outlook(now, deadline), current)
            };
            match outlook {
                Outlook::Ready if generation.is_none() || current > generation => return Ok(()),
                Outlook::Fail(error) => return Err(error),
                Outlook::Wait { nudge: true } if !nudged => {
                    nudged = true;
                    self.send(Command::Look);
                }
                Outlook::Ready | Outlook::Wait { .. } => {}
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return Err(Error::Unavailable { retry_after: GONE, cause: None });
                },
                () = self.shared.clock.reaches(deadline) => {
                    let latest = self.shared.latest();
                    let left = latest.due.unwrap_or_default().saturating_sub(deadline);
                    return Err(latest.trouble(left));
                }
            }
        }
    }

    /// Waits until the token was renewed or proved alive.
    async fn verify(&self, generation: u64, deadline: Duration) -> Result<(), Error> {
        let mut changes = self.shared.subscribe();
        let before = self.shared.latest().flights;
        let (reply, answer) = oneshot::channel();
        self.send(Command::Needed { generation, reply });
        if answer.await.unwrap_or(false) {
            let renewed = |this: &Self| {
                let latest = this.shared.latest();
                before < latest.flights
                    || latest.token.is_none_or(|token| token.generation != generation)
            };
            while !renewed(self) {
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { break },
                    () = self.shared.clock.reaches(deadline) => break,
                }
            }
        }
        let current = self.shared.latest().token.map(|token| token.generation);
        if current != Some(generation) {
            return self.newer(None, deadline).await;
        }
        // Nothing was sent yet: the last verdict will do.
        match self.ask(Rejection { generation, probes: 0 }, None).await {
            Judged::Replaced => self.newer(Some(generation), deadline).await,
            // By our own record it is valid, and there is nobody else to ask.
            Judged::Alive
            | Judged::WasAlive
            | Judged::NoAccess
            | Judged::Unclear
            | Judged::Again => self.newer(None, deadline).await,
        }
    }

    /// Asks the keeper about a token, and what was `asked` with it if it was refused.
    async fn ask(&self, rejection: Rejection, asked: Option<&Asked>) -> Judged {
        loop {
            let (reply, answer) = oneshot::channel();
            self.send(Command::Judge { rejection, asked: asked.cloned(), reply });
            let judged = answer.await.unwrap_or(Judged::Unclear);
            if judged != Judged::Again {
                return judged;
            }
        }
    }

    /// Sends to the keeper. Once it is gone the answers tell, so nothing is lost by silence here.
    fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}

/// When to come back to a daemon whose keeper has ended: it is stopping.
const GONE: Duration = Duration::from_secs(1);

/// Longest wait for the last pair to become durable.
pub const SETTLED: Duration = Duration::from_secs(10);
