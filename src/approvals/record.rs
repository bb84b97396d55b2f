//! A call that waits, as the admin surface shows it to a person: JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `GET /v1/approvals`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingCalls {
    /// The calls that wait, and those that were decided and not sent yet, in the order of arrival.
    pub calls: Vec<ApprovalRecord>,
    /// The permissions that stand for some time.
    pub standing: Vec<StandingRecord>,
}

/// A call that waits for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalRecord {
    /// The identifier of the call.
    pub id: String,
    /// Whether it waits, or how it was decided.
    pub phase: ApprovalPhase,
    /// When it came (RFC 3339).
    pub asked: String,
    /// Time until it is forgotten.
    pub left_s: u64,
    /// The named client.
    pub client: Option<String>,
    /// The user of a client without a key.
    pub uid: Option<u32>,
    /// Where it goes.
    pub origin: String,
    /// The method.
    pub method: String,
    /// Path and query, as they are sent.
    pub target: String,
    /// The record that the call is about, in words: `coworker 1400100137`.
    pub subject: Option<String>,
    /// The command that it runs: `COWORKER_DELETE`.
    pub command: Option<String>,
    /// The name of that record, as Nexudus has it now.
    pub name: Option<String>,
    /// Why the name is not known.
    pub name_error: Option<String>,
    /// The rules that ask.
    pub rules: Vec<String>,
    /// `Content-Type`, as it is sent.
    pub content_type: Option<String>,
    /// `Content-Encoding`, as it is sent.
    pub content_encoding: Option<String>,
    /// Bytes of the body.
    pub body_bytes: usize,
    /// The body, where it is UTF-8. Only in `GET /v1/approvals/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The body in base64, where it is something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
}

/// The life of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalPhase {
    /// No person has decided.
    #[default]
    Waiting,
    /// A person said yes; the client has not sent it since.
    Approved,
    /// A person said no.
    Denied,
    /// No person has decided in time.
    Late,
}

/// A permission for every call of a client that one rule asks about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingRecord {
    /// The identifier of the permission, by which a person ends it.
    pub id: String,
    /// The named client.
    pub client: Option<String>,
    /// The user of a client without a key.
    pub uid: Option<u32>,
    /// The rule.
    pub rule: String,
    /// Time until it ends.
    pub left_s: u64,
}

/// The decision of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The call may be sent: once, or as often as wanted for some time.
    Approve {
        /// For how long, if more than once.
        during: Option<Duration>,
        /// Whether the same holds for every call that the same rules ask about.
        by_rule: bool,
    },
    /// The call may not be sent; a standing permission ends.
    Deny,
}
