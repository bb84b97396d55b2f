//! The scopes of the keys that were seen last: a list repeats its keys in each record.

use super::Scope;
use super::rules::Action;

/// A cache of short keys, as they are written: a key stands in one of the places from its slot on.
///
/// With one place for each slot, two keys of a record that share it would be decided about again in
/// each record, which costs as much as a hundred keys that are found.
#[derive(Debug)]
pub(crate) struct KeyCache {
    entries: Vec<Entry>,
    /// The place of the key that was asked for last.
    last: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    parent: Scope,
    scope: Scope,
    /// 0: nothing is cached here.
    length: u8,
    bytes: [u8; MAX_KEY],
    /// The place of the key that came after this one: in most records it does so again.
    next: u16,
}

impl KeyCache {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), last: 0 }
    }

    /// Returns the scope and the length of the key that came after the last one in an earlier record, if
    /// `text` begins with it and its quotation mark: its end is not looked for then.
    #[inline]
    pub(crate) fn next(&mut self, parent: Scope, text: &[u8]) -> Option<(Scope, usize)> {
        let place = usize::from(self.entries.get(self.last)?.next);
        let entry = self.entries.get(place)?;
        let length = usize::from(entry.length);
        let is_same = text.get(length) == Some(&b'"')
            && entry.parent == parent
            && text.get(..length) == entry.bytes.get(..length);
        if !is_same || length == 0 {
            return None;
        }
        self.last = place;
        Some((entry.scope, length))
    }

    /// Returns the scope of a key that was put in under the same parent.
    pub(crate) fn get(&mut self, parent: Scope, key: &[u8]) -> Option<Scope> {
        let slot = slot(parent, key);
        let places = self.entries.get(slot..slot + PLACES)?;
        for (place, entry) in (slot..).zip(places) {
            let is_same = usize::from(entry.length) == key.len()
                && entry.parent == parent
                && entry.bytes.get(..key.len()) == Some(key);
            if is_same && !key.is_empty() {
                let scope = entry.scope;
                self.follow(place);
                return Some(scope);
            }
            if entry.length == 0 {
                return None;
            }
        }
        None
    }

    /// Remembers a key that fits.
    pub(crate) fn put(&mut self, parent: Scope, key: &[u8], scope: Scope) {
        let Some(length) = u8::try_from(key.len()).ok().filter(|it| usize::from(*it) <= MAX_KEY)
        else {
            return;
        };
        if self.entries.is_empty() {
            self.entries = vec![EMPTY; (1 << BITS) + PLACES];
        }
        let slot = slot(parent, key);
        let places = &mut self.entries[slot..slot + PLACES];
        let free = places.iter().position(|entry| entry.length == 0);
        // Where all are taken, keys of different lengths take the place of different ones.
        let place = free.unwrap_or(key.len() % PLACES);
        let mut bytes = [0; MAX_KEY];
        bytes[..key.len()].copy_from_slice(key);
        places[place] = Entry { parent, scope, length, bytes, next: 0 };
        self.follow(slot + place);
    }

    /// Takes down that the key at this place came after the last one.
    fn follow(&mut self, place: usize) {
        self.entries[self.last].next = u16::try_from(place).unwrap_or_default();
        self.last = place;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}

/// Mixes the first and the last eight bytes and the length: names of one record differ there.
fn slot(parent: Scope, key: &[u8]) -> usize {
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    let (first, last) = match key.len() {
        length @ 8.. => (word(&key[..8]), word(&key[length - 8..])),
        _ => (word(key), 0),
    };
    let seed = u64::from(parent.context) ^ ((key.len() as u64) << 32);
    let mixed = (first ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ last.rotate_left(29).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    usize::try_from((mixed ^ (mixed >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS))
        .unwrap_or_default()
}

const EMPTY: Entry = Entry {
    parent: Scope { action: Action::Keep, context: 0 },
    scope: Scope { action: Action::Keep, context: 0 },
    length: 0,
    bytes: [0; MAX_KEY],
    next: 0,
};

/// A coworker has about 200 fields.
const BITS: u32 = 10;

/// How many places a key may stand in.
const PLACES: usize = 16;

/// Longest key that is remembered, in bytes.
const MAX_KEY: usize = 47;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_under_its_parent_alone() {
        let scope = |context| Scope { action: Action::Scan, context };
        let mut cache = KeyCache::new();
        cache.put(scope(1), b"FullName", scope(7));
        cache.put(scope(1), b"", scope(8));
        cache.put(scope(1), &[b'x'; 48], scope(9));
        assert_eq!(cache.get(scope(1), b"FullName"), Some(scope(7)));
        for (parent, key) in [(2, &b"FullName"[..]), (1, b"Fullname"), (1, b""), (1, &[b'x'; 48])] {
            assert_eq!(cache.get(scope(parent), key), None);
        }
        cache.put(scope(1), b"Id", scope(5));
        assert_eq!(cache.get(scope(1), b"FullName"), Some(scope(7)));
        assert_eq!(cache.next(scope(1), b"Id\":1"), Some((scope(5), 2)));
        assert_eq!(cache.get(scope(1), b"FullName"), Some(scope(7)));
        for (parent, text) in
            [(2, &b"Id\":1"[..]), (1, b"Id"), (1, b"Idx\":1"), (1, b"ID\":1"), (1, b"\"")]
        {
            assert_eq!(cache.next(scope(parent), text), None);
        }
        assert!(cache.bytes() <= 64 << 10);
    }

    #[test]
    fn each_key_of_a_wide_record_is_found() {
        let parent = Scope { action: Action::Scan, context: 3 };
        let keys: Vec<_> = (0..400).map(|nth| format!("Coworker{nth}Name")).collect();
        let mut cache = KeyCache::new();
        for key in &keys {
            cache.put(parent, key.as_bytes(), parent);
        }
        assert!(keys.iter().all(|key| cache.get(parent, key.as_bytes()).is_some()));

        // More keys than there is room for are found or not: never with the scope of another.
        let scope = |nth| Scope { action: Action::Scan, context: nth };
        for nth in 0..10_000 {
            cache.put(parent, format!("{nth}").as_bytes(), scope(nth));
        }
        for nth in 0..10_000 {
            let found = cache.get(parent, format!("{nth}").as_bytes());
            assert!(found.is_none_or(|found| found == scope(nth)));
        }
    }
}
