//! The properties of a kind of problem, and the usual combinations of them.

use http::StatusCode;

use super::ExitCode;

/// The fixed properties of one kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    pub(super) status: Option<StatusCode>,
    pub(super) token: &'static str,
    pub(super) exit_code: ExitCode,
    pub(super) closes: bool,
    pub(super) hint: Option<&'static str>,
}

impl Spec {
    /// A problem of the request (RFC 9209 §2.3.2: the client is to blame).
    pub(super) const fn malformed(status: StatusCode) -> Self {
        Self::response(status, "http_request_error")
    }

    /// A well-formed request that is refused.
    pub(super) const fn denied(status: StatusCode) -> Self {
        Self::response(status, "http_request_denied")
    }

    /// A state of the daemon in which it cannot serve.
    pub(super) const fn unavailable() -> Self {
        Self::response(StatusCode::SERVICE_UNAVAILABLE, "proxy_internal_response")
    }

    /// The upstream gave no response.
    pub(super) const fn upstream(status: StatusCode, token: &'static str) -> Self {
        Self::response(status, token).exits(ExitCode::Network)
    }

    /// A command failed by itself: no response carries this.
    pub(super) const fn command(exit_code: ExitCode) -> Self {
        Self { status: None, token: "proxy_internal_error", exit_code, closes: false, hint: None }
    }

    pub(super) const fn response(status: StatusCode, token: &'static str) -> Self {
        let exit_code = ExitCode::Failed;
        Self { status: Some(status), token, exit_code, closes: false, hint: None }
    }

    pub(super) const fn status(self, status: StatusCode) -> Self {
        Self { status: Some(status), ..self }
    }

    pub(super) const fn exits(self, exit_code: ExitCode) -> Self {
        Self { exit_code, ..self }
    }

    pub(super) const fn token(self, token: &'static str) -> Self {
        Self { token, ..self }
    }

    /// The connection ends with the response.
    pub(super) const fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    pub(super) const fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }
}
