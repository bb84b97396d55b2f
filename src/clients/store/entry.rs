//! The clients as the file, and the records of a fleet, have them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::StoredClient;
use crate::clients::budget::{Budget, Budgets};
use crate::clients::key::KeyHash;
use crate::clients::{ClientPolicy, RedactionPolicy, WebOrigin};
use crate::config::{Rule, RuleSet, format_rate, parse_rate};

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientsFile {
    pub(super) version: u32,
    pub(super) clients: Vec<ClientEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) revoked: Vec<RevokedEntry>,
}

/// A client of a fleet that was revoked here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct RevokedEntry {
    pub(super) id: String,
}

/// Whether the other members of a fleet know of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::clients) enum Sharing {
    /// This machine is alone, or has not offered the client yet.
    #[default]
    NotYet,
    /// They may: a revocation must reach them.
    Shared,
    /// They never do: the client is of one command on this machine.
    Never,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientEntry {
    id: String,
    pub(super) name: String,
    key_sha256: String,
    /// Seconds since 1970, like every time here.
    created: u64,
    read_only: bool,
    allow: Vec<String>,
    deny: Vec<String>,
    /// These four are left out where they say nothing, for earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ask: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_writes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_deletes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_bytes: Option<String>,
    expires: Option<u64>,
    rate: Option<String>,
    max_requests: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<WebOrigin>,
    #[serde(default, skip_serializing_if = "RedactionPolicy::is_default")]
    redaction: RedactionPolicy,
    #[serde(default, skip_serializing_if = "is_zero")]
    key_changed: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    limits_changed: u64,
    #[serde(default, skip_serializing_if = "Sharing::is_not_yet")]
    sharing: Sharing,
}

impl RevokedEntry {
    pub(super) fn from_client(client: &StoredClient) -> Self {
        Self { id: client.id.clone() }
    }
}

impl Sharing {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    fn is_not_yet(&self) -> bool {
        *self == Self::NotYet
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl ClientEntry {
    pub(super) fn from_client(client: &StoredClient) -> Self {
        let texts = |rules: &[Rule]| rules.iter().map(|rule| rule.as_str().to_owned()).collect();
        let ClientPolicy { read_only, allow, deny, ask, budgets, .. } = &client.limits;
        let ClientPolicy { expires, rate, max_requests, origin, redaction, .. } = &client.limits;
        Self {
            id: client.id.clone(),
            name: client.name.clone(),
            key_sha256: client.hash.to_hex(),
            created: to_unix_seconds(client.created),
            read_only: *read_only,
            allow: texts(allow),
            deny: texts(deny),
            ask: texts(ask),
            max_writes: budgets.writes.as_ref().map(Budget::format_count),
            max_deletes: budgets.deletes.as_ref().map(Budget::format_count),
            max_bytes: budgets.bytes.as_ref().map(Budget::format_bytes),
            expires: expires.map(to_unix_seconds),
            rate: rate.map(format_rate),
            max_requests: *max_requests,
            origin: origin.clone(),
            redaction: redaction.clone(),
            key_changed: client.key_changed,
            limits_changed: client.limits_changed,
            sharing: client.sharing,
        }
    }

    /// Returns the limits without the client that they are of.
    pub(super) fn limits_alone(self) -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            key_sha256: String::new(),
            created: 0,
            key_changed: 0,
            limits_changed: 0,
            sharing: Sharing::default(),
            ..self
        }
    }

    pub(super) fn into_client(self) -> Option<StoredClient> {
        let rules = |texts: Vec<String>| {
            texts.iter().map(|text| Rule::parse(text).ok()).collect::<Option<RuleSet>>()
        };
        let limits = ClientPolicy {
            read_only: self.read_only,
            allow: rules(self.allow)?,
            deny: rules(self.deny)?,
            ask: rules(self.ask)?,
            budgets: Budgets {
                writes: parse_budget(self.max_writes, Budget::parse_count)?,
                deletes: parse_budget(self.max_deletes, Budget::parse_count)?,
                bytes: parse_budget(self.max_bytes, Budget::parse_bytes)?,
            },
            expires: match self.expires {
                Some(seconds) => Some(from_unix_seconds(seconds)?),
                None => None,
            },
            rate: match self.rate {
                Some(text) => Some(parse_rate(&text)?),
                None => None,
            },
            max_requests: self.max_requests,
            origin: self.origin,
            redaction: self.redaction,
        };
        let hash = KeyHash::from_hex(&self.key_sha256)?;
        Some(StoredClient {
            id: self.id,
            name: self.name,
            hash,
            created: from_unix_seconds(self.created)?,
            limits,
            key_changed: self.key_changed,
            limits_changed: self.limits_changed,
            sharing: self.sharing,
        })
    }
}

/// Reads a budget, if there is one; `None` for what is none.
#[expect(clippy::option_option, reason = "no budget is not a budget that cannot be read")]
fn parse_budget(
    text: Option<String>,
    parse: impl Fn(&str) -> Option<Budget>,
) -> Option<Option<Budget>> {
    match text {
        Some(text) => parse(&text).map(Some),
        None => Some(None),
    }
}

pub(super) fn to_unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub(super) fn from_unix_seconds(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

pub(super) const VERSION: u32 = 1;
