//! Counts that outlive the daemon: all requests of a client, and what it used of its budgets.
//!
//! Units are reserved ahead in the file and then counted in memory. So a daemon that is killed loses
//! at most one reservation, at the client's expense and never beyond its limit. No write waits for
//! the disk, and only clients with such a limit cost a write at all. Taking from a reservation touches
//! no file; [`UsageCounter::reserve`] does, and its callers run it where that blocks no other request.
//!
//! A budget's span begins with its first use and is measured on the wall clock, because it outlives a
//! reboot. A clock that is set back makes it longer, never shorter.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::budget::Metered;
use super::store;
use crate::secure_fs;

/// The counts of all clients that have a limit.
#[derive(Debug)]
pub(super) struct UsageCounter {
    path: PathBuf,
    /// `None`: the file was not read yet. Never held while a file is read or written.
    counts: Mutex<Option<Counts>>,
    /// Held while the file is read or written.
    file: Mutex<()>,
}

type Counts = BTreeMap<String, [Count; 4]>;

/// One count of one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) used: u64,
    /// The number in the file: at least `used`, but for bytes that have passed already.
    reserved: u64,
    /// When the span began, in seconds since 1970; 0 without a span, or before its first use.
    pub(super) since: u64,
}

/// One unit that a request takes, and its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) metered: Metered,
    pub(super) most: u64,
    /// Seconds until a budget comes back; `None`: never.
    pub(super) per: Option<u64>,
}

/// The units that one request takes.
pub(super) type Demands = SmallVec<[Demand; 4]>;

/// The result of taking what a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// One unit of each.
    One,
    /// Nothing: this one is used up. When it comes back, in seconds since 1970.
    None(Metered, Option<u64>),
    /// Nothing yet: some must be reserved first.
    Unreserved,
}

impl UsageCounter {
    pub(super) fn new(directory: &std::path::Path) -> Self {
        let path = directory.join(FILE_NAME);
        Self { path, counts: Mutex::new(None), file: Mutex::new(()) }
    }

    /// Takes one unit of each, or none of any. `now` is in seconds since 1970.
    pub(super) fn take(&self, id: &str, demands: &[Demand], now: u64) -> Taken {
        self.look(id, demands, now, true)
    }

    /// Says whether [`UsageCounter::take`] would find enough.
    pub(super) fn peek(&self, id: &str, demands: &[Demand], now: u64) -> Taken {
        self.look(id, demands, now, false)
    }

    fn look(&self, id: &str, demands: &[Demand], now: u64, takes: bool) -> Taken {
        let mut counts = self.counts();
        let Some(counts) = counts.as_mut().and_then(|counts| counts.get_mut(id)) else {
            return Taken::Unreserved;
        };
        demands.iter().for_each(|it| counts[it.metered as usize].roll_over(it, now));
        let count = |it: &Demand| counts[it.metered as usize];
        if let Some(it) = demands.iter().find(|it| count(it).used >= it.most) {
            return Taken::None(it.metered, it.per.map(|per| count(it).since + per));
        }
        if demands.iter().any(|it| count(it).used >= count(it).reserved) {
            return Taken::Unreserved;
        }
        if takes {
            demands.iter().for_each(|it| counts[it.metered as usize].used += 1);
        }
        Taken::One
    }

    /// Adds to what a client has used, whether it was reserved or not. Returns whether the limit had
    /// room for it, and whether more must be reserved.
    pub(super) fn add(&self, id: &str, demand: Demand, amount: u64, now: u64) -> (bool, Taken) {
        let mut counts = self.counts();
        let Some(counts) = counts.as_mut() else { return (true, Taken::Unreserved) };
        let count = &mut counts.entry(id.to_owned()).or_default()[demand.metered as usize];
        count.roll_over(&demand, now);
        count.used = count.used.saturating_add(amount);
        let is_reserved = count.used <= count.reserved || count.used >= demand.most;
        let taken = if is_reserved { Taken::One } else { Taken::Unreserved };
        (count.used <= demand.most, taken)
    }

    /// Reserves some units of each demand that has none. Reads and writes the file.
    pub(super) fn reserve(&self, id: &str, demands: &[Demand], now: u64) -> io::Result<()> {
        let file = self.file();
        self.load(&file)?;
        let mut counts = self.get(id);
        let mut is_changed = false;
        for it in demands {
            let count = &mut counts[it.metered as usize];
            count.roll_over(it, now);
            // Another request may have reserved some meanwhile.
            if count.used >= count.reserved && count.used < it.most {
                count.reserved = it.most.min(count.used + it.step());
                is_changed = true;
            }
        }
        if !is_changed {
            // From now on the client is known, with nothing left.
            self.update(id, |_| {});
            return Ok(());
        }
        let mut written = self.written(Count::in_file);
        written.set(id, counts.map(Count::in_file));
        self.write(&file, &written)?;
        self.update(id, |now| {
            for (count, reserved) in now.iter_mut().zip(counts) {
                if reserved.since != count.since {
                    // The span began while this was written.
                    count.used = 0;
                }
                (count.reserved, count.since) = (reserved.reserved, reserved.since);
            }
        });
        Ok(())
    }

    /// Returns what a client has used. Reads the file if that was not done yet.
    pub(super) fn used(&self, id: &str) -> io::Result<[Count; 4]> {
        if self.counts().is_none() {
            self.load(&self.file())?;
        }
        Ok(self.get(id))
    }

    /// Gives back unused reservations, and removes clients that no longer exist.
    pub(super) fn flush(&self, is_known: impl Fn(&str) -> bool) -> io::Result<()> {
        let file = self.file();
        {
            let mut counts = self.counts();
            let Some(counts) = counts.as_mut() else { return Ok(()) };
            counts.retain(|id, _| is_known(id));
            counts.values_mut().flatten().for_each(|count| count.reserved = count.used);
        }
        self.write(&file, &self.written(|count| count))
    }

    fn counts(&self) -> MutexGuard<'_, Option<Counts>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> MutexGuard<'_, ()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: &str) -> [Count; 4] {
        let counts = self.counts();
        counts.as_ref().and_then(|counts| counts.get(id)).copied().unwrap_or_default()
    }

    fn update(&self, id: &str, change: impl FnOnce(&mut [Count; 4])) {
        if let Some(counts) = self.counts().as_mut() {
            change(counts.entry(id.to_owned()).or_default());
        }
    }

    fn written(&self, number: impl Fn(Count) -> Count) -> UsageFile {
        let mut file = UsageFile::default();
        for (id, counts) in self.counts().iter().flatten() {
            file.set(id, counts.map(&number));
        }
        file
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
        *self.counts() = Some(written.into_counts());
        Ok(())
    }

    fn write(&self, _: &MutexGuard<'_, ()>, file: &UsageFile) -> io::Result<()> {
        let text = serde_json::to_string(file)?;
        secure_fs::atomic_write_nosync(&self.path, text.as_bytes())
    }
}

impl Count {
    /// Begins a span anew whose time is over, or that has not begun.
    fn roll_over(&mut self, demand: &Demand, now: u64) {
        let Some(per) = demand.per else { return };
        if self.since == 0 || now >= self.since.saturating_add(per) {
            *self = Self { used: 0, reserved: 0, since: now.max(1) };
        }
    }

    /// The amount in the file: never less than was used.
    fn in_file(self) -> Self {
        let reserved = self.reserved.max(self.used);
        Self { used: reserved, ..self }
    }
}

impl Demand {
    /// How much is reserved at a time.
    fn step(&self) -> u64 {
        let part = self.most / 16;
        match self.metered {
            Metered::Bytes => part.clamp(64 << 10, 8 << 20),
            Metered::Requests | Metered::Writes | Metered::Deletes => part.clamp(1, 64),
        }
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct UsageFile {
    /// Requests in all.
    used: BTreeMap<String, u64>,
    /// By client, then by what is counted. Left out where there are none, for earlier versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    budgets: BTreeMap<String, BTreeMap<String, SpanEntry>>,
}

/// The amount used of a budget since its span began.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct SpanEntry {
    since: u64,
    used: u64,
}

impl UsageFile {
    fn set(&mut self, id: &str, counts: [Count; 4]) {
        if counts[Metered::Requests as usize].used > 0 {
            self.used.insert(id.to_owned(), counts[Metered::Requests as usize].used);
        }
        let spans = BUDGETS.iter().map(|metered| (metered, counts[*metered as usize]));
        let spans = spans.filter(|(_, count)| count.since > 0);
        let spans: BTreeMap<_, _> = spans
            .map(|(metered, Count { used, since, .. })| {
                (metered.as_str().to_owned(), SpanEntry { since, used })
            })
            .collect();
        if !spans.is_empty() {
            self.budgets.insert(id.to_owned(), spans);
        }
    }

    fn into_counts(self) -> Counts {
        let mut counts = Counts::new();
        for (id, used) in self.used {
            counts.entry(id).or_default()[Metered::Requests as usize] =
                Count { used, reserved: used, since: 0 };
        }
        for (id, spans) in self.budgets {
            let counts = counts.entry(id).or_default();
            for metered in BUDGETS {
                if let Some(&SpanEntry { since, used }) = spans.get(metered.as_str()) {
                    counts[metered as usize] = Count { used, reserved: used, since };
                }
            }
        }
        counts
    }
}

const BUDGETS: [Metered; 3] = [Metered::Writes, Metered::Deletes, Metered::Bytes];

const FILE_NAME: &str = "clients-used.json";

#[cfg(test)]
mod tests;
