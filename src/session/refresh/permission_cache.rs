//! A bounded cache of the requests that lack permission.
//!
//! Nexudus responds with 401 both for a dead token and for missing permission. A request that
//! lacked permission once is not worth a probe each time it is repeated: the next probe comes after
//! [`MIN_TTL`], then ever more rarely. A shape folds many objects into one, and of two siblings one
//! may be allowed: for another path of the same shape the verdict holds for [`SIBLING_TTL`] only. A
//! longer time would hide a dead token.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::endpoint::PROBE_PATH;
use crate::path_template;

/// A request, reduced to the parts that decide about permission.
#[derive(Clone, Debug)]
pub(crate) struct RequestKey {
    shape: RequestShape,
    /// A hash of the path itself.
    path_hash: u64,
}

/// A host, a method and the shape of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RequestShape {
    /// Empty for the API itself.
    host: Arc<str>,
    method: Method,
    shape: String,
}

impl RequestKey {
    /// Reduces a request: the query is dropped, letters become lower case, and segments that look
    /// like identifiers (digits, GUIDs, long hexadecimal) become `*`.
    pub(crate) fn new(host: &Arc<str>, method: &Method, path: &str) -> Self {
        let shape = RequestShape {
            host: host.clone(),
            method: method.clone(),
            shape: path_template::from_path(path),
        };
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        Self { shape, path_hash: hasher.hash_one(path) }
    }

    /// Says whether a probe sends this very request: then its response is the verdict.
    pub(crate) fn is_probe(&self) -> bool {
        let RequestShape { host, method, shape } = &self.shape;
        host.is_empty() && method == Method::GET && shape == PROBE_PATH
    }
}

/// The requests that lacked permission.
#[derive(Debug, Default)]
pub(crate) struct PermissionCache(HashMap<RequestShape, CachedDenial>);

#[derive(Clone, Copy, Debug)]
struct CachedDenial {
    until: Duration,
    ttl: Duration,
    /// The path that was probed last, and until when its siblings share the verdict.
    path_hash: u64,
    shared_until: Duration,
}

impl PermissionCache {
    /// Says whether a request is known to lack permission at `now`, on the boot clock.
    pub(crate) fn contains(&self, request: &RequestKey, now: Duration) -> bool {
        self.0.get(&request.shape).is_some_and(|entry| {
            now < entry.shared_until || (now < entry.until && entry.path_hash == request.path_hash)
        })
    }

    /// Records that a request lacked permission at `now`; each time for twice as long.
    pub(crate) fn record(&mut self, request: &RequestKey, now: Duration) {
        if request.shape.shape.len() > MAX_SHAPE_LENGTH {
            return;
        }
        let (until, ttl) = match self.0.get(&request.shape) {
            // Several requests of one probe count once.
            Some(entry) if now < entry.until => (entry.until, entry.ttl),
            Some(entry) => {
                let ttl = (entry.ttl * 2).min(MAX_TTL);
                (now + ttl, ttl)
            }
            None => (now + MIN_TTL, MIN_TTL),
        };
        if self.0.len() >= MAX_ENTRIES && !self.0.contains_key(&request.shape) {
            self.make_room();
        }
        let entry = CachedDenial {
            until,
            ttl,
            path_hash: request.path_hash,
            shared_until: now + SIBLING_TTL,
        };
        self.0.insert(request.shape.clone(), entry);
    }

    /// Forgets everything: another account has other permissions.
    pub(crate) fn clear(&mut self) {
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
const MIN_TTL: Duration = Duration::from_secs(15 * 60);
const MAX_TTL: Duration = Duration::from_secs(12 * 60 * 60);

/// A walk through objects that are all forbidden costs a probe a minute.
const SIBLING_TTL: Duration = Duration::from_secs(60);

/// Most requests remembered: at most 256 KiB.
const MAX_ENTRIES: usize = 1_024;

/// Longest shape remembered, in bytes.
const MAX_SHAPE_LENGTH: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_hosts_are_told_apart() {
        let mut remembered = PermissionCache::default();
        remembered.record(&get("/a"), Duration::ZERO);

        assert!(remembered.contains(&get("/A?b=c"), Duration::ZERO));
        let other_method = RequestKey::new(&"".into(), &Method::POST, "/a");
        let other_host = RequestKey::new(&"https://reports.example".into(), &Method::GET, "/a");
        assert!(!remembered.contains(&other_method, Duration::ZERO));
        assert!(!remembered.contains(&other_host, Duration::ZERO));
    }

    #[test]
    fn a_verdict_about_one_object_holds_for_another_no_longer_than_a_minute() {
        let mut remembered = PermissionCache::default();
        let at = Duration::from_secs;
        remembered.record(&get("/a/1"), at(0));

        assert!(remembered.contains(&get("/a/2"), at(59)));
        assert!(!remembered.contains(&get("/a/2"), at(60)));
        assert!(remembered.contains(&get("/a/1"), at(60)));

        remembered.record(&get("/a/2"), at(60));
        assert!(remembered.contains(&get("/a/3"), at(119)));
        assert!(!remembered.contains(&get("/a/2"), MIN_TTL), "a sibling does not renew it");
    }

    #[test]
    fn only_what_a_probe_asks_is_one() {
        assert!(get("/api/auth/me").is_probe() && get("/API/Auth/Me?x=1").is_probe());
        assert!(!get("/api/auth/me/").is_probe() && !get("/api/users/me").is_probe());
        assert!(!RequestKey::new(&"".into(), &Method::POST, PROBE_PATH).is_probe());
        assert!(
            !RequestKey::new(&"https://reports.example".into(), &Method::GET, PROBE_PATH)
                .is_probe()
        );
    }

    #[test]
    fn what_lacks_permission_is_looked_at_again_ever_more_rarely() {
        let asked = get("/a");
        let mut remembered = PermissionCache::default();
        let mut looked = 0;
        for minutes in (0..24 * 60).step_by(2) {
            let now = Duration::from_secs(minutes * 60);
            if !remembered.contains(&asked, now) {
                looked += 1;
                remembered.record(&asked, now);
                remembered.record(&asked, now);
            }
        }
        assert_eq!(looked, 7);

        remembered.clear();
        assert!(!remembered.contains(&asked, Duration::ZERO));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut remembered = PermissionCache::default();
        for n in 0..2 * MAX_ENTRIES {
            remembered.record(&get(&format!("/x{n}")), Duration::from_secs(n as u64));
        }
        remembered.record(&get(&"x".repeat(MAX_SHAPE_LENGTH + 1)), Duration::ZERO);

        assert_eq!(remembered.0.len(), MAX_ENTRIES);
        let newest = get(&format!("/x{}", 2 * MAX_ENTRIES - 1));
        assert!(remembered.contains(&newest, Duration::from_secs(2 * MAX_ENTRIES as u64)));
    }

    fn get(path: &str) -> RequestKey {
        RequestKey::new(&"".into(), &Method::GET, path)
    }
}
