//! A model of what the engine counts, and a fleet of counters on it.

use std::collections::BTreeMap;
use std::time::Duration;

use shared_session::call::Call;
use shared_session::quota::{Allowance, Ask, Counted, Quotas, Span, Verdict};
use shared_session::record::Incarnation;
use shared_session::timing::Timing;

/// Totals and spans, as `count.lua` keeps them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    spans: BTreeMap<String, (Span, u64)>,
}

impl Counts {
    /// Answers each ask at the engine's time, in milliseconds.
    pub(crate) fn count(&mut self, asks: &[Ask], now: u64) -> Vec<Counted> {
        asks.iter().map(|ask| self.one(ask, now)).collect()
    }

    fn one(&mut self, ask: &Ask, now: u64) -> Counted {
        let most = ask.allowance.most();
        let period = u64::try_from(ask.allowance.period().as_millis()).unwrap();
        if most == 0 {
            self.spans.remove(&ask.name);
            return Counted::default();
        }
        let runs = |span: &Span| span.since > 0 && (period == 0 || now < span.since + period);
        let held = self.spans.get(&ask.name).map(|(span, _)| *span).filter(runs);
        let known = Some(ask.knows).filter(runs);
        let mut span = match (held, known) {
            (Some(held), Some(known)) => {
                Span { since: held.since.min(known.since), taken: held.taken.max(known.taken) }
            }
            (Some(one), None) | (None, Some(one)) => one,
            // A look begins no span.
            (None, None) if ask.wants + ask.owes == 0 => return Counted::default(),
            (None, None) => Span { since: if period == 0 { 1 } else { now }, taken: 0 },
        };
        span.taken += ask.owes;
        let granted = ask.wants.min(most.saturating_sub(span.taken));
        span.taken += granted;
        self.spans.insert(ask.name.clone(), (span, period));
        let left = if period == 0 { 0 } else { span.since + period - now };
        Counted { granted, span, left: Duration::from_millis(left) }
    }
}

const TOTAL: Allowance = Allowance::Total(500);
const HOUR: Allowance = Allowance::Span { most: 96, per: Duration::from_secs(3_600) };
const HORIZON: Duration = Duration::from_millis(600);
const EPOCH: u64 = 1_790_000_000_000;

/// A member, its link, and what it has asked.
struct Machine {
    me: Incarnation,
    quotas: Quotas,
    /// When the call in flight arrives, and whether it or its answer gets lost.
    apart_until: u64,
}

struct World {
    random: fastrand::Rng,
    at: u64,
    engine: Counts,
    machines: Vec<Machine>,
    used: BTreeMap<&'static str, Vec<u64>>,
    calls: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let machine = |name: usize| Machine {
            me: Incarnation::named(format!("m{name}")),
            quotas: Quotas::default(),
            apart_until: 0,
        };
        Self {
            random: fastrand::Rng::with_seed(seed),
            at: EPOCH,
            engine: Counts::default(),
            machines: (0..5).map(machine).collect(),
            used: BTreeMap::new(),
            calls: 0,
        }
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.at - EPOCH)
    }

    /// One turn of one machine: requests, then perhaps a call.
    fn turn(&mut self, machine: usize) {
        let (now, timing) = (self.now(), Timing::default());
        for _ in 0..self.random.usize(..4) {
            let (name, allowance) = [("total", TOTAL), ("hour", HOUR)][self.random.usize(..2)];
            let quotas = &mut self.machines[machine].quotas;
            if quotas.take(name, allowance, 1, now, &timing) == Verdict::Taken {
                self.used.entry(name).or_default().push(self.at);
            }
        }
        let one = &mut self.machines[machine];
        one.quotas.members(5);
        if one.apart_until > self.at {
            return one.quotas.cut_off(now);
        }
        let Some(Call::Count { asks, .. }) = one.quotas.call(&one.me, HORIZON) else { return };
        self.calls += 1;
        let lost = self.random.u8(..20);
        if lost == 0 {
            return one.quotas.failed();
        }
        let answers = self.engine.count(&asks, self.at);
        if lost == 1 {
            return one.quotas.failed();
        }
        one.quotas.counted(&answers, now, HORIZON, &timing);
    }

    fn fault(&mut self) {
        let machine = self.random.usize(..self.machines.len());
        match self.random.u8(..200) {
            0 => self.machines[machine].quotas = Quotas::default(),
            1 => self.machines[machine].apart_until = self.at + self.random.u64(1_000..600_000),
            _ => {}
        }
    }

    fn run(mut self, turns: u32) -> Self {
        for _ in 0..turns {
            self.at += self.random.u64(50..3_000);
            self.fault();
            let machine = self.random.usize(..self.machines.len());
            self.turn(machine);
        }
        self
    }
}

#[test]
fn no_limit_of_a_client_is_exceeded_whatever_is_lost_or_cut_off() {
    for seed in 0..40 {
        let world = World::new(seed).run(6_000);
        let (total, hour) = (&world.used["total"], &world.used["hour"]);

        assert!(total.len() <= 500, "seed {seed}: {}", total.len());
        // At most two budgets lie in one period: one at the end of a span, one at the next one's start.
        let longest = hour.windows(193).find(|window| window[192] - window[0] < 3_600_000);
        assert!(longest.is_none(), "seed {seed}");
        // A limit that lets nothing through would also hold.
        assert!(total.len() > 350, "seed {seed}: {}", total.len());
        assert!(hour.len() > 96, "seed {seed}: {}", hour.len());
        assert!(world.calls < 6_000, "seed {seed}");
    }
}

#[test]
fn an_engine_that_forgot_a_count_learns_it_from_the_members_that_know() {
    let (mut engine, mut quotas) = (Counts::default(), Quotas::default());
    let (me, timing) = (Incarnation::named("a"), Timing::default());
    let ask = |quotas: &mut Quotas, engine: &mut Counts| {
        quotas.take("total", Allowance::Total(3), 1, Duration::ZERO, &timing);
        let Some(Call::Count { asks, .. }) = quotas.call(&me, HORIZON) else { panic!("no call") };
        let answers = engine.count(&asks, EPOCH);
        quotas.counted(&answers, Duration::ZERO, HORIZON, &timing);
        quotas.take("total", Allowance::Total(3), 1, Duration::ZERO, &timing)
    };
    for _ in 0..2 {
        assert_eq!(ask(&mut quotas, &mut engine), Verdict::Taken);
    }
    engine = Counts::default();
    assert_eq!(ask(&mut quotas, &mut engine), Verdict::Taken);
    assert_eq!(ask(&mut quotas, &mut engine), Verdict::Spent(None));
}
