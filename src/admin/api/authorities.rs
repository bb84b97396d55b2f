//! The JSON about the two certificate authorities.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ca::{AuthorityKind, EXPIRY_NOTICE};

/// One certificate authority: `GET /v1/ca`, and part of `GET /v1/status`. Never its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityReport {
    /// Which one.
    pub kind: AuthorityKind,
    /// Where it is.
    pub state: AuthorityState,
    /// Whether it is still there after a reboot.
    pub durable: bool,
    /// The common name of its root.
    pub name: Option<String>,
    /// The names that it signs for.
    pub names: Vec<String>,
    /// The configured names that it does not sign for.
    pub uncovered: Vec<String>,
    /// The SHA-256 fingerprint of its root.
    pub sha256: Option<String>,
    /// The end of its validity (RFC 3339).
    pub not_after: Option<String>,
    /// Time to its end; 0 once that has come.
    pub expires_in_s: Option<u64>,
    /// The file of its root, in PEM.
    pub file: Option<PathBuf>,
    /// The fault that a person has to repair.
    pub problem: Option<String>,
}

impl AuthorityReport {
    /// Describes an authority of which nothing more is known.
    pub(in crate::admin) fn none(kind: AuthorityKind, state: AuthorityState) -> Self {
        Self {
            kind,
            state,
            durable: false,
            name: None,
            names: vec![],
            uncovered: vec![],
            sha256: None,
            not_after: None,
            expires_in_s: None,
            file: None,
            problem: None,
        }
    }

    /// Returns what a person has to do about it, if anything.
    pub fn trouble(&self) -> Option<AuthorityTrouble> {
        let kind = self.kind;
        let rotate = format!(
            "`nexudus-proxy ca rotate {kind}` makes another one; what trusts the old one has to trust \
             it again."
        );
        let trouble =
            |finding, fix, is_failure| Some(AuthorityTrouble { finding, fix, is_failure });
        let why = self.problem.as_deref().unwrap_or_default();
        let end = self.not_after.as_deref().unwrap_or_default();
        if self.has_ended() {
            return trouble(format!("{kind} has ended ({end})"), rotate, true);
        }
        match self.state {
            AuthorityState::Unusable => {
                trouble(format!("{kind} cannot be used: {why}"), rotate, true)
            }
            AuthorityState::Waiting if self.problem.is_some() => trouble(
                format!("{kind} is sealed, and the session's key cannot be read: {why}"),
                "Log in or unlock: then it is read by itself.".to_owned(),
                false,
            ),
            AuthorityState::Stored | AuthorityState::Memory if self.problem.is_some() => trouble(
                format!("{kind} is not stored and ends with the daemon: {why}"),
                "Make the state directory writable for the daemon.".to_owned(),
                false,
            ),
            AuthorityState::None
            | AuthorityState::Waiting
            | AuthorityState::Stored
            | AuthorityState::Memory => {
                let names = self.uncovered.join(", ");
                if self.ends_soon() {
                    trouble(format!("{kind} ends soon ({end})"), rotate, false)
                } else if names.is_empty() {
                    None
                } else {
                    trouble(format!("{kind} does not cover {names}"), rotate, false)
                }
            }
        }
    }

    /// Says whether the end has come.
    pub fn has_ended(&self) -> bool {
        self.expires_in_s == Some(0)
    }

    /// Says whether the end comes soon, or has come.
    pub fn ends_soon(&self) -> bool {
        self.expires_in_s.is_some_and(|left| left < EXPIRY_NOTICE.as_secs())
    }
}

/// A fault of an authority that a person has to repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityTrouble {
    /// The fault, in one sentence.
    pub finding: String,
    /// The way out.
    pub fix: String,
    /// Whether certificates are missing now.
    pub is_failure: bool,
}

/// Where an authority is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthorityState {
    /// There is none: nothing has asked for one.
    None,
    /// The session's key is awaited.
    Waiting,
    /// The authority is sealed on disk.
    Stored,
    /// The authority ends with the daemon.
    Memory,
    /// The file of the authority cannot be used.
    Unusable,
}

/// `POST /v1/ca/export` and `POST /v1/ca/rotate`: an authority with its root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityRoot {
    /// The authority.
    #[serde(flatten)]
    pub report: AuthorityReport,
    /// The root certificate, in PEM.
    pub pem: String,
}
