//! Permissions for every call of a client that one rule asks about, for some time: against the
//! fatigue of saying yes to each of a hundred calls.

use std::time::Duration;

use super::call::Caller;
use super::record::StandingRecord;

/// The permissions that stand.
#[derive(Debug, Default)]
pub(super) struct StandingPermissions(Vec<StandingPermission>);

#[derive(Debug)]
struct StandingPermission {
    id: String,
    caller: Caller,
    rule: String,
    until: Duration,
}

impl StandingPermissions {
    /// Permits what these rules ask about, each of them.
    pub(super) fn add(&mut self, id: &str, caller: &Caller, rules: &[String], until: Duration) {
        for rule in rules {
            self.0.retain(|it| !(it.caller == *caller && it.rule == *rule));
            let (id, caller, rule) = (id.to_owned(), caller.clone(), rule.clone());
            self.0.push(StandingPermission { id, caller, rule, until });
        }
    }

    /// Says whether each of these rules stands permitted for this caller: one that does not would
    /// still want a person asked.
    pub(super) fn cover(&self, caller: &Caller, rules: &[String]) -> bool {
        let covers =
            |rule: &String| self.0.iter().any(|it| it.caller == *caller && it.rule == *rule);
        !rules.is_empty() && rules.iter().all(covers)
    }

    /// Ends the permissions of this identifier; says whether there were any.
    pub(super) fn end(&mut self, id: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|it| it.id != id);
        self.0.len() < before
    }

    /// Forgets those whose time is over.
    pub(super) fn expire(&mut self, now: Duration) {
        self.0.retain(|it| it.until > now);
    }

    /// Describes them.
    pub(super) fn records(&self, now: Duration) -> Vec<StandingRecord> {
        let record = |it: &StandingPermission| StandingRecord {
            id: it.id.clone(),
            client: it.caller.name().map(str::to_owned),
            uid: it.caller.uid(),
            rule: it.rule.clone(),
            left_s: it.until.saturating_sub(now).as_secs(),
        };
        self.0.iter().map(record).collect()
    }
}
