//! What was asked of Nexudus, reduced to what decides about permission; and a bounded memory of
//! the requests that were refused for lack of it.
//!
//! Nexudus answers 401 both for a dead token and for missing permission. A request that turned
//! out to be about permission once is not worth a probe each time it is repeated. It is probed
//! again after [`FIRST`], then ever more rarely: shapes fold many objects into one, so the
//! memory must not hide a dead token from its siblings for good.

use std::collections::HashMap;
use std::time::Duration;

use http::Method;

use crate::shape;

/// A method and the shape of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    method: Method,
    shape: String,
}

impl Asked {
    /// Reduces a request: the query goes, letters become lower case, and segments that look like
    /// identifiers (digits, GUIDs, long hexadecimal) become `*`.
    pub fn new(method: &Method, path: &str) -> Self {
        let shape = shape::of(path);
        Self { method: method.clone(), shape }
    }

    /// Returns the shape of the path.
    pub fn shape(&self) -> &str {
        &self.shape
    }
}

/// The requests that were refused for lack of permission.
#[derive(Debug, Default)]
pub(super) struct Remembered(HashMap<Asked, Entry>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    until: Duration,
    span: Duration,
}

impl Remembered {
    /// Says whether `asked` is known to lack permission at `now`, on the boot clock.
    pub(super) fn knows(&self, asked: &Asked, now: Duration) -> bool {
        self.0.get(asked).is_some_and(|entry| now < entry.until)
    }

    /// Remembers that `asked` lacked permission at `now`; each time for twice as long.
    pub(super) fn note(&mut self, asked: &Asked, now: Duration) {
        if asked.shape.len() > LONGEST {
            return;
        }
        let span = match self.0.get(asked) {
            // Several judged at once are one lesson, not several.
            Some(entry) if now < entry.until => return,
            Some(entry) => (entry.span * 2).min(LAST),
            None => FIRST,
        };
        if self.0.len() >= MOST && !self.0.contains_key(asked) {
            self.make_room();
        }
        self.0.insert(asked.clone(), Entry { until: now + span, span });
    }

    /// Forgets everything: another account may do other things.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn make_room(&mut self) {
        let soonest = self.0.iter().min_by_key(|(_, entry)| entry.until);
        if let Some(asked) = soonest.map(|(asked, _)| asked.clone()) {
            self.0.remove(&asked);
        }
    }
}

/// A request refused every two minutes for a day costs seven probes with these two.
const FIRST: Duration = Duration::from_secs(15 * 60);
const LAST: Duration = Duration::from_secs(12 * 60 * 60);

/// Most requests remembered: at most 256 KiB.
const MOST: usize = 1_024;

/// Longest shape remembered, in bytes.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_told_apart() {
        assert_ne!(Asked::new(&Method::GET, "/a"), Asked::new(&Method::POST, "/a"));
    }

    #[test]
    fn what_lacks_permission_is_looked_at_again_ever_more_rarely() {
        let asked = Asked::new(&Method::GET, "/a");
        let mut remembered = Remembered::default();
        let mut looked = 0;
        for minutes in (0..24 * 60).step_by(2) {
            let now = Duration::from_secs(minutes * 60);
            if !remembered.knows(&asked, now) {
                looked += 1;
                remembered.note(&asked, now);
                remembered.note(&asked, now);
            }
        }
        assert_eq!(looked, 7);

        remembered.clear();
        assert!(!remembered.knows(&asked, Duration::ZERO));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut remembered = Remembered::default();
        for n in 0..2 * MOST {
            let asked = Asked::new(&Method::GET, &format!("/x{n}"));
            remembered.note(&asked, Duration::from_secs(n as u64));
        }
        remembered.note(&Asked::new(&Method::GET, &"x".repeat(LONGEST + 1)), Duration::ZERO);

        assert_eq!(remembered.0.len(), MOST);
        let newest = Asked::new(&Method::GET, &format!("/x{}", 2 * MOST - 1));
        assert!(remembered.knows(&newest, Duration::from_secs(2 * MOST as u64)));
    }
}
