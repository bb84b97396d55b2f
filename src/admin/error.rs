//! What the control surface refuses.

use axum::body::Body;
use axum::response::{IntoResponse, Response};

use super::problem::problem_response;
use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// Why the admin surface itself refuses a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AdminError {
    /// No route has this path.
    #[error("no such path")]
    UnknownPath,
    /// The path takes another method.
    #[error("this path takes another method")]
    WrongMethod,
    /// `?kinds=` names a kind of events that does not exist.
    #[error("kinds are ready, session and request")]
    UnknownEvents,
    /// More clients follow the events than allowed.
    #[error("too many readers follow the events")]
    TooManyReaders,
    /// The data path missed its heartbeat.
    #[error("the data path does not answer")]
    DaemonStuck,
    /// The response could not be made.
    #[error("the answer could not be written")]
    NotSerialized,
    /// The daemon takes no command any more.
    #[error("the daemon is stopping already")]
    Stopping,
    /// The login is for another upstream than the daemon's.
    #[error("this daemon serves {own}, and the login is for {given}")]
    OtherOrigin {
        /// The upstream of the daemon.
        own: String,
        /// The upstream of the login.
        given: String,
    },
}

impl Problem for AdminError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::UnknownPath => ProblemKind::UnknownPath.into(),
            Self::WrongMethod => ProblemKind::WrongMethod.into(),
            Self::UnknownEvents => ProblemKind::UnknownEvents.into(),
            Self::TooManyReaders => ProblemKind::TooManyReaders.into(),
            Self::DaemonStuck => ProblemKind::DaemonStuck.into(),
            Self::NotSerialized => ProblemKind::InternalError.into(),
            Self::Stopping => ProblemKind::DaemonStopping.into(),
            Self::OtherOrigin { .. } => ProblemKind::OtherOrigin.into(),
        }
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response<Body> {
        problem_response(&self)
    }
}
