//! The token's life as a pure function: no clock, no I/O, no task.
//!
//! [`StateMachine::step`] takes an event and the time, and returns what to do next. The session
//! task (`refresh/task.rs`) owns one `StateMachine`, performs the actions and feeds the results
//! back. An event only changes what is known and when the next attempt is planned; one gate at the
//! end of each step decides whether that attempt may start:
//!
//! | the next attempt | starts when |
//! |---|---|
//! | is not planned | never: the user is needed |
//! | lies in the future | its time comes |
//! | is due, but the session is locked, logged out or stopping | never, until that ends |
//! | is due, but another attempt is in flight | that one has ended |
//! | is due, but the newest pair is being written or erased | the disk has finished, well or not |
//! | is due, but the newest pair could not be written | it was written, no valid token is left, or the login changed |
//! | is due otherwise | at once |
//!
//! | event | effect |
//! |---|---|
//! | started, unlocked | an attempt is due: it resumes the saved session or logs in |
//! | issued | the token is held, failures are forgotten, a new pair is stored, a renewal is planned |
//! | issued from the disk, but the user asked for a refresh meanwhile | it is held, and an attempt is due |
//! | issued after a logout | the token is dropped |
//! | issued while locked | the pair is stored, the token is not held |
//! | unchanged (the changed login is of the same account) | blocks are lifted, the renewal stays planned |
//! | account changed (the changed login is of another account) | no token is held |
//! | failed, and the error passes by itself | a token that still works is kept; the next attempt backs off |
//! | failed, and the user is needed | a token that still works is kept; no attempt is planned |
//! | failed, but the user asked or unlocked meanwhile | an attempt is due |
//! | stored | the pair is durable |
//! | store failed | the pair is stored again after a back-off; the token is served meanwhile |
//! | token rejected, of an older generation | nothing |
//! | token rejected, which replaced a rejected one and was never proven | no API access; the token is kept |
//! | token rejected otherwise | the token is withdrawn; an attempt is due if the budget allows, else later |
//! | token confirmed | the account has API access after all |
//! | tick | nothing by itself: the gate and the next write look at the time |
//! | resumed from suspend | a renewal that is due waits a little, but not past the expiry |
//! | renewal requested (near expiry) | an attempt is due, unless the last one failed |
//! | refresh requested | an attempt is due, and a failed write is tried again first |
//! | credentials changed | an attempt is due, and a logout ends |
//! | logged out | no token is held; the saved session is erased as soon as nothing is in flight |
//! | logout ended (another member of the fleet logged in) | an attempt is due |
//! | locked | no token is held |
//! | stopping | no attempt starts any more |
//!
//! All times are readings of the boot clock, which runs on during suspend and never jumps. Timers
//! are hints: the user of a token asks [`Token::left`] again.

use std::time::Duration;

use super::access::Access;
use super::attempt::Attempt;
use super::durability::Durability;
use super::event::{Action, Event, FetchRequest, Trigger};
use super::schedule::{Jitter, RefreshBudget, Token, backoff};
use super::token_rejection::TokenRejection;
use crate::session::error::{Cause, Error};

/// Everything that the session remembers.
#[derive(Clone, Debug)]
pub(crate) struct StateMachine {
    access: Access,
    attempt: Attempt,
    trigger: Trigger,
    /// Failed attempts in a row.
    failures: u32,
    error: Option<Error>,
    token: Option<Token>,
    /// When the newest token is to be renewed.
    renewal: Duration,
    /// Generation of the newest token.
    newer_than: Option<u64>,
    rejection: TokenRejection,
    budget: RefreshBudget,
    durability: Durability,
}

impl StateMachine {
    /// Creates a session that holds nothing and waits for [`Event::Started`].
    pub(crate) fn new() -> Self {
        Self {
            access: Access::Open,
            attempt: Attempt::Unplanned,
            trigger: Trigger::Schedule,
            failures: 0,
            error: None,
            token: None,
            renewal: Duration::ZERO,
            newer_than: None,
            rejection: TokenRejection::None,
            budget: RefreshBudget::full(),
            durability: Durability::Durable,
        }
    }

    /// Returns the token, valid or not.
    pub(crate) fn token(&self) -> Option<Token> {
        self.token
    }

    /// Says whether a request for a token should wait: an attempt is in flight, or will be as soon
    /// as the disk has finished.
    pub(crate) fn is_busy(&self, now: Duration) -> bool {
        self.attempt.is_running() || (self.is_due(now) && self.durability.is_writing())
    }

    /// Returns when the next attempt is planned, or when the one in flight began.
    pub(crate) fn next_attempt(&self) -> Option<Duration> {
        self.attempt.time().filter(|_| self.access.is_open())
    }

    /// Returns why the session is shut, or else the last failure since the last success.
    pub(crate) fn error(&self) -> Option<Error> {
        match self.access {
            Access::Locked | Access::LockedAndLoggedOut => Some(Error::Locked),
            Access::LoggedOut => Some(Error::NotLoggedIn(None)),
            Access::Open => self.error.clone(),
        }
    }

    /// Says whether the newest pair is on disk, or there is none.
    pub(crate) fn is_durable(&self) -> bool {
        self.durability.is_durable()
    }

    /// Says whether even a new token was rejected.
    pub(crate) fn lacks_access(&self) -> bool {
        self.rejection == TokenRejection::NoAccess
    }

    /// Says whether a stop would lose nothing.
    pub(crate) fn is_settled(&self) -> bool {
        !self.attempt.is_running() && !self.durability.is_writing()
    }

    /// Says whether the user has logged out.
    pub(crate) fn is_logged_out(&self) -> bool {
        self.access.is_logged_out()
    }

    /// Says whether the user has locked the session.
    pub(crate) fn is_locked(&self) -> bool {
        self.access.is_locked()
    }

    /// Says whether the user has locked the session or logged out.
    pub(crate) fn is_shut(&self) -> bool {
        !self.access.is_open()
    }

    /// Advances the session by one event and returns the actions that follow from it.
    pub(crate) fn step(&mut self, event: Event, now: Duration, jitter: Jitter) -> Vec<Action> {
        let mut actions = Vec::new();
        self.access = self.access.after(&event);
        match event {
            Event::Started { locked } => {
                self.access = self.access.with_lock(locked);
                self.attempt.plan(now);
            }
            Event::Issued { token, is_new } => {
                actions.extend(self.issued(token, is_new, now, jitter));
            }
            Event::Unchanged => self.unchanged(now),
            Event::AccountChanged => self.drop_token(),
            Event::Failed { error, wait } => self.failed(error, wait, now, jitter),
            Event::CredentialsUnreadable => self.trigger = Trigger::CredentialsChanged,
            Event::Stored => self.durability.written(),
            Event::StoreFailed => self.durability.failed(now, jitter),
            Event::Erased => self.durability.erased(),
            Event::TokenRejected { generation, proven } => self.rejected(generation, proven, now),
            Event::TokenConfirmed { generation } => self.confirmed(generation),
            Event::Tick => {}
            Event::Resumed => self.resumed(now, jitter),
            Event::RenewalRequested { generation } => self.renewal_requested(generation, now),
            Event::RefreshRequested => {
                self.request(Trigger::User, now);
                self.durability.hurry(now);
            }
            Event::CredentialsChanged => {
                self.access = self.access.with_logout(false);
                self.request(Trigger::CredentialsChanged, now);
            }
            Event::LoggedOut => self.logged_out(),
            Event::LogoutEnded => self.attempt.plan(now),
            Event::Locked => {
                self.access = self.access.with_lock(true);
                self.token = None;
            }
            Event::Unlocked => self.unlocked(now),
            Event::Stopping => self.attempt.stop(),
        }
        self.gate(now, &mut actions);
        actions
    }

    fn issued(
        &mut self,
        token: Token,
        is_new: bool,
        now: Duration,
        jitter: Jitter,
    ) -> Option<Action> {
        self.attempt.end();
        if self.access.is_logged_out() {
            return None;
        }
        self.rejection = self.rejection.after_new_token();
        self.failures = 0;
        self.error = None;
        self.newer_than = Some(token.generation);
        self.renewal = token.renewal_time(jitter);
        self.token = Some(token).filter(|_| !self.access.is_locked());
        // A login that changed while this token was on its way may be another account's; a user who
        // asked for a new token meanwhile does not get a saved one.
        let asked = if is_new { Trigger::CredentialsChanged } else { Trigger::User };
        if self.trigger >= asked {
            self.attempt.plan(now);
        } else {
            self.attempt.plan(self.renewal);
            self.trigger = Trigger::Schedule;
        }
        is_new.then(|| self.durability.write())
    }

    fn unchanged(&mut self, now: Duration) {
        self.attempt.end();
        self.error = None;
        self.failures = 0;
        // A request that came meanwhile is still to be done: this attempt has brought no token.
        let at_once = self.trigger != Trigger::Schedule || self.token.is_none();
        self.attempt.plan(if at_once { now } else { self.renewal });
    }

    // A failed refresh never takes away a token that still works.
    fn failed(&mut self, error: Error, wait: Option<Duration>, now: Duration, jitter: Jitter) {
        self.attempt.end();
        let is_transient = error.is_transient();
        // A keyring that the user opens should not wait a minute for the daemon to notice.
        let most = if error.is_credential_store() { MAX_STORE_BACKOFF } else { Duration::MAX };
        self.error = Some(error);
        if self.trigger != Trigger::Schedule {
            self.attempt.plan(now);
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let least = wait.unwrap_or_default();
        if is_transient {
            self.attempt.plan(now + backoff(self.failures, jitter).min(most).max(least));
        }
    }

    fn rejected(&mut self, generation: u64, proven: bool, now: Duration) {
        let Some(token) = self.token.filter(|token| token.generation == generation) else {
            return;
        };
        let from_birth = self.rejection == TokenRejection::Replaced
            && !proven
            && token.age(now) < MAX_NEW_TOKEN_AGE;
        if self.lacks_access() || from_birth {
            self.rejection = TokenRejection::NoAccess;
            return;
        }
        self.token = None;
        self.rejection = TokenRejection::Withdrawn;
        let backs_off = self.failures > 0 && matches!(self.attempt, Attempt::Planned(_));
        if self.attempt.is_running() || backs_off {
            return;
        }
        let due = self.budget.take(now);
        if now < due {
            self.error = Some(Error::Unavailable {
                retry_after: due - now,
                cause: Some(Cause::new("Nexudus keeps rejecting tokens that it has just issued")),
            });
        }
        self.attempt.plan(due);
    }

    fn confirmed(&mut self, generation: u64) {
        if self.lacks_access() && self.holds(generation) {
            self.rejection = TokenRejection::Replaced;
        }
    }

    // The network of a machine that has just woken up is rarely there yet.
    fn resumed(&mut self, now: Duration, jitter: Jitter) {
        if let Some(token) = self.token.filter(|token| token.is_valid(now))
            && let Attempt::Planned(at) = self.attempt
        {
            let quiet = now + RESUME_DELAY + jitter.scale(RESUME_DELAY);
            self.attempt.plan(at.max(quiet.min(token.expires_at())));
        }
    }

    fn renewal_requested(&mut self, generation: u64, now: Duration) {
        if let Attempt::Planned(at) = self.attempt
            && self.failures == 0
            && self.holds(generation)
        {
            self.attempt.plan(at.min(now));
        }
    }

    fn request(&mut self, trigger: Trigger, now: Duration) {
        self.trigger = self.trigger.max(trigger);
        self.attempt.plan(now);
    }

    fn logged_out(&mut self) {
        self.drop_token();
        self.error = None;
        self.access = self.access.with_logout(true);
        self.durability.erase();
    }

    fn unlocked(&mut self, now: Duration) {
        self.access = self.access.with_lock(false);
        if self.rejection != TokenRejection::Withdrawn {
            // The saved token is as good as before the lock.
            self.newer_than = None;
        }
        if self.attempt.is_running() {
            // That attempt may have found a keyring locked which has been opened since.
            self.trigger = self.trigger.max(Trigger::Unlock);
        }
        self.attempt.plan(now);
    }

    fn drop_token(&mut self) {
        self.token = None;
        self.newer_than = None;
    }

    fn gate(&mut self, now: Duration, actions: &mut Vec<Action>) {
        actions.extend(self.durability.start(now, self.attempt.is_running()));
        if self.may_fetch(now) {
            self.attempt = Attempt::Running(now);
            actions.push(Action::Fetch(FetchRequest {
                newer_than: self.newer_than,
                trigger: std::mem::take(&mut self.trigger),
                failures: self.failures,
                has_valid_token: self.has_valid_token(now),
            }));
        } else {
            actions.extend(self.wake_time(now).map(Action::WakeAt));
        }
    }

    fn may_fetch(&self, now: Duration) -> bool {
        let may_disk = match self.durability {
            Durability::Durable => true,
            // The pair on disk is spent either way, so having no token would protect nothing; to
            // read a changed login spends nothing.
            Durability::Failed { .. } => {
                self.trigger == Trigger::CredentialsChanged || !self.has_valid_token(now)
            }
            Durability::Writing { .. }
            | Durability::ErasePending
            | Durability::EraseNext
            | Durability::Erasing => false,
        };
        may_disk && !self.attempt.is_running() && self.is_due(now)
    }

    /// Says whether an attempt is due that the user allows.
    fn is_due(&self, now: Duration) -> bool {
        self.next_attempt().is_some_and(|at| at <= now)
    }

    /// Returns the next time at which something changes by itself.
    fn wake_time(&self, now: Duration) -> Option<Duration> {
        let attempt = self.next_attempt().filter(|_| !self.attempt.is_running());
        let expiry = self.token.map(|token| token.expires_at());
        let times = [self.durability.retry_at(), attempt, expiry];
        times.into_iter().flatten().filter(|time| now < *time).min()
    }

    fn has_valid_token(&self, now: Duration) -> bool {
        self.token.is_some_and(|token| token.is_valid(now))
    }

    fn holds(&self, generation: u64) -> bool {
        self.token.is_some_and(|token| token.generation == generation)
    }
}

/// Longest age at which a token that was never accepted counts as rejected from birth.
const MAX_NEW_TOKEN_AGE: Duration = Duration::from_secs(5 * 60);

/// Longest time until a locked or missing credential store is tried again.
const MAX_STORE_BACKOFF: Duration = Duration::from_secs(30);

/// Shortest time between a resume from suspend and a renewal that can wait.
const RESUME_DELAY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
