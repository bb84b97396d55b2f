//! The errors of the control surface, each with its status and code.

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::api::ORIGIN_MISMATCH_CODE;
use super::problem::problem_response;

/// Why a request to the control surface failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    /// The path is not one of ours.
    #[error("no such path")]
    UnknownPath,
    /// The path has no such method.
    #[error("this path takes another method")]
    WrongMethod,
    /// The query names an unknown kind of events.
    #[error("kinds are ready, session and request")]
    UnknownEvents,
    /// As many event streams are open as are allowed.
    #[error("too many readers follow the events")]
    TooManyReaders,
    /// The data path does not respond.
    #[error("the data path does not respond")]
    DaemonStuck,
    /// The daemon takes no more commands.
    #[error("the daemon is stopping already")]
    Stopping,
    /// The login is one for another upstream.
    #[error("this daemon serves {own}, and the login is for {given}")]
    OtherOrigin {
        /// The daemon's upstream.
        own: String,
        /// The upstream of the login.
        given: String,
    },
    /// A handler panicked.
    #[error("the request could not be handled: this is a bug")]
    Panic,
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::UnknownPath => (StatusCode::NOT_FOUND, "admin.path"),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "admin.method"),
            Self::UnknownEvents => (StatusCode::BAD_REQUEST, "admin.kinds"),
            Self::TooManyReaders => (StatusCode::SERVICE_UNAVAILABLE, "daemon.overloaded"),
            Self::DaemonStuck => (StatusCode::SERVICE_UNAVAILABLE, "daemon.stuck"),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "daemon.draining"),
            Self::OtherOrigin { .. } => (StatusCode::CONFLICT, ORIGIN_MISMATCH_CODE),
            Self::Panic => (StatusCode::INTERNAL_SERVER_ERROR, "daemon.internal"),
        };
        problem_response(status, code, &self.to_string())
    }
}
