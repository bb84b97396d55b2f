//! Why the gateway answers a request itself instead of forwarding the upstream's response.

use std::sync::Arc;

use super::{guard, policy};
use crate::{session, throttle, upstream};

/// Why a local request was not forwarded, or got no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Error {
    /// The request is malformed, or its caller may not use this daemon.
    #[error(transparent)]
    Guard(#[from] guard::Error),
    /// The target may not be asked for.
    #[error(transparent)]
    Policy(#[from] policy::Error),
    /// There is no token to send.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// Its turn did not come.
    #[error(transparent)]
    Throttle(#[from] throttle::Error),
    /// The caller's body did not arrive as announced.
    #[error(transparent)]
    Body(upstream::BodyError),
    /// The upstream gave no answer to what may have changed something.
    #[error(transparent)]
    Upstream(Arc<upstream::Error>),
    /// The upstream gave no answer to what is harmless to send again.
    #[error(transparent)]
    UpstreamRead(Arc<upstream::Error>),
    /// More connections than `limits.connections`.
    #[error("too many local connections are open")]
    Overloaded,
    /// The request came after the time to finish was over.
    #[error("the daemon is stopping")]
    Draining,
    /// No daemon could be called, and none be started.
    #[error("no daemon serves this command now")]
    NoDaemon {
        /// Why.
        #[source]
        why: Arc<dyn std::error::Error + Send + Sync>,
        /// What to do about it.
        hint: &'static str,
    },
    /// A defect of ours.
    #[error("the daemon failed while it answered this request")]
    Internal,
}
