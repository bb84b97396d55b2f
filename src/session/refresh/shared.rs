//! The link between the handles and the session task: the latest state to read, and commands to
//! send.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{mpsc, oneshot, watch};

use super::permission_cache::{PermissionCache, RequestKey};
use super::probe::{ProbeVerdict, RejectedToken};
use crate::clock::Clock;
use crate::credentials::{CredentialSource, Credentials};
use crate::session::error::{Cause, Error};
use crate::session::state::schedule::Token;
use crate::session::store::token_store::StoreInfo;
use crate::session::token::Bearer;

/// A command from a handle to the session task.
#[derive(Debug)]
pub(crate) enum SessionCommand {
    /// A request found no valid token.
    Tick,
    /// A request whose body cannot be sent twice waits near the end of this token's life. The reply
    /// says whether an attempt is under way.
    RenewalRequested { generation: u64, reply: oneshot::Sender<bool> },
    /// Find out why a request with this token got a 401.
    ClassifyUnauthorized {
        rejection: RejectedToken,
        request: Option<RequestKey>,
        reply: oneshot::Sender<ProbeVerdict>,
    },
    /// Renew now.
    Refresh(oneshot::Sender<Result<(), Error>>),
    /// The stored login has changed.
    CredentialsChanged(oneshot::Sender<()>),
    /// A person has proved a login that may have been refused before.
    ForgetRefusal,
    /// Log out.
    LogOut(oneshot::Sender<()>),
    /// Lock or unlock: every member of a fleet, or this machine alone.
    Lock { locked: bool, everywhere: bool, reply: oneshot::Sender<()> },
    /// Leave the fleet: this machine alone logs out.
    LeaveFleet(oneshot::Sender<()>),
    /// Start nothing new, and reply when everything is on disk.
    Flush(oneshot::Sender<()>),
}

/// The state as requests see it.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) bearer: Option<Bearer>,
    pub(crate) token: Option<Token>,
    pub(crate) is_busy: bool,
    pub(crate) next_attempt: Option<Duration>,
    pub(crate) error: Option<Error>,
    pub(crate) lacks_access: bool,
    /// How many attempts have ended.
    pub(crate) fetches_ended: u64,
    /// How many new pairs this process has got.
    pub(crate) renewals: u64,
    pub(crate) account: Option<String>,
    pub(crate) login_source: Option<CredentialSource>,
    pub(crate) store: Option<StoreInfo>,
    pub(crate) refresh_deadline: Option<Duration>,
    pub(crate) degraded: Option<String>,
    pub(crate) is_saved: bool,
}

/// The state that all handles and the session task share.
#[derive(Debug)]
pub(crate) struct SharedSession {
    pub(crate) clock: Clock,
    /// Longest wait of a request.
    pub(crate) wait: Duration,
    latest: ArcSwap<Snapshot>,
    changes: watch::Sender<u64>,
    permission_cache: Mutex<PermissionCache>,
    newest_valid: AtomicU64,
    /// When Nexudus last accepted the login that requests carry, under Basic: milliseconds of the boot
    /// clock.
    login_confirmed: AtomicU64,
    probes_started: AtomicU64,
    credentials: Credentials,
}

/// A handle's end of the command channel; the session task ends when the last one is gone.
pub(crate) type CommandSender = mpsc::UnboundedSender<SessionCommand>;

impl SharedSession {
    pub(crate) fn new(clock: Clock, wait: Duration, credentials: Credentials) -> Self {
        let starting = Snapshot {
            bearer: None,
            token: None,
            is_busy: true,
            next_attempt: None,
            error: None,
            lacks_access: false,
            fetches_ended: 0,
            renewals: 0,
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
            login_confirmed: AtomicU64::new(0),
            probes_started: AtomicU64::new(0),
            credentials,
        }
    }

    pub(crate) fn latest(&self) -> Guard<std::sync::Arc<Snapshot>> {
        self.latest.load()
    }

    pub(crate) fn publish(&self, latest: Snapshot) {
        self.latest.store(latest.into());
        self.changes.send_modify(|revision| *revision += 1);
    }

    /// Lets no request have the credentials of this generation until the session task publishes
    /// them again.
    pub(crate) fn suspend(&self, generation: u64) {
        self.latest.rcu(|latest| {
            let mut next = Snapshot::clone(latest);
            if next.token.take_if(|token| token.generation == generation).is_some() {
                next.is_busy = true;
            }
            next
        });
    }

    /// Names the command that is waited for, if that is why there is no token.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match self.pending_command() {
            Some(pending) if error != Error::Locked => pending,
            Some(_) | None => error,
        }
    }

    /// Returns the wait for a command as an error; `None` while no command runs.
    pub(crate) fn pending_command(&self) -> Option<Error> {
        let command = self.credentials.pending_command()?;
        let cause = Some(Cause::new(format!("still waiting for {command}")));
        Some(Error::CredentialsUnavailable { retry_after: MIN_RETRY_AFTER, cause })
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn permission_cache(&self) -> MutexGuard<'_, PermissionCache> {
        self.permission_cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clear_permissions(&self) {
        self.permission_cache().clear();
    }

    /// Returns how many probes have begun.
    pub(crate) fn probes_started(&self) -> u64 {
        self.probes_started.load(Ordering::Acquire)
    }

    pub(crate) fn set_probes_started(&self, probes: u64) {
        self.probes_started.store(probes, Ordering::Release);
    }

    pub(crate) fn mark_valid(&self, generation: u64) {
        // Read first: all requests share the cache line, and it almost never changes.
        if self.newest_valid.load(Ordering::Relaxed) < generation {
            self.newest_valid.fetch_max(generation, Ordering::Relaxed);
        }
    }

    /// Records that Nexudus has just accepted the login that requests carry.
    pub(crate) fn record_confirmed_login(&self) {
        self.login_confirmed.fetch_max(millis(self.clock.boot()), Ordering::Relaxed);
    }

    /// Says whether Nexudus accepted the login a short while before `now`.
    pub(crate) fn is_login_confirmed(&self, now: Duration) -> bool {
        let confirmed = self.login_confirmed.load(Ordering::Relaxed);
        millis(now).saturating_sub(confirmed) < millis(CONFIRMATION_TTL)
    }

    pub(crate) fn is_marked_valid(&self, generation: u64) -> bool {
        generation <= self.newest_valid.load(Ordering::Relaxed)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The next step of a request that needs a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    /// Use the valid token.
    Ready,
    /// Wait: a token or an error will come. `nudge`: the session task has not noticed yet.
    Wait { nudge: bool },
    /// Fail: waiting does not help.
    Fail(Error),
}

impl Snapshot {
    pub(crate) fn is_valid(&self, now: Duration) -> bool {
        self.token.is_some_and(|token| token.is_valid(now))
    }

    /// Returns the next step of a request that can wait until `deadline`.
    pub(crate) fn availability(&self, now: Duration, deadline: Duration) -> Availability {
        if self.is_valid(now) {
            return Availability::Ready;
        }
        match self.next_attempt {
            _ if self.is_busy => Availability::Wait { nudge: false },
            Some(due) if due <= now => Availability::Wait { nudge: true },
            // A missing login is looked up again, but no request waits for it.
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
    pub(crate) fn unavailable_error(&self, left: Duration) -> Error {
        let left = left.max(MIN_RETRY_AFTER);
        match &self.error {
            Some(error) => error.clone().with_retry_after(left),
            None => Error::Unavailable { retry_after: left, cause: None },
        }
    }
}

/// How long a login that Nexudus accepted needs no other proof: a burst of requests, and a script that
/// asks for page after page.
const CONFIRMATION_TTL: Duration = Duration::from_secs(60);

/// Shortest time after which a client is asked to come back.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
