//! Why the gateway responds to a request itself instead of forwarding the upstream's response.

use std::sync::Arc;
use std::time::Duration;

use super::{guard, policy};
use crate::forward_proxy;
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::{session, throttle, upstream};

/// Why a local request was not forwarded, or got no response.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Error {
    /// The request is malformed, or its sender may not use this daemon.
    #[error(transparent)]
    Guard(#[from] guard::Error),
    /// The policy denies the request.
    #[error(transparent)]
    Policy(#[from] policy::Error),
    /// There is no token to send.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// The throttle gave no permit in time.
    #[error(transparent)]
    Throttle(#[from] throttle::Error),
    /// The body of the client did not arrive as announced.
    #[error(transparent)]
    Body(upstream::BodyError),
    /// The upstream did not respond to a request that may have changed something.
    #[error(transparent)]
    Upstream(Arc<upstream::Error>),
    /// The upstream did not respond to a request that is safe to send again.
    #[error(transparent)]
    UpstreamRead(Arc<upstream::Error>),
    /// The daemon has sent this request itself.
    #[error("{origin} leads back to this daemon, which has sent this request itself")]
    Loop {
        /// The upstream.
        origin: Arc<str>,
    },
    /// The forward proxy refuses the request, or cannot reach its host.
    #[error(transparent)]
    Forward(#[from] forward_proxy::Error),
    /// More connections than `limits.connections`.
    #[error("too many local connections are open")]
    Overloaded,
    /// The request had no response yet when the daemon had to stop.
    #[error("the daemon is stopping")]
    Draining,
    /// No daemon could be reached or started.
    #[error("no daemon serves this command now")]
    NoDaemon {
        /// The cause.
        #[source]
        why: Arc<dyn std::error::Error + Send + Sync>,
        /// The way out.
        hint: &'static str,
    },
    /// A bug in the daemon.
    #[error("the daemon failed while it handled this request")]
    Internal,
}

impl Problem for Error {
    fn details(&self) -> ProblemDetails {
        let soon = |details: ProblemDetails| details.with_retry_after(Duration::from_secs(1));
        match self {
            Self::Guard(error) => error.details(),
            Self::Policy(error) => error.details(),
            Self::Session(error) => error.details(),
            Self::Throttle(error) => error.details(),
            Self::Body(error) => error.details(),
            Self::Upstream(error) => error.details(),
            Self::UpstreamRead(error) => match &**error {
                upstream::Error::Closed { .. } => error.details().with_hint(
                    "Send it again: nothing was changed. It was a new connection that ended; only \
                     on one that had been idle is a read repeated here.",
                ),
                upstream::Error::Malformed { .. } => error.details().with_hint(
                    "Nothing was changed. If it comes again, look which host responds: `nexudus-proxy \
                     doctor`.",
                ),
                upstream::Error::Timeout { .. } => error
                    .details()
                    .with_hint("Ask for less at a time, or raise upstream.header_timeout."),
                upstream::Error::Loop { .. }
                | upstream::Error::Unreachable { .. }
                | upstream::Error::Tls { .. } => {
                    error.details()
                }
            },
            Self::Loop { .. } => ProblemKind::UpstreamLoop.into(),
            Self::Forward(error) => error.details(),
            Self::Overloaded => soon(ProblemKind::TooManyConnections.into()),
            Self::Draining => soon(ProblemKind::DaemonStopping.into()),
            Self::NoDaemon { hint, .. } => soon(ProblemKind::NoDaemonServes.with_hint(*hint)),
            Self::Internal => ProblemKind::InternalError.into(),
        }
    }
}
