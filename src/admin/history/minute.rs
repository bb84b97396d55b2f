//! One minute of the history: the difference of two readings of the counters.

use crate::telemetry::{BUCKET_BOUNDS, Metrics, STAGES, STATUS_CLASSES};
use crate::throttle::ThrottleStatus;

/// The counters at one moment.
#[derive(Clone, Debug, Default)]
pub(in crate::admin) struct Readings {
    /// Requests that have ended, in the order of [`STATUS_CLASSES`].
    pub(super) requests: [u64; STATUS_CLASSES.len()],
    /// How long they took: in all, then in each of [`STAGES`].
    pub(super) durations: [Buckets; PARTS],
    throttled: u64,
    waiting: u64,
    connections: u64,
    memory: Option<u64>,
}

/// The count in each bucket of a histogram.
pub(super) type Buckets = [u64; BUCKET_BOUNDS.len() + 1];

/// The whole, and each stage.
const PARTS: usize = 1 + STAGES.len();

impl Readings {
    /// Reads the counters.
    pub(in crate::admin) fn take(metrics: &Metrics, throttle: &ThrottleStatus) -> Self {
        let mut requests = [0; STATUS_CLASSES.len()];
        for (_, class, count) in metrics.requests() {
            let at = STATUS_CLASSES.iter().position(|known| *known == class);
            at.iter().for_each(|at| requests[*at] += count);
        }
        let mut durations = [metrics.durations().counts(); PARTS];
        for (part, (_, times)) in durations[1..].iter_mut().zip(metrics.stages()) {
            *part = times.counts();
        }
        Self {
            requests,
            durations,
            throttled: throttle.reads.throttled + throttle.writes.throttled,
            waiting: throttle.reads.waiting + throttle.writes.waiting,
            connections: metrics.connections().1,
            memory: resident_memory(),
        }
    }
}

/// The figures of one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Minute {
    /// When the minute began, in seconds since 1970.
    pub(super) time: u64,
    pub(super) requests: [u32; STATUS_CLASSES.len()],
    pub(super) latency_ms: [[Option<f32>; PERCENTILES.len()]; PARTS],
    pub(super) throttled: u32,
    pub(super) waiting: u32,
    pub(super) connections: u32,
    pub(super) memory: Option<u64>,
}

impl Minute {
    /// Returns what happened between two readings.
    pub(super) fn between(time: u64, before: &Readings, after: &Readings) -> Self {
        let grown = |before: u64, after: u64| narrow(after.saturating_sub(before));
        let mut minute = Self {
            time,
            throttled: grown(before.throttled, after.throttled),
            waiting: narrow(after.waiting),
            connections: narrow(after.connections),
            memory: after.memory,
            ..Self::default()
        };
        for (at, count) in minute.requests.iter_mut().enumerate() {
            *count = grown(before.requests[at], after.requests[at]);
        }
        for (part, percentiles) in minute.latency_ms.iter_mut().enumerate() {
            let mut counts = after.durations[part];
            for (count, before) in counts.iter_mut().zip(before.durations[part]) {
                *count = count.saturating_sub(before);
            }
            *percentiles = PERCENTILES.map(|percent| percentile(&counts, percent));
        }
        minute
    }
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Estimates a percentile in milliseconds: within its bucket, requests are taken to be spread evenly.
fn percentile(counts: &Buckets, percent: u64) -> Option<f32> {
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return None;
    }
    let wanted = all as f64 * percent as f64 / 100.0;
    let mut below = 0;
    for (at, count) in counts.iter().enumerate() {
        let reached = below + count;
        if *count > 0 && reached as f64 >= wanted {
            let bound = |at: usize| BUCKET_BOUNDS[at].as_secs_f64() * 1_000.0;
            let from = if at == 0 { 0.0 } else { bound(at - 1) };
            // The last bucket has no bound: its beginning is what is known.
            let to = if at < BUCKET_BOUNDS.len() { bound(at) } else { from };
            let share = (wanted - below as f64) / *count as f64;
            return Some((from + (to - from) * share) as f32);
        }
        below = reached;
    }
    None
}

/// The percentiles that are kept.
pub(super) const PERCENTILES: [u64; 3] = [50, 95, 99];

/// Returns the resident memory of this process in bytes, where the system tells.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_within_their_buckets() {
        let mut counts = Buckets::default();
        assert_eq!(percentile(&counts, 50), None);

        // 90 between 25 and 50 ms, 10 between 1 and 2.5 s.
        (counts[4], counts[9]) = (90, 10);
        assert_eq!(percentile(&counts, 45), Some(37.5));
        assert_eq!(percentile(&counts, 90), Some(50.0));
        assert_eq!(percentile(&counts, 95), Some(1_750.0));

        // Beyond the last bound.
        counts = Buckets::default();
        counts[BUCKET_BOUNDS.len()] = 1;
        assert_eq!(percentile(&counts, 99), Some(120_000.0));
    }

    #[test]
    fn a_minute_is_what_has_grown() {
        let (mut before, mut after) = (Readings::default(), Readings::default());
        (before.requests[2], after.requests[2]) = (10, 25);
        (before.durations[0][0], after.durations[0][0]) = (10, 25);
        (before.throttled, after.throttled) = (4, 5);
        (before.waiting, after.waiting) = (9, 2);

        let minute = Minute::between(60, &before, &after);

        assert_eq!(
            (minute.time, minute.requests[2], minute.throttled, minute.waiting),
            (60, 15, 1, 2)
        );
        assert_eq!(minute.latency_ms[0], [Some(0.5), Some(0.95), Some(0.99)]);
        assert_eq!(minute.latency_ms[1], [None; 3]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_memory_of_this_process_is_known() {
        assert!(resident_memory().unwrap() > 1 << 20);
    }
}
