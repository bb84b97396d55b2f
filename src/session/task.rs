//! The one task that owns the session.
//!
//! It performs what the decision (`state.rs`) says and feeds the results back. Whatever may take
//! long (an attempt, a write, a probe) is spawned apart and joined here, so it is cancelled by
//! nobody and its slot is cleared when it ends, however it ends.

mod persistence;
mod publish;
mod spawn;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{debug, error, info, warn};

pub(super) use self::spawn::{join_slot, run_blocking, spawn, spawn_blocking};

use super::Bearer;
use super::endpoint::{Issuer, Probe};
use super::error::{Cause, Error};
use super::event::{Action, Event, FetchRequest};
use super::permission_cache::RequestKey;
use super::probe::{ProbeVerdict, ProbeWaiter, Probes, RejectedToken};
use super::record::StoredSession;
use super::schedule::Jitter;
use super::sealed_file::SessionLock;
use super::shared::{SessionCommand, SharedSession};
use super::state::{Durability, StateMachine};
use super::status::StoreInfo;
pub use super::token_fetch::FetchStep;
use super::token_fetch::{FetchContext, FetchOutcome, FetchResult, TokenFetch};
use super::token_store::TokenStore;
use super::write_queue::WriteQueue;
use crate::clock::Clock;
use crate::config;
use crate::credentials::{CredentialSource, Credentials};

/// The task's body, ready to be spawned.
#[derive(Debug)]
pub struct SessionTask<I> {
    context: Arc<FetchContext<I>>,
    shared: Arc<SharedSession>,
    commands: mpsc::UnboundedReceiver<SessionCommand>,
    state: StateMachine,
    wake: Option<Duration>,
    suspended: Duration,
    fetch: Option<JoinHandle<(FetchResult, FetchOutcome)>>,
    fetches_ended: u64,
    record: Option<StoredSession>,
    lock: Option<SessionLock>,
    store: Option<(TokenStore, StoreInfo)>,
    login_source: Option<CredentialSource>,
    problem: Option<String>,
    session_writes: WriteQueue,
    /// Whether the session is locked, at rest.
    lock_writes: WriteQueue,
    erasing: Option<JoinHandle<Option<String>>>,
    probes: Probes,
    waiters: Waiters,
    bearer: Option<Bearer>,
}

/// Who asked for something that takes a while.
#[derive(Debug, Default)]
struct Waiters {
    refreshed: Vec<oneshot::Sender<Result<(), Error>>>,
    changed: Vec<oneshot::Sender<()>>,
    erased: Vec<oneshot::Sender<()>>,
    lock_saved: Vec<oneshot::Sender<()>>,
    flushed: Vec<oneshot::Sender<()>>,
}

impl<I: Issuer> SessionTask<I> {
    pub(super) fn new(
        config: &config::Session,
        directory: Option<PathBuf>,
        credentials: Credentials,
        issuer: I,
        clock: Clock,
        shared: Arc<SharedSession>,
        commands: mpsc::UnboundedReceiver<SessionCommand>,
    ) -> Self {
        let suspended = clock.suspended();
        let desk = FetchContext::new(config.clone(), directory, credentials, issuer, clock);
        Self {
            context: Arc::new(desk),
            shared,
            commands,
            state: StateMachine::new(),
            wake: None,
            suspended,
            fetch: None,
            fetches_ended: 0,
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
        }
    }

    /// Calls `seen` at each step of an attempt, where a test may end the process.
    #[doc(hidden)]
    pub fn with_step_hook(mut self, seen: fn(FetchStep)) -> Self {
        if let Some(desk) = Arc::get_mut(&mut self.context) {
            desk.on_step = seen;
        }
        self
    }

    /// Runs until every [`super::Session`] is gone and what is under way has ended.
    pub async fn run(mut self) {
        let desk = self.context.clone();
        let locked = run_blocking(move || {
            desk.attempts.load();
            desk.epochs.load();
            desk.attempts.is_locked()
        })
        .await;
        self.step(Event::Started { locked });
        let clock = self.context.clock.clone();
        let mut closed = false;
        while !closed || !self.is_settled() {
            tokio::select! {
                command = self.commands.recv(), if !closed => match command {
                    Some(command) => self.handle_command(command),
                    None => {
                        closed = true;
                        self.step(Event::Stopping);
                    }
                },
                landed = join_slot(&mut self.fetch) => self.finish_fetch(landed),
                wrote = self.session_writes.wait_result(&clock) => self.finish_write(wrote),
                _ = self.lock_writes.wait_result(&clock) => self.finish_lock_flag(),
                problem = join_slot(&mut self.erasing) => self.finish_erase(problem.flatten()),
                (generation, found) = self.probes.wait_result() => drop(self.finish_probe(generation, found)),
                () = sleep_until(&clock, self.wake) => self.step(Event::Tick),
            }
        }
    }

    fn handle_command(&mut self, command: SessionCommand) {
        match command {
            SessionCommand::Tick => self.step(Event::Tick),
            SessionCommand::RenewalRequested { generation, reply } => {
                self.step(Event::RenewalRequested { generation });
                let _ = reply.send(self.is_busy());
            }
            SessionCommand::ClassifyUnauthorized { rejection, asked, reply } => {
                self.handle_unauthorized(rejection, asked, reply)
            }
            SessionCommand::Refresh(reply) => self.refresh(reply),
            SessionCommand::CredentialsChanged(reply) => {
                self.shared.clear_permissions();
                self.waiters.changed.push(reply);
                self.step(Event::CredentialsChanged);
            }
            SessionCommand::LogOut(reply) => {
                self.record = None;
                self.login_source = None;
                self.shared.clear_permissions();
                self.waiters.erased.push(reply);
                self.step(Event::LoggedOut);
                info!("session forgotten");
            }
            SessionCommand::Lock { locked, reply } => {
                // At once, and whatever the disk does: only who asked waits for that.
                self.waiters.lock_saved.push(reply);
                self.write_lock_flag(locked);
                self.step(if locked { Event::Locked } else { Event::Unlocked });
                self.drop_if_locked();
                info!(locked, "session locked or unlocked");
            }
            SessionCommand::Flush(reply) => {
                self.waiters.flushed.push(reply);
                self.step(Event::Stopping);
            }
        }
    }

    /// Advances the decision and performs what follows.
    fn step(&mut self, event: Event) {
        let asleep = self.context.clock.suspended();
        if self.suspended + MIN_SUSPEND <= asleep {
            let slept = Duration::from_secs((asleep - self.suspended).as_secs());
            debug!(slept = %humantime::format_duration(slept), "resumed");
            self.perform(Event::Resumed);
        }
        self.suspended = asleep;
        self.perform(event);
        self.publish();
        // The attempt that looks at a changed login follows the one in flight, if there is one.
        if !self.is_busy() {
            self.waiters.changed.drain(..).for_each(notify);
        }
    }

    fn perform(&mut self, event: Event) {
        let now = self.context.clock.now().boot;
        self.wake = None;
        for action in self.state.step(event, now, jitter()) {
            match action {
                Action::Fetch(fetch) => self.start_fetch(fetch),
                Action::Store => self.write_session(),
                Action::Erase => self.erase(),
                Action::WakeAt(time) => self.wake = Some(time),
            }
        }
        if self.state.store() == Durability::Durable && self.fetch.is_none() {
            self.lock = None;
        }
        self.reply_flushed();
    }

    /// Says whether nothing is under way that a stop would lose.
    fn is_settled(&self) -> bool {
        self.state.is_settled() && !self.lock_writes.is_writing()
    }

    fn reply_flushed(&mut self) {
        if self.is_settled() {
            self.waiters.flushed.drain(..).for_each(notify);
        }
    }

    fn start_fetch(&mut self, fetch: FetchRequest) {
        debug!(above = fetch.newer_than, failures = fetch.failures, "asking for a token");
        let landing = FetchOutcome {
            record: self.record.clone(),
            lock: self.lock.take(),
            store: self.store.clone(),
            login_source: self.login_source,
            problem: None,
            is_superseded: false,
            account_changed: false,
            credentials_unreadable: false,
        };
        let flight = TokenFetch::new(self.context.clone(), fetch, landing);
        self.fetch = Some(spawn(flight.run()));
    }

    fn finish_fetch(&mut self, landed: Option<(FetchResult, FetchOutcome)>) {
        self.fetches_ended += 1;
        let (end, landing) = landed.unwrap_or_else(|| {
            // A defect of ours must not end the session: it is tried again like any failure.
            error!("an attempt to get a token ended in a panic");
            let cause = Some(Cause::new("an internal error; please report it"));
            let error = Error::Unavailable { retry_after: Duration::ZERO, cause };
            let held = self.record.clone();
            let origin = self.login_source;
            (
                FetchResult::Failed(error, None),
                FetchOutcome { record: held, login_source: origin, ..FetchOutcome::default() },
            )
        });
        self.lock = landing.lock;
        self.set_store(landing.store);
        self.login_source = landing.login_source;
        self.set_problem(landing.problem);
        let token = landing.record.as_ref().and_then(|held| held.token(self.context.clock.now()));
        // Logged out meanwhile: nothing of it may come back.
        self.record = landing.record.filter(|_| !self.state.is_logged_out());
        if landing.account_changed {
            self.perform(Event::AccountChanged);
        }
        let outcome = match (end, token) {
            (
                end @ (FetchResult::Renewed | FetchResult::LoggedIn | FetchResult::Resumed),
                Some(token),
            ) => {
                self.log_issued(&end, &token);
                self.step(Event::Issued { token, store: !matches!(end, FetchResult::Resumed) });
                Ok(())
            }
            (
                FetchResult::Unchanged
                | FetchResult::Renewed
                | FetchResult::LoggedIn
                | FetchResult::Resumed,
                _,
            ) => {
                self.step(Event::Unchanged);
                Ok(())
            }
            (FetchResult::Failed(error, wait), _) => {
                self.log_failure(&error);
                self.step(Event::Failed { error: error.clone(), wait });
                if landing.credentials_unreadable {
                    self.perform(Event::CredentialsUnreadable);
                }
                Err(error)
            }
        };
        self.drop_if_locked();
        if !self.is_busy() {
            self.reply_refreshed(&outcome);
        }
    }

    fn handle_unauthorized(
        &mut self,
        rejection: RejectedToken,
        asked: Option<RequestKey>,
        reply: oneshot::Sender<ProbeVerdict>,
    ) {
        let now = self.context.clock.now().boot;
        let is_verdict = asked.as_ref().is_some_and(RequestKey::is_probe);
        // Its like may have been judged since its request looked.
        let is_known =
            asked.as_ref().is_some_and(|asked| self.shared.permission_cache().contains(asked, now));
        let current = self.state.token().map(|token| token.generation);
        let header = self.bearer.as_ref().map(|bearer| bearer.header.clone());
        match header.filter(|_| current == Some(rejection.generation)) {
            Some(_) if is_verdict => {
                let judged = self.finish_probe(rejection.generation, Probe::Dead);
                let _ = reply.send(judged);
            }
            Some(_) if is_known => drop(reply.send(ProbeVerdict::AliveBefore)),
            Some(header) => {
                let waiting = ProbeWaiter { rejection, request: asked, reply };
                let begun = self.probes.submit(&self.context, waiting, header, now);
                self.shared.set_probes_started(begun);
            }
            None => drop(reply.send(ProbeVerdict::Replaced)),
        }
    }

    /// Takes a verdict, tells everybody who waits for one, and returns it.
    fn finish_probe(&mut self, generation: u64, found: Probe) -> ProbeVerdict {
        let judged = match found {
            Probe::Alive => {
                self.step(Event::TokenConfirmed { generation });
                ProbeVerdict::Alive
            }
            Probe::Dead => {
                let proven = self.shared.is_marked_valid(generation);
                warn!(generation, "token rejected by Nexudus");
                self.step(Event::TokenRejected { generation, proven });
                let current = self.state.token().map(|token| token.generation);
                match self.state.lacks_access() && current == Some(generation) {
                    true => ProbeVerdict::NoAccess,
                    false => ProbeVerdict::Replaced,
                }
            }
            Probe::Unclear => ProbeVerdict::Unclear,
        };
        let (now, shared) = (self.context.clock.now().boot, &self.shared);
        self.probes
            .resolve(generation, judged, now, |asked| shared.permission_cache().record(asked, now));
        judged
    }

    fn reply_refreshed(&mut self, outcome: &Result<(), Error>) {
        self.waiters.refreshed.drain(..).for_each(|reply| drop(reply.send(outcome.clone())));
    }

    fn refresh(&mut self, reply: oneshot::Sender<Result<(), Error>>) {
        self.waiters.refreshed.push(reply);
        self.step(Event::RefreshRequested);
        self.reply_if_refused();
    }

    /// Answers who asked for a refresh that will not be tried for now.
    fn reply_if_refused(&mut self) {
        if self.waiters.refreshed.is_empty() || self.is_busy() {
            return;
        }
        let unsaved = "the session cannot be saved, so it is not renewed";
        let shut = self.state.error().filter(|_| self.state.is_shut());
        self.reply_refreshed(&Err(shut.unwrap_or_else(|| Error::Unavailable {
            retry_after: Duration::ZERO,
            cause: Some(Cause::new(unsaved)),
        })));
    }

    fn is_busy(&self) -> bool {
        self.state.is_busy(self.context.clock.now().boot)
    }
}

/// Tells one who may have lost patience.
fn notify(reply: oneshot::Sender<()>) {
    let _ = reply.send(());
}

async fn sleep_until(clock: &Clock, time: Option<Duration>) {
    match time {
        Some(time) => clock.wait_until(time).await,
        None => std::future::pending().await,
    }
}

fn jitter() -> Jitter {
    let random = uuid::Uuid::new_v4().as_u128() % 1_000;
    Jitter(random.try_into().unwrap_or_default())
}

/// Shortest suspend worth a thought.
const MIN_SUSPEND: Duration = Duration::from_secs(1);
