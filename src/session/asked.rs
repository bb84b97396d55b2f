//! What was asked of Nexudus, reduced to what decides about permission; and a bounded memory of
//! the requests that were refused for lack of it.
//!
//! Nexudus answers 401 both for a dead token and for missing permission. A request that turned
//! out to be about permission once is not worth a probe each time it is repeated: it is probed
//! again after [`FIRST`], then ever more rarely. Shapes fold many objects into one, and of two
//! siblings one may be allowed: for another path of the same shape the verdict holds for
//! [`SIBLING`] only, or it would hide a dead token.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::issuer::PROBE;
use crate::shape;

/// What was asked of a host.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    kind: Kind,
    /// A hash of the path itself.
    path: u64,
}

/// A host, a method and the shape of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    /// Empty for the API itself.
    host: Arc<str>,
    method: Method,
    shape: String,
}

impl Asked {
    /// Reduces a request: the query goes, letters become lower case, and segments that look like
    /// identifiers (digits, GUIDs, long hexadecimal) become `*`.
    pub(super) fn new(host: &Arc<str>, method: &Method, path: &str) -> Self {
        let kind = Kind { host: host.clone(), method: method.clone(), shape: shape::of(path) };
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        Self { kind, path: hasher.hash_one(path) }
    }

    /// Says whether this is what a probe asks: then its answer is the verdict.
    pub(super) fn is_probe(&self) -> bool {
        let Kind { host, method, shape } = &self.kind;
        host.is_empty() && method == Method::GET && shape == PROBE
    }
}

/// The requests that were refused for lack of permission.
#[derive(Debug, Default)]
pub(super) struct Remembered(HashMap<Kind, Entry>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    until: Duration,
    span: Duration,
    /// The path that was judged last, and until when its siblings share the verdict.
    path: u64,
    shared: Duration,
}

impl Remembered {
    /// Says whether `asked` is known to lack permission at `now`, on the boot clock.
    pub(super) fn knows(&self, asked: &Asked, now: Duration) -> bool {
        self.0.get(&asked.kind).is_some_and(|entry| {
            now < entry.shared || (now < entry.until && entry.path == asked.path)
        })
    }

    /// Remembers that `asked` lacked permission at `now`; each time for twice as long.
    pub(super) fn note(&mut self, asked: &Asked, now: Duration) {
        if asked.kind.shape.len() > LONGEST {
            return;
        }
        let (until, span) = match self.0.get(&asked.kind) {
            // Several judged at once are one lesson, not several.
            Some(entry) if now < entry.until => (entry.until, entry.span),
            Some(entry) => {
                let span = (entry.span * 2).min(LAST);
                (now + span, span)
            }
            None => (now + FIRST, FIRST),
        };
        if self.0.len() >= MOST && !self.0.contains_key(&asked.kind) {
            self.make_room();
        }
        let entry = Entry { until, span, path: asked.path, shared: now + SIBLING };
        self.0.insert(asked.kind.clone(), entry);
    }

    /// Forgets everything: another account may do other things.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn make_room(&mut self) {
        let soonest = self.0.iter().min_by_key(|(_, entry)| entry.until);
        if let Some(kind) = soonest.map(|(kind, _)| kind.clone()) {
            self.0.remove(&kind);
        }
    }
}

/// A request refused every two minutes for a day costs seven probes with these two.
const FIRST: Duration = Duration::from_secs(15 * 60);
const LAST: Duration = Duration::from_secs(12 * 60 * 60);

/// A walk through objects that are all forbidden costs a probe a minute.
const SIBLING: Duration = Duration::from_secs(60);

/// Most requests remembered: at most 256 KiB.
const MOST: usize = 1_024;

/// Longest shape remembered, in bytes.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_hosts_are_told_apart() {
        let mut remembered = Remembered::default();
        remembered.note(&get("/a"), Duration::ZERO);

        assert!(remembered.knows(&get("/A?b=c"), Duration::ZERO));
        let other_method = Asked::new(&"".into(), &Method::POST, "/a");
        let other_host = Asked::new(&"https://reports.example".into(), &Method::GET, "/a");
        assert!(!remembered.knows(&other_method, Duration::ZERO));
        assert!(!remembered.knows(&other_host, Duration::ZERO));
    }

    #[test]
    fn a_verdict_about_one_object_holds_for_another_no_longer_than_a_minute() {
        let mut remembered = Remembered::default();
        let at = Duration::from_secs;
        remembered.note(&get("/a/1"), at(0));

        assert!(remembered.knows(&get("/a/2"), at(59)));
        assert!(!remembered.knows(&get("/a/2"), at(60)));
        assert!(remembered.knows(&get("/a/1"), at(60)));

        remembered.note(&get("/a/2"), at(60));
        assert!(remembered.knows(&get("/a/3"), at(119)));
        assert!(!remembered.knows(&get("/a/2"), FIRST), "a sibling does not renew it");
    }

    #[test]
    fn only_what_a_probe_asks_is_one() {
        assert!(get("/api/auth/me").is_probe() && get("/API/Auth/Me?x=1").is_probe());
        assert!(!get("/api/auth/me/").is_probe() && !get("/api/users/me").is_probe());
        assert!(!Asked::new(&"".into(), &Method::POST, PROBE).is_probe());
        assert!(!Asked::new(&"https://reports.example".into(), &Method::GET, PROBE).is_probe());
    }

    #[test]
    fn what_lacks_permission_is_looked_at_again_ever_more_rarely() {
        let asked = get("/a");
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
            remembered.note(&get(&format!("/x{n}")), Duration::from_secs(n as u64));
        }
        remembered.note(&get(&"x".repeat(LONGEST + 1)), Duration::ZERO);

        assert_eq!(remembered.0.len(), MOST);
        let newest = get(&format!("/x{}", 2 * MOST - 1));
        assert!(remembered.knows(&newest, Duration::from_secs(2 * MOST as u64)));
    }

    fn get(path: &str) -> Asked {
        Asked::new(&"".into(), &Method::GET, path)
    }
}
