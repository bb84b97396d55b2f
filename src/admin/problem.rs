//! What is refused here, as `application/problem+json` (RFC 9457).

use axum::body::Body;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use super::AdminContext;
use super::api::{ErrorDetail, Problem};
use crate::session;

impl Problem {
    /// Makes a problem.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:nexudus-proxy:{code}"),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            hint: None,
            problems: vec![],
        }
    }

    /// Adds the way out.
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Adds what is wrong in particular.
    pub fn with_details(self, problems: Vec<ErrorDetail>) -> Self {
        Self { problems, ..self }
    }
}

/// Answers with a problem.
pub(super) fn problem_response(status: StatusCode, code: &str, detail: &str) -> Response<Body> {
    render(&Problem::new(status, code, detail))
}

/// Answers with the reason why there is no token.
pub(super) fn session_error_response(
    error: &session::Error,
    shared: &AdminContext,
) -> Response<Body> {
    let status = match error {
        session::Error::Locked => StatusCode::LOCKED,
        session::Error::NotLoggedIn(_)
        | session::Error::Refused(_)
        | session::Error::TotpRequired { .. }
        | session::Error::PasswordReset(_)
        | session::Error::Expired
        | session::Error::CredentialsLocked { .. }
        | session::Error::CredentialsUnavailable { .. }
        | session::Error::NextCode { .. }
        | session::Error::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
    };
    let problem = Problem::new(status, error.code(), error.to_string()).with_hint(error.hint());
    let mut response = shared.problem_response(problem);
    if let Some(after) = error.retry_after() {
        let seconds = after.as_secs().max(1);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Writes a problem.
pub(super) fn render(problem: &Problem) -> Response<Body> {
    // A struct of strings always is JSON.
    let text = serde_json::to_string(problem).unwrap_or_default();
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
