//! Counts: an atomic add each, no lock on the way of a request that Nexudus answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};

use super::{RequestTiming, STAGES};

/// Everything that is counted from the start of the process on.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: [[AtomicU64; STATUS_CLASSES.len()]; METHOD_KINDS.len()],
    durations: Histogram,
    stages: [Histogram; STAGES.len()],
    bytes: AtomicU64,
    connections: AtomicU64,
    open_connections: AtomicU64,
    renewals: AtomicU64,
    /// Answers of our own, by code. Taken only when something went wrong.
    problems: Mutex<BTreeMap<&'static str, u64>>,
}

/// How long requests took, in fixed buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One more than [`BUCKET_BOUNDS`]: the last one has no bound.
    buckets: [AtomicU64; BUCKET_BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// Upper bounds of the buckets: from a cached answer to the longest export.
pub const BUCKET_BOUNDS: [Duration; 14] = [
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(120),
];

/// Classes of statuses; `none` is a caller that left before its answer.
pub const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Kinds of methods.
pub const METHOD_KINDS: [&str; 2] = ["read", "write"];

impl Metrics {
    /// Counts a request that has ended.
    pub(super) fn count_request(&self, writes: bool, status: Option<StatusCode>, took: Duration) {
        let class = status.map_or(0, |status| usize::from(status.as_u16() / 100));
        let kind = &self.requests[usize::from(writes)];
        kind[class.min(STATUS_CLASSES.len() - 1)].fetch_add(1, Ordering::Relaxed);
        self.durations.record(took);
    }

    /// Counts where the time of a request went.
    pub(super) fn record_timing(&self, spent: &RequestTiming) {
        let parts = spent.get().into_iter().flatten();
        self.stages.iter().zip(parts).for_each(|(took, part)| took.record(part));
    }

    /// Counts an answer of our own by its code.
    pub fn count_problem(&self, code: &'static str) {
        let mut answers = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry(code).or_default() += 1;
    }

    /// Counts bytes of answers.
    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts a connection, open until the result is dropped.
    pub fn open_connection(&self) -> OpenConnection<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.open_connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(&self.open_connections)
    }

    /// Counts a new token.
    pub fn count_renewal(&self) {
        self.renewals.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns each kind, class and count of requests.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        METHOD_KINDS.iter().zip(&self.requests).flat_map(|(kind, classes)| {
            let count = |(class, count): (&&'static str, &AtomicU64)| {
                (*kind, *class, count.load(Ordering::Relaxed))
            };
            STATUS_CLASSES.iter().zip(classes).map(count)
        })
    }

    /// Returns how often each of our own answers was given.
    pub fn problems(&self) -> BTreeMap<&'static str, u64> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how long requests took.
    pub fn durations(&self) -> &Histogram {
        &self.durations
    }

    /// Returns how long requests waited for each part.
    pub fn stages(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        STAGES.iter().map(|(part, name)| (*name, &self.stages[*part as usize]))
    }

    /// Returns the bytes of all answers' bodies.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns how many connections there were, and how many are open.
    pub fn connections(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.connections), read(&self.open_connections))
    }

    /// Returns how many new tokens there were.
    pub fn renewals(&self) -> u64 {
        self.renewals.load(Ordering::Relaxed)
    }
}

/// A connection that counts as open until this is dropped.
#[derive(Debug)]
pub struct OpenConnection<'a>(&'a AtomicU64);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Histogram {
    fn record(&self, took: Duration) {
        let bucket = BUCKET_BOUNDS.partition_point(|bound| *bound < took);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Returns the count below each bound and in all, and the sum.
    pub fn read(&self) -> ([u64; BUCKET_BOUNDS.len()], u64, Duration) {
        let mut below = 0;
        let mut cumulative = [0; BUCKET_BOUNDS.len()];
        for (count, bucket) in cumulative.iter_mut().zip(&self.buckets) {
            below += bucket.load(Ordering::Relaxed);
            *count = below;
        }
        let beyond = self.buckets[BUCKET_BOUNDS.len()].load(Ordering::Relaxed);
        let sum = Duration::from_micros(self.micros.load(Ordering::Relaxed));
        (cumulative, below + beyond, sum)
    }
}

/// Says whether a method may change something.
pub(super) fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_what_they_were_and_what_they_got() {
        let tally = Metrics::default();

        tally.count_request(false, Some(StatusCode::OK), Duration::from_millis(3));
        tally.count_request(true, Some(StatusCode::IM_A_TEAPOT), Duration::from_secs(3_600));
        tally.count_request(true, None, Duration::ZERO);

        let counted: Vec<_> = tally.requests().filter(|(_, _, count)| *count > 0).collect();
        assert_eq!(counted, [("read", "2xx", 1), ("write", "none", 1), ("write", "4xx", 1)]);
        let (below, all, sum) = tally.durations().read();
        assert_eq!((below[0], below[1], below[BUCKET_BOUNDS.len() - 1], all), (1, 2, 2, 3));
        assert_eq!(sum, Duration::from_millis(3_600_003));
    }

    #[test]
    fn a_connection_is_open_until_it_is_dropped() {
        let tally = Metrics::default();

        let open = tally.open_connection();
        assert_eq!(tally.connections(), (1, 1));
        drop(open);

        assert_eq!(tally.connections(), (1, 0));
    }
}
