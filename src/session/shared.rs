//! What the handles and the keeper share: the latest state to read, and commands to send.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{mpsc, oneshot, watch};

use super::Bearer;
use super::error::Error;
use super::permission_cache::{PermissionCache, RequestKey};
use super::probe::{ProbeVerdict, RejectedToken};
use super::schedule::Token;
use super::status::StoreInfo;
use crate::clock::Clock;
use crate::credentials::CredentialSource;

/// What a handle asks of the keeper.
#[derive(Debug)]
pub(super) enum SessionCommand {
    /// A request found no valid token.
    Tick,
    /// A body that cannot be sent twice waits near the end of this token's life. The answer says
    /// whether an attempt is under way.
    RenewalRequested { generation: u64, reply: oneshot::Sender<bool> },
    /// What was a 401 to this token about?
    ClassifyUnauthorized {
        rejection: RejectedToken,
        asked: Option<RequestKey>,
        reply: oneshot::Sender<ProbeVerdict>,
    },
    /// Renew now.
    Refresh(oneshot::Sender<Result<(), Error>>),
    /// The stored login has changed.
    CredentialsChanged(oneshot::Sender<()>),
    /// Log out.
    LogOut(oneshot::Sender<()>),
    /// Lock or unlock.
    Lock { locked: bool, reply: oneshot::Sender<()> },
    /// Start nothing new and answer when all is at rest.
    Flush(oneshot::Sender<()>),
}

/// The state as requests see it.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) bearer: Option<Bearer>,
    pub(super) token: Option<Token>,
    pub(super) is_busy: bool,
    pub(super) next_attempt: Option<Duration>,
    pub(super) error: Option<Error>,
    pub(super) lacks_access: bool,
    /// How many attempts have ended.
    pub(super) fetches_ended: u64,
    pub(super) account: Option<String>,
    pub(super) login_source: Option<CredentialSource>,
    pub(super) store: Option<StoreInfo>,
    pub(super) refresh_deadline: Option<Duration>,
    pub(super) degraded: Option<String>,
    pub(super) is_saved: bool,
}

/// Shared by all handles and the keeper.
#[derive(Debug)]
pub(super) struct SharedSession {
    pub(super) clock: Clock,
    /// Longest wait of a request.
    pub(super) wait: Duration,
    latest: ArcSwap<Snapshot>,
    changes: watch::Sender<u64>,
    permission_cache: Mutex<PermissionCache>,
    newest_valid: AtomicU64,
    probes_started: AtomicU64,
}

/// A handle's end of the commands; the keeper ends when the last one is gone.
pub(super) type CommandSender = mpsc::UnboundedSender<SessionCommand>;

impl SharedSession {
    pub(super) fn new(clock: Clock, wait: Duration) -> Self {
        let starting = Snapshot {
            bearer: None,
            token: None,
            is_busy: true,
            next_attempt: None,
            error: None,
            lacks_access: false,
            fetches_ended: 0,
            account: None,
            login_source: None,
            store: None,
            refresh_deadline: None,
            degraded: None,
            is_saved: false,
        };
        Self {
            clock,
            wait,
            latest: ArcSwap::from_pointee(starting),
            changes: watch::channel(0).0,
            permission_cache: Mutex::default(),
            newest_valid: AtomicU64::new(0),
            probes_started: AtomicU64::new(0),
        }
    }

    pub(super) fn latest(&self) -> Guard<std::sync::Arc<Snapshot>> {
        self.latest.load()
    }

    pub(super) fn publish(&self, latest: Snapshot) {
        self.latest.store(latest.into());
        self.changes.send_modify(|revision| *revision += 1);
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn permission_cache(&self) -> MutexGuard<'_, PermissionCache> {
        self.permission_cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn clear_permissions(&self) {
        self.permission_cache().clear();
    }

    /// Returns how many probes have begun.
    pub(super) fn probes_started(&self) -> u64 {
        self.probes_started.load(Ordering::Acquire)
    }

    pub(super) fn set_probes_started(&self, probes: u64) {
        self.probes_started.store(probes, Ordering::Release);
    }

    pub(super) fn mark_valid(&self, generation: u64) {
        // Read first: the line is shared by all requests, and almost never changes.
        if self.newest_valid.load(Ordering::Relaxed) < generation {
            self.newest_valid.fetch_max(generation, Ordering::Relaxed);
        }
    }

    pub(super) fn is_marked_valid(&self, generation: u64) -> bool {
        generation <= self.newest_valid.load(Ordering::Relaxed)
    }
}

/// What a request that looks for a token does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Availability {
    /// There is a valid one.
    Ready,
    /// One will be there, or a reason why not; `nudge`: the keeper has not noticed yet.
    Wait { nudge: bool },
    /// There is none, and waiting does not help.
    Fail(Error),
}

impl Snapshot {
    pub(super) fn is_valid(&self, now: Duration) -> bool {
        self.token.is_some_and(|token| token.is_valid(now))
    }

    /// Says what a request does that can wait until `deadline`.
    pub(super) fn availability(&self, now: Duration, deadline: Duration) -> Availability {
        if self.is_valid(now) {
            return Availability::Ready;
        }
        match self.next_attempt {
            _ if self.is_busy => Availability::Wait { nudge: false },
            Some(due) if due <= now => Availability::Wait { nudge: true },
            // A login that is not there is not waited for, though it is looked for again.
            Some(due) if due <= deadline && !self.lacks_login() => {
                Availability::Wait { nudge: false }
            }
            Some(due) => Availability::Fail(self.unavailable_error(due - now)),
            None => Availability::Fail(self.unavailable_error(Duration::ZERO)),
        }
    }

    fn lacks_login(&self) -> bool {
        matches!(self.error, Some(Error::NotLoggedIn(_)))
    }

    /// Returns why there is no token, when the next attempt is `left` away.
    pub(super) fn unavailable_error(&self, left: Duration) -> Error {
        let left = left.max(MIN_RETRY_AFTER);
        match &self.error {
            Some(error) => error.clone().with_retry_after(left),
            None => Error::Unavailable { retry_after: left, cause: None },
        }
    }
}

/// Shortest time after which a client is asked to come back.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
