//! The JSON of a profile's state: clients, account, configuration.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::clients::{self, BudgetStatus, ClientPolicy};
use crate::fleet::EndedChains;

/// An element of `GET /v1/clients`: a named client with its limits, never its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRecord {
    /// The name of the client.
    pub name: String,
    /// When the client was added (RFC 3339).
    pub created: String,
    /// The limits, as the file of the clients has them.
    #[serde(with = "clients::limits_json")]
    pub limits: ClientPolicy,
    /// Whether the key has expired.
    pub expired: bool,
    /// Requests allowed since the start of the daemon.
    pub requests: u64,
    /// Requests refused since then, because of the rate or the number.
    pub refused: u64,
    /// Time since the last request that was allowed.
    pub idle_s: Option<u64>,
    /// Requests so far, across restarts; counted only where their number is limited.
    pub used: Option<u64>,
    /// The used part of each budget.
    #[serde(default)]
    pub budgets: Vec<BudgetStatus>,
}

/// `POST /v1/approvals`: the decision of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalDecision {
    /// The call, or a standing permission.
    pub id: String,
    /// Whether the call may be sent.
    pub approve: bool,
    /// For how long, if more than once.
    #[serde(default)]
    pub for_s: Option<u64>,
    /// Whether the same holds for every call that the same rules ask about.
    #[serde(default)]
    pub by_rule: bool,
}

impl From<clients::ClientStatus> for ClientRecord {
    fn from(status: clients::ClientStatus) -> Self {
        Self {
            name: status.name,
            created: humantime::format_rfc3339_seconds(status.created).to_string(),
            limits: status.limits,
            expired: status.is_expired,
            requests: status.requests,
            refused: status.refused,
            idle_s: status.idle.map(|idle| idle.as_secs()),
            used: status.counted,
            budgets: status.budgets,
        }
    }
}

impl From<ClientRecord> for clients::ClientStatus {
    fn from(record: ClientRecord) -> Self {
        let created = humantime::parse_rfc3339(&record.created);
        Self {
            name: record.name,
            limits: record.limits,
            is_expired: record.expired,
            created: created.unwrap_or(SystemTime::UNIX_EPOCH),
            requests: record.requests,
            refused: record.refused,
            idle: record.idle_s.map(Duration::from_secs),
            counted: record.used,
            budgets: record.budgets,
        }
    }
}

/// `POST /v1/clients`: the result of a change.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientChanged {
    /// The new key, if there is one. The key is told here once, and stored nowhere.
    pub key: Option<String>,
    /// The key that the new one replaces, for the change `restore`.
    #[serde(default)]
    pub replaced: Option<clients::ReplacedKey>,
}

impl std::fmt::Debug for ClientChanged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientChanged").finish_non_exhaustive()
    }
}

/// `POST /v1/logout`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogoutResult {
    /// Whether a login was stored.
    pub had_login: bool,
    /// The origins whose login was cleared.
    pub cleared: Vec<String>,
    /// The sources that still hold a login.
    pub still: Vec<String>,
    /// The key file, where the configuration names it and it stays.
    #[serde(default)]
    pub kept_key: Option<PathBuf>,
    /// Why no keychain was looked into, if that is so.
    pub no_keychain: Option<String>,
    /// How many refresh tokens of a fleet were deleted at Nexudus, if that was asked for.
    #[serde(default)]
    pub revoked: Option<usize>,
    /// The chains that these belonged to.
    #[serde(default)]
    pub chains: Option<EndedChains>,
    /// Why refresh tokens of a fleet are left at Nexudus.
    #[serde(default)]
    pub not_revoked: Option<String>,
}

/// `POST /v1/logout` where the daemon of a fleet also deletes the fleet's refresh tokens at Nexudus: only its
/// members know of them all.
pub const REVOKING_LOGOUT: &str = "/v1/logout?revoke=true";

/// An element of `GET /v1/config`: a key with its value in effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigValue {
    /// The key, with its section.
    pub key: String,
    /// The value, without passwords.
    pub value: serde_json::Value,
    /// Where the value comes from.
    pub origin: String,
}

/// `GET /v1/config`: the configuration in effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectiveConfig {
    /// The configuration file, whether it exists or not.
    pub path: String,
    /// Every key.
    pub keys: Vec<ConfigValue>,
}

/// An element of `POST /v1/doctor`: one check that only the daemon can make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfCheck {
    /// The name of the check.
    pub check: String,
    /// `ok`, `warn`, `fail` or `skip`.
    pub verdict: String,
    /// One sentence.
    pub finding: String,
    /// A way out.
    pub fix: Option<String>,
}
