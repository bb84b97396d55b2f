//! The use of each client since the daemon started, and its rate.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config::Rate;

/// The use of one client since the daemon started.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Requests allowed since the daemon started.
    pub(super) requests: AtomicU64,
    /// Requests refused for one of its limits since then.
    pub(super) refused: AtomicU64,
    /// Time of the last request, in milliseconds since 1970; 0: none yet.
    pub(super) last_request_ms: AtomicU64,
    recent: Mutex<VecDeque<Duration>>,
}

impl Usage {
    /// Takes one request of a rate, or returns how long to wait for one.
    pub(super) fn acquire(&self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let Rate::Fixed { count, per } = rate else { return Ok(()) };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        while recent.front().is_some_and(|then| now.saturating_sub(*then) >= per) {
            recent.pop_front();
        }
        match recent.front() {
            Some(first) if recent.len() >= count as usize => {
                Err(per.saturating_sub(now.saturating_sub(*first)))
            }
            Some(_) | None => {
                recent.push_back(now);
                Ok(())
            }
        }
    }

    pub(super) fn record_request(&self, milliseconds: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.last_request_ms.store(milliseconds, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_span_holds_more_requests_than_the_rate_allows() {
        let (usage, second) = (Usage::default(), Duration::from_secs(1));
        let pace = Rate::Fixed { count: 2, per: second };
        let at = Duration::from_millis;

        assert_eq!(usage.acquire(pace, at(1_000)), Ok(()));
        assert_eq!(usage.acquire(pace, at(1_400)), Ok(()));
        assert_eq!(usage.acquire(pace, at(1_500)), Err(at(500)));
        assert_eq!(usage.acquire(pace, at(2_000)), Ok(()));
        assert_eq!(usage.acquire(pace, at(2_100)), Err(at(300)));
    }
}
