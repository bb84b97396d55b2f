//! The one task that owns the session.
//!
//! It performs what the decision (`state.rs`) says and feeds the results back. Whatever may take
//! long (an attempt, a write, a probe) is spawned apart and joined here, so it is cancelled by
//! nobody and its slot is cleared when it ends, however it ends.

mod report;
mod rest;
mod tasks;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{debug, error, info, warn};

pub(super) use self::tasks::{apart, apart_blocking, blocking, join};

use super::Bearer;
use super::asked::Asked;
use super::error::{Cause, Error};
use super::event::{Action, Event, Fetch};
pub use super::flight::Step;
use super::flight::{Desk, End, Flight, Landing};
use super::home::Home;
use super::issuer::{Issuer, Probe};
use super::pace::Jitter;
use super::probes::{Judged, Probes, Rejection, Waits};
use super::record::Record;
use super::saved::Lock;
use super::shared::{Command, Shared};
use super::state::{State, Store};
use super::view::Keeping;
use super::writer::Writer;
use crate::clock::Clock;
use crate::config;
use crate::credentials::{Credentials, Origin};

/// The task's body, ready to be spawned.
#[derive(Debug)]
pub struct Keeper<I> {
    desk: Arc<Desk<I>>,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedReceiver<Command>,
    state: State,
    wake: Option<Duration>,
    asleep: Duration,
    flight: Option<JoinHandle<(End, Landing)>>,
    flights: u64,
    held: Option<Record>,
    lock: Option<Lock>,
    home: Option<(Home, Keeping)>,
    origin: Option<Origin>,
    problem: Option<String>,
    writer: Writer,
    /// Whether the session is locked, at rest.
    flag: Writer,
    erasing: Option<JoinHandle<Option<String>>>,
    probes: Probes,
    waiting: Waiting,
    bearer: Option<Bearer>,
}

/// Who asked for something that takes a while.
#[derive(Debug, Default)]
struct Waiting {
    refreshed: Vec<oneshot::Sender<Result<(), Error>>>,
    changed: Vec<oneshot::Sender<()>>,
    erased: Vec<oneshot::Sender<()>>,
    flagged: Vec<oneshot::Sender<()>>,
    settled: Vec<oneshot::Sender<()>>,
}

impl<I: Issuer> Keeper<I> {
    pub(super) fn new(
        config: &config::Session,
        directory: Option<PathBuf>,
        credentials: Credentials,
        issuer: I,
        clock: Clock,
        shared: Arc<Shared>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        let asleep = clock.asleep();
        let desk = Desk::new(config.clone(), directory, credentials, issuer, clock);
        Self {
            desk: Arc::new(desk),
            shared,
            commands,
            state: State::new(),
            wake: None,
            asleep,
            flight: None,
            flights: 0,
            held: None,
            lock: None,
            home: None,
            origin: None,
            problem: None,
            writer: Writer::default(),
            flag: Writer::default(),
            erasing: None,
            probes: Probes::default(),
            waiting: Waiting::default(),
            bearer: None,
        }
    }

    /// Calls `seen` at each step of an attempt, where a test may end the process.
    #[doc(hidden)]
    pub fn at_each_step(mut self, seen: fn(Step)) -> Self {
        if let Some(desk) = Arc::get_mut(&mut self.desk) {
            desk.seen = seen;
        }
        self
    }

    /// Runs until every [`super::Session`] is gone and what is under way has ended.
    pub async fn run(mut self) {
        let desk = self.desk.clone();
        let locked = blocking(move || {
            desk.attempts.read();
            desk.epochs.read();
            desk.attempts.is_locked()
        })
        .await;
        self.step(Event::Started { locked });
        let clock = self.desk.clock.clone();
        let mut closed = false;
        while !closed || !self.is_settled() {
            tokio::select! {
                command = self.commands.recv(), if !closed => match command {
                    Some(command) => self.obey(command),
                    None => {
                        closed = true;
                        self.step(Event::Stopping);
                    }
                },
                landed = join(&mut self.flight) => self.landed(landed),
                wrote = self.writer.ended(&clock) => self.wrote(wrote),
                _ = self.flag.ended(&clock) => self.flag_kept(),
                problem = join(&mut self.erasing) => self.erased(problem.flatten()),
                (generation, found) = self.probes.ended() => drop(self.probed(generation, found)),
                () = reaches(&clock, self.wake) => self.step(Event::Look),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Look => self.step(Event::Look),
            Command::Needed { generation, reply } => {
                self.step(Event::Needed { generation });
                let _ = reply.send(self.is_busy());
            }
            Command::Judge { rejection, asked, reply } => self.judge(rejection, asked, reply),
            Command::Refresh(reply) => self.refresh(reply),
            Command::Changed(reply) => {
                self.shared.forget_permissions();
                self.waiting.changed.push(reply);
                self.step(Event::Changed);
            }
            Command::Forget(reply) => {
                self.held = None;
                self.origin = None;
                self.shared.forget_permissions();
                self.waiting.erased.push(reply);
                self.step(Event::Forgotten);
                info!("session forgotten");
            }
            Command::Lock { locked, reply } => {
                // At once, and whatever the disk does: only who asked waits for that.
                self.waiting.flagged.push(reply);
                self.keep_lock_flag(locked);
                self.step(if locked { Event::Locked } else { Event::Unlocked });
                self.drop_if_locked();
                info!(locked, "session locked or unlocked");
            }
            Command::Settle(reply) => {
                self.waiting.settled.push(reply);
                self.step(Event::Stopping);
            }
        }
    }

    /// Advances the decision and performs what follows.
    fn step(&mut self, event: Event) {
        let asleep = self.desk.clock.asleep();
        if self.asleep + SUSPENDED <= asleep {
            let slept = Duration::from_secs((asleep - self.asleep).as_secs());
            debug!(slept = %humantime::format_duration(slept), "resumed");
            self.perform(Event::Resumed);
        }
        self.asleep = asleep;
        self.perform(event);
        self.publish();
        // The attempt that looks at a changed login follows the one in flight, if there is one.
        if !self.is_busy() {
            self.waiting.changed.drain(..).for_each(done);
        }
    }

    fn perform(&mut self, event: Event) {
        let now = self.desk.clock.now().boot;
        self.wake = None;
        for action in self.state.step(event, now, jitter()) {
            match action {
                Action::Fetch(fetch) => self.take_off(fetch),
                Action::Store => self.store(),
                Action::Erase => self.erase(),
                Action::WakeAt(time) => self.wake = Some(time),
            }
        }
        if self.state.store() == Store::Durable && self.flight.is_none() {
            self.lock = None;
        }
        self.answer_settled();
    }

    /// Says whether nothing is under way that a stop would lose.
    fn is_settled(&self) -> bool {
        self.state.is_settled() && !self.flag.is_writing()
    }

    fn answer_settled(&mut self) {
        if self.is_settled() {
            self.waiting.settled.drain(..).for_each(done);
        }
    }

    fn take_off(&mut self, fetch: Fetch) {
        debug!(above = fetch.above, failures = fetch.failures, "asking for a token");
        let landing = Landing {
            held: self.held.clone(),
            lock: self.lock.take(),
            home: self.home.clone(),
            origin: self.origin,
            problem: None,
            superseded: false,
            disowned: false,
            unread: false,
        };
        let flight = Flight::new(self.desk.clone(), fetch, landing);
        self.flight = Some(apart(flight.fly()));
    }

    fn landed(&mut self, landed: Option<(End, Landing)>) {
        self.flights += 1;
        let (end, landing) = landed.unwrap_or_else(|| {
            // A defect of ours must not end the session: it is tried again like any failure.
            error!("an attempt to get a token ended in a panic");
            let cause = Some(Cause::new("an internal error; please report it"));
            let error = Error::Unavailable { retry_after: Duration::ZERO, cause };
            let held = self.held.clone();
            let origin = self.origin;
            (End::Failed(error, None), Landing { held, origin, ..Landing::default() })
        });
        self.lock = landing.lock;
        self.take_home(landing.home);
        self.origin = landing.origin;
        self.note_problem(landing.problem);
        let token = landing.held.as_ref().and_then(|held| held.token(self.desk.clock.now()));
        // Logged out meanwhile: nothing of it may come back.
        self.held = landing.held.filter(|_| !self.state.is_forgotten());
        if landing.disowned {
            self.perform(Event::Disowned);
        }
        let outcome = match (end, token) {
            (end @ (End::Renewed | End::LoggedIn | End::Read), Some(token)) => {
                self.say_issued(&end, &token);
                self.step(Event::Issued { token, store: !matches!(end, End::Read) });
                Ok(())
            }
            (End::Kept | End::Renewed | End::LoggedIn | End::Read, _) => {
                self.step(Event::Kept);
                Ok(())
            }
            (End::Failed(error, wait), _) => {
                self.say_failure(&error);
                self.step(Event::Failed { error: error.clone(), wait });
                if landing.unread {
                    self.perform(Event::Unread);
                }
                Err(error)
            }
        };
        self.drop_if_locked();
        if !self.is_busy() {
            self.answer_refreshed(&outcome);
        }
    }

    fn judge(
        &mut self,
        rejection: Rejection,
        asked: Option<Asked>,
        reply: oneshot::Sender<Judged>,
    ) {
        let now = self.desk.clock.now().boot;
        let is_verdict = asked.as_ref().is_some_and(Asked::is_probe);
        // Its like may have been judged since its request looked.
        let is_known =
            asked.as_ref().is_some_and(|asked| self.shared.remembered().knows(asked, now));
        let current = self.state.token().map(|token| token.generation);
        let header = self.bearer.as_ref().map(|bearer| bearer.header.clone());
        match header.filter(|_| current == Some(rejection.generation)) {
            Some(_) if is_verdict => {
                let judged = self.probed(rejection.generation, Probe::Dead);
                let _ = reply.send(judged);
            }
            Some(_) if is_known => drop(reply.send(Judged::WasAlive)),
            Some(header) => {
                let waiting = Waits { rejection, asked, reply };
                let begun = self.probes.ask(&self.desk, waiting, header, now);
                self.shared.have_begun(begun);
            }
            None => drop(reply.send(Judged::Replaced)),
        }
    }

    /// Takes a verdict, tells everybody who waits for one, and returns it.
    fn probed(&mut self, generation: u64, found: Probe) -> Judged {
        let judged = match found {
            Probe::Alive => {
                self.step(Event::Alive { generation });
                Judged::Alive
            }
            Probe::Dead => {
                let proven = self.shared.is_proven(generation);
                warn!(generation, "token rejected by Nexudus");
                self.step(Event::Rejected { generation, proven });
                let current = self.state.token().map(|token| token.generation);
                match self.state.lacks_access() && current == Some(generation) {
                    true => Judged::NoAccess,
                    false => Judged::Replaced,
                }
            }
            Probe::Unclear => Judged::Unclear,
        };
        let (now, shared) = (self.desk.clock.now().boot, &self.shared);
        self.probes.answer(generation, judged, now, |asked| shared.remembered().note(asked, now));
        judged
    }

    fn answer_refreshed(&mut self, outcome: &Result<(), Error>) {
        self.waiting.refreshed.drain(..).for_each(|reply| drop(reply.send(outcome.clone())));
    }

    fn refresh(&mut self, reply: oneshot::Sender<Result<(), Error>>) {
        self.waiting.refreshed.push(reply);
        self.step(Event::Forced);
        self.refuse_refresh();
    }

    /// Answers who asked for a refresh that will not be tried for now.
    fn refuse_refresh(&mut self) {
        if self.waiting.refreshed.is_empty() || self.is_busy() {
            return;
        }
        let unsaved = "the session cannot be saved, so it is not renewed";
        let shut = self.state.error().filter(|_| self.state.is_shut());
        self.answer_refreshed(&Err(shut.unwrap_or_else(|| Error::Unavailable {
            retry_after: Duration::ZERO,
            cause: Some(Cause::new(unsaved)),
        })));
    }

    fn is_busy(&self) -> bool {
        self.state.is_busy(self.desk.clock.now().boot)
    }
}

/// Tells one who may have lost patience.
fn done(reply: oneshot::Sender<()>) {
    let _ = reply.send(());
}

async fn reaches(clock: &Clock, time: Option<Duration>) {
    match time {
        Some(time) => clock.reaches(time).await,
        None => std::future::pending().await,
    }
}

fn jitter() -> Jitter {
    let random = uuid::Uuid::new_v4().as_u128() % 1_000;
    Jitter(random.try_into().unwrap_or_default())
}

/// Shortest suspend worth a thought.
const SUSPENDED: Duration = Duration::from_secs(1);
