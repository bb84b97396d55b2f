//! Every gateway error, and the answer it becomes.
//!
//! An answer is `application/problem+json` (RFC 9457) with a stable `code` for scripts, a sentence
//! and a hint for people, and a `Proxy-Status` (RFC 9209) that tells it from Nexudus's own.
//! Nothing here repeats what a caller sent or what Nexudus said. A person who has opened an address
//! of ours in a browser gets a page instead.

mod table;

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;

use self::table::{ALLOWED_METHODS, ProblemSpec, problem_for};
use super::body::ProxyBody;
use super::{Error, guard};
use crate::config::{Limits, with_profile_flag};
use crate::listen::{Rejection, Rejections, insert_sandbox_headers};
use crate::session::UnauthorizedCause;
use crate::telemetry::{RequestTiming, ResponseInfo};

/// The code of what never becomes a request.
pub(super) const MALFORMED_REQUEST: &str = "request.framing";

/// What is said of it.
pub(super) const NOT_HTTP: &str = "the request is not well-formed HTTP/1.1";

/// The code of what becomes none for its target.
pub(super) const MALFORMED_TARGET: &str = "request.target";

/// What is said of it.
pub(super) const NOT_A_TARGET: &str = "the request line holds no well-formed target";

/// Returns the stable code of `error`.
pub(super) fn code(error: &Error) -> &'static str {
    problem_for(error).code
}

/// Renders `error`, the commands in its hint for those who use the daemon of `profile`.
pub(super) fn render_for_profile(profile: &str, error: &Error) -> Response<ProxyBody> {
    let told = problem_for(error);
    let hint = told.hint.map(|hint| with_profile_flag(&hint, profile).into());
    render_spec(error, &ProblemSpec { hint, ..told })
}

/// Renders `error`, which advises no command.
pub(super) fn render(error: &Error) -> Response<ProxyBody> {
    render_spec(error, &problem_for(error))
}

fn render_spec(error: &Error, told: &ProblemSpec) -> Response<ProxyBody> {
    let is_navigation =
        matches!(error, Error::Guard(guard::Error::Browser { is_navigation: true, .. }));
    let body = match is_navigation {
        true => Bytes::from_static(BROWSER_PAGE),
        false => problem_json(told, &error_chain(error)),
    };
    let mut response = Response::new(ProxyBody::full(body));
    *response.status_mut() = told.status;
    let fields = response.headers_mut();
    insert_headers(fields, told);
    if is_navigation {
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    response
        .extensions_mut()
        .insert(ResponseInfo { code: Some(told.code), ..ResponseInfo::default() });
    response
}

/// Answers an OPTIONS request that may not be forwarded (RFC 9110 §9.3.7).
pub(super) fn options_response() -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::full(Bytes::new()));
    let fields = response.headers_mut();
    fields.insert(ALLOW, HeaderValue::from_static(ALLOWED_METHODS));
    insert_sandbox_headers(fields);
    response
}

/// Returns what an error says, and its causes.
pub(super) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut detail = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // A String takes whatever is written to it.
        let _ = write!(detail, ": {error}");
        cause = error.source();
    }
    detail
}

/// Notes which client is answered, for whoever reads along.
pub(super) fn record_client(response: &mut Response<ProxyBody>, client: Option<Arc<str>>) {
    if client.is_some() {
        let noted = response.extensions_mut().get_or_insert_default::<ResponseInfo>();
        noted.client = client;
    }
}

/// Says beside Nexudus's own 401 what it was about; its body stays untouched.
pub(super) fn annotate_unauthorized(
    response: &mut Response<ProxyBody>,
    verdict: &UnauthorizedCause,
) {
    let details = match verdict {
        UnauthorizedCause::MissingPermission => "token valid, account lacks permission",
        UnauthorizedCause::TokenReplaced => "token renewed, send the request again",
        UnauthorizedCause::Unavailable(_) => return,
    };
    let value = format!("nexudus-proxy; received-status=401; details=\"{details}\"");
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().append(PROXY_STATUS, value);
    }
}

/// Says where the time of a request went, beside what Nexudus says of its own.
pub(super) fn add_server_timing(response: &mut Response<ProxyBody>, spent: &RequestTiming) {
    if spent.get().is_some()
        && let Ok(value) = HeaderValue::try_from(spent.server_timing())
    {
        response.headers_mut().append(SERVER_TIMING, value);
    }
}

/// Makes the answers to what never becomes a request.
pub(super) fn prebuilt(limits: &Limits) -> Rejections {
    let framing = ProblemSpec {
        status: StatusCode::BAD_REQUEST,
        code: MALFORMED_REQUEST,
        title: "Malformed request",
        token: "http_request_error",
        hint: Some("Send an HTTP/1.1 request as RFC 9112 writes it.".into()),
        retry_after: None,
        header: None,
        close: true,
    };
    let target = ProblemSpec {
        code: MALFORMED_TARGET,
        title: "Malformed request target",
        hint: Some(
            "Begin with `METHOD /path HTTP/1.1`; percent-encode spaces, `\"`, `<` and `>` in the \
             path and the query."
                .into(),
        ),
        ..framing.clone()
    };
    let http2 = ProblemSpec {
        hint: Some("Speak HTTP/1.1: curl does without --http2-prior-knowledge.".into()),
        ..framing.clone()
    };
    let too_large = |status| ProblemSpec {
        status,
        code: "request.too-large",
        title: "Request too large",
        token: "http_request_error",
        hint: Some("Send less, or raise the bound in [limits].".into()),
        retry_after: None,
        header: None,
        close: true,
    };
    let late = ProblemSpec {
        status: StatusCode::REQUEST_TIMEOUT,
        code: "request.timeout",
        title: "Request too slow",
        ..framing.clone()
    };
    let fields = format!(
        "the request head is larger than {} bytes or has more than {} fields",
        limits.header_bytes, limits.headers
    );
    Rejections {
        malformed: raw_response(&framing, NOT_HTTP),
        malformed_target: raw_response(&target, NOT_A_TARGET),
        http2: raw_response(&http2, "the request is HTTP/2, which is not spoken here"),
        headers_too_large: raw_response(
            &too_large(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            &fields,
        ),
        target_too_long: raw_response(
            &too_large(StatusCode::URI_TOO_LONG),
            "the request target is too long",
        ),
        head_timeout: raw_response(&late, "the request head did not arrive in time"),
    }
}

fn problem_json(told: &ProblemSpec, detail: &str) -> Bytes {
    let body = json!({
        "type": format!("urn:nexudus-proxy:{}", told.code),
        "title": told.title,
        "status": told.status.as_u16(),
        "detail": detail,
        "code": told.code,
        "hint": told.hint,
    });
    Bytes::from(format!("{body}\n"))
}

fn insert_headers(fields: &mut HeaderMap, told: &ProblemSpec) {
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    let status = format!("nexudus-proxy; error={}; details=\"{}\"", told.token, told.code);
    fields.insert(
        PROXY_STATUS,
        HeaderValue::try_from(status).expect("codes and tokens are made of ASCII letters"),
    );
    if let Some(after) = told.retry_after {
        // Rounded up: coming back too early would be refused again.
        let seconds = after.as_millis().div_ceil(1000).max(1);
        fields.insert(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
    }
    if let Some((name, value)) = &told.header {
        fields.insert(name, HeaderValue::from_static(value));
    }
    if told.close {
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    insert_sandbox_headers(fields);
}

/// Writes a whole answer, for where there is no request that hyper could answer.
fn raw_response(told: &ProblemSpec, detail: &str) -> Rejection {
    let body = problem_json(told, detail);
    let mut fields = HeaderMap::new();
    insert_headers(&mut fields, told);
    fields.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let reason = told.status.canonical_reason().unwrap_or_default();
    let mut out = format!("HTTP/1.1 {} {reason}\r\n", told.status.as_u16()).into_bytes();
    for (name, value) in &fields {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
    Rejection { code: told.code, response: out.into() }
}

/// What a person sees who opens an address of ours in a browser. Without a script, a form or a
/// stylesheet: its own policy would forbid each.
const BROWSER_PAGE: &[u8] = include_bytes!("browser.html");

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_its_code_its_causes_and_a_way_out() {
        let response = render(&Error::Guard(guard::Error::ForeignHost));

        assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(
            response.headers()[PROXY_STATUS],
            "nexudus-proxy; error=http_request_denied; details=\"guard.host\""
        );
    }

    #[test]
    fn what_never_becomes_a_request_is_told_as_well_as_the_rest() {
        let canned = prebuilt(&Limits::default());

        for refusal in [
            &canned.malformed,
            &canned.malformed_target,
            &canned.http2,
            &canned.headers_too_large,
            &canned.target_too_long,
            &canned.head_timeout,
        ] {
            let text = String::from_utf8(refusal.response.to_vec()).unwrap();
            let policy = "\r\ncontent-security-policy: sandbox; default-src 'none'\r\n";
            assert!(text.contains(policy), "{text}");
        }
        let text = String::from_utf8(canned.head_timeout.response.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["code"], "request.timeout");
    }
}
