//! The token's life as a pure function: no clock, no I/O, no task.
//!
//! [`LimiterState::step`] takes what happened and the time, and says what to do next. The keeper
//! (`task.rs`) owns one `LimiterState`, performs the actions and feeds the results back. Every event
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
//! | is due, the newest pair could not be written | it was written, no valid token is left, or the login changed |
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
pub use super::event::{Action, Event, FetchRequest};
pub use super::schedule::{Jitter, Token};
use super::schedule::{RefreshBudget, backoff};

/// Whether the newest pair is at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
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
pub struct StateMachine {
    token: Option<Token>,
    renewal: Duration,
    due: Option<Duration>,
    above: Option<u64>,
    asked: bool,
    changed: bool,
    in_flight: bool,
    failures: u32,
    error: Option<Error>,
    store: Durability,
    write_failures: u32,
    budget: RefreshBudget,
    reactive: bool,
    replaced_rejected: bool,
    no_access: bool,
    locked: bool,
    forgotten: bool,
    erase: bool,
    stopping: bool,
}

impl StateMachine {
    /// Creates a session that holds nothing and waits for [`Event::LogState`].
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
            store: Durability::Durable,
            write_failures: 0,
            budget: RefreshBudget::full(),
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
        self.in_flight
            || (self.due.is_some_and(|due| due <= now) && self.store == Durability::Writing)
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
    pub fn store(&self) -> Durability {
        self.store
    }

    /// Says whether even a new token was refused by the probe.
    pub fn lacks_access(&self) -> bool {
        self.no_access
    }

    /// Says whether nothing is under way that a stop would lose.
    pub fn is_settled(&self) -> bool {
        !self.in_flight && self.store != Durability::Writing
    }

    /// Says whether a person has logged out.
    pub fn is_logged_out(&self) -> bool {
        self.forgotten
    }

    /// Says whether a person has locked the session.
    pub fn is_locked(&self) -> bool {
        self.locked
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
                    self.store = Durability::Writing;
                    actions.push(Action::Store);
                }
            }
            Event::Unchanged => {
                self.in_flight = false;
                self.error = None;
                self.failures = 0;
                let at_once = self.changed || self.token.is_none();
                self.due = Some(if at_once { now } else { self.renewal });
            }
            Event::AccountChanged => {
                self.token = None;
                self.above = None;
            }
            Event::Failed { error, wait } => {
                self.in_flight = false;
                self.failed(error, wait, now, jitter);
            }
            Event::CredentialsUnreadable => (self.changed, self.asked) = (true, true),
            Event::Stored => {
                self.store = Durability::Durable;
                self.write_failures = 0;
            }
            Event::StoreFailed => {
                self.write_failures = self.write_failures.saturating_add(1);
                let again = now + backoff(self.write_failures, jitter);
                self.store = Durability::Failed { times: self.write_failures, again };
            }
            Event::Erased => self.store = Durability::Durable,
            Event::TokenRejected { generation, proven } => self.rejected(generation, proven, now),
            Event::TokenConfirmed { generation } => {
                self.no_access &= self.token.is_none_or(|token| token.generation != generation);
            }
            Event::Tick => {}
            Event::Resumed => self.resumed(now, jitter),
            Event::RenewalRequested { generation } => {
                if self.failures == 0 && self.holds(generation) {
                    self.due = self.due.map(|due| due.min(now));
                }
            }
            Event::RefreshRequested => {
                self.asked = true;
                self.due = Some(now);
            }
            Event::CredentialsChanged => {
                self.forgotten = false;
                self.asked = true;
                self.changed = true;
                self.due = Some(now);
            }
            Event::LoggedOut => {
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
        self.renewal = token.renewal_time(jitter);
        self.token = Some(token).filter(|_| !self.locked);
        // A login that changed while this token was on its way may be another account's.
        if !self.changed {
            self.due = Some(self.renewal);
            self.asked = false;
        }
    }

    // A failed refresh never takes away a token that still works.
    fn failed(&mut self, error: Error, wait: Option<Duration>, now: Duration, jitter: Jitter) {
        let passes = error.is_transient();
        // A person who opens a keyring should not wait a minute for the daemon to see it.
        let most = if error.is_credential_store() { MAX_STORE_BACKOFF } else { Duration::MAX };
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
        let brand_new = self.replaced_rejected && !proven && token.age(now) < MAX_NEW_TOKEN_AGE;
        if self.no_access || brand_new {
            self.no_access = true;
            return;
        }
        self.token = None;
        self.reactive = true;
        if self.in_flight || (self.failures > 0 && self.due.is_some()) {
            return;
        }
        let due = self.budget.take(now);
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
            let quiet = (now + RESUME_DELAY + jitter.scale(RESUME_DELAY)).min(token.expires_at());
            self.due = self.due.map(|due| due.max(quiet));
        }
    }

    fn gate(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if let Durability::Failed { again, .. } = self.store
            && again <= now
            && !self.forgotten
        {
            self.store = Durability::Writing;
            actions.push(Action::Store);
        }
        if self.erase && self.is_settled() {
            self.erase = false;
            self.store = Durability::Writing;
            actions.push(Action::Erase);
        }
        if self.may_fetch(now) {
            self.in_flight = true;
            actions.push(Action::Fetch(FetchRequest {
                newer_than: self.above,
                user_requested: std::mem::take(&mut self.asked),
                credentials_changed: std::mem::take(&mut self.changed),
                failures: self.failures,
                has_valid_token: self.valid(now).is_some(),
            }));
        } else {
            actions.extend(self.wake(now).map(Action::WakeAt));
        }
    }

    fn may_fetch(&self, now: Duration) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        let durable = match self.store {
            Durability::Durable => true,
            Durability::Writing => false,
            // The pair at rest is spent either way: going dark would protect nothing, and a changed
            // login is not looked at by spending anything.
            Durability::Failed { .. } => self.changed || self.valid(now).is_none(),
        };
        is_due && durable && !self.in_flight && !self.is_shut() && !self.stopping
    }

    /// Returns the next time at which something changes by itself.
    fn wake(&self, now: Duration) -> Option<Duration> {
        let again = match self.store {
            Durability::Failed { again, .. } => Some(again),
            Durability::Durable | Durability::Writing => None,
        };
        let due = self.due().filter(|_| !self.in_flight);
        let expiry = self.token.map(|token| token.expires_at());
        [again, due, expiry].into_iter().flatten().filter(|time| now < *time).min()
    }

    fn valid(&self, now: Duration) -> Option<Token> {
        self.token.filter(|token| token.is_valid(now))
    }

    fn holds(&self, generation: u64) -> bool {
        self.token.is_some_and(|token| token.generation == generation)
    }
}

impl Default for StateMachine {
    fn default() -> Self {
        Self::new()
    }
}

/// A token that replaced a rejected one and was never accepted is refused from birth only while
/// it is this young.
const MAX_NEW_TOKEN_AGE: Duration = Duration::from_secs(5 * 60);

/// Longest time until a locked or missing credential store is looked at again.
const MAX_STORE_BACKOFF: Duration = Duration::from_secs(30);

/// Shortest time between a resume and a renewal that can wait.
const RESUME_DELAY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::CredentialSource;

    #[test]
    fn started_asks_at_once_and_once() {
        let mut session = Session::new();

        assert_eq!(session.at(0, Event::Started { locked: false }), [first()]);
        assert!(session.0.is_busy(secs(0)));
        assert!(!session.0.is_settled());
        assert_eq!(session.at(1, Event::Tick), []);
    }

    #[test]
    fn started_while_locked_waits_to_be_unlocked() {
        let mut session = Session::new();

        assert_eq!(session.at(0, Event::Started { locked: true }), []);
        assert_eq!(session.0.error(), Some(Error::Locked));
        assert_eq!(session.0.due(), None);
        assert_eq!(session.at(5, Event::Unlocked), [first()]);
        assert_eq!(session.0.error(), None);
    }

    #[test]
    fn issued_is_held_stored_and_renewed_after_four_fifths() {
        let mut session = Session::new();
        session.at(0, Event::Started { locked: false });

        let actions = session.at(0, issued(1, 0, 1_000));

        assert_eq!(actions, [Action::Store, Action::WakeAt(secs(800))]);
        assert_eq!(session.0.token(), Some(token(1, 0, 1_000)));
        assert_eq!(session.0.store(), Durability::Writing);
        assert!(!session.0.is_settled());
        assert_eq!(session.at(1, Event::Stored), [Action::WakeAt(secs(800))]);
        assert!(session.0.is_settled());
        assert_eq!(session.at(799, Event::Tick), [Action::WakeAt(secs(800))]);
        assert_eq!(
            session.at(800, Event::Tick),
            [Action::Fetch(FetchRequest { newer_than: Some(1), has_valid_token: true, ..plain() })]
        );
    }

    #[test]
    fn a_saved_token_is_held_and_not_stored_again() {
        let mut session = Session::new();
        session.at(0, Event::Started { locked: false });

        let actions = session.at(0, Event::Issued { token: token(7, 0, 1_000), store: false });

        assert_eq!(actions, [Action::WakeAt(secs(800))]);
        assert_eq!(session.0.store(), Durability::Durable);
        assert!(session.0.is_settled());
    }

    #[test]
    fn success_forgets_the_failures_before_it() {
        let mut session = Session::new();
        session.at(0, Event::Started { locked: false });
        session.at(0, passing(None));
        session.at(1, Event::Tick);

        session.at(1, issued(1, 1, 1_000));
        session.at(1, Event::Stored);

        assert_eq!(session.0.error(), None);
        assert_eq!(
            session.at(900, Event::Tick),
            [Action::Fetch(FetchRequest { newer_than: Some(1), has_valid_token: true, ..plain() })]
        );
    }

    #[test]
    fn issued_after_forget_is_dropped() {
        let mut session = Session::new();
        session.at(0, Event::Started { locked: false });
        assert_eq!(session.at(0, Event::LoggedOut), []);

        assert_eq!(session.at(0, issued(1, 0, 1_000)), [Action::Erase]);

        assert_eq!(session.0.token(), None);
        assert_eq!(session.at(1, Event::Erased), []);
        assert_eq!(
            session.at(1, Event::CredentialsChanged),
            [Action::Fetch(FetchRequest {
                user_requested: true,
                credentials_changed: true,
                ..plain()
            })]
        );
    }

    #[test]
    fn issued_while_locked_is_stored_but_not_held() {
        let mut session = Session::new();
        session.at(0, Event::Started { locked: false });
        session.at(0, Event::Locked);

        assert_eq!(session.at(0, issued(1, 0, 1_000)), [Action::Store]);

        assert_eq!(session.0.token(), None);
        assert_eq!(session.at(900, Event::Stored), []);
        assert_eq!(session.at(900, Event::Unlocked), [first()]);
    }

    #[test]
    fn a_login_of_the_same_account_keeps_the_token_and_opens_latches() {
        let mut session = holding(1_000);
        session.at(1, Event::CredentialsChanged);

        assert_eq!(session.at(2, Event::Unchanged), [Action::WakeAt(secs(800))]);

        assert_eq!(session.0.token(), Some(token(1, 0, 1_000)));
        let mut session = holding(1_000);
        session.at(800, Event::Tick);
        session.at(800, Event::Failed { error: refused(), wait: None });
        session.at(801, Event::CredentialsChanged);
        assert_eq!(session.at(801, Event::Unchanged), [first_above(1, true)]);
        assert_eq!(session.0.error(), None);
    }

    #[test]
    fn a_token_that_died_while_the_login_was_compared_is_replaced() {
        let mut session = holding(1_000);
        session.at(1, Event::CredentialsChanged);
        session.at(1, rejected(1));

        assert_eq!(session.at(2, Event::Unchanged), [first_above(1, false)]);
    }

    #[test]
    fn a_login_that_changed_again_is_read_again() {
        let mut session = holding(1_000);
        session.at(1, Event::CredentialsChanged);
        session.at(1, Event::CredentialsChanged);

        let again = FetchRequest {
            user_requested: true,
            credentials_changed: true,
            newer_than: Some(1),
            has_valid_token: true,
            failures: 0,
        };
        assert_eq!(session.at(2, Event::Unchanged), [Action::Fetch(again)]);
    }

    #[test]
    fn a_login_that_changed_during_an_attempt_is_tried_after_its_success() {
        let mut session = holding(1_000);
        session.at(800, Event::Tick);
        session.at(800, Event::CredentialsChanged);

        session.at(801, issued(2, 801, 1_000));

        let again = FetchRequest {
            user_requested: true,
            credentials_changed: true,
            newer_than: Some(2),
            has_valid_token: true,
            failures: 0,
        };
        assert_eq!(session.at(801, Event::Stored), [Action::Fetch(again)]);
    }

    #[test]
    fn a_changed_login_is_looked_at_though_the_newest_pair_could_not_be_written() {
        let mut session = Session::new();
        session.at(0, Event::Started { locked: false });
        session.at(0, issued(1, 0, 1_000));
        session.at(0, Event::StoreFailed);

        let again = FetchRequest {
            user_requested: true,
            credentials_changed: true,
            newer_than: Some(1),
            has_valid_token: true,
            failures: 0,
        };
        assert_eq!(session.at(0, Event::CredentialsChanged), [Action::Fetch(again)]);
    }

    #[test]
    fn a_changed_login_that_cannot_be_read_is_looked_at_again_and_nothing_is_spent_meanwhile() {
        let mut session = holding(1_000);
        session.at(1, Event::CredentialsChanged);
        let error = Error::CredentialsUnavailable { retry_after: secs(0), cause: None };

        session.at(1, Event::Failed { error: error.clone(), wait: None });
        session.at(1, Event::CredentialsUnreadable);

        assert_eq!((session.0.token(), session.0.error()), (Some(token(1, 0, 1_000)), Some(error)));
        let again = FetchRequest {
            user_requested: true,
            credentials_changed: true,
            newer_than: Some(1),
            has_valid_token: true,
            failures: 1,
        };
        assert_eq!(session.at(2, Event::Tick), [Action::Fetch(again)]);
    }

    #[test]
    fn another_accounts_token_is_withdrawn() {
        let mut session = holding(1_000);
        session.at(1, Event::CredentialsChanged);

        assert_eq!(session.at(2, Event::AccountChanged), []);
        session.at(2, passing(None));

        assert_eq!(session.0.token(), None);
        assert_eq!(
            session.at(3, Event::Tick),
            [Action::Fetch(FetchRequest { failures: 1, ..plain() })]
        );
    }

    #[test]
    fn a_failed_refresh_keeps_a_token_that_still_works() {
        let mut session = holding(1_000);
        session.at(800, Event::Tick);

        assert_eq!(session.at(800, passing(None)), [Action::WakeAt(secs(801))]);

        assert_eq!(session.0.token(), Some(token(1, 0, 1_000)));
        assert_eq!(session.0.error().unwrap().code(), "session.unavailable");
        assert_eq!(session.0.due(), Some(secs(801)));
        assert!(!session.0.is_busy(secs(800)));
    }

    #[test]
    fn failures_back_off_to_a_minute() {
        let mut session = Session::new();
        session.at(0, Event::Started { locked: false });
        let mut now = 0;
        let mut waits = Vec::new();
        for failures in 1..=8 {
            session.at(now, passing(None));
            let due = session.0.due().unwrap().as_secs();
            waits.push(due - now);
            now = due;
            assert_eq!(
                session.at(now, Event::Tick),
                [Action::Fetch(FetchRequest { failures, ..plain() })]
            );
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_longer_wait_that_was_asked_for_is_kept() {
        let mut session = Session::new();
        session.at(0, Event::Started { locked: false });

        assert_eq!(session.at(0, passing(Some(secs(900)))), [Action::WakeAt(secs(900))]);

        session.at(900, Event::Tick);
        assert_eq!(session.at(900, passing(Some(secs(1)))), [Action::WakeAt(secs(902))]);
    }

    #[test]
    fn a_person_is_needed_and_nothing_is_planned() {
        let mut session = holding(1_000);
        session.at(800, Event::Tick);

        let actions = session.at(800, Event::Failed { error: refused(), wait: Some(secs(1)) });

        assert_eq!(actions, [Action::WakeAt(secs(1_000))], "only the expiry is looked at");
        assert_eq!(session.0.token(), Some(token(1, 0, 1_000)));
        assert_eq!(session.at(1_000, Event::Tick), []);
        assert_eq!(session.0.error(), Some(refused()));
    }

    #[test]
    fn a_failure_is_tried_again_at_once_if_the_login_changed_meanwhile() {
        for (event, changed) in
            [(Event::CredentialsChanged, true), (Event::RefreshRequested, false)]
        {
            let mut session = Session::new();
            session.at(0, Event::Started { locked: false });
            assert_eq!(session.at(1, event), []);

            let actions = session.at(2, Event::Failed { error: refused(), wait: None });

            assert_eq!(
                actions,
                [Action::Fetch(FetchRequest {
                    user_requested: true,
                    credentials_changed: changed,
                    ..plain()
                })]
            );
            let again = session.at(3, Event::Failed { error: refused(), wait: None });
            assert_eq!(again, [], "the second failure counts");
        }
    }

    #[test]
    fn no_rotation_before_the_newest_pair_is_durable() {
        let mut session = Session::new();
        session.at(0, Event::Started { locked: false });
        session.at(0, issued(1, 0, 100));

        assert_eq!(session.at(80, Event::Tick), [Action::WakeAt(secs(100))]);
        assert!(session.0.is_busy(secs(80)), "a request waits for the write");
        assert_eq!(session.at(100, Event::Tick), []);
        assert_eq!(session.at(110, Event::Stored), [first_above(1, false)]);
    }

    #[test]
    fn a_pair_that_was_not_stored_is_stored_again_and_not_rotated_while_it_works() {
        let mut session = Session::new();
        session.at(0, Event::Started { locked: false });
        session.at(0, issued(1, 0, 100));

        assert_eq!(session.at(0, Event::StoreFailed), [Action::WakeAt(secs(1))]);
        assert!(session.0.is_settled());
        assert_eq!(session.0.store(), Durability::Failed { times: 1, again: secs(1) });
        assert_eq!(session.at(1, Event::Tick), [Action::Store, Action::WakeAt(secs(80))]);
        assert_eq!(session.at(1, Event::StoreFailed), [Action::WakeAt(secs(3))]);
        assert_eq!(session.at(82, Event::Tick), [Action::Store, Action::WakeAt(secs(100))]);
        assert_eq!(session.at(82, Event::StoreFailed), [Action::WakeAt(secs(86))]);
        assert!(!session.0.is_busy(secs(82)));
        assert_eq!(session.at(86, Event::Tick), [Action::Store, Action::WakeAt(secs(100))]);
        assert_eq!(session.at(86, Event::Stored), [first_above(1, true)]);
        assert_eq!(session.0.store(), Durability::Durable);
    }

    #[test]
    fn without_a_valid_token_an_unsaved_pair_does_not_stop_the_next() {
        let mut session = Session::new();
        session.at(0, Event::Started { locked: false });
        session.at(0, issued(1, 0, 100));
        session.at(99, Event::StoreFailed);
        session.at(99, Event::Locked);
        session.at(99, Event::Unlocked);

        let mut expired = Session::new();
        expired.at(0, Event::Started { locked: false });
        expired.at(0, issued(1, 0, 100));
        expired.at(99, Event::StoreFailed);
        let actions = expired.at(100, Event::Tick);

        assert_eq!(actions, [Action::Store]);
        assert_eq!(expired.at(101, Event::StoreFailed), [first_above(1, false)]);
    }

    #[test]
    fn failures_to_store_are_counted_in_a_row() {
        let mut session = Session::new();
        session.at(0, Event::Started { locked: false });
        session.at(0, issued(1, 0, 1_000));
        session.at(0, Event::StoreFailed);
        session.at(1, Event::Tick);
        session.at(1, Event::Stored);
        session.at(800, Event::Tick);
        session.at(800, issued(2, 800, 1_000));

        assert_eq!(session.at(800, Event::StoreFailed), [Action::WakeAt(secs(801))]);
    }

    #[test]
    fn a_rejection_of_an_older_token_is_ignored() {
        let mut session = holding(1_000);

        assert_eq!(session.at(1, rejected(0)), [Action::WakeAt(secs(800))]);
        assert_eq!(session.at(1, rejected(2)), [Action::WakeAt(secs(800))]);

        assert_eq!(session.0.token(), Some(token(1, 0, 1_000)));
    }

    #[test]
    fn a_rejected_token_is_withdrawn_and_replaced_once() {
        let mut session = holding(1_000);

        assert_eq!(session.at(1, rejected(1)), [first_above(1, false)]);

        assert_eq!(session.0.token(), None);
        assert_eq!(session.0.error(), None);
        assert_eq!(session.at(1, rejected(1)), []);
    }

    #[test]
    fn rejections_draw_on_a_budget() {
        let mut session = holding(1_000_000);
        let revoked = |generation| Event::TokenRejected { generation, proven: true };
        for generation in 1..=3 {
            let actions = session.at(generation, revoked(generation));
            assert_eq!(actions, [first_above(generation, false)]);
            session.at(generation, issued(generation + 1, generation, 1_000_000));
            session.at(generation, Event::Stored);
        }

        assert_eq!(session.at(4, revoked(4)), [Action::WakeAt(secs(301))]);

        assert_eq!(session.0.error().unwrap().retry_after(), Some(secs(297)));
        assert!(!session.0.is_busy(secs(4)));
        assert_eq!(session.at(301, Event::Tick), [first_above(4, false)]);
    }

    #[test]
    fn a_rejection_during_an_attempt_or_a_back_off_starts_nothing() {
        let mut session = holding(1_000);
        session.at(800, Event::Tick);
        assert_eq!(session.at(801, rejected(1)), []);
        assert_eq!(session.0.token(), None);

        assert_eq!(session.at(801, passing(Some(secs(30)))), [Action::WakeAt(secs(831))]);

        let mut session = holding(1_000);
        session.at(800, Event::Tick);
        session.at(800, passing(Some(secs(30))));
        assert_eq!(session.at(801, rejected(1)), [Action::WakeAt(secs(830))]);
        assert_eq!(session.0.token(), None);
    }

    #[test]
    fn a_rejection_after_a_failure_that_planned_nothing_asks_again() {
        let mut session = holding(1_000);
        session.at(800, Event::Tick);
        session.at(800, Event::Failed { error: refused(), wait: None });

        let fetch = FetchRequest { newer_than: Some(1), failures: 1, ..plain() };
        assert_eq!(session.at(801, rejected(1)), [Action::Fetch(fetch)]);
    }

    #[test]
    fn a_new_token_refused_from_birth_means_no_api_access() {
        let mut session = replaced();

        assert_eq!(session.at(2, rejected(2)), [Action::WakeAt(secs(801))]);

        assert!(session.0.lacks_access());
        assert!(session.0.token().is_some());
        session.at(9_999, rejected(2));
        assert!(session.0.lacks_access() && session.0.token().is_some());
    }

    #[test]
    fn a_token_that_worked_or_is_older_was_revoked() {
        let mut session = replaced();
        let proven = Event::TokenRejected { generation: 2, proven: true };
        assert_eq!(session.at(2, proven), [first_above(2, false)]);
        assert!(!session.0.lacks_access());

        let mut session = replaced();
        assert_eq!(session.at(301, rejected(2)), [first_above(2, false)]);
        let mut session = replaced();
        assert_eq!(session.at(300, rejected(2)), [Action::WakeAt(secs(801))]);

        let mut session = holding(1_000);
        session.at(1, rejected(1));
        session.at(1, issued(2, 1, 1_000));
        session.at(1, Event::Stored);
        session.at(801, Event::Tick);
        session.at(801, issued(3, 801, 1_000));
        session.at(801, Event::Stored);
        assert_eq!(session.at(802, rejected(3)), [first_above(3, false)]);
    }

    #[test]
    fn alive_means_api_access_after_all() {
        let mut session = replaced();
        session.at(2, rejected(2));

        session.at(3, Event::TokenConfirmed { generation: 1 });
        assert!(session.0.lacks_access());
        session.at(3, Event::TokenConfirmed { generation: 2 });
        assert!(!session.0.lacks_access());
    }

    #[test]
    fn a_new_token_starts_without_the_latch() {
        let mut session = replaced();
        session.at(2, rejected(2));
        session.at(801, Event::Tick);

        session.at(801, issued(3, 801, 1_000));

        assert!(!session.0.lacks_access());
    }

    #[test]
    fn a_due_renewal_waits_a_little_after_a_resume() {
        let mut session = holding(1_000);
        assert_eq!(session.at(810, Event::Resumed), [Action::WakeAt(secs(815))]);
        assert_eq!(session.at(815, Event::Tick), [first_above(1, true)]);

        let mut session = holding(1_000);
        assert_eq!(session.at(100, Event::Resumed), [Action::WakeAt(secs(800))]);
        assert_eq!(session.at(998, Event::Resumed), [Action::WakeAt(secs(1_000))]);
        assert_eq!(session.at(1_000, Event::Tick), [first_above(1, false)]);
    }

    #[test]
    fn jitter_lengthens_the_quiet_after_a_resume() {
        let mut session = holding(1_000);

        let actions = session.0.step(Event::Resumed, secs(810), Jitter(400));

        assert_eq!(actions, [Action::WakeAt(secs(817))]);
    }

    #[test]
    fn an_expired_token_is_replaced_at_once_after_a_resume() {
        let mut session = holding(1_000);

        assert_eq!(session.at(1_000, Event::Resumed), [first_above(1, false)]);
    }

    #[test]
    fn a_body_that_cannot_be_sent_twice_brings_the_renewal_forward() {
        let mut session = holding(1_000);
        assert_eq!(
            session.at(10, Event::RenewalRequested { generation: 2 }),
            [Action::WakeAt(secs(800))]
        );
        assert_eq!(
            session.at(10, Event::RenewalRequested { generation: 1 }),
            [first_above(1, true)]
        );

        let mut session = holding(1_000);
        session.at(800, Event::Tick);
        session.at(800, passing(Some(secs(60))));
        let needed = Event::RenewalRequested { generation: 1 };
        assert_eq!(session.at(810, needed), [Action::WakeAt(secs(860))], "a back-off is kept");
    }

    #[test]
    fn forced_asks_at_once_whatever_was_planned() {
        let mut session = holding(1_000);
        let fetch = FetchRequest {
            newer_than: Some(1),
            user_requested: true,
            has_valid_token: true,
            ..plain()
        };
        assert_eq!(session.at(10, Event::RefreshRequested), [Action::Fetch(fetch)]);

        session.at(11, issued(2, 11, 1_000));
        session.at(11, Event::Stored);
        assert_eq!(session.at(811, Event::Tick), [first_above(2, true)], "asked only once");
    }

    #[test]
    fn forced_during_an_attempt_is_answered_by_its_success() {
        let mut session = holding(1_000);
        session.at(800, Event::Tick);
        session.at(800, Event::RefreshRequested);

        session.at(800, issued(2, 800, 1_000));

        assert_eq!(session.at(800, Event::Stored), [Action::WakeAt(secs(1_600))]);
        assert_eq!(session.at(1_600, Event::Tick), [first_above(2, true)]);
    }

    #[test]
    fn forgotten_holds_nothing_and_is_erased_when_nothing_is_in_flight() {
        let mut session = holding(1_000);

        assert_eq!(session.at(1, Event::LoggedOut), [Action::Erase]);

        assert_eq!(session.0.token(), None);
        assert!(session.0.is_logged_out() && session.0.is_shut());
        assert_eq!(session.0.error(), Some(Error::NotLoggedIn(None)));
        assert_eq!(session.0.due(), None);
        assert_eq!(session.at(1, Event::CredentialsChanged), [], "not before it is erased");
        let fetch = FetchRequest { user_requested: true, credentials_changed: true, ..plain() };
        assert_eq!(session.at(2, Event::Erased), [Action::Fetch(fetch)]);
    }

    #[test]
    fn an_unsaved_pair_is_not_stored_after_forget() {
        let mut session = Session::new();
        session.at(0, Event::Started { locked: false });
        session.at(0, issued(1, 0, 1_000));
        session.at(0, Event::StoreFailed);

        assert_eq!(session.at(5, Event::LoggedOut), [Action::Erase]);
        assert_eq!(session.at(5, Event::Erased), []);
        assert_eq!(session.at(9, Event::Tick), []);
    }

    #[test]
    fn forced_after_forget_asks_nothing() {
        let mut session = holding(1_000);
        session.at(1, Event::LoggedOut);
        session.at(1, Event::Erased);

        assert_eq!(session.at(2, Event::RefreshRequested), []);
        assert!(!session.0.is_busy(secs(2)));
    }

    #[test]
    fn locked_holds_nothing_and_asks_nothing() {
        let mut session = holding(1_000);

        assert_eq!(session.at(1, Event::Locked), []);

        assert_eq!(session.0.token(), None);
        assert!(session.0.is_shut() && !session.0.is_logged_out());
        assert_eq!(session.at(900, Event::Tick), []);
        assert_eq!(session.0.error(), Some(Error::Locked));
        assert_eq!(session.at(901, Event::Unlocked), [first()]);
    }

    #[test]
    fn stopping_starts_nothing_and_finishes_the_write() {
        let mut session = Session::new();
        session.at(0, Event::Started { locked: false });
        session.at(0, issued(1, 0, 1_000));
        session.at(0, Event::StoreFailed);

        assert_eq!(session.at(0, Event::Stopping), [Action::WakeAt(secs(1))]);

        assert_eq!(session.at(1, Event::Tick), [Action::Store, Action::WakeAt(secs(1_000))]);
        session.at(1, Event::Stored);
        assert_eq!(session.at(900, Event::Tick), [Action::WakeAt(secs(1_000))]);
        assert_eq!(session.0.due(), None);
    }

    #[test]
    fn a_fresh_session_holds_nothing() {
        let state = StateMachine::default();

        assert!(state.is_settled() && !state.is_shut() && !state.lacks_access());
        assert_eq!((state.token(), state.due(), state.error()), (None, None, None));
        assert!(!state.is_busy(secs(0)));
    }

    #[derive(Debug)]
    struct Session(StateMachine);

    impl Session {
        fn new() -> Self {
            Self(StateMachine::new())
        }

        fn at(&mut self, now: u64, event: Event) -> Vec<Action> {
            self.0.step(event, secs(now), Jitter(0))
        }
    }

    /// Holds the durable generation 1 since 0.
    fn holding(lasts: u64) -> Session {
        let mut session = Session::new();
        session.at(0, Event::Started { locked: false });
        session.at(0, issued(1, 0, lasts));
        session.at(0, Event::Stored);
        session
    }

    /// Holds generation 2 since 1, which replaced a rejected one.
    fn replaced() -> Session {
        let mut session = holding(1_000);
        session.at(1, rejected(1));
        session.at(1, issued(2, 1, 1_000));
        session.at(1, Event::Stored);
        session
    }

    fn refused() -> Error {
        Error::Refused(CredentialSource::Keychain)
    }

    fn plain() -> FetchRequest {
        FetchRequest {
            newer_than: None,
            user_requested: false,
            credentials_changed: false,
            failures: 0,
            has_valid_token: false,
        }
    }

    fn first() -> Action {
        Action::Fetch(plain())
    }

    fn first_above(generation: u64, valid: bool) -> Action {
        Action::Fetch(FetchRequest {
            newer_than: Some(generation),
            has_valid_token: valid,
            ..plain()
        })
    }

    fn issued(generation: u64, now: u64, lasts: u64) -> Event {
        Event::Issued { token: token(generation, now, lasts), store: true }
    }

    fn rejected(generation: u64) -> Event {
        Event::TokenRejected { generation, proven: false }
    }

    fn passing(wait: Option<Duration>) -> Event {
        let error = Error::Unavailable { retry_after: Duration::ZERO, cause: None };
        Event::Failed { error, wait }
    }

    fn token(generation: u64, now: u64, lasts: u64) -> Token {
        Token { generation, seen: secs(now), age: Duration::ZERO, lifetime: secs(lasts) }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }
}
