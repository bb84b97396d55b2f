//! The throttle and the clients of this machine, on what the members of its fleet have together.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::clients::{Clients, CountRefusal, CounterLimit, SharedCounter, SharedCounts};
use crate::fleet::{Fleet, Lane, LaneNews, SharedUnits, SlotPermit, UnitLimit, UnitRefusal};
use crate::throttle::{KnownPace, LearnedPace, SharedPace, Throttle, Turn, Window};

/// Keeps one pace with the other members, and counts the use of clients together with them, as far as
/// the configuration says so.
pub(super) fn start(fleet: Option<&Fleet>, throttle: &Throttle, clients: &Clients) {
    let Some(fleet) = fleet else { return };
    if let Some(units) = fleet.units() {
        clients.count_with(Arc::new(FleetCounts(units)));
    }
    let Some(lanes) = fleet.lanes() else { return };
    let mut changes = lanes[0].changes();
    throttle.share(lanes.map(|lane| Arc::new(FleetPace(lane)) as Arc<dyn SharedPace>));
    let throttle = throttle.clone();
    // Ends when the member does.
    tokio::spawn(async move {
        while changes.changed().await.is_ok() && *changes.borrow_and_update() {
            throttle.heed();
        }
    });
}

/// The pace of one kind of requests.
#[derive(Debug)]
struct FleetPace(Lane);

impl SharedPace for FleetPace {
    fn take(&self, now: Duration, waiting: usize) -> Turn {
        match self.0.take(now, waiting) {
            SlotPermit::Now => Turn::Now,
            SlotPermit::At(at) => Turn::At(at),
            SlotPermit::Ask => Turn::Unknown,
            SlotPermit::Alone => Turn::Alone,
        }
    }

    fn pause(&self, until: Option<Duration>) {
        self.0.pause(until);
    }

    fn learn(&self, pace: &LearnedPace) -> u64 {
        let windows: Vec<_> =
            pace.windows.iter().map(|window| (window.count, window.per)).collect();
        self.0.learn(pace.template.as_deref().unwrap_or_default(), &windows)
    }

    fn known(&self) -> KnownPace {
        let LaneNews { version, scope, windows, paused_until, has_others, is_apart } =
            self.0.news();
        let windows = windows.into_iter().map(|(count, per)| Window { count, per }).collect();
        let template = Some(scope).filter(|scope| !scope.is_empty());
        let pace = LearnedPace { template, windows };
        KnownPace { version, pace, paused_until, has_others, is_apart }
    }
}

/// The counters of all clients.
#[derive(Debug)]
struct FleetCounts(SharedUnits);

impl SharedCounts for FleetCounts {
    fn take(&self, counters: &[SharedCounter], uses: bool) -> Result<(), (usize, CountRefusal)> {
        let refusal = |refusal| match refusal {
            UnitRefusal::Asked(call) => CountRefusal::Asked(call),
            UnitRefusal::Spent(until) => CountRefusal::Spent(until),
            UnitRefusal::Uncounted => CountRefusal::Uncounted,
        };
        let taken = self.0.take(&named(counters), uses);
        taken.map_err(|(index, why)| (index, refusal(why)))
    }

    fn wait(&self, call: u64) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(self.0.wait(call))
    }

    fn add(&self, counter: &SharedCounter, amount: u64) -> bool {
        self.0.add(&counter.name, limit(counter.limit), amount)
    }

    fn look(&self, counters: &[SharedCounter]) -> u64 {
        self.0.look(&named(counters))
    }

    fn used(&self, counter: &SharedCounter) -> Option<(u64, Option<Duration>)> {
        self.0.used(&counter.name)
    }

    fn remove(&self, name: &str) {
        self.0.remove(name);
    }
}

fn named(counters: &[SharedCounter]) -> Vec<(String, UnitLimit)> {
    counters.iter().map(|counter| (counter.name.clone(), limit(counter.limit))).collect()
}

fn limit(of: CounterLimit) -> UnitLimit {
    match of {
        CounterLimit::Total(most) => UnitLimit::Total(most),
        CounterLimit::Span(most, per) => UnitLimit::Span(most, per),
        CounterLimit::Rate(most, per) => UnitLimit::Rate(most, per),
    }
}
