//! The use of each client: its rate, and its total count, which outlives the daemon.
//!
//! Requests are reserved ahead in the file and then counted in memory. So a daemon that is killed
//! loses at most one reservation, at the client's expense and never beyond its limit. No write
//! waits for the disk, and only clients with a total limit cost a write at all.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::store;
use crate::config::Rate;
use crate::secure_fs;

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
        let mut recent = self.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
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

/// The counts of all clients that have a limit.
#[derive(Debug)]
pub(super) struct UsageCounter {
    path: PathBuf,
    counts: Mutex<Option<BTreeMap<String, RequestCount>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct RequestCount {
    used: u64,
    /// The number in the file: at least `used`.
    reserved: u64,
}

impl UsageCounter {
    pub(super) fn new(directory: &std::path::Path) -> Self {
        Self { path: directory.join(FILE_NAME), counts: Mutex::new(None) }
    }

    /// Consumes one of `most` requests; `false` when they are used up.
    pub(super) fn consume(&self, id: &str, most: u64) -> io::Result<bool> {
        let mut loaded = self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let counts = self.load(&mut loaded)?;
        let count = counts.entry(id.to_owned()).or_default();
        if count.used >= most {
            return Ok(false);
        }
        if count.used >= count.reserved {
            let before = *count;
            count.reserved = most.min(count.used + (most / 16).clamp(1, 64));
            if let Err(error) = self.write(counts, |count| count.reserved) {
                counts.insert(id.to_owned(), before);
                return Err(error);
            }
        }
        if let Some(count) = counts.get_mut(id) {
            count.used += 1;
        }
        Ok(true)
    }

    /// Returns how many requests a client has used.
    pub(super) fn used(&self, id: &str) -> io::Result<u64> {
        let mut loaded = self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(self.load(&mut loaded)?.get(id).map_or(0, |count| count.used))
    }

    /// Gives back unused reservations, and removes clients that no longer exist.
    pub(super) fn flush(&self, is_known: impl Fn(&str) -> bool) -> io::Result<()> {
        let mut loaded = self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(counts) = loaded.as_mut() else { return Ok(()) };
        counts.retain(|id, _| is_known(id));
        counts.values_mut().for_each(|count| count.reserved = count.used);
        self.write(counts, |count| count.used)
    }

    fn load<'a>(
        &self,
        loaded: &'a mut Option<BTreeMap<String, RequestCount>>,
    ) -> io::Result<&'a mut BTreeMap<String, RequestCount>> {
        if loaded.is_none() {
            let written: UsageFile = match store::read_private_file(&self.path) {
                Ok(text) => serde_json::from_str(&text)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => UsageFile::default(),
                Err(error) => return Err(error),
            };
            let counts = written.used.into_iter();
            *loaded = Some(
                counts.map(|(id, used)| (id, RequestCount { used, reserved: used })).collect(),
            );
        }
        Ok(loaded.get_or_insert_default())
    }

    fn write(
        &self,
        counts: &BTreeMap<String, RequestCount>,
        number: impl Fn(&RequestCount) -> u64,
    ) -> io::Result<()> {
        let used = counts.iter().map(|(id, count)| (id.clone(), number(count))).collect();
        let text = serde_json::to_string(&UsageFile { used })?;
        secure_fs::atomic_write_nosync(&self.path, text.as_bytes())
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct UsageFile {
    used: BTreeMap<String, u64>,
}

const FILE_NAME: &str = "clients-used.json";

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

    #[test]
    fn a_count_outlives_the_process_and_is_never_exceeded() {
        let directory = tempfile::tempdir().unwrap();
        let counts = || UsageCounter::new(directory.path());
        let first = counts();
        for _ in 0..3 {
            assert!(first.consume("a", 5).unwrap());
        }
        // The first was killed: nothing was flushed.
        let second = counts();
        assert_eq!(second.used("a").unwrap(), 3);
        assert!(second.consume("a", 5).unwrap());
        assert!(second.consume("a", 5).unwrap());
        assert!(!second.consume("a", 5).unwrap());
        assert!(second.consume("b", 1).unwrap());
    }

    #[test]
    fn unused_reservations_are_given_back_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let counts = UsageCounter::new(directory.path());
        assert!(counts.consume("a", 1_000).unwrap());
        assert!(counts.consume("gone", 1_000).unwrap());
        assert_eq!(UsageCounter::new(directory.path()).used("a").unwrap(), 62);

        counts.flush(|id| id == "a").unwrap();

        assert_eq!(UsageCounter::new(directory.path()).used("a").unwrap(), 1);
        assert_eq!(UsageCounter::new(directory.path()).used("gone").unwrap(), 0);
    }

    #[test]
    fn a_damaged_file_admits_no_request_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        std::fs::write(&path, "garbage").unwrap();

        assert!(UsageCounter::new(directory.path()).consume("a", 5).is_err());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "garbage");
    }
}
