//! Why the gateway answers a request itself instead of forwarding the upstream's response.

use std::sync::Arc;

use super::{guard, policy};
use crate::{session, throttle, upstream};

/// Why a local request was not forwarded, or got no answer.
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
    /// More connections than `limits.connections`.
    #[error("too many local connections are open")]
    Overloaded,
    /// The request was still unanswered when the daemon had to stop.
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
