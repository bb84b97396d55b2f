//! Logs requests that got no response from an upstream: the first with a code at once, then how
//! many there were, once a minute at most; and the first response after them.
//!
//! A response costs one relaxed load. Only errors take the lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The errors of one upstream.
#[derive(Debug)]
pub struct UpstreamErrors {
    origin: String,
    /// Whether an error was logged since the last response.
    is_failing: AtomicBool,
    /// The errors of each code.
    by_code: Mutex<BTreeMap<&'static str, ErrorCount>>,
}

#[derive(Debug)]
struct ErrorCount {
    /// When the last line was logged.
    logged_at: Instant,
    /// Errors since then.
    unlogged: u64,
}

impl UpstreamErrors {
    /// Starts without errors.
    pub fn new(origin: String) -> Self {
        Self { origin, is_failing: AtomicBool::new(false), by_code: Mutex::default() }
    }

    /// Records that a request got no response, and why: never its path, headers or body.
    pub fn record_error(&self, code: &'static str, cause: &str, now: Instant) {
        if let Some(failed) = self.count(code, now) {
            self.is_failing.store(true, Ordering::Relaxed);
            tracing::warn!(origin = self.origin, code, cause, failed, "no response from Nexudus");
        }
    }

    /// Records that a request was not sent, because this machine had no socket for it.
    pub fn record_local_error(&self, code: &'static str, cause: &str, now: Instant) {
        if let Some(failed) = self.count(code, now) {
            tracing::warn!(code, cause, failed, "no socket left for requests");
        }
    }

    /// Records a response.
    pub fn record_success(&self) {
        if self.is_failing.load(Ordering::Relaxed) && self.is_failing.swap(false, Ordering::Relaxed)
        {
            let failed = self.take_unlogged();
            let failed = (failed > 0).then_some(failed);
            tracing::info!(origin = self.origin, failed, "Nexudus responds again");
        }
    }

    /// Returns how many errors have not been logged yet, and counts them as logged.
    fn take_unlogged(&self) -> u64 {
        let mut by_code = self.by_code.lock().unwrap_or_else(PoisonError::into_inner);
        by_code.values_mut().map(|errors| std::mem::take(&mut errors.unlogged)).sum()
    }

    /// Counts an error. If it is to be logged, returns how many there were since the last line.
    fn count(&self, code: &'static str, now: Instant) -> Option<u64> {
        let mut by_code = self.by_code.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = match by_code.get_mut(code) {
            Some(errors) if now.saturating_duration_since(errors.logged_at) < MIN_LOG_INTERVAL => {
                errors.unlogged += 1;
                return None;
            }
            Some(errors) => errors.unlogged + 1,
            None => 1,
        };
        by_code.insert(code, ErrorCount { logged_at: now, unlogged: 0 });
        Some(failed)
    }
}

/// Shortest time between two lines about one code.
const MIN_LOG_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_of_a_code_is_logged_and_then_their_count() {
        let errors = UpstreamErrors::new("https://spaces.nexudus.com".to_owned());
        let start = Instant::now();
        let count = |code, seconds| errors.count(code, start + Duration::from_secs(seconds));

        assert_eq!(count("upstream.closed", 0), Some(1));
        assert_eq!(count("upstream.timeout", 1), Some(1), "another code");
        for second in 1..60 {
            assert_eq!(count("upstream.closed", second), None);
        }
        assert_eq!(count("upstream.closed", 60), Some(60));
        assert_eq!(count("upstream.closed", 61), None);
        assert_eq!(count("upstream.closed", 7_200), Some(2));
    }

    #[test]
    fn errors_not_yet_logged_are_counted_when_the_upstream_answers_again() {
        let errors = UpstreamErrors::new("https://spaces.nexudus.com".to_owned());
        let start = Instant::now();
        for code in ["upstream.closed", "upstream.closed", "upstream.timeout", "upstream.closed"] {
            errors.record_error(code, "a cause", start);
        }

        assert_eq!(errors.take_unlogged(), 2, "the first of each code was logged");
        assert_eq!(errors.take_unlogged(), 0);
        let later = start + Duration::from_secs(60);
        assert_eq!(errors.count("upstream.closed", later), Some(1), "none is counted twice");
    }

    #[test]
    fn errors_that_come_and_go_are_logged_once_a_minute_too() {
        let errors = UpstreamErrors::new("https://spaces.nexudus.com".to_owned());
        let start = Instant::now();
        let is_failing = || errors.is_failing.load(Ordering::Relaxed);
        errors.record_success();

        let mut logged = 0;
        for second in 0..120 {
            let at = start + Duration::from_secs(second);
            errors.record_error("upstream.closed", "a cause", at);
            logged += usize::from(is_failing());
            assert_eq!(
                is_failing(),
                second % 60 == 0,
                "one response is logged, after an error that was"
            );
            errors.record_success();
            assert!(!is_failing());
        }

        assert_eq!(logged, 2);
    }
}
