//! Limits log lines about events that others can cause as often as they like: the first one is
//! logged, the rest are counted.
//!
//! Memory is bounded too: beyond `MAX_KEYS` different keys in a period, all others share a count.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Counts how often events repeat, by key.
#[derive(Debug)]
pub struct Repeats<K> {
    period: Duration,
    counts: Mutex<RepeatCounts<K>>,
    /// Notified when the first key of a period is there.
    period_started: Notify,
}

#[derive(Debug)]
struct RepeatCounts<K> {
    /// Repeats since the last line.
    by_key: BTreeMap<K, u64>,
    /// Events whose key found no room.
    overflow: u64,
}

impl<K: Ord + Clone> Repeats<K> {
    /// Lets one event of each key be logged in each `period`.
    pub fn new(period: Duration) -> Self {
        let counts = Mutex::new(RepeatCounts { by_key: BTreeMap::new(), overflow: 0 });
        Self { period, counts, period_started: Notify::new() }
    }

    /// Counts an event; returns whether it is to be logged by itself.
    pub fn is_first(&self, key: K) -> bool {
        let mut counts = self.counts();
        if let Some(count) = counts.by_key.get_mut(&key) {
            *count += 1;
            return false;
        }
        if counts.by_key.is_empty() {
            self.period_started.notify_one();
        }
        if counts.by_key.len() >= MAX_KEYS {
            counts.overflow += 1;
            return false;
        }
        counts.by_key.insert(key, 0);
        true
    }

    /// Reports the repeats of each period to `log`, for ever; without a key those that found no
    /// room.
    pub async fn report(&self, log: impl Fn(Option<&K>, u64)) {
        loop {
            self.period_started.notified().await;
            while self.has_keys() {
                tokio::time::sleep(self.period).await;
                self.report_once(&log);
            }
        }
    }

    fn report_once(&self, log: impl Fn(Option<&K>, u64)) {
        let mut repeated = vec![];
        let beyond = {
            let mut counts = self.counts();
            counts.by_key.retain(|key, count| {
                let repeats = std::mem::take(count);
                if repeats > 0 {
                    repeated.push((key.clone(), repeats));
                }
                repeats > 0
            });
            std::mem::take(&mut counts.overflow)
        };
        repeated.iter().for_each(|(key, count)| log(Some(key), *count));
        if beyond > 0 {
            log(None, beyond);
        }
    }

    fn has_keys(&self) -> bool {
        !self.counts().by_key.is_empty()
    }

    fn counts(&self) -> MutexGuard<'_, RepeatCounts<K>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Most keys in a period: each may be a line in it.
const MAX_KEYS: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_event_is_logged_and_the_rest_are_counted_once_a_period() {
        let (repeats, reported) = reporting();

        let first: Vec<bool> = (0..1_000).map(|_| repeats.is_first(7)).collect();
        assert_eq!(first.iter().filter(|it| **it).count(), 1);
        tokio::time::sleep(PERIOD * 3 / 2).await;
        assert_eq!(reported.lock().unwrap().split_off(0), [(Some(7), 999)]);
        // Still under way: the next line is the next period's.
        assert!(!repeats.is_first(7));
        tokio::time::sleep(PERIOD).await;
        assert_eq!(reported.lock().unwrap().split_off(0), [(Some(7), 1)]);

        tokio::time::sleep(PERIOD * 2).await;
        assert!(reported.lock().unwrap().is_empty());
        assert!(repeats.is_first(7));
    }

    #[tokio::test(start_paused = true)]
    async fn many_keys_do_not_make_many_lines() {
        let (repeats, reported) = reporting();

        let first = (0..10_000).filter(|key| repeats.is_first(*key)).count();

        assert_eq!(first, MAX_KEYS);
        tokio::time::sleep(PERIOD * 3 / 2).await;
        assert_eq!(*reported.lock().unwrap(), [(None, 10_000 - MAX_KEYS as u64)]);
    }

    type Reported = Arc<Mutex<Vec<(Option<u32>, u64)>>>;

    fn reporting() -> (Arc<Repeats<u32>>, Reported) {
        let (repeats, reported) = (Arc::new(Repeats::new(PERIOD)), Reported::default());
        let (counts, lines) = (repeats.clone(), reported.clone());
        tokio::spawn(async move {
            let log = |key: Option<&u32>, count| lines.lock().unwrap().push((key.copied(), count));
            counts.report(log).await;
        });
        (repeats, reported)
    }

    const PERIOD: Duration = Duration::from_secs(1);
}
