//! The use of each client: its rate, and its total count, which outlives the daemon.
//!
//! Requests are reserved ahead in the file and then counted in memory. So a daemon that is killed
//! loses at most one reservation, at the client's expense and never beyond its limit. No write
//! waits for the disk, and only clients with a total limit cost a write at all. Taking a request
//! from a reservation touches no file; [`UsageCounter::reserve`] does, and its callers run it where
//! that blocks no other request.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
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

/// The counts of all clients that have a limit.
#[derive(Debug)]
pub(super) struct UsageCounter {
    path: PathBuf,
    /// `None`: the file was not read yet. Never held while a file is read or written.
    counts: Mutex<Option<BTreeMap<String, RequestCount>>>,
    /// Held while the file is read or written.
    file: Mutex<()>,
}

#[derive(Clone, Copy, Debug, Default)]
struct RequestCount {
    used: u64,
    /// The number in the file: at least `used`.
    reserved: u64,
}

/// The result of taking one of a client's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// One of them.
    One,
    /// None: they are used up.
    None,
    /// None yet: some must be reserved first.
    Unreserved,
}

impl UsageCounter {
    pub(super) fn new(directory: &std::path::Path) -> Self {
        let path = directory.join(FILE_NAME);
        Self { path, counts: Mutex::new(None), file: Mutex::new(()) }
    }

    /// Takes one of `most` requests.
    pub(super) fn take(&self, id: &str, most: u64) -> Taken {
        let mut counts = self.counts();
        match counts.as_mut().and_then(|counts| counts.get_mut(id)) {
            Some(count) if count.used >= most => Taken::None,
            Some(count) if count.used < count.reserved => {
                count.used += 1;
                Taken::One
            }
            Some(_) | None => Taken::Unreserved,
        }
    }

    /// Reserves some of `most` requests, if none are. Reads and writes the file.
    pub(super) fn reserve(&self, id: &str, most: u64) -> io::Result<()> {
        let file = self.file();
        self.load(&file)?;
        let count = self.count(id);
        // Another request may have reserved some meanwhile.
        if count.used < count.reserved || count.used >= most {
            return Ok(());
        }
        let reserved = most.min(count.used + (most / 16).clamp(1, 64));
        let mut written = self.numbers(|count| count.reserved);
        written.insert(id.to_owned(), reserved);
        self.write(&file, written)?;
        if let Some(counts) = self.counts().as_mut() {
            counts.entry(id.to_owned()).or_default().reserved = reserved;
        }
        Ok(())
    }

    /// Returns how many requests a client has used. Reads the file if that was not done yet.
    pub(super) fn used(&self, id: &str) -> io::Result<u64> {
        if self.counts().is_none() {
            self.load(&self.file())?;
        }
        Ok(self.count(id).used)
    }

    /// Gives back unused reservations, and removes clients that no longer exist.
    pub(super) fn flush(&self, is_known: impl Fn(&str) -> bool) -> io::Result<()> {
        let file = self.file();
        {
            let mut counts = self.counts();
            let Some(counts) = counts.as_mut() else { return Ok(()) };
            counts.retain(|id, _| is_known(id));
            counts.values_mut().for_each(|count| count.reserved = count.used);
        }
        self.write(&file, self.numbers(|count| count.used))
    }

    fn counts(&self) -> MutexGuard<'_, Option<BTreeMap<String, RequestCount>>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> MutexGuard<'_, ()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, id: &str) -> RequestCount {
        let counts = self.counts();
        counts.as_ref().and_then(|counts| counts.get(id)).copied().unwrap_or_default()
    }

    fn numbers(&self, number: impl Fn(&RequestCount) -> u64) -> BTreeMap<String, u64> {
        let counts = self.counts();
        counts.iter().flatten().map(|(id, count)| (id.clone(), number(count))).collect()
    }

    fn load(&self, _: &MutexGuard<'_, ()>) -> io::Result<()> {
        if self.counts().is_some() {
            return Ok(());
        }
        let written: UsageFile = match store::read_private_file(&self.path) {
            Ok(text) => serde_json::from_str(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => UsageFile::default(),
            Err(error) => return Err(error),
        };
        let counts = written.used.into_iter();
        let counts = counts.map(|(id, used)| (id, RequestCount { used, reserved: used })).collect();
        *self.counts() = Some(counts);
        Ok(())
    }

    fn write(&self, _: &MutexGuard<'_, ()>, used: BTreeMap<String, u64>) -> io::Result<()> {
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
            assert!(consume(&first, "a", 5).unwrap());
        }
        // The first was killed: nothing was flushed.
        let second = counts();
        assert_eq!(second.used("a").unwrap(), 3);
        assert!(consume(&second, "a", 5).unwrap());
        assert!(consume(&second, "a", 5).unwrap());
        assert!(!consume(&second, "a", 5).unwrap());
        assert!(consume(&second, "b", 1).unwrap());
    }

    #[test]
    fn taking_touches_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let counts = UsageCounter::new(directory.path());
        assert_eq!(counts.take("a", 1_000), Taken::Unreserved);
        assert!(!directory.path().join(FILE_NAME).exists());
        counts.reserve("a", 1_000).unwrap();
        std::fs::remove_file(directory.path().join(FILE_NAME)).unwrap();

        for _ in 0..62 {
            assert_eq!(counts.take("a", 1_000), Taken::One);
        }

        assert_eq!(counts.take("a", 1_000), Taken::Unreserved);
        assert!(!directory.path().join(FILE_NAME).exists());
    }

    #[test]
    fn requests_of_many_threads_are_counted_exactly() {
        let directory = tempfile::tempdir().unwrap();
        let counts = UsageCounter::new(directory.path());
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..100).filter(|_| consume(&counts, "a", 333).unwrap()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });

        assert_eq!((taken, counts.used("a").unwrap()), (333, 333));
    }

    #[test]
    fn unused_reservations_are_given_back_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let counts = UsageCounter::new(directory.path());
        assert!(consume(&counts, "a", 1_000).unwrap());
        assert!(consume(&counts, "gone", 1_000).unwrap());
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

        assert!(consume(&UsageCounter::new(directory.path()), "a", 5).is_err());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "garbage");
    }

    fn consume(counts: &UsageCounter, id: &str, most: u64) -> io::Result<bool> {
        loop {
            match counts.take(id, most) {
                Taken::One => return Ok(true),
                Taken::None => return Ok(false),
                Taken::Unreserved => counts.reserve(id, most)?,
            }
        }
    }
}
