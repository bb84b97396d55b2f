//! The scopes of the keys that were seen last: a list repeats its keys in each record.

use super::Scope;
use super::rules::Action;

/// A direct-mapped cache of short keys, as they are written.
#[derive(Debug)]
pub(crate) struct KeyCache {
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    parent: Scope,
    scope: Scope,
    /// 0: nothing is cached here.
    length: u8,
    bytes: [u8; MAX_KEY],
}

impl KeyCache {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Returns the scope of a key that was put in under the same parent.
    pub(crate) fn get(&self, parent: Scope, key: &[u8]) -> Option<Scope> {
        let entry = self.entries.get(slot(parent, key))?;
        let is_same = usize::from(entry.length) == key.len()
            && entry.parent == parent
            && entry.bytes.get(..key.len()) == Some(key);
        (is_same && !key.is_empty()).then_some(entry.scope)
    }

    /// Remembers a key that fits.
    pub(crate) fn put(&mut self, parent: Scope, key: &[u8], scope: Scope) {
        let Some(length) = u8::try_from(key.len()).ok().filter(|it| usize::from(*it) <= MAX_KEY)
        else {
            return;
        };
        if self.entries.is_empty() {
            self.entries = vec![EMPTY; ENTRIES];
        }
        let entry = &mut self.entries[slot(parent, key)];
        let mut bytes = [0; MAX_KEY];
        bytes[..key.len()].copy_from_slice(key);
        *entry = Entry { parent, scope, length, bytes };
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
};

/// A coworker has about 200 fields.
const BITS: u32 = 10;

const ENTRIES: usize = 1 << BITS;

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
        assert!(cache.bytes() <= 64 << 10);
    }
}
