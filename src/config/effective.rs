//! The keys that decide what is let through, as a running daemon tells them to the commands: its
//! flags and its environment are known to nobody else.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{Config, KEYS, Key};

/// What is told.
const EXPORTED_KEYS: [&str; 5] =
    ["listen.hosts", "listen.expose", "policy.anonymous", "policy.deny", "limits.target_bytes"];

impl Config {
    /// Returns these keys and their values.
    pub fn export(&self) -> BTreeMap<String, Json> {
        let told = |(name, entry): (&str, &Key)| {
            Some((name.to_owned(), serde_json::to_value(entry.value(self)).ok()?))
        };
        entries().filter_map(told).collect()
    }

    /// Takes over what was told, and returns the keys that were another. What cannot be read, from a
    /// daemon of another version, stays as it is.
    pub fn import(&mut self, told: &BTreeMap<String, Json>) -> Vec<&'static str> {
        let before = self.clone();
        let adopted = entries().filter(|(name, entry)| {
            let value = told.get(*name).and_then(|value| toml::Value::try_from(value).ok());
            value.is_some_and(|value| entry.set(self, &value).is_ok())
                && entry.differs(&before, self)
        });
        adopted.map(|(name, _)| name).collect()
    }
}

fn entries() -> impl Iterator<Item = (&'static str, &'static Key)> {
    EXPORTED_KEYS
        .into_iter()
        .filter_map(|name| Some((name, KEYS.iter().find(|it| it.path() == name)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AnonymousAccess, Rule};

    #[test]
    fn what_is_told_is_taken_over_and_named() {
        let mut running = Config::default();
        running.policy.anonymous = AnonymousAccess::ReadOnly;
        running.policy.deny = vec![Rule::parse("DELETE /**").unwrap()];
        running.limits.target_bytes = 99;
        let mut told = running.export();
        assert_eq!(told.len(), EXPORTED_KEYS.len());
        told.insert("listen.expose".to_owned(), "perhaps".into());
        told.insert("upstream.origin".to_owned(), "https://elsewhere.example".into());
        let mut configured = Config::default();

        let other = configured.import(&told);

        assert_eq!(other, ["policy.anonymous", "policy.deny", "limits.target_bytes"]);
        assert_eq!(configured, running);
        assert!(configured.import(&told).is_empty());
    }
}
