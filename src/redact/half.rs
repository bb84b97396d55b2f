//! The values that are remembered, by the first eight digits of their tokens.
//!
//! A long list asks for thousands of tokens, each at a place of its own: what it finds there is kept small,
//! so that much of it stays in the processor's caches.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use smallvec::{SmallVec, smallvec};
use zeroize::Zeroizing;

use super::category::Category;

/// A value that a token stands for.
pub(super) type Value = Zeroizing<Box<str>>;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) digits: u64,
    /// `None` where no key takes tokens back, or the value is long.
    pub(super) value: Option<Value>,
    pub(super) category: Category,
    /// Hours since 1970, to the day.
    pub(super) seen: u32,
}

/// The values whose tokens begin with the same eight digits: nearly always one.
pub(super) type Entry = SmallVec<[Remembered; 1]>;

/// Values by the first eight digits of their tokens.
#[derive(Default)]
pub(super) struct Half {
    alone: HashSet<Slot, BuildHasherDefault<PrefixHasher>>,
    /// Where several values have the same eight digits.
    shared: HashMap<u32, Entry, BuildHasherDefault<PrefixHasher>>,
}

/// A value that has its eight digits for itself: 24 bytes.
struct Slot {
    prefix: u32,
    /// The other eight digits.
    rest: u32,
    seen: u32,
    category: Category,
    value: Option<Box<Value>>,
}

/// What is known of a value that has its eight digits for itself, but for the value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alone {
    pub(super) digits: u64,
    pub(super) category: Category,
    pub(super) seen: u32,
    pub(super) has_value: bool,
}

impl Half {
    /// Returns the number of the values' prefixes.
    pub(super) fn len(&self) -> usize {
        self.alone.len() + self.shared.len()
    }

    /// Says whether a value has these eight digits.
    pub(super) fn contains(&self, prefix: u32) -> bool {
        self.alone.contains(&prefix) || self.shared.contains_key(&prefix)
    }

    /// Returns what is known of the value with these eight digits, if there is one and no other.
    pub(super) fn alone(&self, prefix: u32) -> Option<Alone> {
        let slot = self.alone.get(&prefix)?;
        let (digits, has_value) = (slot.digits(), slot.value.is_some());
        Some(Alone { digits, category: slot.category, seen: slot.seen, has_value })
    }

    /// Returns the values with these eight digits.
    pub(super) fn get(&self, prefix: u32) -> Entry {
        match self.alone.get(&prefix) {
            Some(slot) => smallvec![slot.remembered()],
            None => self.shared.get(&prefix).cloned().unwrap_or_default(),
        }
    }

    /// Takes the values with these eight digits out.
    pub(super) fn take(&mut self, prefix: u32) -> Entry {
        match self.alone.take(&prefix) {
            Some(slot) => smallvec![slot.into_remembered()],
            None => self.shared.remove(&prefix).unwrap_or_default(),
        }
    }

    /// Puts the values with these eight digits in their place, where there are none.
    pub(super) fn put(&mut self, prefix: u32, mut entry: Entry) {
        match entry.len() {
            0 => {}
            1 => drop(entry.pop().map(|it| self.alone.insert(Slot::new(it)))),
            _ => drop(self.shared.insert(prefix, entry)),
        }
    }

    /// Returns the first eight digits of all values.
    pub(super) fn prefixes(&self) -> Vec<u32> {
        self.alone.iter().map(|slot| slot.prefix).chain(self.shared.keys().copied()).collect()
    }
}

impl Slot {
    fn new(it: Remembered) -> Self {
        let Remembered { digits, value, category, seen } = it;
        let rest = u32::try_from(digits & u64::from(u32::MAX)).unwrap_or_default();
        Self { prefix: prefix(digits), rest, seen, category, value: value.map(Box::new) }
    }

    fn digits(&self) -> u64 {
        u64::from(self.prefix) << 32 | u64::from(self.rest)
    }

    fn remembered(&self) -> Remembered {
        let value = self.value.as_deref().cloned();
        Remembered { digits: self.digits(), value, category: self.category, seen: self.seen }
    }

    fn into_remembered(self) -> Remembered {
        let digits = self.digits();
        let value = self.value.map(|value| *value);
        Remembered { digits, value, category: self.category, seen: self.seen }
    }
}

impl Borrow<u32> for Slot {
    fn borrow(&self) -> &u32 {
        &self.prefix
    }
}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.prefix.hash(state);
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.prefix == other.prefix
    }
}

impl Eq for Slot {}

/// Returns the first eight digits.
pub(super) fn prefix(digits: u64) -> u32 {
    u32::try_from(digits >> 32).unwrap_or_default()
}

/// Spreads the digits over the table. They are random already: only who has the secret could choose them.
#[derive(Default)]
struct PrefixHasher(u64);

impl Hasher for PrefixHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        // An odd number near 2^64 divided by the golden ratio.
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

// Less where an address has four bytes.
const _: () = assert!(size_of::<Slot>() <= 24);
