//! What each client has used: its pace, and its count, which outlives the daemon.
//!
//! Counts are reserved ahead in the file and handed out from memory: a daemon that is killed may
//! forget up to a reservation's worth, to the client's loss and never beyond its limit. Power cuts
//! are not waited for; only clients with a limit cost a write at all.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::file;
use crate::config::Pace;
use crate::private;

/// What one client has used.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Requests let through since the daemon started.
    pub(super) requests: AtomicU64,
    /// Requests refused for one of its limits since then.
    pub(super) refused: AtomicU64,
    /// When it last called, in milliseconds since 1970; 0: never.
    pub(super) last: AtomicU64,
    recent: Mutex<VecDeque<Duration>>,
}

impl Usage {
    /// Takes one of `count` in any span of `per`, or says how long to wait for one.
    pub(super) fn pace(&self, pace: Pace, now: Duration) -> Result<(), Duration> {
        let Pace::Fixed { count, per } = pace else { return Ok(()) };
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

    pub(super) fn passed(&self, milliseconds: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.last.store(milliseconds, Ordering::Relaxed);
    }
}

/// The counts of all clients that have a limit.
#[derive(Debug)]
pub(super) struct Counts {
    path: PathBuf,
    known: Mutex<Option<BTreeMap<String, Count>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    used: u64,
    /// What the file says.
    reserved: u64,
}

impl Counts {
    pub(super) fn new(directory: &std::path::Path) -> Self {
        Self { path: directory.join(NAME), known: Mutex::new(None) }
    }

    /// Takes one of `most`; `false` when they are used up.
    pub(super) fn take(&self, id: &str, most: u64) -> io::Result<bool> {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let counts = self.loaded(&mut known)?;
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

    /// Returns how many have been taken.
    pub(super) fn used(&self, id: &str) -> io::Result<u64> {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(self.loaded(&mut known)?.get(id).map_or(0, |count| count.used))
    }

    /// Gives back what was reserved and not used, and forgets clients that are no more.
    pub(super) fn settle(&self, is_known: impl Fn(&str) -> bool) -> io::Result<()> {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(counts) = known.as_mut() else { return Ok(()) };
        counts.retain(|id, _| is_known(id));
        counts.values_mut().for_each(|count| count.reserved = count.used);
        self.write(counts, |count| count.used)
    }

    fn loaded<'a>(
        &self,
        known: &'a mut Option<BTreeMap<String, Count>>,
    ) -> io::Result<&'a mut BTreeMap<String, Count>> {
        if known.is_none() {
            let written: Written = match file::read(&self.path) {
                Ok(text) => serde_json::from_str(&text)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Written::default(),
                Err(error) => return Err(error),
            };
            let counts = written.used.into_iter();
            *known = Some(counts.map(|(id, used)| (id, Count { used, reserved: used })).collect());
        }
        Ok(known.get_or_insert_default())
    }

    fn write(
        &self,
        counts: &BTreeMap<String, Count>,
        number: impl Fn(&Count) -> u64,
    ) -> io::Result<()> {
        let used = counts.iter().map(|(id, count)| (id.clone(), number(count))).collect();
        let text = serde_json::to_string(&Written { used })?;
        private::replace_soon(&self.path, text.as_bytes())
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    used: BTreeMap<String, u64>,
}

const NAME: &str = "clients-used.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_span_holds_more_than_the_pace_allows() {
        let (usage, second) = (Usage::default(), Duration::from_secs(1));
        let pace = Pace::Fixed { count: 2, per: second };
        let at = Duration::from_millis;

        assert_eq!(usage.pace(pace, at(1_000)), Ok(()));
        assert_eq!(usage.pace(pace, at(1_400)), Ok(()));
        assert_eq!(usage.pace(pace, at(1_500)), Err(at(500)));
        assert_eq!(usage.pace(pace, at(2_000)), Ok(()));
        assert_eq!(usage.pace(pace, at(2_100)), Err(at(300)));
    }

    #[test]
    fn a_count_outlives_the_process_and_is_never_exceeded() {
        let directory = tempfile::tempdir().unwrap();
        let counts = || Counts::new(directory.path());
        let first = counts();
        for _ in 0..3 {
            assert!(first.take("a", 5).unwrap());
        }
        // Killed: nothing is settled.
        let second = counts();
        assert_eq!(second.used("a").unwrap(), 3);
        assert!(second.take("a", 5).unwrap());
        assert!(second.take("a", 5).unwrap());
        assert!(!second.take("a", 5).unwrap());
        assert!(second.take("b", 1).unwrap());
    }

    #[test]
    fn what_was_reserved_and_not_used_comes_back_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let counts = Counts::new(directory.path());
        assert!(counts.take("a", 1_000).unwrap());
        assert!(counts.take("gone", 1_000).unwrap());
        assert_eq!(Counts::new(directory.path()).used("a").unwrap(), 62);

        counts.settle(|id| id == "a").unwrap();

        assert_eq!(Counts::new(directory.path()).used("a").unwrap(), 1);
        assert_eq!(Counts::new(directory.path()).used("gone").unwrap(), 0);
    }

    #[test]
    fn a_damaged_file_lets_nobody_through_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NAME);
        std::fs::write(&path, "garbage").unwrap();

        assert!(Counts::new(directory.path()).take("a", 5).is_err());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "garbage");
    }
}
