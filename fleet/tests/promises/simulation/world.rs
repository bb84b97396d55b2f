//! The simulated world: one queue of things to happen, one clock, one seed.

use std::collections::BTreeMap;
use std::time::Duration;

use shared_session::call::Call;
use shared_session::history::{Fact, Limits, Violation, What, check};
use shared_session::member::{Action, Command, Event, Note, Redemption};
use shared_session::record::Client;
use shared_session::register::Entry;
use shared_session::timing::Timing;

use super::faults::Fault;
use super::issuer::Issuer;
use super::member::Machine;
use super::throttled::Throttled;
use crate::counts::Counts;
use crate::model::{Defect, Store};

/// What a simulation is like.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) timing: Timing,
    pub(super) members: u32,
    /// How many of them have the password.
    pub(super) passwords: u32,
    pub(super) faults: bool,
    pub(super) password_changes: bool,
    /// Primaries lose their replicas and die, and members die in the middle, more often.
    pub(super) primaries_die: bool,
    pub(super) defect: Defect,
    /// The issuer throttles all members, which want slots and units at all times.
    pub(super) throttled: bool,
    /// Durability is asked of a connection that wrote nothing.
    pub(super) waits_elsewhere: bool,
    pub(super) gateway: Gateway,
}

/// A gateway before the issuer that fails now and then, with or without having passed the request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gateway {
    /// Nothing.
    Sound,
    /// A gateway; its response tells nothing of the request.
    Failing,
    /// The same, but members take its response to a refresh for one that was not processed.
    Believed,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            timing: Timing::default(),
            members: 5,
            passwords: 5,
            faults: true,
            password_changes: false,
            primaries_die: false,
            defect: Defect::None,
            throttled: false,
            waits_elsewhere: false,
            gateway: Gateway::Sound,
        }
    }
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) random: fastrand::Rng,
    pub(super) at: Duration,
    queue: BTreeMap<(Duration, u64), Job>,
    count: u64,
    pub(super) machines: Vec<Machine>,
    pub(super) engine: EngineHost,
    pub(super) issuer: Issuer,
    /// The password that the machines have.
    pub(super) known_password: u64,
    pub(super) facts: Vec<Fact>,
    pub(super) requests: u64,
    /// The last request of each run.
    pub(super) open: BTreeMap<usize, u64>,
    pub(super) is_healed: bool,
    pub(super) is_helped: bool,
    pub(super) throttled: Vec<Throttled>,
    pub(super) counts: Counts,
    /// When a pair last reached the engine.
    pub(super) renewed: Duration,
    /// When each machine called the engine.
    pub(super) calls: Vec<Vec<Duration>>,
}

/// The primary, its replica, and what is wrong with them.
pub(super) struct EngineHost {
    pub(super) store: Store,
    pub(super) replica: Store,
    pub(super) replicates: bool,
    pub(super) down_until: Duration,
    /// The engine's clock less the true time, in seconds.
    pub(super) skew: i64,
    pub(super) snapshots: Vec<Store>,
    /// Counts primaries: what one of them sent does not reach the replica of the next.
    pub(super) primary: u64,
}

#[derive(Debug)]
pub(super) enum Job {
    ToEngine { machine: usize, run: u64, call: Call },
    ToMember { machine: usize, run: u64, event: Event },
    ToIssuer { machine: usize, run: u64, redemption: Redemption },
    Client(usize),
    Draw(usize),
    Replicate { primary: u64, store: Box<Store> },
    Snapshot,
    Fault,
    Restart(usize),
    End(Fault),
    Ask(usize, Command),
    ChangePassword,
    Heal,
    Agree,
    Help,
    Finish,
}

pub(super) const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

impl World {
    /// Runs a plan; returns the broken promises.
    pub(super) fn run(plan: &Plan, seed: u64) -> Vec<Violation> {
        let mut world = Self::new(plan, seed);
        while let Some(((at, _), job)) = world.queue.pop_first() {
            world.at = at;
            if matches!(job, Job::Finish) && !world.waits_to_look(FINISH) {
                world.agree(true);
                break;
            }
            world.perform(job);
        }
        world.facts.sort_by_key(|fact| fact.at);
        world.trace();
        let limits = Limits { clients_stale: plan.timing.clients_stale + minutes(1), rate: None };
        check(&world.facts, &limits)
    }

    /// Runs a plan for a while; returns when each member called the engine.
    pub(super) fn calls(plan: &Plan, seed: u64, lasts: Duration) -> Vec<Vec<Duration>> {
        let mut world = Self::new(plan, seed);
        while let Some(((at, _), job)) = world.queue.pop_first() {
            world.at = at;
            if at > lasts {
                break;
            }
            world.perform(job);
        }
        world.calls
    }

    /// Writes the history to the file that `SHARED_SESSION_TRACE` names.
    fn trace(&self) {
        let Some(path) = std::env::var_os("SHARED_SESSION_TRACE") else { return };
        let told = |fact: &&Fact| !matches!(fact.what, What::Used(..) | What::Served(..));
        let line = |fact: &Fact| format!("{:>10.3} {:?}\n", fact.at.as_secs_f64(), fact.what);
        let text: String = self.facts.iter().filter(told).map(line).collect();
        std::fs::write(path, text).unwrap();
    }

    fn new(plan: &Plan, seed: u64) -> Self {
        let store = Store::new(plan.defect);
        let machines = (0..plan.members).map(|id| Machine::new(id, id < plan.passwords)).collect();
        let mut world = Self {
            plan: plan.clone(),
            random: fastrand::Rng::with_seed(seed),
            at: Duration::ZERO,
            queue: BTreeMap::new(),
            count: 0,
            machines,
            engine: EngineHost {
                replica: store.clone(),
                store,
                replicates: true,
                down_until: Duration::ZERO,
                skew: 0,
                snapshots: vec![],
                primary: 0,
            },
            issuer: Issuer::default(),
            known_password: 0,
            facts: vec![],
            requests: 0,
            open: BTreeMap::new(),
            is_healed: false,
            is_helped: false,
            throttled: (0..plan.members as usize).map(Throttled::new).collect(),
            counts: Counts::default(),
            renewed: Duration::ZERO,
            calls: vec![vec![]; plan.members as usize],
        };
        world.schedule();
        world
    }

    fn schedule(&mut self) {
        for machine in 0..self.machines.len() {
            let start = self.between(0, 3_000);
            self.after(start, Job::Restart(machine));
            self.after(start + Duration::from_secs(30), Job::Client(machine));
            if self.plan.throttled {
                self.after(start, Job::Draw(machine));
            }
        }
        let client = Client { payload: "key".to_owned() };
        let put = Command::PutClient { id: "k".to_owned(), client };
        self.after(minutes(5), Job::Ask(0, put));
        self.after(minutes(70), Job::Ask(1, Command::Revoke { id: "k".to_owned() }));
        self.after(minutes(5), Job::Snapshot);
        if self.plan.faults {
            self.after(minutes(10), Job::Fault);
        }
        if self.plan.password_changes {
            self.after(minutes(40), Job::ChangePassword);
        }
        self.after(FAULTS_END, Job::Heal);
        self.after(AGREE, Job::Agree);
        self.after(FAULTS_END + minutes(2), Job::Help);
        self.after(FINISH, Job::Finish);
    }

    pub(super) fn between(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.random.u64(from..=to))
    }

    pub(super) fn after(&mut self, wait: Duration, job: Job) {
        self.count += 1;
        self.queue.insert((self.at + wait, self.count), job);
    }

    pub(super) fn fact(&mut self, what: What) {
        self.facts.push(Fact { at: self.at, what });
    }

    pub(super) fn perform(&mut self, job: Job) {
        match job {
            Job::ToEngine { machine, run, call } => self.reach_engine(machine, run, &call),
            Job::ToMember { machine, run, event } => self.deliver(machine, run, event),
            Job::ToIssuer { machine, run, redemption } => {
                self.reach_issuer(machine, run, &redemption);
            }
            Job::Client(machine) => self.client(machine),
            Job::Draw(machine) => self.throttled(machine),
            Job::Replicate { primary, store } => {
                if self.engine.replicates && self.engine.primary == primary {
                    self.engine.replica = *store;
                }
            }
            Job::Snapshot => {
                self.engine.snapshots.push(self.engine.store.clone());
                self.after(minutes(7), Job::Snapshot);
            }
            Job::Fault => self.fault(),
            Job::End(fault) => self.end(&fault),
            Job::Restart(machine) => self.restart(machine),
            Job::Ask(machine, command) => {
                let run = self.machines[machine].run;
                if self.machines[machine].member.is_none() {
                    self.after(minutes(1), Job::Ask(machine, command));
                } else {
                    self.deliver(machine, run, Event::Asked(command));
                }
            }
            Job::ChangePassword => self.issuer.change_password(),
            Job::Heal => self.heal(),
            Job::Agree if self.waits_to_look(AGREE) => self.after(LOOK, Job::Agree),
            Job::Agree => self.agree(false),
            Job::Help => self.help(),
            Job::Finish => self.after(LOOK, Job::Finish),
        }
    }

    pub(super) fn restart(&mut self, machine: usize) {
        if self.machines[machine].member.is_some() {
            return;
        }
        self.machines[machine].start(self.plan.timing, self.at);
        let run = self.machines[machine].run;
        self.connection_changed(machine);
        self.deliver(machine, run, Event::Tick);
    }

    /// Notes whether the member can reach what it needs.
    pub(super) fn connection_changed(&mut self, machine: usize) {
        let one = &self.machines[machine];
        let is_connected = one.is_connected(self.at) && self.engine.down_until <= self.at;
        if is_connected != one.was_connected {
            let id = one.id;
            self.machines[machine].was_connected = is_connected;
            self.fact(if is_connected { What::Connected(id) } else { What::Apart(id) });
        }
    }

    pub(super) fn deliver(&mut self, machine: usize, run: u64, event: Event) {
        let one = &mut self.machines[machine];
        if one.run != run || one.member.is_none() {
            return;
        }
        if one.stopped_until > self.at {
            return one.backlog.push((run, event));
        }
        if matches!(event, Event::Tick) && self.at < one.wake {
            return;
        }
        if let Event::Redeemed(answer) = &event {
            self.heard(machine, answer);
        }
        let one = &mut self.machines[machine];
        let now = one.now(self.at);
        let Some(member) = &mut one.member else { return };
        let actions = member.step(event, now);
        for action in actions {
            if self.machines[machine].run != run {
                return;
            }
            self.act(machine, run, action);
        }
    }

    /// A member that was stopped runs again: what came meanwhile is there at once.
    pub(super) fn resume(&mut self, machine: usize) {
        if self.machines[machine].stopped_until <= self.at {
            for (run, event) in std::mem::take(&mut self.machines[machine].backlog) {
                self.deliver(machine, run, event);
            }
        }
    }

    fn act(&mut self, machine: usize, run: u64, action: Action) {
        let id = self.machines[machine].id;
        let is_risky = !matches!(action, Action::WakeAt(_) | Action::Note(_))
            && !matches!(action, Action::Call(Call::Poll { .. }));
        if is_risky && self.dies(machine) {
            return;
        }
        match action {
            Action::Call(call) => {
                self.calls[machine].push(self.at);
                if self.machines[machine].can_ask {
                    let wait = self.between(1, 40);
                    self.after(wait, Job::ToEngine { machine, run, call });
                } else {
                    self.no_answer(machine, run);
                }
            }
            Action::Redeem(redemption) => self.redeem(machine, run, redemption),
            Action::Save(local) => {
                // On disk only once the member may know it.
                if matches!(local.set.client("k"), Some(Entry::Revoked(..))) {
                    self.fact(What::Knows(id, "k".to_owned()));
                }
                self.machines[machine].disk = *local;
                let wait = self.between(1, 20);
                self.after(wait, Job::ToMember { machine, run, event: Event::Saved });
            }
            Action::WakeAt(at) => {
                self.machines[machine].wake = at;
                let wait = at.saturating_sub(self.at);
                self.after(wait, Job::ToMember { machine, run, event: Event::Tick });
            }
            Action::Note(Note::Intended { fence, is_over_another, is_durable, .. }) => {
                self.machines[machine].intent = fence;
                self.fact(What::Intended { member: id, fence, is_over_another, is_durable });
            }
            Action::Note(Note::Resolved(fence)) => self.fact(What::Resolved(fence)),
            Action::Note(Note::Epoch(fence)) => self.fact(What::SawEpoch(id, fence)),
            Action::Note(_) => {}
        }
    }

    /// A request whose member has died has no outcome.
    pub(super) fn forget_request(&mut self, machine: usize) {
        if let Some(request) = self.open.remove(&machine) {
            self.fact(What::Ended { request, is_refused: None });
        }
    }
}

/// Until then faults happen.
pub(super) const FAULTS_END: Duration = minutes(150);

/// Ten seconds later all members must agree.
const AGREE: Duration = FAULTS_END.saturating_add(Duration::from_secs(10));

/// The members have renewed on their own once more.
const FINISH: Duration = FAULTS_END.saturating_add(minutes(5 + 40));

/// How often it is tried to look between two renewals.
const LOOK: Duration = Duration::from_millis(500);
