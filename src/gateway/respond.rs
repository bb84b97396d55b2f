//! Every gateway error, and the answer it becomes.
//!
//! An answer is `application/problem+json` (RFC 9457) with a stable `code` for scripts, a sentence
//! and a hint for people, and a `Proxy-Status` (RFC 9209) that tells it from Nexudus's own. The
//! matches name every variant: a new error does not compile until it has a status, a code and a
//! hint. Nothing here repeats what a caller sent or what Nexudus said.

use std::error::Error as _;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;

use super::body::Body;
use super::{Error, caller, guard, headers, policy};
use crate::clients::{self, Spent};
use crate::config::Limits;
use crate::listen::Canned;
use crate::session::Verdict;
use crate::upstream::{self, Fault, Unreachable};

/// Returns the stable code of `error`.
pub(super) fn code(error: &Error) -> &'static str {
    tell(error).code
}

/// Renders `error`.
pub(super) fn render(error: &Error) -> Response<Body> {
    let told = tell(error);
    let mut detail = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // A String takes whatever is written to it.
        let _ = write!(detail, ": {error}");
        cause = error.source();
    }
    let mut response = Response::new(Body::full(problem(&told, &detail)));
    *response.status_mut() = told.status;
    describe(response.headers_mut(), &told);
    response
}

/// Says beside Nexudus's own 401 what it was about; its body stays untouched.
pub(super) fn explain(response: &mut Response<Body>, verdict: &Verdict) {
    let details = match verdict {
        Verdict::Permission => "token valid, account lacks permission",
        Verdict::Replay => "token renewed, send the request again",
        Verdict::Unavailable(_) => return,
    };
    let value = format!("nexudus-proxy; received-status=401; details=\"{details}\"");
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().append(PROXY_STATUS, value);
    }
}

/// Makes the answers to what never becomes a request.
pub(super) fn canned(limits: &Limits) -> Canned {
    let framing = Told {
        status: StatusCode::BAD_REQUEST,
        code: "request.framing",
        title: "Malformed request",
        token: "http_request_error",
        hint: Some("Send an HTTP/1.1 request as RFC 9112 writes it."),
        retry_after: None,
        allow: None,
        close: true,
    };
    let too_large = |status| Told {
        status,
        code: "request.too-large",
        title: "Request too large",
        token: "http_request_error",
        hint: Some("Send less, or raise the bound in [limits]."),
        retry_after: None,
        allow: None,
        close: true,
    };
    let late = Told {
        status: StatusCode::REQUEST_TIMEOUT,
        code: "request.timeout",
        title: "Request too slow",
        ..framing
    };
    let fields = format!(
        "the request head is larger than {} bytes or has more than {} fields",
        limits.header_bytes, limits.headers
    );
    Canned {
        malformed: raw(&framing, "the request is not well-formed HTTP/1.1"),
        fields_too_large: raw(&too_large(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE), &fields),
        target_too_long: raw(
            &too_large(StatusCode::URI_TOO_LONG),
            "the request target is too long",
        ),
        head_timeout: raw(&late, "the request head did not arrive in time"),
    }
}

/// What is said about an error, beside its own sentence.
#[derive(Clone, Copy)]
struct Told {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    /// The error token of RFC 9209.
    token: &'static str,
    hint: Option<&'static str>,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
    close: bool,
}

impl Told {
    fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        hint: &'static str,
    ) -> Self {
        let token = match status.is_client_error() {
            true => "http_request_denied",
            false => "proxy_internal_response",
        };
        Self {
            status,
            code,
            title,
            token,
            hint: Some(hint),
            retry_after: None,
            allow: None,
            close: false,
        }
    }

    fn token(self, token: &'static str) -> Self {
        Self { token, ..self }
    }

    fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    fn allowing(self, methods: &'static str) -> Self {
        Self { allow: Some(methods), ..self }
    }

    fn retry(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }
}

fn tell(error: &Error) -> Told {
    match error {
        Error::Guard(error) => tell_guard(*error),
        Error::Policy(error) => tell_policy(error),
        Error::Session(error) => tell_session(error),
        Error::Body(fault) => tell_body(*fault),
        Error::Upstream(error) => tell_upstream(error),
        Error::Overloaded => Told::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "daemon.overloaded",
            "Too many connections",
            "Close idle connections, or raise limits.connections.",
        )
        .token("connection_limit_reached")
        .retry(Duration::from_secs(1))
        .closing(),
        Error::Draining => Told::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "daemon.draining",
            "Daemon stopping",
            "Send it again once the daemon has restarted.",
        )
        .retry(Duration::from_secs(1))
        .closing(),
        Error::Internal => Told::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "daemon.internal",
            "Defect in nexudus-proxy",
            "Please report it with the log line of this request.",
        )
        .token("proxy_internal_error"),
    }
}

fn tell_guard(error: guard::Error) -> Told {
    use guard::Error as E;
    match error {
        E::Framing(_) => Told::new(
            StatusCode::BAD_REQUEST,
            "request.framing",
            "Malformed request",
            "Send one Content-Length, or `Transfer-Encoding: chunked` alone.",
        )
        .token("http_request_error")
        .closing(),
        E::Target(_) => Told::new(
            StatusCode::BAD_REQUEST,
            "request.target",
            "Malformed request target",
            "Ask for a path, such as /api/spaces/coworkers.",
        )
        .token("http_request_error"),
        E::Host => Told::new(
            StatusCode::BAD_REQUEST,
            "request.host",
            "Malformed Host",
            "Send one Host header, such as `localhost`.",
        )
        .token("http_request_error")
        .closing(),
        E::TargetTooLong(_) => Told::new(
            StatusCode::URI_TOO_LONG,
            "request.too-large",
            "Request too large",
            "Ask in several requests, or raise limits.target_bytes.",
        )
        .token("http_request_error"),
        E::ForeignHost => Told::new(
            StatusCode::MISDIRECTED_REQUEST,
            "guard.host",
            "Foreign Host",
            "Use http://localhost with the daemon's port, or name the host in listen.hosts.",
        )
        .closing(),
        E::ForeignOrigin => Told::new(
            StatusCode::FORBIDDEN,
            "guard.origin",
            "Foreign web page",
            "Call from a program: no web page may use this daemon.",
        )
        .closing(),
        E::User => Told::new(
            StatusCode::FORBIDDEN,
            "guard.user",
            "Another user's process",
            "Call as the user who runs the daemon, or name yours in listen.users.",
        )
        .closing(),
        E::Method => Told::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "request.method",
            "Method not forwarded",
            "Use one of the methods in the Allow header.",
        )
        .allowing(METHODS),
        E::Upgrade => Told::new(
            StatusCode::NOT_IMPLEMENTED,
            "request.upgrade",
            "WebSocket not forwarded",
            "Ask without Upgrade.",
        )
        .token("http_upgrade_failed"),
        E::Client(error) => Told::new(
            StatusCode::FORBIDDEN,
            "guard.client",
            "Client key needed",
            match error {
                caller::Error::Needed => {
                    "Send `Nexudus-Proxy-Key: KEY`; `nexudus-proxy client add NAME` makes one."
                }
                caller::Error::Two => "Send one key.",
                caller::Error::Refused(clients::Refused::Unreadable) => {
                    "Look at `nexudus-proxy client list`; the file is left as it is."
                }
                caller::Error::Refused(_) => {
                    "Ask whoever runs the daemon for a new key: `nexudus-proxy client add NAME`."
                }
            },
        ),
    }
}

fn tell_policy(error: &policy::Error) -> Told {
    use policy::Error as E;
    let denied =
        |hint| Told::new(StatusCode::FORBIDDEN, "policy.denied", "Refused by a rule", hint);
    match error {
        E::Reserved => Told::new(
            StatusCode::BAD_REQUEST,
            "request.target",
            "Ambiguous request target",
            "Ask for /api/token in exactly that spelling.",
        ),
        E::TokenMethod => Told::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "request.method",
            "Method not allowed here",
            "POST a grant to /api/token.",
        )
        .allowing("POST"),
        E::Denied(_) => {
            denied("`nexudus-proxy policy explain METHOD PATH` says what may be asked.")
        }
        E::NotAllowed => denied("Use a key whose rules allow it: `nexudus-proxy client list`."),
        E::Ambiguous => denied("Write the path plainly, without dot segments and encoded slashes."),
        E::LoginMaterial(_) | E::LoginMaterialInside => {
            denied("Ask without a key, or add a client with a rule that names this path.")
        }
        E::ReadOnly => Told::new(
            StatusCode::FORBIDDEN,
            "policy.read-only",
            "Reading only",
            "Use a key that may write, or ask whoever runs the daemon.",
        ),
        E::Spent(Spent::Rate(after)) => Told::new(
            StatusCode::TOO_MANY_REQUESTS,
            "policy.rate",
            "Client too fast",
            "Send it again after Retry-After, or ask for a key with a higher rate.",
        )
        .retry(*after),
        E::Spent(Spent::Exhausted | Spent::Uncounted) => Told::new(
            StatusCode::FORBIDDEN,
            "policy.exhausted",
            "Client used up",
            "Ask whoever runs the daemon for a new key.",
        ),
    }
}

fn tell_session(error: &crate::session::Error) -> Told {
    use crate::session::Error as E;
    let (status, title) = match error {
        E::Locked => (StatusCode::LOCKED, "Locked"),
        E::NotLoggedIn(_) => (StatusCode::SERVICE_UNAVAILABLE, "Not logged in"),
        E::Refused => (StatusCode::SERVICE_UNAVAILABLE, "Login refused"),
        E::TotpRequired(_) => (StatusCode::SERVICE_UNAVAILABLE, "2FA code needed"),
        E::PasswordReset => (StatusCode::SERVICE_UNAVAILABLE, "Password reset needed"),
        E::Expired => (StatusCode::SERVICE_UNAVAILABLE, "Session ended"),
        E::CredentialsLocked { .. } => (StatusCode::SERVICE_UNAVAILABLE, "Credential store locked"),
        E::CredentialsUnavailable { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "Credential store unavailable")
        }
        E::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "No token"),
    };
    let told = Told::new(status, error.code(), title, error.hint());
    Told { retry_after: error.retry_after(), token: "proxy_internal_response", ..told }
}

fn tell_body(fault: Fault) -> Told {
    match fault {
        Fault::Broken => Told::new(
            StatusCode::BAD_REQUEST,
            "request.framing",
            "Malformed request body",
            "Send as many bytes as Content-Length says, or well-formed chunks.",
        )
        .token("http_request_error")
        .closing(),
        Fault::Slow => Told::new(
            StatusCode::REQUEST_TIMEOUT,
            "request.timeout",
            "Request too slow",
            "Send the body without long pauses, or raise limits.body_idle.",
        )
        .token("http_request_error")
        .closing(),
        Fault::TooLarge => Told::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request.too-large",
            "Request too large",
            "Send less, or raise limits.body_bytes.",
        )
        .token("http_request_error")
        .closing(),
    }
}

fn tell_upstream(error: &upstream::Error) -> Told {
    use upstream::Error as E;
    match error {
        E::Unreachable { reason, .. } => Told::new(
            StatusCode::BAD_GATEWAY,
            "upstream.unreachable",
            "Nexudus unreachable",
            "Check the network; nothing was sent.",
        )
        .token(match reason {
            Unreachable::Name => "dns_error",
            Unreachable::Refused => "connection_refused",
            Unreachable::Slow => "connection_timeout",
            Unreachable::Other => "destination_unavailable",
        }),
        E::Tls { certificate, .. } => Told::new(
            StatusCode::BAD_GATEWAY,
            "upstream.tls",
            "No verified TLS connection",
            "Behind a TLS-inspecting proxy, name its certificate in upstream.ca_file.",
        )
        .token(match certificate {
            true => "tls_certificate_error",
            false => "tls_protocol_error",
        }),
        E::Closed { .. } => Told::new(
            StatusCode::BAD_GATEWAY,
            "upstream.closed",
            "Closed without an answer",
            "A write may have been executed: look before you send it again.",
        )
        .token("connection_terminated"),
        E::Malformed { .. } => Told::new(
            StatusCode::BAD_GATEWAY,
            "upstream.closed",
            "No valid answer",
            "A write may have been executed: look before you send it again.",
        )
        .token("http_protocol_error"),
        E::Timeout { .. } => Told::new(
            StatusCode::GATEWAY_TIMEOUT,
            "upstream.timeout",
            "Nexudus too slow",
            "Ask for less at a time, or raise upstream.header_timeout.",
        )
        .token("http_response_timeout"),
    }
}

fn problem(told: &Told, detail: &str) -> Bytes {
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

fn describe(fields: &mut HeaderMap, told: &Told) {
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
    if let Some(methods) = told.allow {
        fields.insert(ALLOW, HeaderValue::from_static(methods));
    }
    if told.close {
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers::shield(fields);
}

/// Writes a whole answer, for where there is no request that hyper could answer.
fn raw(told: &Told, detail: &str) -> Bytes {
    let body = problem(told, detail);
    let mut fields = HeaderMap::new();
    describe(&mut fields, told);
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
    out.into()
}

/// [`guard::FORWARDED`] as `Allow` wants it.
const METHODS: &str = "GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS";

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allow_header_names_what_is_forwarded() {
        let names = guard::FORWARDED.each_ref().map(http::Method::as_str);
        assert_eq!(METHODS, names.join(", "));
    }

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
        let canned = canned(&Limits::default());

        let text = String::from_utf8(canned.head_timeout.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["code"], "request.timeout");
    }
}
