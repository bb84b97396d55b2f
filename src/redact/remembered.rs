//! The values of one table that are remembered, within bounds, and what of them is not on disk yet.

use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::category::Category;
use super::half::{Entry, Half, prefix};
pub(super) use super::half::{Remembered, Value};

/// Two halves: when the young one is full, the old one is forgotten. A value that is used again
/// becomes young.
#[derive(Default)]
pub(super) struct Entries {
    young: Half,
    old: Half,
    /// The bytes of the values in the young half.
    young_bytes: usize,
    /// Records since the young half began: a value that is seen for days is recorded again.
    records: usize,
    record_bytes: usize,
    pending: Option<Pending>,
    forgotten: Forgotten,
}

/// Values that were forgotten: many, which another thread frees.
#[derive(Default)]
pub(super) struct Forgotten {
    halves: Vec<Half>,
    changes: Vec<Vec<Change>>,
}

/// A value that has just got its token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) digits: u64,
    /// `None` where it is not to be given back.
    pub(super) value: Option<&'a str>,
    pub(super) category: Category,
    /// Hours since 1970.
    pub(super) at: u32,
}

/// The values that are not on disk yet, for tables that are kept there.
#[derive(Default)]
struct Pending {
    changes: Vec<Change>,
    /// Changes were lost: the halves must be written as a whole.
    is_incomplete: bool,
}

/// A change of the halves.
pub(super) enum Change {
    /// This value is in the young half.
    Seen(Remembered),
    /// The young half is the old one now.
    Rotated,
}

/// The values to write.
pub(super) enum Unsaved<T = Remembered> {
    /// These changes, in their order.
    Changes(Vec<Change>),
    /// All values.
    Whole(Halves<T>),
}

/// The values of the two halves, or what they are found by.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Halves<T = Remembered> {
    pub(super) young: Vec<T>,
    pub(super) old: Vec<T>,
}

impl Entries {
    /// Begins with the values of these halves, later ones last, and records what changes.
    pub(super) fn from_saved(halves: Halves) -> Self {
        let mut entries = Self { pending: Some(Pending::default()), ..Self::default() };
        entries.records = halves.young.len();
        entries.record_bytes = halves.young.iter().map(Remembered::length).sum();
        halves.old.into_iter().for_each(|it| insert(&mut entries.old, it));
        for it in halves.young {
            entries.young_bytes += it.length();
            insert(&mut entries.young, it);
        }
        entries
    }

    /// Forgets every value, and what was to be written of them; returns them, to be freed.
    pub(super) fn wipe(&mut self) -> Self {
        let pending = self.pending.as_ref().map(|_| Pending::default());
        std::mem::replace(self, Self { pending, ..Self::default() })
    }

    /// Returns what was forgotten, to be freed.
    pub(super) fn take_forgotten(&mut self) -> Forgotten {
        std::mem::take(&mut self.forgotten)
    }

    /// Says whether something was forgotten that is not freed.
    pub(super) fn has_forgotten(&self) -> bool {
        !self.forgotten.halves.is_empty() || !self.forgotten.changes.is_empty()
    }

    /// Remembers a value, and says whether another one has the same eight digits, and whether there is
    /// something to write that was not there before.
    pub(super) fn remember(&mut self, new: Seen<'_>) -> (bool, bool) {
        let prefix = prefix(new.digits);
        if self.changes_nothing(prefix, &new) {
            return (false, false);
        }
        let had_work = self.has_work();
        self.make_room(prefix);
        let (is_kept, mut changed) = (self.pending.is_some(), SmallVec::<[Remembered; 1]>::new());
        let Self { young, old, young_bytes, .. } = self;
        let mut entry = young.take(prefix);
        if entry.is_empty() {
            entry = old.take(prefix);
            *young_bytes += entry.iter().map(Remembered::length).sum::<usize>();
            if is_kept {
                changed.extend(entry.iter().cloned());
            }
        }
        match entry.iter().position(|it| new.is(it)) {
            Some(at) => {
                let known = &mut entry[at];
                let gets_value = known.value.is_none() && new.value.is_some();
                if gets_value {
                    known.value = new.value.map(keep);
                    *young_bytes += known.length();
                }
                if gets_value || new.at >= known.seen + SEEN_STEP {
                    known.seen = new.at;
                    if is_kept {
                        changed.push(known.clone());
                    }
                }
            }
            None if entry.len() < MAX_SHARED => {
                let Seen { digits, value, category, at: seen } = new;
                let new = Remembered { digits, value: value.map(keep), category, seen };
                *young_bytes += new.length();
                if is_kept {
                    changed.push(new.clone());
                }
                entry.push(new);
            }
            None => {}
        }
        let is_shared = is_shared(&entry);
        young.put(prefix, entry);
        changed.into_iter().for_each(|it| self.record(it));
        (is_shared, !had_work && self.has_work())
    }

    /// Says whether a value is alone with its digits, and was seen not long ago: most are.
    fn changes_nothing(&self, prefix: u32, new: &Seen<'_>) -> bool {
        let Some(it) = self.young.alone(prefix) else { return false };
        let is_it = (it.digits, it.category) == (new.digits, new.category);
        is_it && (it.has_value || new.value.is_none()) && new.at < it.seen + SEEN_STEP
    }

    /// Returns the value with these digits, unless it was seen before `oldest`. `prefix`: the eight
    /// digits alone, which must belong to one value.
    pub(super) fn find(&self, digits: Digits, category: Category, oldest: u32) -> Option<Value> {
        let prefix = match digits {
            Digits::Eight(prefix) => prefix,
            Digits::Sixteen(whole) => prefix(whole),
        };
        let entry = self.entry(prefix);
        let is_meant = |it: &&Remembered| match digits {
            Digits::Eight(_) => !is_shared(&entry),
            Digits::Sixteen(whole) => it.digits == whole,
        };
        let of_category = |it: &&Remembered| it.category == category && it.seen >= oldest;
        entry.iter().find(|it| of_category(it) && is_meant(it))?.value.clone()
    }

    /// Takes what is to be written. Where that is everything, it is only named: copying it takes longer than a
    /// request may wait. Whatever changes from now on is recorded, and counts after it.
    pub(super) fn take_unsaved(&mut self) -> Option<Unsaved<u32>> {
        let pending = self.pending.as_mut()?;
        if std::mem::take(&mut pending.is_incomplete) {
            pending.changes.clear();
            self.records = self.young.len();
            self.record_bytes = self.young_bytes;
            let halves = Halves { young: self.young.prefixes(), old: self.old.prefixes() };
            return Some(Unsaved::Whole(halves));
        }
        let changes = std::mem::take(&mut pending.changes);
        (!changes.is_empty()).then_some(Unsaved::Changes(changes))
    }

    /// Returns the values with these eight digits that are still remembered.
    pub(super) fn values(&self, prefixes: &[u32]) -> Vec<Remembered> {
        prefixes.iter().flat_map(|prefix| self.entry(*prefix)).collect()
    }

    /// Takes down that something could not be written.
    pub(super) fn set_incomplete(&mut self) {
        if let Some(pending) = &mut self.pending {
            *pending = Pending { changes: vec![], is_incomplete: true };
        }
    }

    /// Returns the number of the values' prefixes.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    fn entry(&self, prefix: u32) -> Entry {
        let half = if self.young.contains(prefix) { &self.young } else { &self.old };
        half.get(prefix)
    }

    fn make_room(&mut self, prefix: u32) {
        let is_full = self.young.len() >= MAX_VALUES / 2
            || self.young_bytes >= MAX_BYTES / 2
            || self.records >= MAX_VALUES
            || self.record_bytes >= MAX_BYTES;
        if !is_full || self.young.contains(prefix) {
            return;
        }
        let old = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        self.limit_forgotten();
        self.forgotten.halves.push(old);
        (self.young_bytes, self.records, self.record_bytes) = (0, 0, 0);
        self.push(Change::Rotated);
    }

    fn record(&mut self, value: Remembered) {
        self.records += 1;
        self.record_bytes += value.length();
        self.push(Change::Seen(value));
    }

    fn push(&mut self, change: Change) {
        let Some(pending) = &mut self.pending else { return };
        if pending.changes.len() >= MAX_PENDING {
            // The disk does not keep up.
            let lost = std::mem::replace(pending, Pending { changes: vec![], is_incomplete: true });
            self.limit_forgotten();
            self.forgotten.changes.push(lost.changes);
        }
        let Some(pending) = &mut self.pending else { return };
        if !pending.is_incomplete {
            pending.changes.push(change);
        }
    }

    /// Makes room for one more part of what was forgotten. Where the other thread does not keep up,
    /// the memory counts for more than the time that it takes to free it here.
    fn limit_forgotten(&mut self) {
        if self.forgotten.halves.len() + self.forgotten.changes.len() >= MAX_FORGOTTEN {
            drop(self.take_forgotten());
        }
    }

    fn has_work(&self) -> bool {
        let pending = self.pending.as_ref();
        pending.is_some_and(|it| !it.changes.is_empty() || it.is_incomplete)
    }
}

impl<T> Default for Halves<T> {
    fn default() -> Self {
        Self { young: vec![], old: vec![] }
    }
}

impl Seen<'_> {
    fn is(&self, it: &Remembered) -> bool {
        it.digits == self.digits && it.category == self.category
    }
}

impl Remembered {
    /// Returns the bytes of the value.
    pub(super) fn length(&self) -> usize {
        self.value.as_ref().map_or(0, |value| value.len())
    }
}

/// The digits of a token, as they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digits {
    Eight(u32),
    Sixteen(u64),
}

fn keep(value: &str) -> Value {
    Zeroizing::new(value.into())
}

/// Puts a saved value in its place: of two records of it the later one counts.
fn insert(half: &mut Half, it: Remembered) {
    let prefix = prefix(it.digits);
    let mut entry = half.take(prefix);
    match entry.iter().position(|old| old.digits == it.digits && old.category == it.category) {
        Some(at) => entry[at] = it,
        None if entry.len() < MAX_SHARED => entry.push(it),
        None => {}
    }
    half.put(prefix, entry);
}

fn is_shared(entry: &Entry) -> bool {
    let first = entry.first().map(|it| it.digits);
    entry.iter().any(|it| Some(it.digits) != first)
}

/// Most values that are remembered.
pub(super) const MAX_VALUES: usize = 200_000;

/// Most bytes of values that are remembered: 160 for each.
const MAX_BYTES: usize = 32 << 20;

/// Most values with the same eight digits: three are as good as impossible, but for categories.
const MAX_SHARED: usize = 16;

/// How much later a value must be seen for that to be taken down: a day, in hours. A value is forgotten
/// up to a day early, and a list that is read all day is recorded once.
const SEEN_STEP: u32 = 24;

/// Most halves and lists of changes that wait to be freed.
const MAX_FORGOTTEN: usize = 2;

/// Most changes that wait for the disk.
const MAX_PENDING: usize = MAX_VALUES;

#[cfg(test)]
#[path = "remembered/tests.rs"]
mod tests;
