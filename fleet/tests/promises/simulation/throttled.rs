//! How often members ask the engine while the issuer throttles them all.

use std::time::Duration;

use shared_session::call::Call;
use shared_session::draws::{Draw, Draws};
use shared_session::quota::{Allowance, Quotas};
use shared_session::record::Incarnation;
use shared_session::timing::Timing;

use super::world::{Job, Plan, World, minutes};
use crate::counts::Counts;

/// Slots and units of one member, which wants more of both at all times.
pub(super) struct Throttled {
    me: Incarnation,
    draws: Draws,
    quotas: Quotas,
}

impl Throttled {
    pub(super) fn new(id: usize) -> Self {
        let me = Incarnation::named(format!("m{id}"));
        Self { me, draws: Draws::default(), quotas: Quotas::default() }
    }

    /// Makes the call that is due; says whether there was one.
    fn draw(&mut self, engine: &mut Counts, at: Duration) -> bool {
        const HOUR: Allowance =
            Allowance::Span { most: 1_000_000, per: Duration::from_secs(3_600) };
        let timing = Timing::default();
        self.quotas.members(50);
        self.quotas.take("k/writes", HOUR, 1, at, &timing);
        let due = self.draws.due(at, true, self.quotas.wants_call());
        let horizon = Draws::horizon(true);
        if due == Some(Draw::Units) {
            let Some(Call::Count { asks, .. }) = self.quotas.call(&self.me, horizon) else {
                panic!("units were wanted")
            };
            let now = 1_790_000_000_000 + u64::try_from(at.as_millis()).unwrap();
            let answers = engine.count(&asks, now);
            self.quotas.counted(&answers, at, horizon, &timing);
        }
        due.is_some()
    }
}

impl World {
    /// Lets each member send as many requests as it may, and asks for more.
    pub(super) fn throttled(&mut self, machine: usize) {
        // Ten requests a second want to leave.
        self.after(Duration::from_millis(100), Job::Draw(machine));
        if self.throttled[machine].draw(&mut self.counts, self.at) {
            self.calls[machine].push(self.at);
        }
    }
}

#[test]
fn fifty_throttled_members_make_at_most_two_calls_a_second_each() {
    let plan =
        Plan { members: 50, passwords: 50, faults: false, throttled: true, ..Plan::default() };
    let lasts = minutes(20);
    let calls = World::calls(&plan, 0, lasts);

    assert_eq!(calls.len(), 50);
    for (member, times) in calls.iter().enumerate() {
        // The first minute has the login and the first polls of all.
        for minute in 1..20 {
            let of = |time: &&Duration| time.as_secs() / 60 == minute;
            let count = times.iter().filter(of).count();
            assert!(count <= 120, "member {member}, minute {minute}: {count} calls");
        }
        // Members that ask nothing would also hold it.
        assert!(times.len() > 1_500, "member {member}: {}", times.len());
    }
}
