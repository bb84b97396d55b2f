//! Everything the simulator knows, behind one lock, and the way to wait for it to change.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::account::Account;
use crate::clock::{Clock, RequestTime};
use crate::data::Store;
use crate::failed_logins::FailedLogins;
use crate::lock;
use crate::recorder::{RecordedRequest, Recording};
use crate::rng::Rng;
use crate::settings::Settings;
use crate::throttle::Throttle;
use crate::tokens::TokenStore;

/// The state that requests read and change.
pub(crate) struct SimulatorState {
    pub(crate) settings: Settings,
    pub(crate) accounts: Vec<Account>,
    pub(crate) tokens: TokenStore,
    pub(crate) logins: FailedLogins,
    pub(crate) throttle: Throttle,
    pub(crate) store: Store,
    pub(crate) rng: Rng,
    pub(crate) recording: Recording,
    pub(crate) holds: Vec<Hold>,
    pub(crate) origin: String,
    /// Listeners open now.
    pub(crate) listeners: usize,
    /// Listeners there are when all are open: one per address family.
    pub(crate) all_listeners: usize,
    pub(crate) last_id: u64,
    /// The day on which coworkers were last created, and how many then.
    pub(crate) created_coworkers: (u64, u32),
}

/// A place where requests wait.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    pub(crate) id: u64,
    pub(crate) route: Route,
    pub(crate) stage: HoldStage,
}

/// The requests a hold stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/api/token`.
    Token,
    /// `/api/auth/me` and `…/user/me`.
    Me,
    /// Every path with this prefix, without case.
    Path(String),
    /// Every request.
    All,
}

/// When a held request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HoldStage {
    /// Received, not yet judged.
    Before,
    /// Carried out, not yet answered.
    After,
}

impl Route {
    pub(crate) fn covers(&self, path: &str) -> bool {
        let bare = path.trim_end_matches('/').to_ascii_lowercase();
        match self {
            Self::Token => bare == "/api/token",
            Self::Me => bare == "/api/auth/me" || bare.ends_with("/user/me"),
            Self::Path(prefix) => crate::path::starts_with(path, prefix),
            Self::All => true,
        }
    }
}

impl SimulatorState {
    pub(crate) fn account(&self, email: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.goes_by(email))
    }

    /// Counts a coworker that is to be created, unless the day's limit is reached.
    pub(crate) fn may_create_coworker(&mut self, now: RequestTime) -> bool {
        let day = now.time.as_secs() / 86_400;
        let (last, count) = self.created_coworkers;
        let count = if last == day { count } else { 0 };
        let is_allowed = self.settings.access.coworkers_per_day.is_none_or(|most| count < most);
        if is_allowed {
            self.created_coworkers = (day, count + 1);
        }
        is_allowed
    }

    /// Writes down whom a request is made as.
    pub(crate) fn record_account(&mut self, id: u64, email: &str) {
        if let Some(seen) = self.recording.find(id) {
            seen.account = Some(email.to_owned());
        }
    }

    /// Writes down why a request fared as it did.
    pub(crate) fn record_note(&mut self, id: u64, note: &str) {
        if let Some(seen) = self.recording.find(id) {
            seen.note = Some(note.to_owned());
        }
    }

    /// Writes it down, unless more is known.
    pub(crate) fn record_default_note(&mut self, id: u64, note: &str) {
        if let Some(seen) = self.recording.find(id) {
            seen.note.get_or_insert_with(|| note.to_owned());
        }
    }
}

/// Called with every request once it is answered.
pub(crate) type Observer = Box<dyn Fn(&RecordedRequest) + Send + Sync>;

/// The state, its clock, and the bell that rings at every change.
pub(crate) struct SharedState {
    pub(crate) clock: Clock,
    pub(crate) observer: Option<Observer>,
    /// Whether the listeners should be open.
    pub(crate) listening: watch::Sender<bool>,
    /// Rings to close idle connections.
    pub(crate) sweep: watch::Sender<u64>,
    state: Mutex<SimulatorState>,
    changed: Condvar,
    changes: watch::Sender<u64>,
}

impl SharedState {
    pub(crate) fn new(clock: Clock, observer: Option<Observer>, state: SimulatorState) -> Self {
        Self {
            clock,
            observer,
            listening: watch::Sender::new(true),
            sweep: watch::Sender::new(0),
            state: Mutex::new(state),
            changed: Condvar::new(),
            changes: watch::Sender::new(0),
        }
    }

    pub(crate) fn now(&self) -> RequestTime {
        let time = self.clock.now();
        RequestTime { time, wall: self.clock.wall_at(time) }
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&SimulatorState) -> R) -> R {
        look(&lock(&self.state))
    }

    /// Changes the state and wakes those that wait for a change.
    pub(crate) fn change<R>(&self, edit: impl FnOnce(&mut SimulatorState) -> R) -> R {
        let result = edit(&mut lock(&self.state));
        self.changed.notify_all();
        self.changes.send_modify(|count| *count += 1);
        result
    }

    /// Returns something that wakes at every change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Blocks until the condition holds; returns whether it did in time.
    pub(crate) fn wait(
        &self,
        timeout: Duration,
        mut holds: impl FnMut(&SimulatorState) -> bool,
    ) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = lock(&self.state);
        while !holds(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        true
    }
}
