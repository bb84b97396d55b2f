//! The token's life as a pure function: no clock, no I/O, no task.
//!
//! [`State::step`] takes what happened and the time, and says what to do next. The keeper
//! (`keeper.rs`) owns one `State`, performs the actions and feeds the results back. Every event
//! only changes what is known and when the next attempt is due; one gate at the end of each step
//! decides whether it may start:
//!
//! | the next attempt | starts when |
//! |---|---|
//! | is not planned | never: a person is needed |
//! | lies in the future | its time comes |
//! | is due, locked, forgotten or stopping | never, until that ends |
//! | is due, another is in flight | that one has ended |
//! | is due, the newest pair is being written | the write has ended, well or not |
//! | is due, the newest pair could not be written | it was written, or no valid token is left |
//! | is due otherwise | at once |
//!
//! | event | then |
//! |---|---|
//! | started, unlocked | an attempt is due: it resumes the saved session or logs in |
//! | issued | held, attempts forgotten, stored if new; renewal planned |
//! | issued after `forget` | dropped |
//! | issued while locked | stored, not held |
//! | kept (the changed login is the same account's) | latches open, renewal planned as before |
//! | disowned (the changed login is another account's) | nothing is held |
//! | failed, it passes | a token that still works is kept; the next attempt backs off |
//! | failed, a person is needed | a token that still works is kept; no attempt is planned |
//! | failed, but the login changed meanwhile | an attempt is due |
//! | stored | durable |
//! | not stored | stored again after a back-off, served meanwhile |
//! | rejected, an older generation | nothing |
//! | rejected, the first token after a rejection, never proven | no API access; the token is kept |
//! | rejected otherwise | withdrawn; an attempt is due if the budget allows, else later |
//! | alive | API access after all |
//! | look | nothing by itself: the gate and the next write look at the time |
//! | resumed from suspend | a renewal that is due waits a little, but not past the expiry |
//! | needed (near expiry) | an attempt is due, unless one failed and waits |
//! | forced | an attempt is due |
//! | login changed | an attempt is due, whatever was latched |
//! | forgotten | nothing is held; erased as soon as nothing is in flight |
//! | locked | nothing is held |
//! | stopping | no attempt starts |
//!
//! All times are readings of the boot clock, which runs on during suspend and never jumps. Timers
//! are hints: whoever uses a token asks [`Token::left`] again.

use std::time::Duration;

use super::error::{Cause, Error};
pub use super::event::{Action, Event, Fetch};
use super::pace::{Budget, backoff};
pub use super::pace::{Jitter, Token};

/// Whether the newest pair is at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// It is, or there is none.
    Durable,
    /// It is being written.
    Writing,
    /// It could not be written.
    Failed {
        /// How often, in a row.
        times: u32,
        /// When it is tried again.
        again: Duration,
    },
}

/// Everything a session remembers.
#[derive(Clone, Debug)]
pub struct State {
    token: Option<Token>,
    renewal: Duration,
    due: Option<Duration>,
    above: Option<u64>,
    asked: bool,
    changed: bool,
    in_flight: bool,
    failures: u32,
    error: Option<Error>,
    store: Store,
    write_failures: u32,
    budget: Budget,
    reactive: bool,
    replaced_rejected: bool,
    no_access: bool,
    locked: bool,
    forgotten: bool,
    erase: bool,
    stopping: bool,
}

impl State {
    /// Creates a session that holds nothing and waits for [`Event::Started`].
    pub fn new() -> Self {
        Self {
            token: None,
            renewal: Duration::ZERO,
            due: None,
            above: None,
            asked: false,
            changed: false,
            in_flight: false,
            failures: 0,
            error: None,
            store: Store::Durable,
            write_failures: 0,
            budget: Budget::full(),
            reactive: false,
            replaced_rejected: false,
            no_access: false,
            locked: false,
            forgotten: false,
            erase: false,
            stopping: false,
        }
    }

    /// Returns the token, valid or not.
    pub fn token(&self) -> Option<Token> {
        self.token
    }

    /// Says whether a request for a token should wait: one is being asked for, or will be as soon
    /// as the write in progress has ended.
    pub fn is_busy(&self, now: Duration) -> bool {
        self.in_flight || (self.due.is_some_and(|due| due <= now) && self.store == Store::Writing)
    }

    /// Returns when the next attempt is planned.
    pub fn due(&self) -> Option<Duration> {
        self.due.filter(|_| !self.is_shut() && !self.stopping)
    }

    /// Returns the last failure since the last success, or what shuts the session.
    pub fn error(&self) -> Option<Error> {
        match () {
            () if self.locked => Some(Error::Locked),
            () if self.forgotten => Some(Error::NotLoggedIn(None)),
            () => self.error.clone(),
        }
    }

    /// Says whether the newest pair is at rest.
    pub fn store(&self) -> Store {
        self.store
    }

    /// Says whether even a new token was refused by the probe.
    pub fn lacks_access(&self) -> bool {
        self.no_access
    }

    /// Says whether nothing is under way that a stop would lose.
    pub fn is_settled(&self) -> bool {
        !self.in_flight && self.store != Store::Writing
    }

    /// Says whether a person has logged out.
    pub fn is_forgotten(&self) -> bool {
        self.forgotten
    }

    /// Says whether a person has locked the session or logged out.
    pub fn is_shut(&self) -> bool {
        self.locked || self.forgotten
    }

    /// Advances the session by one event and returns the actions that follow from it.
    pub fn step(&mut self, event: Event, now: Duration, jitter: Jitter) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Started { locked } => {
                self.locked = locked;
                self.due = Some(now);
            }
            Event::Issued { token, store } => {
                self.in_flight = false;
                self.issued(token, jitter);
                if store && !self.forgotten {
                    self.store = Store::Writing;
                    actions.push(Action::Store);
                }
            }
            Event::Kept => {
                self.in_flight = false;
                self.error = None;
                self.failures = 0;
                let at_once = self.changed || self.token.is_none();
                self.due = Some(if at_once { now } else { self.renewal });
            }
            Event::Disowned => {
                self.token = None;
                self.above = None;
            }
            Event::Failed { error, wait } => {
                self.in_flight = false;
                self.failed(error, wait, now, jitter);
            }
            Event::Stored => {
                self.store = Store::Durable;
                self.write_failures = 0;
            }
            Event::NotStored => {
                self.write_failures = self.write_failures.saturating_add(1);
                let again = now + backoff(self.write_failures, jitter);
                self.store = Store::Failed { times: self.write_failures, again };
            }
            Event::Erased => self.store = Store::Durable,
            Event::Rejected { generation, proven } => self.rejected(generation, proven, now),
            Event::Alive { generation } => {
                self.no_access &= self.token.is_none_or(|token| token.generation != generation);
            }
            Event::Look => {}
            Event::Resumed => self.resumed(now, jitter),
            Event::Needed { generation } => {
                if self.failures == 0 && self.holds(generation) {
                    self.due = self.due.map(|due| due.min(now));
                }
            }
            Event::Forced => {
                self.asked = true;
                self.due = Some(now);
            }
            Event::Changed => {
                self.forgotten = false;
                self.asked = true;
                self.changed = true;
                self.due = Some(now);
            }
            Event::Forgotten => {
                self.token = None;
                self.above = None;
                self.error = None;
                self.due = None;
                self.forgotten = true;
                self.erase = true;
            }
            Event::Locked => {
                self.token = None;
                self.locked = true;
            }
            Event::Unlocked => {
                self.locked = false;
                self.above = None;
                self.due = Some(now);
            }
            Event::Stopping => self.stopping = true,
        }
        self.gate(now, &mut actions);
        actions
    }

    fn issued(&mut self, token: Token, jitter: Jitter) {
        if self.forgotten {
            return;
        }
        self.replaced_rejected = self.reactive;
        self.reactive = false;
        self.no_access = false;
        self.failures = 0;
        self.error = None;
        self.above = Some(token.generation);
        self.renewal = token.renewal(jitter);
        self.token = Some(token).filter(|_| !self.locked);
        // A login that changed while this token was on its way may be another account's.
        if !self.changed {
            self.due = Some(self.renewal);
            self.asked = false;
        }
    }

    // A failed refresh never takes away a token that still works.
    fn failed(&mut self, error: Error, wait: Option<Duration>, now: Duration, jitter: Jitter) {
        let passes = error.retry_after().is_some();
        // A person who opens a keyring should not wait a minute for the daemon to see it.
        let unread =
            matches!(error, Error::CredentialsLocked { .. } | Error::CredentialsUnavailable { .. });
        let most = if unread { STORE_AGAIN } else { Duration::MAX };
        self.error = Some(error);
        if self.changed || self.asked {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let least = wait.unwrap_or_default();
        self.due = passes.then(|| now + backoff(self.failures, jitter).min(most).max(least));
    }

    fn rejected(&mut self, generation: u64, proven: bool, now: Duration) {
        let Some(token) = self.token.filter(|token| token.generation == generation) else {
            return;
        };
        let brand_new = self.replaced_rejected && !proven && token.age(now) < BRAND_NEW;
        if self.no_access || brand_new {
            self.no_access = true;
            return;
        }
        self.token = None;
        self.reactive = true;
        if self.in_flight || (self.failures > 0 && self.due.is_some()) {
            return;
        }
        let due = self.budget.draw(now);
        if now < due {
            self.error = Some(Error::Unavailable {
                retry_after: due - now,
                cause: Some(Cause::new("Nexudus keeps rejecting tokens that it has just issued")),
            });
        }
        self.due = Some(due);
    }

    // The network of a machine that has just woken up is rarely there yet.
    fn resumed(&mut self, now: Duration, jitter: Jitter) {
        if let Some(token) = self.token.filter(|token| token.is_valid(now)) {
            let quiet = (now + QUIET + jitter.of(QUIET)).min(token.expiry());
            self.due = self.due.map(|due| due.max(quiet));
        }
    }

    fn gate(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if let Store::Failed { again, .. } = self.store
            && again <= now
            && !self.forgotten
        {
            self.store = Store::Writing;
            actions.push(Action::Store);
        }
        if self.erase && self.is_settled() {
            self.erase = false;
            self.store = Store::Writing;
            actions.push(Action::Erase);
        }
        if self.may_fetch(now) {
            self.in_flight = true;
            actions.push(Action::Fetch(Fetch {
                above: self.above,
                asked: std::mem::take(&mut self.asked),
                changed: std::mem::take(&mut self.changed),
                failures: self.failures,
                valid: self.valid(now).is_some(),
            }));
        } else {
            actions.extend(self.wake(now).map(Action::WakeAt));
        }
    }

    fn may_fetch(&self, now: Duration) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        let durable = match self.store {
            Store::Durable => true,
            Store::Writing => false,
            // The pair at rest is spent either way: going dark would protect nothing.
            Store::Failed { .. } => self.valid(now).is_none(),
        };
        is_due && durable && !self.in_flight && !self.is_shut() && !self.stopping
    }

    /// Returns the next time at which something changes by itself.
    fn wake(&self, now: Duration) -> Option<Duration> {
        let again = match self.store {
            Store::Failed { again, .. } => Some(again),
            Store::Durable | Store::Writing => None,
        };
        let due = self.due().filter(|_| !self.in_flight);
        let expiry = self.token.map(|token| token.expiry());
        [again, due, expiry].into_iter().flatten().filter(|time| now < *time).min()
    }

    fn valid(&self, now: Duration) -> Option<Token> {
        self.token.filter(|token| token.is_valid(now))
    }

    fn holds(&self, generation: u64) -> bool {
        self.token.is_some_and(|token| token.generation == generation)
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

/// A token that replaced a rejected one and was never accepted is refused from birth only while
/// it is this young.
const BRAND_NEW: Duration = Duration::from_secs(5 * 60);

/// Longest time until a locked or missing credential store is looked at again.
const STORE_AGAIN: Duration = Duration::from_secs(30);

/// Shortest time between a resume and a renewal that can wait.
const QUIET: Duration = Duration::from_secs(5);
