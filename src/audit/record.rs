//! One line of the audit, without its place in the chain.

use serde::Serialize;

use super::masking::query_names;

/// A kind of event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditEvent {
    /// A call that changed nothing ended.
    #[default]
    Call,
    /// A call that may change something is about to be sent.
    Write,
    /// The write ended.
    Outcome,
    /// A call was refused, and not sent.
    Refused,
    /// A person decided about a call.
    Approval,
    /// The keys of clients changed.
    Keys,
    /// The rules changed.
    Policy,
    /// The login changed.
    Login,
    /// The session was locked or unlocked.
    Lock,
    /// The daemon started.
    Start,
    /// The daemon stopped.
    Stop,
    /// The line before is damaged.
    Damaged,
}

/// One line. What does not apply is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditRecord {
    /// The kind of event.
    pub event: AuditEvent,
    /// The number of the call since the daemon started: both lines of a write have the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<u64>,
    /// The named client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The user, where the kernel vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The name that the process has given itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path, with personal values masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The names of the fields of the query.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<String>,
    /// The numbers of the records that a write is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<u64>,
    /// The rule that allowed the call or denied it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The rules that wanted a person asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// The action of a person or a command: `approve`, `add`, ….
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'static str>,
    /// The call that a person decided about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// The keyed hash of the body of a write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_hash: Option<String>,
    /// The status; left out where the client had left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The code of a response of the daemon's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The success of a write according to the envelope of Nexudus: `WasSuccessful`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was_successful: Option<bool>,
    /// Bytes of the response body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Values of the response that became tokens, where its client is redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redactions: Option<u64>,
    /// Lines before this one that were written, and are not in the files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<u64>,
    /// Something in particular: keys of the configuration, a version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl AuditRecord {
    /// Begins the line about something that a command does itself, because no daemon serves.
    pub fn without_daemon(event: AuditEvent, action: &'static str, client: Option<&str>) -> Self {
        Self {
            event,
            action: Some(action),
            client: client.map(str::to_owned),
            uid: own_uid(),
            detail: Some("no daemon ran".to_owned()),
            ..Self::default()
        }
    }

    /// Adds the names of the fields of a query.
    #[must_use]
    pub fn with_query(self, query: &str) -> Self {
        Self { query: query_names(query), ..self }
    }
}

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps, reason = "other systems have no number")]
fn own_uid() -> Option<u32> {
    Some(nix::unistd::geteuid().as_raw())
}

#[cfg(not(unix))]
fn own_uid() -> Option<u32> {
    None
}
