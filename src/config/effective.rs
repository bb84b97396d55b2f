//! The keys that decide which requests are allowed. A running daemon exports them to the commands,
//! because only the daemon knows its flags and its environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value as Json;

use super::{Config, KEYS, Key};

/// The keys that are exported.
const EXPORTED_KEYS: [&str; 9] = [
    "listen.hosts",
    "listen.expose",
    "listen.users",
    "listen.groups",
    "policy.anonymous",
    "policy.anonymous_redact",
    "policy.deny",
    "policy.ask",
    "limits.target_bytes",
];

impl Config {
    /// Returns every address at which requests are served.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let hosts = self.hosts.iter().flat_map(|host| &host.listen);
        let all = self.listen.tcp.iter().chain(hosts).chain(&self.listen.tls);
        all.chain(&self.forward_proxy.listen).copied()
    }

    /// Returns every TCP address that the daemon takes, by its key.
    pub fn tcp_addresses(&self) -> Vec<(&'static str, Vec<SocketAddr>)> {
        let all = [
            ("listen.tcp", self.listen.tcp.clone()),
            ("host", self.hosts.iter().flat_map(|host| host.listen.clone()).collect()),
            ("listen.tls", self.listen.tls.clone()),
            ("forward_proxy.listen", self.forward_proxy.listen.into_iter().collect()),
            ("admin.listen", self.admin.listen.into_iter().collect()),
            ("admin.health_listen", self.admin.health_listen.into_iter().collect()),
        ];
        all.into_iter().filter(|(_, addresses): &(_, Vec<_>)| !addresses.is_empty()).collect()
    }

    /// Returns these keys and their values.
    pub fn export(&self) -> BTreeMap<String, Json> {
        let export = |(name, entry): (&str, &Key)| {
            Some((name.to_owned(), serde_json::to_value(entry.value(self)).ok()?))
        };
        entries().filter_map(export).collect()
    }

    /// Takes over exported values, and returns the keys whose values differed. A value that cannot
    /// be read, from a daemon of another version, is skipped.
    pub fn import(&mut self, exported: &BTreeMap<String, Json>) -> Vec<&'static str> {
        let before = self.clone();
        let imported = entries().filter(|(name, entry)| {
            let value = exported.get(*name).and_then(|value| toml::Value::try_from(value).ok());
            value.is_some_and(|value| entry.set(self, &value).is_ok())
                && entry.differs(&before, self)
        });
        imported.map(|(name, _)| name).collect()
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
    fn exported_values_are_taken_over_and_named() {
        let mut running = Config::default();
        running.policy.anonymous = AnonymousAccess::ReadOnly;
        running.policy.deny = vec![Rule::parse("DELETE /**").unwrap()];
        running.limits.target_bytes = 99;
        let mut exported = running.export();
        assert_eq!(exported.len(), EXPORTED_KEYS.len());
        exported.insert("listen.expose".to_owned(), "perhaps".into());
        exported.insert("upstream.origin".to_owned(), "https://elsewhere.example".into());
        let mut configured = Config::default();

        let other = configured.import(&exported);

        assert_eq!(other, ["policy.anonymous", "policy.deny", "limits.target_bytes"]);
        assert_eq!(configured, running);
        assert!(configured.import(&exported).is_empty());
    }
}
