//! Why the keeper has no authority, or no new one.

use crate::ca::{self, AuthorityKind, StoreError};
use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// Why there is no authority, or no new one.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuthorityError {
    /// The stored one cannot be used.
    #[error("the {kind} certificate authority cannot be used: {why}")]
    Unusable { kind: AuthorityKind, why: String },
    /// The key is not known.
    #[error("the {kind} certificate authority is sealed, and the session's key cannot be read")]
    NoKey {
        kind: AuthorityKind,
        #[source]
        why: KeyUnreadable,
    },
    /// No certificate can be made.
    #[error("could not make the {0} certificate authority")]
    Create(AuthorityKind, #[source] ca::Error),
    /// The new one cannot be stored.
    #[error("could not store the {0} certificate authority")]
    Store(AuthorityKind, #[source] StoreError),
}

/// Why the session's key could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct KeyUnreadable(pub(super) String);

impl Problem for AuthorityError {
    fn details(&self) -> ProblemDetails {
        let failed = |hint| ProblemKind::CommandFailed.with_hint(hint);
        match self {
            Self::Unusable { kind, .. } => failed(rotate_hint(*kind)),
            Self::NoKey { .. } => failed(
                "See `nexudus-proxy doctor`; a locked session or keychain opens with \
                 `nexudus-proxy unlock`."
                    .to_owned(),
            ),
            Self::Create(..) => {
                failed("Check the host names of upstream.origin and [[host]].".to_owned())
            }
            Self::Store(..) => {
                failed("Make the state directory writable for the daemon.".to_owned())
            }
        }
    }
}

fn rotate_hint(kind: AuthorityKind) -> String {
    format!(
        "`nexudus-proxy ca rotate {kind}` makes another one; what trusts the old one has to trust it \
         again."
    )
}

/// Joins an error and its causes.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
