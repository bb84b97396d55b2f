//! Which sliding window explains what Nexudus let through and what it did not.
//!
//! "At most `count` in any span of `per`" is a hypothesis. A throttle answer refutes every window
//! that had room; every request that passed refutes the windows that had none. What is left is
//! tried, shortest first. When a request really arrived is not known, only that it was between its
//! sending and its answer: each count is therefore a least or a most, whichever does not refute
//! too much.

use std::time::Duration;

use super::history::History;

/// At most `count` requests in any span of `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How many.
    pub count: u32,
    /// In how long.
    pub per: Duration,
}

/// A request that was throttled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation {
    /// When it was sent.
    pub(super) sent: Duration,
    /// When the throttle answer came.
    pub(super) answered: Duration,
    /// How long the answer asked to wait.
    pub(super) retry_after: Option<Duration>,
}

/// Returns every window that explains why all of `witnesses` were throttled and everything in
/// `log` that passed was not; the shortest first.
pub(super) fn infer_windows(log: &History, witnesses: &[Observation]) -> Vec<Window> {
    let seen = PassedRequests::new(log);
    let consistent = |honest: bool| {
        let windows = WINDOW_PERIODS_MS.iter().map(|millis| Duration::from_millis(*millis));
        windows
            .filter(|per| {
                !honest || witnesses.iter().all(|witness| seen.matches_retry_after(witness, *per))
            })
            .filter_map(|per| seen.fit(witnesses, per))
            .collect::<Vec<_>>()
    };
    // `Retry-After` may be a constant that tells nothing: it is one if waiting that long did not
    // help, or if it refutes everything.
    let told = if witnesses.len() == 1 { consistent(true) } else { Vec::new() };
    if told.is_empty() { consistent(false) } else { told }
}

/// The spans that are tried, in milliseconds: those that Nexudus has published (100 ms, 5 s, a
/// minute, an hour) and others that people choose. A limit in between is met by the next longer
/// span, or by less in a shorter one, at a loss of up to two fifths: 5 per 3 s is kept as 5 per 5 s
/// or 2 per 2 s. Another rung helps only what stands on it: with one of 3 s, 7 per 4 s loses more.
const WINDOW_PERIODS_MS: [u64; 13] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 300_000, 900_000, 3_600_000,
];

/// The longest span that is tried.
pub(super) const MAX_WINDOW_PERIOD: Duration =
    Duration::from_millis(WINDOW_PERIODS_MS[WINDOW_PERIODS_MS.len() - 1]);

/// Requests that passed: the readings between which each arrived, each column sorted.
struct PassedRequests {
    sent: Vec<Duration>,
    answered: Vec<Duration>,
    /// The best guess: the answer less the work.
    arrived: Vec<Duration>,
}

impl PassedRequests {
    fn new(log: &History) -> Self {
        let work = log.service_time();
        let mut seen = Self { sent: vec![], answered: vec![], arrived: vec![] };
        for one in log.passed() {
            let latest = one.at + MAX_ARRIVAL_DELAY;
            let answered = one.answered.map_or(latest, |end| end.min(latest));
            seen.sent.push(one.at);
            seen.answered.push(answered);
            seen.arrived.push(answered.saturating_sub(work).max(one.at));
        }
        seen.sent.sort_unstable();
        seen.answered.sort_unstable();
        seen.arrived.sort_unstable();
        seen
    }

    fn fit(&self, witnesses: &[Observation], per: Duration) -> Option<Window> {
        let most = witnesses.iter().map(|witness| self.max_count(witness, per)).min()?;
        let near = witnesses.iter().map(|witness| self.likely_count(witness, per)).min()?;
        let proven = self.proven_count(per);
        let count = most.min(near.max(self.densest_count(per)).max(proven).max(1));
        (most >= proven && most > 0)
            .then(|| Window { count: u32::try_from(count).unwrap_or(u32::MAX), per })
    }

    /// Returns how many may have been in the window when the witness arrived.
    fn max_count(&self, witness: &Observation, per: Duration) -> usize {
        let gone =
            witness.sent.checked_sub(per).map_or(0, |start| count_up_to(&self.answered, start));
        count_up_to(&self.sent, witness.answered).saturating_sub(gone)
    }

    /// Returns how many have most likely arrived within the window before the witness was
    /// answered.
    fn likely_count(&self, witness: &Observation, per: Duration) -> usize {
        let start = witness.answered.checked_sub(per);
        let gone = start.map_or(0, |start| count_up_to(&self.arrived, start));
        count_up_to(&self.arrived, witness.answered + per / 20).saturating_sub(gone)
    }

    /// Returns how many have most likely passed within one window at some time: left together and
    /// arrived together. A little less than the window is looked at, for guesses are not exact.
    fn densest_count(&self, per: Duration) -> usize {
        let span = per - per / 10;
        let densest = |times: &[Duration]| {
            let within =
                |(gone, start): (usize, &Duration)| count_before(times, *start + span) - gone;
            times.iter().enumerate().map(within).max().unwrap_or(0)
        };
        densest(&self.sent).min(densest(&self.arrived))
    }

    /// Returns how many certainly passed within one window.
    fn proven_count(&self, per: Duration) -> usize {
        let within = |end: &Duration| {
            let gone = end.checked_sub(per).map_or(0, |start| count_up_to(&self.sent, start));
            count_up_to(&self.answered, *end).saturating_sub(gone)
        };
        self.answered.iter().map(within).max().unwrap_or(0)
    }

    /// Says whether the window would have had room again when the witness was told so.
    fn matches_retry_after(&self, witness: &Observation, per: Duration) -> bool {
        let Some(told) = witness.retry_after else { return true };
        let gone =
            witness.sent.checked_sub(per).map_or(0, |start| count_up_to(&self.answered, start));
        let (Some(sent), Some(answered)) = (self.sent.get(gone), self.answered.get(gone)) else {
            return false;
        };
        let slack = per / 20 + RETRY_AFTER_TOLERANCE;
        let soonest = (*sent + per).saturating_sub(witness.answered);
        let latest = (*answered + per).saturating_sub(witness.sent);
        // Whole seconds are rounded up, fractions are meant.
        let rounding = if told.subsec_nanos() == 0 { RETRY_AFTER_ROUNDING } else { Duration::ZERO };
        soonest <= told + slack && latest + slack + rounding >= told
    }
}

/// Returns how many of the sorted `times` are before `end`.
fn count_before(times: &[Duration], end: Duration) -> usize {
    times.partition_point(|time| *time < end)
}

/// Returns how many of the sorted `times` are not after `end`.
fn count_up_to(times: &[Duration], end: Duration) -> usize {
    times.partition_point(|time| *time <= end)
}

/// Longest time from our sending to their counting, a new connection included: the filter that
/// throttles stands before all work.
pub(super) const MAX_ARRIVAL_DELAY: Duration = Duration::from_secs(1);

const RETRY_AFTER_TOLERANCE: Duration = Duration::from_millis(50);
const RETRY_AFTER_ROUNDING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::history::SentRequest;
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_secs(1_000) + Duration::from_millis(millis)
    }

    fn log(times: impl IntoIterator<Item = u64>) -> History {
        let mut log = History::default();
        for (number, time) in (1..).zip(times) {
            let answered = Some(ms(time + 1));
            log.push(SentRequest {
                number,
                at: ms(time),
                answered,
                in_scope: true,
                throttled: false,
            });
        }
        log
    }

    fn witness(millis: u64, told: Option<u64>) -> Observation {
        let told = told.map(Duration::from_secs);
        Observation { sent: ms(millis), answered: ms(millis + 1), retry_after: told }
    }

    fn shortest(log: &History, witnesses: &[Observation]) -> Option<(u32, u64)> {
        let window = infer_windows(log, witnesses).first().copied()?;
        Some((window.count, u64::try_from(window.per.as_millis()).unwrap()))
    }

    #[test]
    fn a_burst_that_is_cut_teaches_the_shortest_window() {
        let log = log((0..10).chain([1_001]));
        assert_eq!(shortest(&log, &[witness(10, Some(1))]), Some((10, 100)));
        assert_eq!(shortest(&log, &[witness(10, None)]), Some((10, 100)));
    }

    #[test]
    fn an_honest_retry_after_names_the_window_at_once() {
        let fives = log((0..10).chain([5_001]));
        assert_eq!(shortest(&fives, &[witness(20, Some(5))]), Some((10, 5_000)));

        let minute = log((0..120).map(|n| n * 100).chain([60_100]));
        assert_eq!(shortest(&minute, &[witness(12_000, Some(48))]), Some((120, 60_000)));
    }

    #[test]
    fn without_it_the_probes_that_fail_name_the_window() {
        let fives = log((0..10).chain([7_001]));
        let failed = [witness(20, None), witness(1_020, None), witness(3_020, None)];
        assert_eq!(shortest(&fives, &failed), Some((10, 5_000)));
    }

    #[test]
    fn a_constant_retry_after_is_not_believed_twice() {
        let fives = log((0..10).chain([5_041]));
        let failed: Vec<_> = (0..5).map(|n| witness(20 + n * 1_001, Some(1))).collect();
        assert_eq!(shortest(&fives, &failed), Some((10, 5_000)));
    }

    #[test]
    fn what_passed_before_is_not_forgotten() {
        // Ten at once have passed: a limit of three in 100 ms would be a lie, so somebody else
        // must have asked meanwhile.
        let log = log((0..10).chain([1_000, 1_001, 1_002, 2_100]));
        assert_eq!(shortest(&log, &[witness(1_003, Some(1))]), Some((10, 1_000)));
    }

    #[test]
    fn a_throttle_answer_out_of_nothing_explains_nothing() {
        assert_eq!(shortest(&log([]), &[witness(0, None)]), None);
    }
}
