//! Why a call that a rule asks about does not go through.

use std::sync::Arc;
use std::time::Duration;

use crate::config::format_duration;
use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// Why there is no yes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A person has not decided yet.
    #[error("the call waits for a person, as {id}; nothing was sent")]
    Pending {
        /// The call.
        id: Arc<str>,
        /// Whether the client prefers an asynchronous response.
        is_async: bool,
    },
    /// A person said no.
    #[error("a person has refused the call {id}")]
    Denied {
        /// The call.
        id: Arc<str>,
    },
    /// The time for a decision is over.
    #[error("no person has decided about the call {id} in time")]
    Late {
        /// The call.
        id: Arc<str>,
    },
    /// The client has too many calls that wait.
    #[error("{most} calls of this client wait for a person already")]
    TooMany {
        /// The most.
        most: usize,
    },
    /// The calls that wait hold too much memory.
    #[error("the calls that wait for a person hold too much memory")]
    NoMemory,
    /// The body is longer than what can be kept and shown.
    #[error("a rule wants a person asked, and the body is too long to be shown")]
    BodyTooLong,
    /// There is nobody to ask.
    #[error("a rule wants a person asked, and this process is a `run` without a daemon")]
    Unattended,
    /// No call has this identifier.
    #[error("no call waits as `{id}`")]
    Missing {
        /// The text that was given.
        id: String,
    },
    /// A permission would stand for too long.
    #[error("a permission stands for {} at most", format_duration(*most))]
    TooLong {
        /// The most.
        most: Duration,
    },
}

impl Problem for Error {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Pending { id, .. } => ProblemKind::ApprovalPending
                .with_hint(format!(
                    "Send the same call again after Retry-After. A person decides: `nexudus-proxy \
                     approvals approve {id}`."
                ))
                .with_retry_after(RETRY_AFTER),
            Self::Denied { .. } => ProblemKind::ApprovalDenied.into(),
            Self::Late { .. } => ProblemKind::ApprovalDenied
                .with_hint("Nothing was sent. Ask a person first, and send the call again later."),
            Self::TooMany { .. } => {
                ProblemDetails::from(ProblemKind::TooManyPending).with_retry_after(TOO_MANY_RETRY)
            }
            Self::NoMemory => {
                ProblemDetails::from(ProblemKind::NoBodyMemory).with_retry_after(TOO_MANY_RETRY)
            }
            Self::BodyTooLong => ProblemKind::ApprovalDenied
                .with_hint("Send less than limits.replay_body, or raise that."),
            Self::Unattended => ProblemKind::ApprovalDenied.with_hint(
                "Start a daemon, which a person can answer: `nexudus-proxy service install` or \
                 `nexudus-proxy serve`.",
            ),
            Self::Missing { .. } => ProblemKind::ApprovalMissing.into(),
            Self::TooLong { .. } => {
                ProblemKind::CommandUsage.with_hint("Name a shorter time, such as `--for 10m`.")
            }
        }
    }
}

/// When a client should send its call again: it is then held anew, so that it hears of a decision at
/// once.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// When a client with too many calls should come back: a person takes that long at least.
const TOO_MANY_RETRY: Duration = Duration::from_secs(30);
