//! Requests that an upstream did not answer, in the log: the first of a kind at once, then how many
//! there were, once a minute at most; and that it answers again, after how many more.
//!
//! An answer costs one relaxed load. The lock is for failures.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is known of one upstream's failures.
#[derive(Debug)]
pub struct UpstreamErrors {
    origin: String,
    /// Whether a failure has been told since it last answered.
    is_failing: AtomicBool,
    /// By code.
    by_code: Mutex<BTreeMap<&'static str, ErrorCount>>,
}

#[derive(Debug)]
struct ErrorCount {
    /// When it was last told.
    logged_at: Instant,
    /// How many there were since then.
    unlogged: u64,
}

impl UpstreamErrors {
    /// Knows of none yet.
    pub fn new(origin: String) -> Self {
        Self { origin, is_failing: AtomicBool::new(false), by_code: Mutex::default() }
    }

    /// Notes that a request got no answer, and why: never its path, nor what it carried.
    pub fn record_error(&self, code: &'static str, cause: &str, now: Instant) {
        if let Some(failed) = self.count(code, now) {
            tracing::warn!(origin = self.origin, code, cause, failed, "no answer from Nexudus");
        }
    }

    /// Notes that one was answered.
    pub fn record_success(&self) {
        if self.is_failing.load(Ordering::Relaxed) && self.is_failing.swap(false, Ordering::Relaxed)
        {
            let failed = self.take_unlogged();
            let failed = (failed > 0).then_some(failed);
            tracing::info!(origin = self.origin, failed, "Nexudus answers again");
        }
    }

    /// Returns how many failures have not been told yet. They are from now on.
    fn take_unlogged(&self) -> u64 {
        let mut kinds = self.by_code.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.values_mut().map(|kind| std::mem::take(&mut kind.unlogged)).sum()
    }

    /// Counts a failure; returns how many there were since the last that was told, if this is.
    fn count(&self, code: &'static str, now: Instant) -> Option<u64> {
        let mut kinds = self.by_code.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kinds.get_mut(code);
        let failed = match known {
            Some(kind) if now.saturating_duration_since(kind.logged_at) < MIN_LOG_INTERVAL => {
                kind.unlogged += 1;
                return None;
            }
            Some(kind) => kind.unlogged + 1,
            None => 1,
        };
        kinds.insert(code, ErrorCount { logged_at: now, unlogged: 0 });
        self.is_failing.store(true, Ordering::Relaxed);
        Some(failed)
    }
}

/// Shortest time between two lines about one kind.
const MIN_LOG_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_is_told_and_then_how_many_there_were() {
        let outage = UpstreamErrors::new("https://spaces.nexudus.com".to_owned());
        let start = Instant::now();
        let count = |code, seconds| outage.count(code, start + Duration::from_secs(seconds));

        assert_eq!(count("upstream.closed", 0), Some(1));
        assert_eq!(count("upstream.timeout", 1), Some(1), "another kind");
        for second in 1..60 {
            assert_eq!(count("upstream.closed", second), None);
        }
        assert_eq!(count("upstream.closed", 60), Some(60));
        assert_eq!(count("upstream.closed", 61), None);
        assert_eq!(count("upstream.closed", 7_200), Some(2));
    }

    #[test]
    fn what_was_not_told_is_when_it_answers_again() {
        let outage = UpstreamErrors::new("https://spaces.nexudus.com".to_owned());
        let start = Instant::now();
        for code in ["upstream.closed", "upstream.closed", "upstream.timeout", "upstream.closed"] {
            outage.record_error(code, "a cause", start);
        }

        assert_eq!(outage.take_unlogged(), 2, "the first of each kind was told");
        assert_eq!(outage.take_unlogged(), 0);
        let later = start + Duration::from_secs(60);
        assert_eq!(outage.count("upstream.closed", later), Some(1), "none is counted twice");
    }

    #[test]
    fn what_comes_and_goes_is_told_once_a_minute_too() {
        let outage = UpstreamErrors::new("https://spaces.nexudus.com".to_owned());
        let start = Instant::now();
        let is_told = || outage.is_failing.load(Ordering::Relaxed);
        outage.record_success();

        let mut told = 0;
        for second in 0..120 {
            let at = start + Duration::from_secs(second);
            told += usize::from(outage.count("upstream.closed", at).is_some());
            assert_eq!(is_told(), second % 60 == 0, "it answers again once, after what was told");
            outage.record_success();
            assert!(!is_told());
        }

        assert_eq!(told, 2);
    }
}
