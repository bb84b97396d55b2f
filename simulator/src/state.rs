//! Everything the simulator knows, behind one lock, and the way to wait for it to change.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use crate::account::Account;
use crate::clock::Clock;
use crate::data::Store;
use crate::dice::Dice;
use crate::issue::Logins;
use crate::knobs::Knobs;
use crate::lock;
use crate::log::{Seen, View};
use crate::throttle::Throttle;
use crate::tokens::TokenBook;

/// What requests read and change.
pub(crate) struct State {
    pub(crate) knobs: Knobs,
    pub(crate) accounts: Vec<Account>,
    pub(crate) tokens: TokenBook,
    pub(crate) logins: Logins,
    pub(crate) throttle: Throttle,
    pub(crate) store: Store,
    pub(crate) dice: Dice,
    pub(crate) view: View,
    pub(crate) holds: Vec<Hold>,
    pub(crate) origin: String,
    /// Listeners open now.
    pub(crate) listeners: usize,
    /// Listeners there are when all are open: one per address family.
    pub(crate) all_listeners: usize,
    pub(crate) last_id: u64,
}

/// A place where requests wait.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    pub(crate) id: u64,
    pub(crate) route: Route,
    pub(crate) stage: Stage,
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
pub(crate) enum Stage {
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

/// The time, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) time: Duration,
    pub(crate) wall: SystemTime,
}

impl State {
    pub(crate) fn account(&self, email: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.goes_by(email))
    }

    /// Writes down whom a request is made as.
    pub(crate) fn speaks_for(&mut self, id: u64, email: &str) {
        if let Some(seen) = self.view.find(id) {
            seen.account = Some(email.to_owned());
        }
    }

    /// Writes down why a request fared as it did.
    pub(crate) fn note(&mut self, id: u64, note: &str) {
        if let Some(seen) = self.view.find(id) {
            seen.note = Some(note.to_owned());
        }
    }
}

/// Called with every request once it is answered.
pub(crate) type Witness = Box<dyn Fn(&Seen) + Send + Sync>;

/// The state, its clock, and the bell that rings at every change.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) witness: Option<Witness>,
    /// Whether the listeners should be open.
    pub(crate) listening: watch::Sender<bool>,
    /// Rings to close idle connections.
    pub(crate) sweep: watch::Sender<u64>,
    state: Mutex<State>,
    changed: Condvar,
    changes: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(clock: Clock, witness: Option<Witness>, state: State) -> Self {
        Self {
            clock,
            witness,
            listening: watch::Sender::new(true),
            sweep: watch::Sender::new(0),
            state: Mutex::new(state),
            changed: Condvar::new(),
            changes: watch::Sender::new(0),
        }
    }

    pub(crate) fn now(&self) -> Now {
        let time = self.clock.now();
        Now { time, wall: self.clock.wall_at(time) }
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&lock(&self.state))
    }

    /// Changes the state and wakes whoever waits for a change.
    pub(crate) fn change<R>(&self, edit: impl FnOnce(&mut State) -> R) -> R {
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
    pub(crate) fn wait(&self, timeout: Duration, mut holds: impl FnMut(&State) -> bool) -> bool {
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
