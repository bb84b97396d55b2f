//! The one task that owns the session.
//!
//! The task performs what the state machine (`state/machine.rs`) decides and feeds the results
//! back. Slow work (an attempt, a write, a probe) runs in a task or thread of its own and is joined
//! here: a caller that gives up cancels nothing, and each slot is cleared when its work ends,
//! however it ends.

mod fleet;
mod persistence;
mod publish;
mod unauthorized;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{debug, error, info};

use self::fleet::{FleetLink, next_view};
use super::context::{FetchContext, FetchStep};
use super::endpoint::Issuer;
use super::outcome::{FetchError, FetchOutcome, FetchResult};
use super::probe::Probes;
use super::shared::{SessionCommand, SharedSession};
use super::token_fetch::TokenFetch;
use crate::clock::Clock;
use crate::config::{self, UpstreamAuth};
use crate::credentials::{CredentialSource, Credentials};
use crate::session::error::{Cause, Error};
use crate::session::spawn::{join_slot, run_blocking, spawn};
use crate::session::state::event::{Action, Event, FetchRequest};
use crate::session::state::machine::StateMachine;
use crate::session::state::schedule::{Jitter, Token};
use crate::session::store::record::StoredSession;
use crate::session::store::session_lock::SessionLock;
use crate::session::store::token_store::TokenStore;
use crate::session::store::write_queue::WriteQueue;
use crate::session::token::Bearer;

/// The task that owns the session, ready to be spawned.
#[derive(Debug)]
pub struct SessionTask<I> {
    context: Arc<FetchContext<I>>,
    shared: Arc<SharedSession>,
    commands: mpsc::UnboundedReceiver<SessionCommand>,
    state: StateMachine,
    wake: Option<Duration>,
    suspended: Duration,
    fetch: Option<JoinHandle<FetchEnd>>,
    /// How many attempts have ended.
    fetches_ended: u64,
    /// How many new pairs this task has got, by a login or a renewal.
    renewals: u64,
    record: Option<StoredSession>,
    lock: Option<SessionLock>,
    store: Option<TokenStore>,
    login_source: Option<CredentialSource>,
    problem: Option<String>,
    session_writes: WriteQueue,
    /// Writes of the flag that says whether the session is locked.
    lock_writes: WriteQueue,
    erasing: Option<JoinHandle<Option<String>>>,
    probes: Probes,
    waiters: Waiters,
    bearer: Option<Bearer>,
    /// Whether the API has refused the login that requests carry, under Basic.
    is_login_refused: bool,
    /// Whether the next attempt forgets that a login was refused.
    forgets_refusal: bool,
    /// Whether this machine was locked by itself, whatever its fleet is.
    locked_here: bool,
    fleet: Option<FleetLink>,
}

/// How an attempt ended, and what it leaves behind.
type FetchEnd = (Result<FetchResult, FetchError>, FetchOutcome);

/// Callers that wait for something to end.
#[derive(Debug, Default)]
struct Waiters {
    refreshed: Vec<oneshot::Sender<Result<(), Error>>>,
    changed: Vec<oneshot::Sender<()>>,
    erased: Vec<oneshot::Sender<()>>,
    lock_saved: Vec<oneshot::Sender<()>>,
    flushed: Vec<oneshot::Sender<()>>,
}

impl<I: Issuer> SessionTask<I> {
    pub(crate) fn new(
        config: &config::Session,
        directory: Option<PathBuf>,
        credentials: Credentials,
        issuer: I,
        clock: Clock,
        shared: Arc<SharedSession>,
        commands: mpsc::UnboundedReceiver<SessionCommand>,
    ) -> Self {
        let suspended = clock.suspended();
        let context = FetchContext::new(config.clone(), directory, credentials, issuer, clock);
        Self {
            context: Arc::new(context),
            shared,
            commands,
            state: StateMachine::new(),
            wake: None,
            suspended,
            fetch: None,
            fetches_ended: 0,
            renewals: 0,
            record: None,
            lock: None,
            store: None,
            login_source: None,
            problem: None,
            session_writes: WriteQueue::default(),
            lock_writes: WriteQueue::default(),
            erasing: None,
            probes: Probes::default(),
            waiters: Waiters::default(),
            bearer: None,
            is_login_refused: false,
            forgets_refusal: false,
            locked_here: false,
            fleet: None,
        }
    }

    /// Calls `hook` at each step of an attempt, where a test may end the process.
    #[doc(hidden)]
    pub fn with_step_hook(mut self, hook: fn(FetchStep)) -> Self {
        if let Some(context) = Arc::get_mut(&mut self.context) {
            context.on_step = hook;
        }
        self
    }

    /// Runs until every [`crate::session::Session`] is gone and all work under way has ended.
    pub async fn run(mut self) {
        let context = self.context.clone();
        let locked = run_blocking(move || {
            context.attempts.load();
            context.epochs.load();
            context.attempts.is_locked()
        })
        .await;
        self.set_problem(self.context.attempts.damage());
        self.locked_here = locked;
        self.step(Event::Started { locked });
        let clock = self.context.clock.clone();
        let mut closed = false;
        while !closed || !self.is_settled() {
            tokio::select! {
                command = self.commands.recv(), if !closed => match command {
                    Some(command) => self.handle_command(command),
                    None => {
                        closed = true;
                        self.context.stopping.send_replace(true);
                        self.step(Event::Stopping);
                    }
                },
                end = join_slot(&mut self.fetch) => self.finish_fetch(end),
                written = self.session_writes.wait_result(&clock) => self.finish_write(written),
                _ = self.lock_writes.wait_result(&clock) => self.finish_lock_flag(),
                problem = join_slot(&mut self.erasing) => self.finish_erase(problem.flatten()),
                (generation, found) = self.probes.wait_result() => {
                    self.finish_probe(generation, found);
                }
                () = sleep_until(&clock, self.wake) => self.step(Event::Tick),
                () = next_view(&mut self.fleet) => self.follow_fleet(),
            }
        }
        self.end_fleet().await;
    }

    fn handle_command(&mut self, command: SessionCommand) {
        match command {
            SessionCommand::Tick => self.step(Event::Tick),
            SessionCommand::RenewalRequested { generation, reply } => {
                self.step(Event::RenewalRequested { generation });
                let _ = reply.send(self.is_busy());
            }
            SessionCommand::ClassifyUnauthorized { rejection, request, reply } => {
                self.handle_unauthorized(rejection, request, reply);
                if self.is_basic() {
                    // The request has suspended the login (`SharedSession::suspend`).
                    self.publish();
                }
            }
            SessionCommand::Refresh(reply) => {
                self.waiters.refreshed.push(reply);
                self.step(Event::RefreshRequested);
            }
            SessionCommand::CredentialsChanged(reply) => {
                self.shared.clear_permissions();
                self.waiters.changed.push(reply);
                self.step(Event::CredentialsChanged);
            }
            SessionCommand::ForgetRefusal => self.forgets_refusal = true,
            SessionCommand::LogOut(reply) => {
                self.record = None;
                self.login_source = None;
                // The key of the file goes with the login: the next login may make another.
                self.store = None;
                self.shared.clear_permissions();
                self.waiters.erased.push(reply);
                self.log_out_fleet();
                self.step(Event::LoggedOut);
                info!("session forgotten");
            }
            SessionCommand::Lock { locked, everywhere, reply } => {
                self.waiters.lock_saved.push(reply);
                self.set_locked(locked, everywhere);
            }
            SessionCommand::LeaveFleet(reply) => self.leave_fleet(reply),
            SessionCommand::Flush(reply) => {
                self.waiters.flushed.push(reply);
                self.context.stopping.send_replace(true);
                self.step(Event::Stopping);
            }
        }
    }

    /// Advances the state machine, performs what follows, and replies to callers that need not wait
    /// any longer.
    fn step(&mut self, event: Event) {
        let asleep = self.context.clock.suspended();
        if self.suspended + MIN_SUSPEND <= asleep {
            debug!(slept_s = (asleep - self.suspended).as_secs(), "resumed");
            self.perform(Event::Resumed);
        }
        self.suspended = asleep;
        self.perform(event);
        self.publish();
        // The attempt that reads a changed login follows the one in flight, if there is one.
        if !self.is_busy() {
            self.waiters.changed.drain(..).for_each(notify);
            self.reply_if_refused();
        }
    }

    fn perform(&mut self, event: Event) {
        let now = self.context.clock.now().boot;
        self.wake = None;
        for action in self.state.step(event, now, Jitter(fastrand::u16(..1_000))) {
            match action {
                Action::Fetch(fetch) => self.start_fetch(fetch),
                Action::Store => self.write_session(),
                Action::Erase => self.erase(),
                Action::WakeAt(time) => self.wake = Some(time),
            }
        }
        if self.state.is_durable() && self.fetch.is_none() {
            self.lock = None;
        }
        self.reply_flushed();
    }

    /// Says whether a stop would lose nothing.
    fn is_settled(&self) -> bool {
        self.state.is_settled() && !self.lock_writes.is_writing() && self.is_fleet_settled()
    }

    fn reply_flushed(&mut self) {
        if self.is_settled() {
            self.waiters.flushed.drain(..).for_each(notify);
        }
    }

    fn start_fetch(&mut self, request: FetchRequest) {
        debug!(above = request.newer_than, failures = request.failures, "asking for a token");
        let outcome = FetchOutcome {
            record: self.record.clone(),
            lock: self.lock.take(),
            store: self.store.clone(),
            login_source: self.login_source,
            is_login_refused: self.is_login_refused,
            forgets_refusal: std::mem::take(&mut self.forgets_refusal),
            ..FetchOutcome::default()
        };
        let fetch = TokenFetch::new(self.context.clone(), request, outcome);
        self.fetch = Some(spawn(fetch.run()));
    }

    fn finish_fetch(&mut self, end: Option<FetchEnd>) {
        self.fetches_ended += 1;
        let (result, outcome) = end.unwrap_or_else(|| self.panicked_fetch());
        self.lock = outcome.lock;
        self.set_store(outcome.store.filter(|_| !self.state.is_logged_out()));
        self.login_source = outcome.login_source;
        self.set_problem(outcome.problem);
        let token = outcome.record.as_ref().and_then(|held| held.token(self.context.clock.now()));
        // After a logout meanwhile, nothing of the record may come back.
        self.record = outcome.record.filter(|_| !self.state.is_logged_out());
        if outcome.account_changed {
            self.perform(Event::AccountChanged);
        }
        // Replied to with the result, unless another attempt follows at once.
        let waiting = std::mem::take(&mut self.waiters.refreshed);
        let reply = match result {
            Ok(result) => {
                self.finish_success(result, token);
                Ok(())
            }
            Err(FetchError { error, wait }) => {
                self.log_failure(&error);
                self.step(Event::Failed { error: error.clone(), wait });
                if outcome.credentials_unreadable {
                    self.perform(Event::CredentialsUnreadable);
                }
                Err(error)
            }
        };
        self.drop_if_locked();
        if self.is_busy() {
            self.waiters.refreshed.extend(waiting);
        } else {
            waiting.into_iter().for_each(|waiter| drop(waiter.send(reply.clone())));
        }
        self.follow_fleet();
    }

    fn finish_success(&mut self, result: FetchResult, token: Option<Token>) {
        let is_new = match result {
            FetchResult::Renewed | FetchResult::LoggedIn => true,
            FetchResult::Resumed | FetchResult::Unchanged => false,
        };
        self.renewals += u64::from(is_new);
        self.is_login_refused = false;
        self.shared.record_confirmed_login();
        match token.filter(|_| result != FetchResult::Unchanged) {
            Some(token) => {
                self.log_issued(result, &token);
                self.step(Event::Issued { token, is_new });
            }
            None => self.step(Event::Unchanged),
        }
    }

    /// A defect of ours must not end the session: the attempt counts as failed, and another
    /// follows.
    fn panicked_fetch(&self) -> FetchEnd {
        error!("an attempt to get a token ended in a panic");
        let cause = Cause::new("an internal error; please report it");
        let error = Error::Unavailable { retry_after: Duration::ZERO, cause: Some(cause) };
        let outcome = FetchOutcome {
            record: self.record.clone(),
            login_source: self.login_source,
            ..FetchOutcome::default()
        };
        (Err(error.into()), outcome)
    }

    /// Replies to callers that wait for a refresh which is not tried for now.
    fn reply_if_refused(&mut self) {
        let is_unsaved = self.state.is_settled() && !self.state.is_durable();
        let is_refused = is_unsaved || self.state.next_attempt().is_none();
        if self.waiters.refreshed.is_empty() || !is_refused {
            return;
        }
        let shut = self.state.error().filter(|_| self.state.is_shut());
        let error = shut.unwrap_or_else(|| Error::Unavailable {
            retry_after: Duration::ZERO,
            cause: Some(Cause::new("the session cannot be saved, so it is not renewed")),
        });
        let waiting = self.waiters.refreshed.drain(..);
        waiting.for_each(|waiter| drop(waiter.send(Err(error.clone()))));
    }

    /// Says whether requests carry the login itself.
    fn is_basic(&self) -> bool {
        self.context.issuer.auth() == UpstreamAuth::Basic
    }

    fn is_busy(&self) -> bool {
        self.state.is_busy(self.context.clock.now().boot)
    }
}

/// Replies to a caller, which may have given up.
fn notify(reply: oneshot::Sender<()>) {
    let _ = reply.send(());
}

async fn sleep_until(clock: &Clock, time: Option<Duration>) {
    match time {
        Some(time) => clock.wait_until(time).await,
        None => std::future::pending().await,
    }
}

/// Shortest suspend that postpones a renewal.
const MIN_SUSPEND: Duration = Duration::from_secs(1);
