//! Which requests were sent when, and which were throttled.
//!
//! Requests that are not paced write to [`SendRing`]: two atomic stores, no lock. At the first
//! throttle response the ring becomes the beginning of a [`History`], so that earlier requests
//! count too.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One request that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SentRequest {
    /// The number of the request, in the order of sending.
    pub(super) number: u64,
    /// When the request was permitted, on the boot clock.
    pub(super) at: Duration,
    /// When the response came, or the latest time at which it can have come.
    pub(super) answered: Option<Duration>,
    /// Whether the request belongs to the scope that is paced.
    pub(super) in_scope: bool,
    /// Whether the response was a throttle response.
    pub(super) throttled: bool,
}

impl SentRequest {
    /// Returns the time from the permit to the response.
    pub(super) fn latency(&self) -> Option<Duration> {
        self.answered.map(|end| end.saturating_sub(self.at))
    }
}

/// The latest requests of one kind, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    sent: VecDeque<SentRequest>,
    /// The shortest latency, most often that of a throttle response: the way there and back, and
    /// hardly any work.
    fastest: Option<Duration>,
}

impl History {
    pub(super) fn push(&mut self, sent: SentRequest) {
        if self.sent.len() >= HISTORY_CAPACITY {
            self.sent.pop_front();
        }
        // Numbers are given before the lock is taken, so a later number may have come first.
        let index = self.sent.iter().rposition(|other| other.number < sent.number);
        self.sent.insert(index.map_or(0, |index| index + 1), sent);
    }

    /// Records when the response came, and whether it was a throttle response.
    pub(super) fn record_response(&mut self, number: u64, throttled: bool, now: Duration) {
        let Ok(index) = self.sent.binary_search_by_key(&number, |sent| sent.number) else { return };
        let sent = &mut self.sent[index];
        sent.answered.get_or_insert(now);
        sent.throttled |= throttled;
        self.fastest = self.fastest.into_iter().chain(sent.latency()).min();
    }

    /// Returns how much later than the fastest requests this one may have arrived: at most as much
    /// as its response was slower than theirs; a response that is not here yet comes `now` at the
    /// earliest.
    pub(super) fn lateness(&self, sent: &SentRequest, now: Duration) -> Duration {
        let latency = sent.answered.unwrap_or(now).saturating_sub(sent.at);
        latency.saturating_sub(self.fastest.unwrap_or_default())
    }

    /// Returns how late requests have been lately: the median, because single ones may be late.
    pub(super) fn usual_lateness(&self, now: Duration) -> Duration {
        let latest = self.passed().filter(|sent| sent.answered.is_some());
        median(latest.map(|sent| self.lateness(sent, now)))
    }

    /// Returns how long Nexudus works on a request that it accepts: the median latency of accepted
    /// requests less that of throttled ones.
    pub(super) fn service_time(&self) -> Duration {
        let way = median(self.throttled().filter_map(SentRequest::latency));
        median(self.passed().filter_map(SentRequest::latency)).saturating_sub(way)
    }

    pub(super) fn remove(&mut self, number: u64) {
        if let Ok(index) = self.sent.binary_search_by_key(&number, |sent| sent.number) {
            self.sent.remove(index);
        }
    }

    /// Forgets requests that were sent before `time`.
    pub(super) fn forget_before(&mut self, time: Duration) {
        while self.sent.front().is_some_and(|sent| sent.at < time) {
            self.sent.pop_front();
        }
    }

    /// Puts all requests in scope: the scope has grown to the whole kind.
    pub(super) fn count_all(&mut self) {
        self.sent.iter_mut().for_each(|sent| sent.in_scope = true);
    }

    /// Returns the requests in scope that were not throttled, newest first: Nexudus has counted
    /// them.
    pub(super) fn passed(&self) -> impl Iterator<Item = &SentRequest> {
        self.sent.iter().rev().filter(|sent| sent.in_scope && !sent.throttled)
    }

    /// Returns the requests in scope that were throttled, newest first.
    pub(super) fn throttled(&self) -> impl Iterator<Item = &SentRequest> {
        self.sent.iter().rev().filter(|sent| sent.in_scope && sent.throttled)
    }
}

/// Returns the median of the first few times; zero if there are none.
fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut latest: Vec<Duration> = times.take(MEDIAN_SAMPLES).collect();
    let middle = latest.len() / 2;
    if latest.is_empty() { Duration::ZERO } else { *latest.select_nth_unstable(middle).1 }
}

/// The sending times of the latest requests, written without a lock.
#[derive(Debug)]
pub(super) struct SendRing {
    next: AtomicU64,
    cells: Box<[RingCell]>,
}

#[derive(Debug, Default)]
struct RingCell {
    /// The low 16 bits of the number, and 48 bits of microseconds on the boot clock.
    sent: AtomicU64,
    /// The number of the next request when the response came; 0: no response yet.
    until: AtomicU64,
}

impl SendRing {
    pub(super) fn new() -> Self {
        let cells = (0..RING_CAPACITY).map(|_| RingCell::default()).collect();
        // Starts at 1, so that an empty cell is never mistaken for a request.
        Self { next: AtomicU64::new(1), cells }
    }

    /// Takes the next number without recording the request.
    pub(super) fn next_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes the next number and records the time.
    pub(super) fn record_sent(&self, now: Duration) -> u64 {
        let number = self.next_number();
        let cell = self.cell(number);
        cell.until.store(0, Ordering::Relaxed);
        let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        cell.sent.store(micros << 16 | number & 0xffff, Ordering::Relaxed);
        number
    }

    /// Records that the response came before the next request is sent: as good as a time while
    /// requests are dense, and cheaper than reading the clock.
    pub(super) fn record_response(&self, number: u64) {
        self.cell(number).until.store(self.next.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Returns the requests that are still there, oldest first.
    pub(super) fn to_history(&self, now: Duration) -> History {
        let end = self.next.load(Ordering::Relaxed);
        let start = end.saturating_sub(RING_CAPACITY as u64).max(1);
        let sent = |number: u64| {
            let cell = self.cell(number).sent.load(Ordering::Relaxed);
            (cell & 0xffff == number & 0xffff && cell != 0)
                .then(|| Duration::from_micros(cell >> 16))
        };
        let read = |number| {
            let at = sent(number)?;
            let until = self.cell(number).until.load(Ordering::Relaxed);
            let answered = (until > 0).then(|| sent(until).unwrap_or(now).max(at));
            Some(SentRequest { number, at, answered, in_scope: true, throttled: false })
        };
        let sent: VecDeque<_> = (start..end).filter_map(read).collect();
        History { fastest: sent.iter().filter_map(SentRequest::latency).min(), sent }
    }

    fn cell(&self, number: u64) -> &RingCell {
        &self.cells[usize::try_from(number % RING_CAPACITY as u64).unwrap_or_default()]
    }
}

/// 64 KiB for each kind; 4,096 requests are the better part of the largest hourly figure that
/// Nexudus publishes (5,000).
const RING_CAPACITY: usize = 4_096;

/// Requests of which a median is taken.
const MEDIAN_SAMPLES: usize = 32;

/// Most requests remembered while pacing: more than 5,000 an hour, and 320 KiB.
const HISTORY_CAPACITY: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_remembers_the_latest_requests_with_their_times() {
        let ring = SendRing::new();
        let first = ring.record_sent(Duration::from_millis(10));
        ring.record_response(first);
        ring.record_sent(Duration::from_millis(12));

        let history = ring.to_history(Duration::from_millis(20));

        let seen: Vec<_> = history.sent.iter().map(|sent| (sent.at, sent.answered)).collect();
        let ms = Duration::from_millis;
        assert_eq!(seen, [(ms(10), Some(ms(12))), (ms(12), None)]);
    }

    #[test]
    fn the_ring_forgets_the_oldest() {
        let ring = SendRing::new();
        for n in 0..2 * RING_CAPACITY as u64 {
            ring.record_sent(Duration::from_millis(n));
        }

        let history = ring.to_history(Duration::from_secs(60));

        assert_eq!(history.sent.len(), RING_CAPACITY);
        assert_eq!(history.sent[0].at, Duration::from_millis(RING_CAPACITY as u64));
    }

    #[test]
    fn requests_pushed_out_of_order_are_sorted() {
        let mut history = History::default();
        for number in [2, 1, 3] {
            let at = Duration::ZERO;
            history.push(SentRequest {
                number,
                at,
                answered: None,
                in_scope: true,
                throttled: false,
            });
        }

        assert_eq!(history.sent.iter().map(|sent| sent.number).collect::<Vec<_>>(), [1, 2, 3]);
        history.remove(2);
        assert_eq!(history.sent.iter().map(|sent| sent.number).collect::<Vec<_>>(), [1, 3]);
    }
}
