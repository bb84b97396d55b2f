//! A member of a fleet as a pure function: no clock, no I/O, no task.
//!
//! [`Member::step`] takes an event and the time, and returns what to do next. The driver performs the
//! actions and feeds the results back: calls to the engine one at a time, requests to the issuer one
//! at a time, saves one at a time. An event only changes what is known; `advance` at the end of each
//! step decides what may start:
//!
//! | what | starts when |
//! |---|---|
//! | a save | what must survive a restart has changed, and no save runs |
//! | any write to the engine | all that must survive is saved |
//! | a poll | its time comes, or a hint came |
//! | the lease is asked for | the pair is due, the engine answers, and no wait is on |
//! | a request to the issuer | the intent is durable (or expiry is near), and 35 s of the lease are left |
//! | a chain of its own | the member is cut off near expiry, this login was accepted, once an epoch |
//!
//! | file | has |
//! |---|---|
//! | `types.rs` | events and actions |
//! | `held.rs` | the pair that is served |
//! | `work.rs` | the lease, and what is decided under it |
//! | `spending.rs` | from the intent to the commit |
//! | `reading.rs` | what the engine says, and what is written again |
//! | `contact.rs` | when the engine was last known to be current |
//! | `apart.rs` | the chain of a member that is cut off |
//! | `refusal.rs` | a refused password, which no newer record takes back |
//! | `commands.rs` | what a person asks for |
//! | `local.rs` | what survives a restart |

mod apart;
mod commands;
mod contact;
mod held;
mod local;
mod reading;
mod refusal;
mod spending;
mod types;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use self::commands::{Chains, Command};
pub use self::contact::Heard;
use self::held::Held;
pub use self::local::{Apart, Local};
pub use self::types::{
    Action, Bearer, Event, Grant, GrantError, Note, Now, Password, Redemption, Setup,
};
use self::work::Phase;
use crate::behind::Behind;
use crate::call::Call;
use crate::decide::{Block, OpenIntent};
use crate::fence::Fence;
use crate::record::{Attempts, Epoch, Incarnation, Session, Spare};

/// A member.
#[derive(Debug)]
pub struct Member {
    setup: Setup,
    local: Local,
    held: Option<Held>,
    phase: Phase,
    in_flight: Option<InFlight>,
    queue: VecDeque<Call>,
    commands: VecDeque<Command>,
    save: Save,
    engine: EngineState,
    /// Generations that this run saw refused.
    refused: BTreeSet<Fence>,
    /// Intents of this run whose answer was lost.
    unresolved: BTreeSet<Fence>,
    blocked: Option<Block>,
    login_wanted: bool,
    /// No proof of it before.
    login_at: Duration,
    /// The pair of a login that was proved elsewhere.
    brought: Option<Session>,
    /// The epoch that the last try of the password belongs to.
    tried_in: Fence,
    /// The attempts before a login that a person gave.
    login_before: Option<Attempts>,
    /// No lease before.
    work_at: Duration,
    failures: u32,
    apart_phase: apart::ApartPhase,
    /// No chain of its own before.
    apart_at: Duration,
    notes: Vec<Note>,
}

/// What is known of the engine.
#[derive(Clone, Debug, Default)]
struct EngineState {
    /// The engine's clock less the boot clock, in milliseconds.
    offset: Option<i64>,
    contact: Option<Duration>,
    is_away: bool,
    /// Since when no poll found it behind.
    clean_since: Option<Duration>,
    /// When it was last known to be current.
    heard: Option<Duration>,
    /// Until when callers with keys are served, also by what an earlier run has heard.
    serves_keys_until: Option<Duration>,
    polls: u64,
    answered: u64,
    poll_at: Duration,
    polled: Duration,
    /// Whether a hint came while a poll was under way, which may have read too early.
    is_hinted: bool,
    failures: u32,
    revision: Option<String>,
    behind: Option<Behind>,
    intents: Vec<OpenIntent>,
    spares: Vec<(Fence, Spare)>,
    members: BTreeSet<Incarnation>,
    /// Whether the last poll found nothing to write again.
    has_reported: bool,
    /// Registers that are new here and that the engine does not have yet, with their fences.
    unwritten: BTreeMap<String, Fence>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InFlight {
    Poll,
    Queued,
    Command,
    Work(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Save {
    Clean,
    Dirty,
    Running,
    RunningAndDirty,
}

impl Member {
    /// Makes a member of what survived the last run.
    pub fn new(setup: Setup, mut local: Local, now: Now) -> Self {
        local.mine.insert(setup.me.clone());
        let mut member = Self {
            setup,
            local,
            held: None,
            phase: Phase::Idle,
            in_flight: None,
            queue: VecDeque::new(),
            commands: VecDeque::new(),
            save: Save::Dirty,
            engine: EngineState::default(),
            refused: BTreeSet::new(),
            unresolved: BTreeSet::new(),
            blocked: None,
            login_wanted: false,
            login_at: Duration::ZERO,
            brought: None,
            tried_in: Fence::ZERO,
            login_before: None,
            work_at: Duration::ZERO,
            failures: 0,
            apart_phase: apart::ApartPhase::Idle,
            apart_at: Duration::ZERO,
            notes: vec![],
        };
        member.read_refusal();
        member.hold(false, now);
        member.remember_contact(now);
        member
    }

    /// Takes an event and the time; returns what to do.
    pub fn step(&mut self, event: Event, now: Now) -> Vec<Action> {
        match event {
            Event::Tick => {}
            Event::Hinted => self.hinted(now),
            Event::Replied(result) => self.replied(result, now),
            Event::Redeemed(result) => self.redeemed(result, now),
            Event::Saved | Event::SaveFailed => {
                // A full disk does not keep the pair from its other copy, the engine.
                self.save = match self.save {
                    Save::RunningAndDirty => Save::Dirty,
                    Save::Clean | Save::Dirty | Save::Running => Save::Clean,
                };
            }
            Event::Rejected(access) => self.rejected(&access, now),
            Event::Asked(command) => self.asked(command),
        }
        self.advance(now)
    }

    /// Says whether the fleet is locked or logged out, as far as this member knows.
    pub fn is_shut(&self) -> bool {
        let is_locked = self.local.lock.get().is_some_and(|(_, lock)| lock.locked);
        is_locked || self.is_logged_out()
    }

    /// Says whether a request with the key of this client may be served, as far as that is known: a
    /// member that is cut off for long refuses it, because it could not hear of a revocation.
    pub fn admits(&self, id: &str, now: Now) -> bool {
        let is_fresh = self.serves_keys_until().is_some_and(|end| now.boot <= end);
        is_fresh && matches!(self.local.set.client(id), Some(crate::register::Entry::Live(..)))
    }

    /// Returns how long ago the engine last answered; `None` if it never has.
    pub fn silence(&self, now: Now) -> Option<Duration> {
        self.engine.contact.map(|contact| now.boot.saturating_sub(contact))
    }

    /// Returns why only a person can help, if that is so.
    pub fn blocked(&self) -> Option<Block> {
        self.blocked
    }

    /// Returns what this member would keep across a restart.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// Returns the members of the last list.
    pub fn members(&self) -> &BTreeSet<Incarnation> {
        &self.engine.members
    }

    fn is_logged_out(&self) -> bool {
        self.local.epoch.get().is_some_and(|(_, epoch)| *epoch == Epoch::Logout)
    }

    /// The engine's time, else the member's own wall clock.
    fn engine_time(&self, now: Now) -> u64 {
        let boot = i64::try_from(now.boot.as_millis()).unwrap_or(i64::MAX);
        self.engine
            .offset
            .map_or(now.wall, |offset| boot.saturating_add(offset).try_into().unwrap_or_default())
    }

    fn is_cut_off(&self, now: Now) -> bool {
        self.engine.is_away
            && self.silence(now).is_none_or(|silence| silence > self.setup.timing.cut_off)
    }

    fn changed(&mut self) {
        self.save = match self.save {
            Save::Clean | Save::Dirty => Save::Dirty,
            Save::Running | Save::RunningAndDirty => Save::RunningAndDirty,
        };
    }

    fn advance(&mut self, now: Now) -> Vec<Action> {
        let mut actions = vec![];
        self.apart(now, &mut actions);
        self.save_what_changed(&mut actions);
        // An intent is noted before the request that it is for.
        actions.extend(self.notes.drain(..).map(Action::Note));
        self.post(now, &mut actions);
        if self.in_flight.is_none()
            && let Some(call) = self.next_call(now)
        {
            actions.push(Action::Call(call));
        }
        actions.extend(self.notes.drain(..).map(Action::Note));
        actions.push(Action::WakeAt(self.next_time(now)));
        actions
    }

    fn save_what_changed(&mut self, actions: &mut Vec<Action>) {
        if self.save == Save::Dirty {
            self.save = Save::Running;
            actions.push(Action::Save(Box::new(self.local.clone())));
        }
    }

    /// Chooses the next call: a save that runs holds back every write.
    fn next_call(&mut self, now: Now) -> Option<Call> {
        let is_saved = self.save == Save::Clean;
        if now.boot < self.engine.poll_at && self.engine.is_away {
            return None;
        }
        if is_saved && let Some(call) = self.work_call(now) {
            self.in_flight = Some(InFlight::Work(now.boot));
            return Some(call);
        }
        if is_saved && let Some(call) = self.queue.front() {
            self.in_flight = Some(InFlight::Queued);
            return Some(call.clone());
        }
        let wants_fence = !self.commands.is_empty() || self.has_untold_refusal();
        if is_saved && wants_fence && !self.engine.is_away {
            self.in_flight = Some(InFlight::Command);
            return Some(Call::Draw { seen: self.local.seen });
        }
        if now.boot >= self.engine.poll_at {
            self.in_flight = Some(InFlight::Poll);
            self.engine.polled = now.boot;
            self.engine.is_hinted = false;
            return Some(self.poll(now));
        }
        None
    }

    fn next_time(&self, now: Now) -> Duration {
        let mut times = vec![self.engine.poll_at];
        if self.phase == Phase::Idle {
            times.push(self.work_at);
        }
        if let Some(held) = self.held {
            times.extend([held.near, held.expiry]);
        }
        let longest = now.boot + self.setup.timing.poll;
        times.into_iter().filter(|time| *time > now.boot).min().unwrap_or(longest).min(longest)
    }
}
