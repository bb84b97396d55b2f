//! Why clients cannot be read or changed, and why a key is refused.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// Why the clients could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file exists, and cannot be read.
    #[error("could not read the clients in {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The content of the file is not what we write.
    #[error("the clients in {} are damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The damaged part.
        what: String,
    },
    /// The file could not be replaced; the old one is still there.
    #[error("could not write the clients to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The name is not allowed.
    #[error("`{name}` is not a name for a client")]
    Name {
        /// The name.
        name: String,
    },
    /// The name is taken.
    #[error("there is a client `{name}` already")]
    Exists {
        /// The name.
        name: String,
    },
    /// So many clients and rules that their file would not be read again.
    #[error("there are too many clients and rules: their file would be longer than {max} bytes")]
    Full {
        /// Longest file that is read.
        max: u64,
    },
    /// No client has this name.
    #[error("there is no client `{name}`")]
    Missing {
        /// The name.
        name: String,
    },
    /// The key of the client is another one by now.
    #[error("the key of the client `{name}` has changed since")]
    Changed {
        /// The name.
        name: String,
    },
}

impl Problem for Error {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Name { .. } => ProblemKind::ClientName.into(),
            Self::Exists { name } => {
                let details = ProblemDetails::from(ProblemKind::ClientExists);
                let hint = details.hint.as_deref().unwrap_or_default().replace("NAME", name);
                details.with_hint(hint)
            }
            Self::Full { .. } => ProblemKind::ClientsFull.into(),
            Self::Missing { .. } => ProblemKind::ClientMissing.into(),
            Self::Changed { .. } => ProblemKind::ClientChanged.into(),
            Self::Damaged { .. } => ProblemKind::CommandFailed.with_hint(
                "Nothing was changed. Repair the file, or move it away and make the clients anew.",
            ),
            Self::Unreadable { .. } | Self::Write { .. } => ProblemKind::CommandFailed
                .with_hint("Make it readable and writable for this user, and for no other."),
        }
    }
}

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No client has this key, or its client was revoked.
    #[error("the client key is unknown or revoked")]
    Unknown,
    /// The key has expired.
    #[error("the client key has expired")]
    Expired,
    /// The file of clients is damaged.
    #[error("the client key cannot be checked: the file of clients is unreadable")]
    Unreadable,
    /// This member of a fleet could have missed the revocation of the key.
    #[error(
        "the client key cannot be checked: this machine has heard nothing of its fleet for longer \
         than fleet.clients_stale"
    )]
    Stale,
    /// The fleet has a record of the client that does not open here.
    #[error("the client key cannot be checked: the fleet's record of the client does not open")]
    Unopened,
    /// The file of clients has changed, and must be read before the key can be checked.
    #[error("the client key cannot be checked: the file of clients is just being changed")]
    Changed,
}

impl Problem for KeyError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Unknown | Self::Expired => ProblemKind::KeyRefused.into(),
            Self::Unreadable | Self::Changed => ProblemKind::KeyNotChecked.into(),
            Self::Stale => ProblemKind::KeyNotChecked.with_hint(
                "Send it again once the engine of the fleet answers; `nexudus-proxy fleet status` \
                 says why it does not.",
            ),
            Self::Unopened => ProblemKind::KeyNotChecked.with_hint(
                "Give this machine the keys of the fleet (fleet.key_command), or revoke the client \
                 and add it again.",
            ),
        }
    }
}

/// Why a client may send no request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// The rate is used up. How long until the next request is allowed.
    #[error("the client sends more requests than its rate allows")]
    Rate(Duration),
    /// All requests are used up.
    #[error("the client has used up its requests")]
    Exhausted,
    /// A budget is used up.
    #[error(
        "the client has used up its {what}; they come back at {}",
        humantime::format_rfc3339_seconds(*back)
    )]
    Budget {
        /// The unit that the budget counts.
        what: &'static str,
        /// When it comes back.
        back: SystemTime,
        /// How long until then.
        after: Duration,
    },
    /// The count could not be written, and without that the limit would mean nothing.
    #[error("the client's requests cannot be counted")]
    Uncounted,
    /// More requests must be reserved first, which waits for the disk, or for this call to what several
    /// machines count together.
    #[error("the client's requests are just being counted")]
    Unreserved(u64),
    /// Several machines count together, and this one cannot hear of the others.
    #[error("the client's requests cannot be counted: this machine is cut off from its fleet")]
    Apart,
}

impl Problem for QuotaError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Rate(after) => {
                ProblemDetails::from(ProblemKind::RateExceeded).with_retry_after(*after)
            }
            Self::Budget { after, .. } => {
                ProblemDetails::from(ProblemKind::BudgetExhausted).with_retry_after(*after)
            }
            Self::Apart => ProblemKind::QuotaExhausted.with_hint(
                "Try another machine of the fleet, or again once `nexudus-proxy fleet status` says that \
                 the engine answers.",
            ),
            Self::Exhausted | Self::Uncounted | Self::Unreserved(_) => {
                ProblemKind::QuotaExhausted.into()
            }
        }
    }
}
