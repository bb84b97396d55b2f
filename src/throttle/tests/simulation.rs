//! The budget against a simulated Nexudus: clients that always want more, windows that are enforced
//! exactly, and a clock that advances by the millisecond.

use std::collections::VecDeque;
use std::time::Duration;

use crate::throttle::budget::{Budget, NextSend, ThrottleSignal};
use crate::throttle::history::SendRing;

/// A simulated Nexudus.
#[derive(Clone, Copy)]
struct Upstream {
    windows: &'static [(usize, u64)],
    retry_after: RetryAfter,
    /// From sending to arrival, and from arrival to the response, in milliseconds. A throttle
    /// response takes as long as the request: the filter comes before all work.
    there: u64,
    back: u64,
    /// Random delay of up to this much each way; our timers are late by up to a fifth of it.
    late: u64,
}

/// A request in flight.
struct InFlight {
    number: u64,
    sent: u64,
    arrives: u64,
    /// The decision of Nexudus, and when it is known here.
    decision: Option<(Result<(), u64>, u64)>,
}

#[derive(Clone, Copy)]
enum RetryAfter {
    Seconds,
    Fraction,
    Missing,
    Always(u64),
}

/// The outcome of a run.
#[derive(Debug, Default)]
struct Outcome {
    passed: u64,
    throttled: u64,
    learned: Vec<(u32, u64)>,
}

#[test]
fn ten_per_100_ms_is_learned_at_once() {
    let upstream = Upstream {
        windows: &[(10, 100)],
        retry_after: RetryAfter::Seconds,
        there: 1,
        back: 1,
        late: 0,
    };
    let outcome = run(upstream, 30, 2_000..32_000);
    assert_eq!(outcome.learned, [(10, 100)]);
    assert_eq!(outcome.throttled, 0);
    assert!(outcome.passed >= 2_850, "{outcome:?}");
}

#[test]
fn ten_per_100_ms_is_kept_with_slow_responses() {
    let upstream = Upstream {
        windows: &[(10, 100)],
        retry_after: RetryAfter::Seconds,
        there: 40,
        back: 200,
        late: 0,
    };
    let outcome = run(upstream, 30, 5_000..35_000);
    assert!(outcome.passed >= 2_700, "{outcome:?}");
    assert!(outcome.throttled * 50 <= outcome.passed, "{outcome:?}");
}

#[test]
fn ten_per_100_ms_is_kept_over_a_network_with_jitter() {
    let (windows, retry_after): (&[_], _) = (&[(10, 100)], RetryAfter::Seconds);
    for (there, back, late, least) in [
        (1, 1, 10, 5_400),
        (20, 20, 10, 5_400),
        (10, 150, 10, 5_400),
        // The uncertainty of the way is lost: three tenths of each window.
        (10, 150, 30, 4_000),
    ] {
        let outcome = run(Upstream { windows, retry_after, there, back, late }, 60, 2_000..62_000);
        assert!(outcome.passed >= least, "{there} {back} {late}: {outcome:?}");
        assert!(outcome.throttled * 50 <= outcome.passed, "{there} {back} {late}: {outcome:?}");
    }
}

#[test]
fn slow_responses_do_not_hide_how_many_may_go_at_once() {
    for (back, late) in [(90, 0), (150, 0), (400, 5)] {
        let windows = &[(10, 100)];
        let upstream = Upstream { windows, retry_after: RetryAfter::Seconds, there: 5, back, late };
        let outcome = run(upstream, 60, 3_000..23_000);
        assert_eq!(outcome.learned, [(10, 100)], "{back} ms");
        assert!(outcome.passed >= 1_800, "{back} ms: {outcome:?}");
    }
}

#[test]
fn one_per_100_ms_and_120_per_minute_are_learned_together() {
    let windows = &[(1, 100), (120, 60_000)];
    for retry_after in
        [RetryAfter::Seconds, RetryAfter::Fraction, RetryAfter::Missing, RetryAfter::Always(1)]
    {
        let outcome = run(
            Upstream { windows, retry_after, there: 1, back: 1, late: 0 },
            30,
            120_000..420_000,
        );
        // The shorter window may be on trial: the longer one hides whether it could be wider.
        assert!(outcome.learned[0] <= (2, 100), "{outcome:?}");
        assert_eq!(outcome.learned[1..], [(120, 60_000)], "{outcome:?}");
        assert!(outcome.passed >= 540, "{outcome:?}");
        assert!(outcome.throttled * 50 <= outcome.passed, "{outcome:?}");
    }
}

#[test]
fn ten_per_5_s_is_learned_from_any_retry_after() {
    for retry_after in
        [RetryAfter::Seconds, RetryAfter::Fraction, RetryAfter::Missing, RetryAfter::Always(1)]
    {
        let upstream =
            Upstream { windows: &[(10, 5_000)], retry_after, there: 5, back: 20, late: 0 };
        let outcome = run(upstream, 30, 10_000..60_000);
        assert_eq!(outcome.learned, [(10, 5_000)], "{outcome:?}");
        assert_eq!(outcome.throttled, 0);
        assert!(outcome.passed >= 90, "{outcome:?}");
    }
}

#[test]
fn ten_per_100_ms_is_learned_without_retry_after() {
    for retry_after in [RetryAfter::Fraction, RetryAfter::Missing, RetryAfter::Always(1)] {
        let upstream = Upstream { windows: &[(10, 100)], retry_after, there: 1, back: 1, late: 0 };
        let outcome = run(upstream, 30, 10_000..40_000);
        assert!(outcome.passed >= 2_700, "{outcome:?}");
        assert_eq!(outcome.throttled, 0);
    }
}

#[test]
fn sixty_per_minute_is_learned_from_a_slow_beginning() {
    let windows = &[(60, 60_000)];
    for retry_after in [RetryAfter::Seconds, RetryAfter::Missing] {
        let outcome = run(
            Upstream { windows, retry_after, there: 100, back: 300, late: 0 },
            3,
            120_000..420_000,
        );
        assert_eq!(outcome.learned.last(), Some(&(60, 60_000)), "{outcome:?}");
        assert!(outcome.passed >= 270, "{outcome:?}");
        assert!(outcome.throttled * 50 <= outcome.passed, "{outcome:?}");
    }
}

#[test]
fn over_an_hour_nearly_nothing_is_lost_to_looking_for_more() {
    let upstream = Upstream {
        windows: &[(10, 100)],
        retry_after: RetryAfter::Seconds,
        there: 1,
        back: 1,
        late: 0,
    };
    let outcome = run(upstream, 15, 2_000..3_600_000);
    assert!(outcome.passed >= 3_600 * 95, "{outcome:?}");
    assert!(outcome.throttled * 1_000 <= outcome.passed, "{outcome:?}");
}

/// Lets `clients` send without pause and returns the outcome within `span` (milliseconds).
fn run(upstream: Upstream, clients: usize, span: std::ops::Range<u64>) -> Outcome {
    let mut simulation = Simulation {
        upstream,
        ring: SendRing::new(),
        budget: Budget::default(),
        waiting: clients,
        in_flight: Vec::new(),
        arrived: vec![VecDeque::new(); upstream.windows.len()],
        next_look: Duration::ZERO,
        seed: 1,
    };
    let mut outcome = Outcome::default();
    for now in 0..span.end {
        simulation.arrive(now);
        let (passed, throttled) = simulation.respond(now);
        if span.contains(&now) {
            outcome.passed += passed;
            outcome.throttled += throttled;
        }
        simulation.send(now);
    }
    let millis = |per: Duration| u64::try_from(per.as_millis()).unwrap();
    let windows = simulation.budget.windows();
    outcome.learned = windows.map(|window| (window.count, millis(window.per))).collect();
    outcome
}

/// Clients, the budget between, and Nexudus.
struct Simulation {
    upstream: Upstream,
    ring: SendRing,
    budget: Budget,
    /// Clients without a request in flight.
    waiting: usize,
    in_flight: Vec<InFlight>,
    /// The requests within each window of Nexudus.
    arrived: Vec<VecDeque<u64>>,
    /// When the budget may permit the next request.
    next_look: Duration,
    seed: u64,
}

impl Simulation {
    /// Lets requests arrive at Nexudus.
    fn arrive(&mut self, now: u64) {
        let Self { upstream, arrived, seed, .. } = self;
        for one in self.in_flight.iter_mut().filter(|one| one.arrives == now) {
            let decision = upstream.admit(arrived, now);
            let back = if decision.is_ok() { upstream.back } else { upstream.there };
            one.decision = Some((decision, now + back + upstream.delay(seed)));
        }
    }

    /// Lets responses arrive here; returns how many requests passed and how many were throttled.
    fn respond(&mut self, now: u64) -> (u64, u64) {
        let is_here = |one: &mut InFlight| one.decision.is_some_and(|(_, time)| time <= now);
        let here: Vec<_> = self.in_flight.extract_if(.., is_here).collect();
        let (mut passed, mut throttled) = (0, 0);
        for one in here {
            self.waiting += 1;
            self.next_look = Duration::ZERO;
            match one.decision.unwrap().0 {
                Ok(()) => {
                    passed += 1;
                    if self.budget.is_pacing() {
                        self.budget.record_response(one.number, ms(now));
                    } else {
                        self.ring.record_response(one.number);
                    }
                }
                Err(left) => {
                    throttled += 1;
                    self.record_throttle(&one, left, now);
                }
            }
        }
        (passed, throttled)
    }

    fn record_throttle(&mut self, one: &InFlight, left: u64, now: u64) {
        if !self.budget.is_pacing() {
            self.budget.set_history(self.ring.to_history(ms(now)));
        }
        let signal = ThrottleSignal {
            number: one.number,
            sent: ms(one.sent),
            template: "/a",
            retry_after: self.upstream.retry_after.value(left),
            jitter: 300,
        };
        self.budget.record_throttle(&signal, ms(now));
    }

    /// Lets waiting clients send as many requests as the budget permits.
    fn send(&mut self, now: u64) {
        while self.waiting > 0 && ms(now) >= self.next_look {
            if self.budget.is_pacing()
                && let NextSend::At(time) | NextSend::AfterProbe(time) =
                    self.budget.next_send(ms(now))
            {
                let late = self.upstream.delay(&mut self.seed) / 5;
                self.next_look = time + Duration::from_millis(late);
                break;
            }
            self.waiting -= 1;
            let number = if self.budget.is_pacing() {
                let number = self.ring.next_number();
                self.budget.record_sent(number, true, ms(now));
                number
            } else {
                self.ring.record_sent(ms(now))
            };
            let arrives = now + self.upstream.there + self.upstream.delay(&mut self.seed);
            self.in_flight.push(InFlight { number, sent: now, arrives, decision: None });
        }
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_secs(1_000) + Duration::from_millis(millis)
}

impl Upstream {
    /// Returns a pseudo-random delay, the same in every run and most often short.
    fn delay(&self, seed: &mut u64) -> u64 {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let thousandth = (*seed >> 33) % 1_001;
        self.late * thousandth * thousandth / 1_000_000
    }

    fn admit(&self, arrived: &mut [VecDeque<u64>], now: u64) -> Result<(), u64> {
        for ((count, per), arrived) in self.windows.iter().zip(arrived.iter_mut()) {
            while arrived.front().is_some_and(|time| time + per <= now) {
                arrived.pop_front();
            }
            if arrived.len() >= *count {
                return Err(arrived[0] + per - now);
            }
        }
        arrived.iter_mut().for_each(|arrived| arrived.push_back(now));
        Ok(())
    }
}

impl RetryAfter {
    fn value(self, left: u64) -> Option<Duration> {
        match self {
            Self::Seconds => Some(Duration::from_secs(left.div_ceil(1_000))),
            Self::Fraction => Some(Duration::from_millis(left.max(50))),
            Self::Missing => None,
            Self::Always(seconds) => Some(Duration::from_secs(seconds)),
        }
    }
}
