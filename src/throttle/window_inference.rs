//! Infers which sliding window explains the requests that Nexudus accepted and throttled.
//!
//! "At most `count` in any span of `per`" is a hypothesis. A throttle response refutes every window
//! that had room; every request that passed refutes the windows that had none. The remaining
//! windows are tried, shortest first. When a request arrived is unknown, except that it was between
//! its sending and its response. Each count is therefore a lower or an upper bound, whichever
//! refutes less.

use std::fmt;
use std::time::Duration;

use super::history::History;

/// At most `count` requests in any span of `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The number of requests.
    pub count: u32,
    /// The length of the window.
    pub per: Duration,
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}", self.count, self.per)
    }
}

/// A request that was throttled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation {
    /// When the request was sent.
    pub(super) sent: Duration,
    /// When the throttle response came.
    pub(super) answered: Duration,
    /// The response's `Retry-After`.
    pub(super) retry_after: Option<Duration>,
}

/// Returns every window that explains why all `observations` were throttled and all requests of
/// `history` that passed were not; the shortest first.
pub(super) fn infer_windows(history: &History, observations: &[Observation]) -> Vec<Window> {
    let passed = PassedRequests::new(history);
    let consistent = |honest: bool| {
        let windows = WINDOW_PERIODS_MS.iter().map(|millis| Duration::from_millis(*millis));
        windows
            .filter(|per| {
                !honest
                    || observations
                        .iter()
                        .all(|observation| passed.matches_retry_after(observation, *per))
            })
            .filter_map(|per| passed.fit(observations, per))
            .collect::<Vec<_>>()
    };
    // `Retry-After` may be a meaningless constant: it is one if waiting that long did not help, or
    // if it refutes every window.
    let matching = if observations.len() == 1 { consistent(true) } else { Vec::new() };
    if matching.is_empty() { consistent(false) } else { matching }
}

/// The windows that are tried, in milliseconds: those that Nexudus has published (100 ms, 5 s, a
/// minute, an hour) and other usual ones. A limit in between is met by the next longer window, or
/// by less in a shorter one, at a loss of up to two fifths: 5 per 3 s is met by 5 per 5 s or 2 per
/// 2 s. One more window helps only limits of its own length: with one of 3 s, 7 per 4 s loses more.
const WINDOW_PERIODS_MS: [u64; 13] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 300_000, 900_000, 3_600_000,
];

/// The longest window that is tried.
pub(super) const MAX_WINDOW_PERIOD: Duration =
    Duration::from_millis(WINDOW_PERIODS_MS[WINDOW_PERIODS_MS.len() - 1]);

/// Requests that passed: the times between which each arrived, each column sorted.
struct PassedRequests {
    sent: Vec<Duration>,
    answered: Vec<Duration>,
    /// The best guess: the response less the service time.
    arrived: Vec<Duration>,
}

impl PassedRequests {
    fn new(history: &History) -> Self {
        let service_time = history.service_time();
        let mut passed = Self { sent: vec![], answered: vec![], arrived: vec![] };
        for one in history.passed() {
            let latest = one.at + MAX_ARRIVAL_DELAY;
            let answered = one.answered.map_or(latest, |end| end.min(latest));
            passed.sent.push(one.at);
            passed.answered.push(answered);
            passed.arrived.push(answered.saturating_sub(service_time).max(one.at));
        }
        passed.sent.sort_unstable();
        passed.answered.sort_unstable();
        passed.arrived.sort_unstable();
        passed
    }

    fn fit(&self, observations: &[Observation], per: Duration) -> Option<Window> {
        let most = observations.iter().map(|observation| self.max_count(observation, per)).min()?;
        let near =
            observations.iter().map(|observation| self.likely_count(observation, per)).min()?;
        let proven = self.proven_count(per);
        let count = most.min(near.max(self.densest_count(per)).max(proven).max(1));
        (most >= proven && most > 0)
            .then(|| Window { count: u32::try_from(count).unwrap_or(u32::MAX), per })
    }

    /// Returns how many may have been in the window when the throttled request arrived.
    fn max_count(&self, observation: &Observation, per: Duration) -> usize {
        let gone =
            observation.sent.checked_sub(per).map_or(0, |start| count_up_to(&self.answered, start));
        count_up_to(&self.sent, observation.answered).saturating_sub(gone)
    }

    /// Returns how many have most likely arrived within the window before the throttle response.
    fn likely_count(&self, observation: &Observation, per: Duration) -> usize {
        let start = observation.answered.checked_sub(per);
        let gone = start.map_or(0, |start| count_up_to(&self.arrived, start));
        count_up_to(&self.arrived, observation.answered + per / 20).saturating_sub(gone)
    }

    /// Returns how many have most likely passed within one window at some time: sent together and
    /// arrived together. A little less than the window is considered, because guesses are not
    /// exact.
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

    /// Returns whether the window would have had room again after the `Retry-After`.
    fn matches_retry_after(&self, observation: &Observation, per: Duration) -> bool {
        let Some(retry_after) = observation.retry_after else { return true };
        let gone =
            observation.sent.checked_sub(per).map_or(0, |start| count_up_to(&self.answered, start));
        let (Some(sent), Some(answered)) = (self.sent.get(gone), self.answered.get(gone)) else {
            return false;
        };
        let slack = per / 20 + RETRY_AFTER_TOLERANCE;
        let soonest = (*sent + per).saturating_sub(observation.answered);
        let latest = (*answered + per).saturating_sub(observation.sent);
        // Whole seconds may have been rounded up; fractions have not.
        let rounding =
            if retry_after.subsec_nanos() == 0 { RETRY_AFTER_ROUNDING } else { Duration::ZERO };
        soonest <= retry_after + slack && latest + slack + rounding >= retry_after
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
/// throttles comes before all work.
pub(super) const MAX_ARRIVAL_DELAY: Duration = Duration::from_secs(1);

const RETRY_AFTER_TOLERANCE: Duration = Duration::from_millis(50);
const RETRY_AFTER_ROUNDING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::throttle::history::SentRequest;

    fn ms(millis: u64) -> Duration {
        Duration::from_secs(1_000) + Duration::from_millis(millis)
    }

    fn history(times: impl IntoIterator<Item = u64>) -> History {
        let mut history = History::default();
        for (number, time) in (1..).zip(times) {
            let answered = Some(ms(time + 1));
            history.push(SentRequest {
                number,
                at: ms(time),
                answered,
                in_scope: true,
                throttled: false,
            });
        }
        history
    }

    fn observation(millis: u64, retry_after: Option<u64>) -> Observation {
        let retry_after = retry_after.map(Duration::from_secs);
        Observation { sent: ms(millis), answered: ms(millis + 1), retry_after }
    }

    fn shortest(history: &History, observations: &[Observation]) -> Option<(u32, u64)> {
        let window = infer_windows(history, observations).first().copied()?;
        Some((window.count, u64::try_from(window.per.as_millis()).unwrap()))
    }

    #[test]
    fn a_burst_that_is_cut_off_yields_the_shortest_window() {
        let history = history((0..10).chain([1_001]));
        assert_eq!(shortest(&history, &[observation(10, Some(1))]), Some((10, 100)));
        assert_eq!(shortest(&history, &[observation(10, None)]), Some((10, 100)));
    }

    #[test]
    fn a_true_retry_after_yields_the_window_at_once() {
        let fives = history((0..10).chain([5_001]));
        assert_eq!(shortest(&fives, &[observation(20, Some(5))]), Some((10, 5_000)));

        let minute = history((0..120).map(|n| n * 100).chain([60_100]));
        assert_eq!(shortest(&minute, &[observation(12_000, Some(48))]), Some((120, 60_000)));
    }

    #[test]
    fn without_retry_after_the_probes_that_fail_yield_the_window() {
        let fives = history((0..10).chain([7_001]));
        let failed = [observation(20, None), observation(1_020, None), observation(3_020, None)];
        assert_eq!(shortest(&fives, &failed), Some((10, 5_000)));
    }

    #[test]
    fn a_constant_retry_after_is_ignored_once_it_has_failed() {
        let fives = history((0..10).chain([5_041]));
        let failed: Vec<_> = (0..5).map(|n| observation(20 + n * 1_001, Some(1))).collect();
        assert_eq!(shortest(&fives, &failed), Some((10, 5_000)));
    }

    #[test]
    fn requests_that_passed_before_still_count() {
        // Ten at once have passed: the limit cannot be three in 100 ms, so another client must have
        // sent requests meanwhile.
        let history = history((0..10).chain([1_000, 1_001, 1_002, 2_100]));
        assert_eq!(shortest(&history, &[observation(1_003, Some(1))]), Some((10, 1_000)));
    }

    #[test]
    fn a_throttle_response_without_history_yields_no_window() {
        assert_eq!(shortest(&history([]), &[observation(0, None)]), None);
    }
}
