//! Counters: each is an atomic add, and a request that Nexudus responds to takes no lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};

use super::timing::{RequestTiming, STAGES};

/// All counters since the start of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: [[AtomicU64; STATUS_CLASSES.len()]; METHOD_KINDS.len()],
    durations: Histogram,
    stages: [Histogram; STAGES.len()],
    bytes: AtomicU64,
    connections: AtomicU64,
    open_connections: AtomicU64,
    renewals: AtomicU64,
    failures: [[AtomicU64; ActionFailure::ALL.len()]; METHOD_KINDS.len()],
    /// Our own responses, by code. The lock is taken only for errors.
    problems: Mutex<BTreeMap<&'static str, u64>>,
}

/// Durations in fixed buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One more bucket than [`BUCKET_BOUNDS`]: the last has no bound.
    buckets: [AtomicU64; BUCKET_BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// Upper bounds of the buckets: from a cached response to the longest export.
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

/// Classes of statuses; `none` is a client that left before its response.
pub const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// How Nexudus says that an action has failed, where the status does not say it or says too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionFailure {
    /// A status of success, and `"WasSuccessful": false` in the body.
    Unsuccessful,
    /// 500, and the sentence that Nexudus has for a failed action.
    ActionFailed,
}

impl ActionFailure {
    /// Every failure.
    pub const ALL: [Self; 2] = [Self::Unsuccessful, Self::ActionFailed];

    /// Returns the name of the failure in logs, records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsuccessful => "unsuccessful",
            Self::ActionFailed => "action-failed",
        }
    }
}

/// Kinds of methods.
pub const METHOD_KINDS: [&str; 2] = ["read", "write"];

impl Metrics {
    /// Counts a request that has ended.
    pub(super) fn count_request(
        &self,
        is_write: bool,
        status: Option<StatusCode>,
        duration: Duration,
    ) {
        let class = status.map_or(0, |status| usize::from(status.as_u16() / 100));
        let kind = &self.requests[usize::from(is_write)];
        kind[class.min(STATUS_CLASSES.len() - 1)].fetch_add(1, Ordering::Relaxed);
        self.durations.record(duration);
    }

    /// Counts where the time of a request went.
    pub(super) fn record_timing(&self, timing: &RequestTiming) {
        let times = timing.get().into_iter().flatten();
        self.stages.iter().zip(times).for_each(|(stage, time)| stage.record(time));
    }

    /// Counts a response of our own by its code.
    pub fn count_problem(&self, code: &'static str) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        *problems.entry(code).or_default() += 1;
    }

    /// Counts an action that Nexudus says has failed.
    pub fn count_failure(&self, is_write: bool, failure: ActionFailure) {
        self.failures[usize::from(is_write)][failure as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes of response bodies.
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

    /// Returns each kind, name and count of failed actions.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        METHOD_KINDS.iter().zip(&self.failures).flat_map(|(kind, failures)| {
            let count = |(failure, count): (ActionFailure, &AtomicU64)| {
                (*kind, failure.as_str(), count.load(Ordering::Relaxed))
            };
            ActionFailure::ALL.into_iter().zip(failures).map(count)
        })
    }

    /// Returns how often each of our own responses was given, by code.
    pub fn problems(&self) -> BTreeMap<&'static str, u64> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how long requests took.
    pub fn durations(&self) -> &Histogram {
        &self.durations
    }

    /// Returns how long requests waited in each stage.
    pub fn stages(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        STAGES.iter().map(|(stage, name)| (*name, &self.stages[*stage as usize]))
    }

    /// Returns the bytes of all response bodies.
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
    fn record(&self, duration: Duration) {
        let bucket = BUCKET_BOUNDS.partition_point(|bound| *bound < duration);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Returns the count in each bucket, the last without a bound.
    pub fn counts(&self) -> [u64; BUCKET_BOUNDS.len() + 1] {
        self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed))
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

/// Returns whether a method may change something.
pub(super) fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_method_and_status() {
        let metrics = Metrics::default();

        metrics.count_request(false, Some(StatusCode::OK), Duration::from_millis(3));
        metrics.count_request(true, Some(StatusCode::IM_A_TEAPOT), Duration::from_secs(3_600));
        metrics.count_request(true, None, Duration::ZERO);

        let counted: Vec<_> = metrics.requests().filter(|(_, _, count)| *count > 0).collect();
        assert_eq!(counted, [("read", "2xx", 1), ("write", "none", 1), ("write", "4xx", 1)]);
        let (below, all, sum) = metrics.durations().read();
        assert_eq!((below[0], below[1], below[BUCKET_BOUNDS.len() - 1], all), (1, 2, 2, 3));
        assert_eq!(sum, Duration::from_millis(3_600_003));
    }

    #[test]
    fn a_connection_is_open_until_it_is_dropped() {
        let metrics = Metrics::default();

        let open = metrics.open_connection();
        assert_eq!(metrics.connections(), (1, 1));
        drop(open);

        assert_eq!(metrics.connections(), (1, 0));
    }
}
