//! Decisions about keys, for all responses: the rules for names take longer than the rest of a
//! short record.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use json_redactor::Scope;
use smallvec::SmallVec;

use crate::config::RedactMode;

/// The decisions under one set of rules.
#[derive(Default)]
pub(super) struct Decisions(Mutex<HashMap<Box<str>, KeyScopes>>);

/// The mode, the scope of the object around a key, and what was decided.
type KeyScopes = SmallVec<[(RedactMode, Scope, Scope); 1]>;

impl Decisions {
    /// Returns what was decided about a key under this parent.
    pub(super) fn get(&self, mode: RedactMode, parent: Scope, key: &str) -> Option<Scope> {
        let decided = self.lock();
        let mut scopes = decided.get(key)?.iter();
        scopes.find(|it| (it.0, it.1) == (mode, parent)).map(|it| it.2)
    }

    /// Remembers what was decided about a key.
    pub(super) fn put(&self, mode: RedactMode, parent: Scope, key: &str, scope: Scope) {
        let mut decided = self.lock();
        // Nexudus has fewer names: a response has invented them.
        if decided.len() >= MAX_KEYS && !decided.contains_key(key) {
            decided.clear();
        }
        let scopes = decided.entry(key.into()).or_default();
        if scopes.len() < MAX_SCOPES {
            scopes.push((mode, parent, scope));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, KeyScopes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decisions(..)")
    }
}

/// Most keys that are remembered.
const MAX_KEYS: usize = 2048;

/// Most objects in which a key is remembered.
const MAX_SCOPES: usize = 32;

#[cfg(test)]
mod tests {
    use json_redactor::Action;

    use super::*;

    #[test]
    fn a_decision_counts_in_its_mode_and_under_its_parent_alone() {
        let scope = |context| Scope { action: Action::Scan, context };
        let decisions = Decisions::default();
        decisions.put(RedactMode::Table, scope(1), "Name", scope(2));
        decisions.put(RedactMode::All, scope(1), "Name", scope(3));
        let get = |mode, parent, key| decisions.get(mode, scope(parent), key);
        assert_eq!(get(RedactMode::Table, 1, "Name"), Some(scope(2)));
        assert_eq!(get(RedactMode::All, 1, "Name"), Some(scope(3)));
        assert_eq!(get(RedactMode::All, 2, "Name"), None);
        assert_eq!(get(RedactMode::All, 1, "name"), None);

        for nth in 0..3 * MAX_KEYS {
            decisions.put(RedactMode::All, scope(1), &nth.to_string(), scope(3));
            assert!(decisions.lock().len() <= MAX_KEYS);
        }
        for context in 0..100 {
            decisions.put(RedactMode::All, scope(context), "Id", scope(context));
        }
        assert_eq!(decisions.lock()["Id"].len(), MAX_SCOPES);
        assert_eq!(format!("{decisions:?}"), "Decisions(..)");
    }
}
