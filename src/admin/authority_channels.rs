//! The channels between the admin surface and the keeper of the certificate authorities.

use std::path::PathBuf;
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot, watch};

use super::api::{AuthorityReport, AuthorityState, Problem};
use crate::ca::{AuthorityKind, LiveAuthorities};
use crate::config::with_profile_flag;

/// The admin surface's ends of its channels to the keeper of the authorities.
#[derive(Clone, Debug)]
pub struct Authorities {
    /// The authorities in use.
    pub live: LiveAuthorities,
    /// The keeper's notes on them, in the order of [`AuthorityKind::ALL`].
    pub notes: watch::Receiver<Vec<AuthorityNote>>,
    /// Where the keeper takes commands.
    pub commands: mpsc::Sender<AuthorityCommand>,
}

/// The keeper's note on one authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityNote {
    /// Which one.
    pub kind: AuthorityKind,
    /// Where it is.
    pub state: AuthorityState,
    /// Whether it is still there after a reboot.
    pub is_durable: bool,
    /// The file of its root.
    pub file: Option<PathBuf>,
    /// The configured names that it does not cover.
    pub uncovered: Vec<String>,
    /// The fault that a person has to repair.
    pub problem: Option<String>,
}

/// A command to the keeper.
#[derive(Debug)]
pub enum AuthorityCommand {
    /// Make the authority if there is none.
    Ensure(AuthorityKind, AuthorityReply),
    /// Make another one in its place.
    Rotate(AuthorityKind, AuthorityReply),
}

impl Authorities {
    /// Describes both authorities at this time.
    pub(super) fn reports(&self, now: SystemTime, profile: &str) -> Vec<AuthorityReport> {
        let notes = self.notes.borrow().clone();
        notes.into_iter().map(|note| self.report(note, now, profile)).collect()
    }

    fn report(&self, note: AuthorityNote, now: SystemTime, profile: &str) -> AuthorityReport {
        let AuthorityNote { kind, state, is_durable, file, uncovered, problem } = note;
        let problem = problem.map(|problem| with_profile_flag(&problem, profile));
        let durable = is_durable;
        let blank = AuthorityReport {
            durable,
            file,
            uncovered,
            problem,
            ..AuthorityReport::none(kind, state)
        };
        let Some(issuer) = self.live.get(kind) else { return blank };
        let authority = issuer.authority();
        let left = authority.not_after().duration_since(now).unwrap_or_default();
        AuthorityReport {
            name: Some(authority.root_name()),
            names: authority.names().iter().collect(),
            sha256: Some(authority.root_fingerprint()),
            not_after: Some(humantime::format_rfc3339_seconds(authority.not_after()).to_string()),
            expires_in_s: Some(left.as_secs()),
            ..blank
        }
    }
}

/// Where the result of a command goes.
pub type AuthorityReply = oneshot::Sender<Result<(), Box<Problem>>>;
