//! What the control surface refuses, and with which status and code.

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::api::{ORIGIN_MISMATCH_CODE, Problem};
use super::problem::{problem_response, render};

/// Why a request to the control surface failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    /// The path is not one of ours.
    #[error("no such path")]
    NoSuchPath,
    /// The path has no such method.
    #[error("this path takes another method")]
    MethodNotAllowed,
    /// The query names an unknown kind of events.
    #[error("kinds are ready, session and request")]
    EventKinds,
    /// As many event streams are open as are allowed.
    #[error("too many readers follow the events")]
    TooManyEventStreams,
    /// The data path does not respond.
    #[error("the data path does not respond")]
    Stuck,
    /// The daemon takes no more commands.
    #[error("the daemon is stopping already")]
    Stopping,
    /// The login is one for another upstream.
    #[error("this daemon serves {ours}, and the login is for {theirs}")]
    OtherOrigin {
        /// The daemon's upstream.
        ours: String,
        /// The upstream of the login.
        theirs: String,
    },
    /// A handler panicked.
    #[error("the request could not be handled: this is a bug")]
    Panic,
    /// The daemon refused a command.
    #[error("{}", .0.detail)]
    Command(Box<Problem>),
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "admin.path"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "admin.method"),
            Self::EventKinds => (StatusCode::BAD_REQUEST, "admin.kinds"),
            Self::TooManyEventStreams => (StatusCode::SERVICE_UNAVAILABLE, "daemon.overloaded"),
            Self::Stuck => (StatusCode::SERVICE_UNAVAILABLE, "daemon.stuck"),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "daemon.draining"),
            Self::OtherOrigin { .. } => (StatusCode::CONFLICT, ORIGIN_MISMATCH_CODE),
            Self::Panic => (StatusCode::INTERNAL_SERVER_ERROR, "daemon.internal"),
            Self::Command(problem) => return render(problem),
        };
        problem_response(status, code, &self.to_string())
    }
}
