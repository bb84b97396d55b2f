//! Every gateway error as a response.
//!
//! The response is `application/problem+json` (RFC 9457) with a stable `code` for scripts, a
//! sentence and a hint for people, and a `Proxy-Status` (RFC 9209) that distinguishes it from a
//! response of Nexudus. The response repeats nothing that a client or Nexudus sent. A person who
//! has opened an address of ours in a browser gets a page instead.

mod prebuilt;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use hyper::ext::ReasonPhrase;
use serde_json::json;

pub(super) use self::prebuilt::{UnparsedRequest, prebuilt, rejection};
use super::error::Error;
use super::response_body::ProxyBody;
use super::{guard, policy};
use crate::approvals;
use crate::config::with_profile_flag;
use crate::listen::insert_sandbox_headers;
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::session::UnauthorizedCause;
use crate::telemetry::{ActionFailure, RequestTiming, ResponseInfo};

/// Renders `error`, the commands in its hint for those who use the daemon of `profile`, and for the named
/// client that sent the request.
pub(super) fn render_for_profile(
    profile: &str,
    client: Option<&str>,
    error: &Error,
) -> Response<ProxyBody> {
    let details = error.details();
    let hint = details.hint.map(|hint| {
        let hint = name_request(&hint, client, error);
        Cow::Owned(with_profile_flag(&hint, profile))
    });
    render_details(error, &ProblemDetails { hint, ..details })
}

/// Adds to the command that explains a refusal what it needs beside method and path.
fn name_request(hint: &str, client: Option<&str>, error: &Error) -> String {
    let client = client.map(|name| format!(" --client {name}")).unwrap_or_default();
    let mut command = "";
    if let Error::Policy(policy::Error::Denied(rule)) = error
        && rule.starts_with("RUN ")
    {
        command = " --command KEY";
    }
    hint.replace(EXPLAIN, &format!("{EXPLAIN}{client}{command}"))
}

/// The command in the hint of [`ProblemKind::RuleDenied`].
const EXPLAIN: &str = "policy explain METHOD PATH";

/// Renders `error`, which advises no command.
pub(super) fn render(error: &Error) -> Response<ProxyBody> {
    render_details(error, &error.details())
}

fn render_details(error: &Error, details: &ProblemDetails) -> Response<ProxyBody> {
    let is_navigation =
        matches!(error, Error::Guard(guard::Error::Browser { is_navigation: true, .. }));
    let kind = details.kind;
    let (id, is_accepted) = waiting_call(error);
    let code = if is_accepted { StatusCode::ACCEPTED } else { status(kind) };
    let body = if is_navigation {
        Bytes::from_static(BROWSER_PAGE)
    } else {
        problem_json(details, &error_chain(error), code, id)
    };
    let kind = details.kind;
    // The page of a browser is no JSON, and says nothing about a request.
    let problem = (!is_navigation).then(|| body.clone());
    let mut response = Response::new(ProxyBody::full(body));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    insert_headers(headers, details);
    if let Some((name, value)) = extra_header(error) {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if kind.closes() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if is_navigation {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    if let Error::Forward(error) = error {
        response.extensions_mut().insert(ReasonPhrase::from_static(error.reason().as_bytes()));
    }
    let info = ResponseInfo { code: Some(kind.code()), problem, ..ResponseInfo::default() };
    response.extensions_mut().insert(info);
    response
}

/// Returns the identifier of a call that waits for a person, and whether its client preferred to hear
/// so with 202 (RFC 7240 §4.1): all others must not take the response for a success.
fn waiting_call(error: &Error) -> (Option<&str>, bool) {
    if let Error::Approval(approvals::Error::Pending { id, is_async }) = error {
        return (Some(id), *is_async);
    }
    (None, false)
}

/// Returns the header that belongs to this error alone.
fn extra_header(error: &Error) -> Option<(HeaderName, &'static str)> {
    match error {
        Error::Guard(guard::Error::Method) => Some((ALLOW, ALLOWED_METHODS)),
        Error::Policy(policy::Error::TokenMethod) => Some((ALLOW, "POST")),
        Error::Policy(policy::Error::GuideMethod) => Some((ALLOW, "GET, HEAD")),
        // RFC 6455 §4.2.2: which versions there are.
        Error::Guard(guard::Error::Upgrade(why))
            if *why == guard::UNSUPPORTED_WEBSOCKET_VERSION =>
        {
            Some((SEC_WEBSOCKET_VERSION, "13"))
        }
        Error::Approval(approvals::Error::Pending { is_async: true, .. }) => {
            Some((PREFERENCE_APPLIED, "respond-async"))
        }
        Error::Guard(_)
        | Error::Policy(_)
        | Error::Approval(_)
        | Error::Unrecorded(_)
        | Error::Session(_)
        | Error::Throttle(_)
        | Error::Body(_)
        | Error::Upstream(_)
        | Error::UpstreamRead(_)
        | Error::Loop { .. }
        | Error::Forward(_)
        | Error::Overloaded
        | Error::Draining
        | Error::NoDaemon { .. }
        | Error::Internal => None,
    }
}

/// Returns the response to an OPTIONS request that may not be forwarded (RFC 9110 §9.3.7).
pub(super) fn options_response() -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::full(Bytes::new()));
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(ALLOWED_METHODS));
    insert_sandbox_headers(headers);
    response
}

/// Returns the sentence of an error and its causes.
pub(super) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut detail = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a `String` never fails.
        let _ = write!(detail, ": {error}");
        cause = error.source();
    }
    detail
}

/// Records which client gets the response, for the access log.
pub(super) fn record_client(response: &mut Response<ProxyBody>, client: Option<Arc<str>>) {
    if client.is_some() {
        response.extensions_mut().get_or_insert_default::<ResponseInfo>().client = client;
    }
}

/// Records that the action failed, for the access log and the counters.
pub(super) fn record_failure(response: &mut Response<ProxyBody>, failure: ActionFailure) {
    response.extensions_mut().get_or_insert_default::<ResponseInfo>().failure = Some(failure);
}

/// Adds the cause of a 401 of Nexudus as a header; the body stays untouched.
pub(super) fn annotate_unauthorized(response: &mut Response<ProxyBody>, cause: &UnauthorizedCause) {
    let details = match cause {
        UnauthorizedCause::MissingPermission => "token valid, account lacks permission",
        UnauthorizedCause::TokenReplaced => "token renewed, send the request again",
        UnauthorizedCause::Unavailable(_) => return,
    };
    let value = format!("nexudus-proxy; received-status=401; details=\"{details}\"");
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().append(PROXY_STATUS, value);
    }
}

/// Adds where the time of a request went, beside the timing that Nexudus may have added.
pub(super) fn add_server_timing(response: &mut Response<ProxyBody>, timing: &RequestTiming) {
    if timing.get().is_some()
        && let Ok(value) = HeaderValue::try_from(timing.server_timing())
    {
        response.headers_mut().append(SERVER_TIMING, value);
    }
}

fn problem_json(
    details: &ProblemDetails,
    detail: &str,
    status: StatusCode,
    id: Option<&str>,
) -> Bytes {
    let kind = details.kind;
    let mut body = json!({
        "type": format!("urn:nexudus-proxy:{}", kind.code()),
        "title": kind.title(),
        "status": status.as_u16(),
        "detail": detail,
        "code": kind.code(),
        "hint": details.hint,
    });
    if let Some(id) = id {
        body["id"] = id.into();
    }
    Bytes::from(format!("{body}\n"))
}

/// Inserts the headers that every response of ours has, and `Retry-After`.
fn insert_headers(headers: &mut HeaderMap, details: &ProblemDetails) {
    let kind = details.kind;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    let proxy_status =
        format!("nexudus-proxy; error={}; details=\"{}\"", kind.token(), kind.code());
    headers.insert(
        PROXY_STATUS,
        HeaderValue::try_from(proxy_status).expect("codes and tokens are made of ASCII letters"),
    );
    if let Some(after) = details.retry_after {
        // Rounded up: a request that comes back too early would be refused again.
        let seconds = after.as_millis().div_ceil(1000).max(1);
        headers.insert(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
    }
    insert_sandbox_headers(headers);
}

fn status(kind: ProblemKind) -> StatusCode {
    kind.status().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// [`guard::FORWARDED_METHODS`] in the form of an `Allow` header.
const ALLOWED_METHODS: &str = "GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS";

/// The page for a person who opens an address of ours in a browser. The page has no script, form or
/// stylesheet: its own policy would forbid each.
const BROWSER_PAGE: &[u8] = include_bytes!("browser.html");

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
