//! The budget against a Nexudus made of numbers: callers that always want more, windows that are
//! kept to the letter, and a clock that jumps from event to event.

use std::collections::VecDeque;
use std::time::Duration;

use super::budget::{Budget, Next, Told};
use super::history::Ring;

/// What Nexudus does.
#[derive(Clone, Copy)]
struct Upstream {
    windows: &'static [(usize, u64)],
    told: Retry,
    /// From sending to arrival, and from arrival to the answer, in milliseconds.
    there: u64,
    back: u64,
}

/// A request under way: its number, when it was sent, and what Nexudus made of it.
type Flying = (u64, u64, Option<Result<(), u64>>);

#[derive(Clone, Copy)]
enum Retry {
    Seconds,
    Fraction,
    Missing,
    Always(u64),
}

/// What came of a run.
#[derive(Debug, Default)]
struct Outcome {
    passed: u64,
    throttled: u64,
    learned: Vec<(u32, u64)>,
}

#[test]
fn ten_per_100_ms_is_learned_at_once() {
    let upstream = Upstream { windows: &[(10, 100)], told: Retry::Seconds, there: 1, back: 1 };
    let late = run(upstream, 30, 2_000..32_000);
    assert_eq!(late.learned, [(10, 100)]);
    assert_eq!(late.throttled, 0);
    assert!(late.passed >= 2_850, "{late:?}");
}

#[test]
fn ten_per_100_ms_is_held_with_answers_that_take_their_time() {
    let upstream = Upstream { windows: &[(10, 100)], told: Retry::Seconds, there: 40, back: 200 };
    let late = run(upstream, 30, 5_000..35_000);
    assert!(late.passed >= 2_700, "{late:?}");
    assert!(late.throttled * 50 <= late.passed, "{late:?}");
}

#[test]
fn one_per_100_ms_and_120_per_minute_are_learned_together() {
    let windows = &[(1, 100), (120, 60_000)];
    for told in [Retry::Seconds, Retry::Fraction, Retry::Missing, Retry::Always(1)] {
        let late = run(Upstream { windows, told, there: 1, back: 1 }, 30, 120_000..420_000);
        // The shorter one may be under trial: the longer one hides whether it could be wider.
        assert!(late.learned[0] <= (2, 100), "{late:?}");
        assert_eq!(late.learned[1..], [(120, 60_000)], "{late:?}");
        assert!(late.passed >= 540, "{late:?}");
        assert!(late.throttled * 50 <= late.passed, "{late:?}");
    }
}

#[test]
fn ten_per_5_s_is_learned_from_any_answer() {
    for told in [Retry::Seconds, Retry::Fraction, Retry::Missing, Retry::Always(1)] {
        let upstream = Upstream { windows: &[(10, 5_000)], told, there: 5, back: 20 };
        let late = run(upstream, 30, 10_000..60_000);
        assert_eq!(late.learned, [(10, 5_000)], "{late:?}");
        assert_eq!(late.throttled, 0);
        assert!(late.passed >= 90, "{late:?}");
    }
}

#[test]
fn ten_per_100_ms_is_learned_without_retry_after() {
    for told in [Retry::Fraction, Retry::Missing, Retry::Always(1)] {
        let upstream = Upstream { windows: &[(10, 100)], told, there: 1, back: 1 };
        let late = run(upstream, 30, 10_000..40_000);
        assert!(late.passed >= 2_700, "{late:?}");
        assert_eq!(late.throttled, 0);
    }
}

#[test]
fn sixty_per_minute_is_learned_from_a_slow_beginning() {
    let windows = &[(60, 60_000)];
    for told in [Retry::Seconds, Retry::Missing] {
        let late = run(Upstream { windows, told, there: 100, back: 300 }, 3, 120_000..420_000);
        assert_eq!(late.learned.last(), Some(&(60, 60_000)), "{late:?}");
        assert!(late.passed >= 270, "{late:?}");
        assert!(late.throttled * 50 <= late.passed, "{late:?}");
    }
}

#[test]
fn over_an_hour_nearly_nothing_is_lost_to_looking_for_more() {
    let upstream = Upstream { windows: &[(10, 100)], told: Retry::Seconds, there: 1, back: 1 };
    let late = run(upstream, 15, 2_000..3_600_000);
    assert!(late.passed >= 3_600 * 95, "{late:?}");
    assert!(late.throttled * 1_000 <= late.passed, "{late:?}");
}

/// Lets `callers` ask without pause and returns what happened within `span` (milliseconds).
fn run(upstream: Upstream, callers: usize, span: std::ops::Range<u64>) -> Outcome {
    let ms = |millis: u64| Duration::from_secs(1_000) + Duration::from_millis(millis);
    let ring = Ring::new();
    let mut budget = Budget::default();
    let mut waiting = callers;
    let mut flying: VecDeque<Flying> = VecDeque::new();
    let mut arrived: Vec<VecDeque<u64>> = vec![VecDeque::new(); upstream.windows.len()];
    let mut outcome = Outcome::default();
    let mut look_again = Duration::ZERO;
    for now in 0..span.end {
        for (_, sent, verdict) in &mut flying {
            if *sent + upstream.there == now && verdict.is_none() {
                *verdict = Some(upstream.admit(&mut arrived, now));
            }
        }
        while flying
            .front()
            .is_some_and(|(_, sent, _)| sent + upstream.there + upstream.back <= now)
        {
            let (number, sent, verdict) = flying.pop_front().unwrap();
            waiting += 1;
            look_again = Duration::ZERO;
            let counted = span.contains(&now);
            match verdict.unwrap() {
                Ok(()) if budget.is_pacing() => budget.answered(number, ms(now)),
                Ok(()) => ring.answered(number),
                Err(left) => {
                    if !budget.is_pacing() {
                        budget.recall(ring.read(ms(now)));
                    }
                    let wait = upstream.told.of(left);
                    let told = Told { number, sent: ms(sent), shape: "/a", wait, jitter: 300 };
                    budget.throttled(&told, ms(now));
                    outcome.throttled += u64::from(counted);
                }
            }
            outcome.passed += u64::from(counted && verdict == Some(Ok(())));
        }
        while waiting > 0 && ms(now) >= look_again {
            if budget.is_pacing()
                && let Next::At(time) | Next::Probed(time) = budget.next(ms(now))
            {
                look_again = time;
                break;
            }
            waiting -= 1;
            let number = if budget.is_pacing() {
                let number = ring.number();
                budget.sent(number, true, ms(now));
                number
            } else {
                ring.note(ms(now))
            };
            flying.push_back((number, now, None));
        }
    }
    let millis = |per: Duration| u64::try_from(per.as_millis()).unwrap();
    outcome.learned = budget.windows().map(|window| (window.count, millis(window.per))).collect();
    outcome
}

impl Upstream {
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

impl Retry {
    fn of(self, left: u64) -> Option<Duration> {
        match self {
            Self::Seconds => Some(Duration::from_secs(left.div_ceil(1_000))),
            Self::Fraction => Some(Duration::from_millis(left.max(50))),
            Self::Missing => None,
            Self::Always(seconds) => Some(Duration::from_secs(seconds)),
        }
    }
}
