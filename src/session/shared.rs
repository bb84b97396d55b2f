//! What the handles and the keeper share: the latest state to read, and commands to send.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{mpsc, oneshot, watch};

use super::Bearer;
use super::asked::{Asked, Remembered};
use super::error::Error;
use super::pace::Token;
use super::probes::{Judged, Rejection};
use super::view::Keeping;
use crate::clock::Clock;
use crate::credentials::Origin;

/// What a handle asks of the keeper.
#[derive(Debug)]
pub(super) enum Command {
    /// A request found no valid token.
    Look,
    /// A body that cannot be sent twice waits near the end of this token's life. The answer says
    /// whether an attempt is under way.
    Needed { generation: u64, reply: oneshot::Sender<bool> },
    /// What was a 401 to this token about?
    Judge { rejection: Rejection, asked: Option<Asked>, reply: oneshot::Sender<Judged> },
    /// Renew now.
    Refresh(oneshot::Sender<Result<(), Error>>),
    /// The stored login has changed.
    Changed(oneshot::Sender<()>),
    /// Log out.
    Forget(oneshot::Sender<()>),
    /// Lock or unlock.
    Lock { locked: bool, reply: oneshot::Sender<()> },
    /// Start nothing new and answer when all is at rest.
    Settle(oneshot::Sender<()>),
}

/// The state as requests see it.
#[derive(Clone, Debug)]
pub(super) struct Latest {
    pub(super) bearer: Option<Bearer>,
    pub(super) token: Option<Token>,
    pub(super) busy: bool,
    pub(super) due: Option<Duration>,
    pub(super) error: Option<Error>,
    pub(super) lacks_access: bool,
    /// How many attempts have ended.
    pub(super) flights: u64,
    pub(super) account: Option<String>,
    pub(super) origin: Option<Origin>,
    pub(super) keeping: Option<Keeping>,
    pub(super) refresh_deadline: Option<Duration>,
    pub(super) degraded: Option<String>,
    pub(super) saved: bool,
}

/// Shared by all handles and the keeper.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Clock,
    /// Longest wait of a request.
    pub(super) wait: Duration,
    latest: ArcSwap<Latest>,
    changes: watch::Sender<u64>,
    remembered: Mutex<Remembered>,
    proven: AtomicU64,
    probes: AtomicU64,
}

/// A handle's end of the commands; the keeper ends when the last one is gone.
pub(super) type Commands = mpsc::UnboundedSender<Command>;

impl Shared {
    pub(super) fn new(clock: Clock, wait: Duration) -> Self {
        let starting = Latest {
            bearer: None,
            token: None,
            busy: true,
            due: None,
            error: None,
            lacks_access: false,
            flights: 0,
            account: None,
            origin: None,
            keeping: None,
            refresh_deadline: None,
            degraded: None,
            saved: false,
        };
        Self {
            clock,
            wait,
            latest: ArcSwap::from_pointee(starting),
            changes: watch::channel(0).0,
            remembered: Mutex::default(),
            proven: AtomicU64::new(0),
            probes: AtomicU64::new(0),
        }
    }

    pub(super) fn latest(&self) -> Guard<std::sync::Arc<Latest>> {
        self.latest.load()
    }

    pub(super) fn publish(&self, latest: Latest) {
        self.latest.store(latest.into());
        self.changes.send_modify(|revision| *revision += 1);
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn forget_permissions(&self) {
        self.remembered().clear();
    }

    /// Returns how many probes have begun.
    pub(super) fn probes(&self) -> u64 {
        self.probes.load(Ordering::Acquire)
    }

    pub(super) fn have_begun(&self, probes: u64) {
        self.probes.store(probes, Ordering::Release);
    }

    pub(super) fn prove(&self, generation: u64) {
        // Read first: the line is shared by all requests, and almost never changes.
        if self.proven.load(Ordering::Relaxed) < generation {
            self.proven.fetch_max(generation, Ordering::Relaxed);
        }
    }

    pub(super) fn is_proven(&self, generation: u64) -> bool {
        generation <= self.proven.load(Ordering::Relaxed)
    }
}

/// What a request that looks for a token does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// There is a valid one.
    Ready,
    /// One will be there, or a reason why not; `nudge`: the keeper has not noticed yet.
    Wait { nudge: bool },
    /// There is none, and waiting does not help.
    Fail(Error),
}

impl Latest {
    pub(super) fn is_valid(&self, now: Duration) -> bool {
        self.token.is_some_and(|token| token.is_valid(now))
    }

    /// Says what a request does that can wait until `deadline`.
    pub(super) fn outlook(&self, now: Duration, deadline: Duration) -> Outlook {
        if self.is_valid(now) {
            return Outlook::Ready;
        }
        match self.due {
            _ if self.busy => Outlook::Wait { nudge: false },
            Some(due) if due <= now => Outlook::Wait { nudge: true },
            // A login that is not there is not waited for, though it is looked for again.
            Some(due) if due <= deadline && !self.lacks_login() => Outlook::Wait { nudge: false },
            Some(due) => Outlook::Fail(self.trouble(due - now)),
            None => Outlook::Fail(self.trouble(Duration::ZERO)),
        }
    }

    fn lacks_login(&self) -> bool {
        matches!(self.error, Some(Error::NotLoggedIn(_)))
    }

    /// Returns why there is no token, when the next attempt is `left` away.
    pub(super) fn trouble(&self, left: Duration) -> Error {
        let left = left.max(LEAST);
        match &self.error {
            Some(error) => error.clone().due_in(left),
            None => Error::Unavailable { retry_after: left, cause: None },
        }
    }
}

/// Shortest time after which a client is asked to come back.
const LEAST: Duration = Duration::from_secs(1);
