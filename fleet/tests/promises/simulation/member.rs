//! A member in the simulation: what runs, what is on its disk, and what its links do.

use std::sync::Arc;
use std::time::Duration;

use shared_session::fence::Fence;
use shared_session::member::{Event, Local, Member, Now, Password, Setup};
use shared_session::record::{Incarnation, MemberInfo};
use shared_session::seal::Keyring;
use shared_session::timing::Timing;

/// A machine.
pub(super) struct Machine {
    pub(super) id: u32,
    /// None while it is down.
    pub(super) member: Option<Member>,
    /// Counts the runs: what was meant for an earlier one is dropped.
    pub(super) run: u64,
    pub(super) disk: Local,
    /// Calls reach the engine.
    pub(super) can_ask: bool,
    /// Answers come back.
    pub(super) can_hear: bool,
    /// Stopped until then: its clock goes on.
    pub(super) stopped_until: Duration,
    /// The wall clock less the true time, in milliseconds.
    pub(super) skew: i64,
    /// The intent of the work that runs.
    pub(super) intent: Fence,
    pub(super) has_password: bool,
    pub(super) wake: Duration,
    pub(super) was_connected: bool,
    /// What came while it was stopped.
    pub(super) backlog: Vec<(u64, Event)>,
}

impl Machine {
    pub(super) fn new(id: u32, has_password: bool) -> Self {
        Self {
            id,
            member: None,
            run: 0,
            disk: Local::default(),
            can_ask: true,
            can_hear: true,
            stopped_until: Duration::ZERO,
            skew: 0,
            intent: Fence::ZERO,
            has_password,
            wake: Duration::ZERO,
            was_connected: false,
            backlog: vec![],
        }
    }

    pub(super) fn start(&mut self, timing: Timing, at: Duration) {
        self.run += 1;
        // What an earlier run waited for is no reason to sleep.
        self.wake = Duration::ZERO;
        let account = "a@example.test".to_owned();
        let setup = Setup {
            // Not random: a seed must always run the same.
            me: Incarnation::named(format!("m{}-{}", self.id, self.run)),
            keys: Arc::new(Keyring::new("default", &[&[7; 32]]).unwrap()),
            timing,
            info: MemberInfo { name: format!("m{}", self.id), version: "1".to_owned() },
            client_id: format!("fleet-by-{}", self.id),
            apart_client_id: format!("apart-{}", self.id),
            password: self.has_password.then_some(Password { account, needs_code: false }),
            partition_login: false,
        };
        self.member = Some(Member::new(setup, self.disk.clone(), self.now(at)));
    }

    pub(super) fn kill(&mut self) {
        self.member = None;
        self.run += 1;
        self.stopped_until = Duration::ZERO;
        self.backlog.clear();
    }

    pub(super) fn now(&self, at: Duration) -> Now {
        let wall = i64::try_from(EPOCH + at.as_millis()).unwrap() + self.skew;
        Now { boot: at, wall: wall.try_into().unwrap() }
    }

    pub(super) fn is_connected(&self, at: Duration) -> bool {
        self.member.is_some() && self.can_ask && self.can_hear && self.stopped_until <= at
    }
}

/// When the simulation begins, in milliseconds since 1970.
pub(super) const EPOCH: u128 = 1_790_000_000_000;
