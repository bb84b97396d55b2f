//! What goes wrong, and how it ends.

use shared_session::history::What;

use super::world::{FAULTS_END, Job, World};
use crate::model::Store;

/// A fault with a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No call of this member reaches the engine.
    CannotAsk(usize),
    /// No answer reaches this member.
    CannotHear(usize),
    /// The member is stopped.
    Stopped(usize),
    /// The primary has lost its replica, and may then be lost itself.
    Unreplicated,
    /// The engine answers nothing.
    Down,
    /// The engine's clock is wrong.
    Clock,
    /// This member's wall clock is wrong.
    Wall(usize),
}

impl World {
    /// Begins a fault, and plans its end and the next one.
    pub(super) fn fault(&mut self) {
        if self.is_healed {
            return;
        }
        let next = self.between(20_000, 5 * 60_000);
        if self.at + next < FAULTS_END {
            self.after(next, Job::Fault);
        }
        let machine = self.random.usize(..self.machines.len());
        let is_primarys = self.plan.primaries_die && self.random.bool();
        match if is_primarys { 3 } else { self.random.u8(..11) } {
            0 => self.lasts(Fault::CannotAsk(machine), 20, 30 * 60),
            1 => self.lasts(Fault::CannotHear(machine), 20, 10 * 60),
            2 => self.lasts(Fault::Stopped(machine), 20, 300),
            3 | 4 => self.lasts(Fault::Unreplicated, 20, 240),
            5 => self.lasts(Fault::Down, 5, 20 * 60),
            6 => self.lasts(Fault::Clock, 60, 20 * 60),
            7 => self.lasts(Fault::Wall(machine), 60, 20 * 60),
            8 => {
                let empty = Store::new(self.plan.defect);
                self.replace_store(empty);
            }
            9 => {
                if let Some(snapshot) = self.random.choice(&self.engine.snapshots).cloned() {
                    self.replace_store(snapshot);
                }
            }
            _ => self.kill(machine),
        }
    }

    fn lasts(&mut self, fault: Fault, from: u64, to: u64) {
        let lasts = self.between(from * 1_000, to * 1_000);
        match fault {
            Fault::CannotAsk(machine) => self.machines[machine].can_ask = false,
            Fault::CannotHear(machine) => self.machines[machine].can_hear = false,
            Fault::Stopped(machine) => self.machines[machine].stopped_until = self.at + lasts,
            Fault::Unreplicated => self.engine.replicates = false,
            Fault::Down => self.engine.down_until = self.at + lasts,
            Fault::Clock => self.engine.skew = self.random.i64(-3_600..3_600),
            Fault::Wall(machine) => {
                self.machines[machine].skew = self.random.i64(-3_600_000..3_600_000)
            }
        }
        self.connections_changed();
        self.after(lasts, Job::End(fault));
    }

    pub(super) fn end(&mut self, fault: &Fault) {
        match fault {
            Fault::CannotAsk(machine) => self.machines[*machine].can_ask = true,
            Fault::CannotHear(machine) => self.machines[*machine].can_hear = true,
            Fault::Stopped(machine) => self.resume(*machine),
            Fault::Down => {}
            Fault::Unreplicated => {
                let dies = self.plan.primaries_die || self.random.bool();
                if dies && !self.engine.replicates && !self.is_healed {
                    self.fail_over();
                }
                self.engine.replicates = true;
                self.engine.replica = self.engine.store.clone();
            }
            Fault::Clock => self.engine.skew = 0,
            Fault::Wall(machine) => self.machines[*machine].skew = 0,
        }
        self.connections_changed();
    }

    /// The primary is gone; what the replica has is what there is.
    fn fail_over(&mut self) {
        self.engine.primary += 1;
        if self.engine.store.is_revoked("client/k") && !self.engine.replica.is_revoked("client/k") {
            self.fact(What::RevocationLost("k".to_owned()));
        }
        self.engine.store = self.engine.replica.clone();
        let lasts = self.between(2_500, 6_000);
        self.engine.down_until = self.engine.down_until.max(self.at + lasts);
        self.after(lasts, Job::End(Fault::Down));
    }

    fn replace_store(&mut self, store: Store) {
        self.fact(What::EngineLost);
        self.engine.primary += 1;
        self.engine.replica = store.clone();
        self.engine.store = store;
    }

    /// Kills a member now and then, right before it acts.
    pub(super) fn dies(&mut self, machine: usize) -> bool {
        let often = if self.plan.primaries_die { 10 } else { 4 };
        let dies = self.plan.faults && !self.is_healed && self.random.u8(..100) < often;
        if dies {
            self.kill(machine);
        }
        dies
    }

    fn kill(&mut self, machine: usize) {
        if self.machines[machine].member.is_none() {
            return;
        }
        self.machines[machine].kill();
        self.forget_request(machine);
        self.connection_changed(machine);
        let wait = self.between(2_000, 20 * 60_000);
        self.after(wait, Job::Restart(machine));
    }

    fn connections_changed(&mut self) {
        for machine in 0..self.machines.len() {
            self.connection_changed(machine);
        }
    }

    /// Everything works again.
    pub(super) fn heal(&mut self) {
        self.is_healed = true;
        self.engine.replicates = true;
        self.engine.down_until = self.at;
        self.engine.skew = 0;
        for machine in 0..self.machines.len() {
            let one = &mut self.machines[machine];
            (one.can_ask, one.can_hear, one.skew) = (true, true, 0);
            one.stopped_until = one.stopped_until.min(self.at);
            self.restart(machine);
            self.resume(machine);
        }
        self.connections_changed();
    }
}
