//! Every error of the gateway with its status, its code, its title and its hint.
//!
//! The matches name every variant: a new error does not compile until all of these are written.

mod client_key;
mod upstream_error;

use std::borrow::Cow;
use std::time::Duration;

use http::header::{ALLOW, SEC_WEBSOCKET_VERSION};
use http::{HeaderName, StatusCode};

use crate::clients::QuotaError;
use crate::gateway::{Error, guard, policy};
use crate::throttle;
use crate::upstream::{BodyError, Retry};

/// What is said about an error, beside its own sentence.
#[derive(Clone)]
pub(super) struct ProblemSpec {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) title: &'static str,
    /// The error token of RFC 9209.
    pub(super) token: &'static str,
    pub(super) hint: Option<Cow<'static, str>>,
    pub(super) retry_after: Option<Duration>,
    /// One that belongs to this answer.
    pub(super) header: Option<(HeaderName, &'static str)>,
    pub(super) close: bool,
}

impl ProblemSpec {
    fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        hint: impl Into<Cow<'static, str>>,
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
            hint: Some(hint.into()),
            retry_after: None,
            header: None,
            close: false,
        }
    }

    fn token(self, token: &'static str) -> Self {
        Self { token, ..self }
    }

    fn with_close(self) -> Self {
        Self { close: true, ..self }
    }

    fn with_header(self, name: HeaderName, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    fn with_retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }
}

pub(super) fn problem_for(error: &Error) -> ProblemSpec {
    match error {
        Error::Guard(error) => problem_for_guard(*error),
        Error::Policy(error) => problem_for_policy(error),
        Error::Session(error) => problem_for_session(error),
        Error::Throttle(throttle::Error::Queue { retry_after }) => ProblemSpec::new(
            StatusCode::TOO_MANY_REQUESTS,
            "throttle.queue",
            "Too many requests for Nexudus",
            "Ask more slowly, or raise throttle.wait.",
        )
        .with_retry_after(*retry_after),
        Error::Body(fault) => problem_for_body(*fault),
        Error::Upstream(error) => upstream_error::problem_for(error, Retry::Never),
        Error::UpstreamRead(error) => upstream_error::problem_for(error, Retry::Safe),
        Error::Overloaded => ProblemSpec::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "daemon.overloaded",
            "Too many connections",
            "Close idle connections, or raise limits.connections.",
        )
        .token("connection_limit_reached")
        .with_retry_after(Duration::from_secs(1))
        .with_close(),
        Error::Draining => ProblemSpec::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "daemon.draining",
            "Daemon stopping",
            "Send it again once the daemon has restarted.",
        )
        .with_retry_after(Duration::from_secs(1))
        .with_close(),
        Error::NoDaemon { hint, .. } => ProblemSpec::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "daemon.draining",
            "No daemon serves",
            *hint,
        )
        .with_retry_after(Duration::from_secs(1))
        .with_close(),
        Error::Internal => ProblemSpec::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "daemon.internal",
            "Defect in nexudus-proxy",
            "Please report it with the log line of this request.",
        )
        .token("proxy_internal_error"),
    }
}

fn problem_for_guard(error: guard::Error) -> ProblemSpec {
    use guard::Error as E;
    match error {
        E::Framing(_) => ProblemSpec::new(
            StatusCode::BAD_REQUEST,
            "request.framing",
            "Malformed request",
            "Send one Content-Length or `Transfer-Encoding: chunked`, and one Max-Forwards at most.",
        )
        .token("http_request_error")
        .with_close(),
        E::Target(why) => ProblemSpec::new(
            StatusCode::BAD_REQUEST,
            "request.target",
            "Malformed request target",
            match why {
                guard::NON_ASCII_TARGET => {
                    "Percent-encode what is not ASCII: Jos%C3%A9 for José. curl does with \
                     -G --data-urlencode 'Name=José'."
                }
                _ => "Ask for a path, such as /api/spaces/coworkers.",
            },
        )
        .token("http_request_error"),
        E::Host => ProblemSpec::new(
            StatusCode::BAD_REQUEST,
            "request.host",
            "Malformed Host",
            "Send one Host header, such as `localhost`.",
        )
        .token("http_request_error")
        .with_close(),
        // RFC 6585 §5: also where a single field is at fault.
        E::TooManyOptions => ProblemSpec::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "request.too-large",
            "Request too large",
            "Name in Connection only the header fields that are hop-by-hop.",
        )
        .token("http_request_error")
        .with_close(),
        E::TargetTooLong(_) => ProblemSpec::new(
            StatusCode::URI_TOO_LONG,
            "request.too-large",
            "Request too large",
            "Ask in several requests, or raise limits.target_bytes.",
        )
        .token("http_request_error"),
        E::ForeignHost => ProblemSpec::new(
            StatusCode::MISDIRECTED_REQUEST,
            "guard.host",
            "Foreign Host",
            "Use http://localhost with the daemon's port, or name the host in listen.hosts; an \
             exposed daemon's own address too.",
        )
        .with_close(),
        E::Browser { headers, .. } => ProblemSpec::new(
            StatusCode::FORBIDDEN,
            "guard.origin",
            "Request from a browser",
            format!(
                "Leave out {headers} (in \"Copy as cURL\": those lines); a development server that \
                 passes a page's requests on must drop them (README)."
            ),
        )
        .with_close(),
        E::User => ProblemSpec::new(
            StatusCode::FORBIDDEN,
            "guard.user",
            "Another user's process",
            "Call as the user who runs the daemon, or name yours in listen.users, then restart the \
             daemon.",
        )
        .with_close(),
        E::Method => ProblemSpec::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "request.method",
            "Method not forwarded",
            "Use one of the methods in the Allow header.",
        )
        .with_header(ALLOW, ALLOWED_METHODS),
        E::Upgrade(why) => {
            let told = ProblemSpec::new(
                StatusCode::NOT_IMPLEMENTED,
                "request.upgrade",
                "WebSocket not forwarded",
                match why {
                    guard::UPGRADE_DISABLED => "Ask without Upgrade, or set upstream.upgrade.",
                    _ => "Ask as RFC 6455 section 4.1 says, or without Upgrade.",
                },
            )
            .token("http_upgrade_failed");
            match why {
                // RFC 6455 §4.2.2: which versions there are.
                guard::UNSUPPORTED_WEBSOCKET_VERSION => told.with_header(SEC_WEBSOCKET_VERSION, "13"),
                _ => told,
            }
        }
        E::Client(error) => client_key::problem_for(error),
    }
}

fn problem_for_policy(error: &policy::Error) -> ProblemSpec {
    use policy::Error as E;
    let denied =
        |hint| ProblemSpec::new(StatusCode::FORBIDDEN, "policy.denied", "Refused by a rule", hint);
    match error {
        E::Reserved | E::TooManyInterpretations => ProblemSpec::new(
            StatusCode::BAD_REQUEST,
            "request.target",
            "Ambiguous request target",
            if matches!(error, E::TooManyInterpretations) {
                PLAIN_PATH_HINT
            } else {
                "Ask for /api/token or /api/sys/users/token in exactly that spelling."
            },
        ),
        E::TokenMethod => ProblemSpec::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "request.method",
            "Method not allowed here",
            "POST a grant to it.",
        )
        .with_header(ALLOW, "POST"),
        E::Denied(_) => {
            denied("`nexudus-proxy policy explain METHOD PATH` says what may be asked.")
        }
        E::NotAllowed => denied("Use a key whose rules allow it: `nexudus-proxy client list`."),
        E::Ambiguous => denied(PLAIN_PATH_HINT),
        E::Indirect(words) => denied(match words {
            words if words.starts_with("/api/auth/me") => "Ask for `/api/auth/me`.",
            words if words.contains("/user/me") => "Ask for the path that ends in `/user/me`.",
            _ => "Send each request by itself, to the path that it is about.",
        }),
        E::Override(_) => denied("Send the request with the method and the path that it is about."),
        E::UnreadableForm => {
            denied("Send less than limits.replay_body, in UTF-8 and not compressed, or JSON.")
        }
        E::LoginMaterial(words) => denied(client_key::rule_hint(words)),
        E::LoginMaterialInResponse => {
            denied("No limited caller gets this answer: ask whoever runs the daemon.")
        }
        E::ReadOnly => ProblemSpec::new(
            StatusCode::FORBIDDEN,
            "policy.read-only",
            "Reading only",
            "To write, or to read other paths: `nexudus-proxy client add NAME --allow 'METHOD /path'` \
             without --read-only lets one client do this.",
        ),
        E::Quota(QuotaError::Rate(after)) => ProblemSpec::new(
            StatusCode::TOO_MANY_REQUESTS,
            "policy.rate",
            "Client too fast",
            "Send it again after Retry-After, or ask for a key with a higher rate.",
        )
        .with_retry_after(*after),
        E::Quota(QuotaError::Exhausted | QuotaError::Uncounted) => ProblemSpec::new(
            StatusCode::FORBIDDEN,
            "policy.exhausted",
            "Client used up",
            "Ask whoever runs the daemon for a new key.",
        ),
    }
}

fn problem_for_session(error: &crate::session::Error) -> ProblemSpec {
    use crate::session::Error as E;
    let (status, title) = match error {
        E::Locked => (StatusCode::LOCKED, "Locked"),
        E::NotLoggedIn(_) => (StatusCode::SERVICE_UNAVAILABLE, "Not logged in"),
        E::Refused(_) => (StatusCode::SERVICE_UNAVAILABLE, "Login refused"),
        E::TotpRequired { .. } => (StatusCode::SERVICE_UNAVAILABLE, "2FA code needed"),
        E::PasswordReset(_) => (StatusCode::SERVICE_UNAVAILABLE, "Password reset needed"),
        E::Expired => (StatusCode::SERVICE_UNAVAILABLE, "Session ended"),
        E::CredentialsLocked { .. } => (StatusCode::SERVICE_UNAVAILABLE, "Credential store locked"),
        E::CredentialsUnavailable { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "Credential store unavailable")
        }
        E::NextCode { .. } | E::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "No token"),
    };
    let told = ProblemSpec::new(status, error.code(), title, error.hint());
    ProblemSpec { retry_after: error.retry_after(), token: "proxy_internal_response", ..told }
}

fn problem_for_body(fault: BodyError) -> ProblemSpec {
    match fault {
        BodyError::Incomplete => ProblemSpec::new(
            StatusCode::BAD_REQUEST,
            "request.framing",
            "Malformed request body",
            "Send as many bytes as Content-Length says, or well-formed chunks.",
        )
        .token("http_request_error")
        .with_close(),
        BodyError::TimedOut => ProblemSpec::new(
            StatusCode::REQUEST_TIMEOUT,
            "request.timeout",
            "Request too slow",
            "Send the body without long pauses, or raise limits.body_idle.",
        )
        .token("http_request_error")
        .with_close(),
        BodyError::TooLarge => ProblemSpec::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request.too-large",
            "Request too large",
            "Send less, or raise limits.body_bytes.",
        )
        .token("http_request_error")
        .with_close(),
    }
}

/// For a path in which something has two meanings.
const PLAIN_PATH_HINT: &str = "Write the path plainly: without dot segments, encoded slashes, backslashes, \
    control characters, cookieless segments such as `(S(x))`, bytes that are not UTF-8, and letters in \
    disguise (those that cannot be seen, or stand for an ASCII letter or mark).";

/// [`guard::FORWARDED_METHODS`] as `Allow` wants it.
pub(super) const ALLOWED_METHODS: &str = "GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allow_header_names_what_is_forwarded() {
        let names = guard::FORWARDED_METHODS.each_ref().map(http::Method::as_str);
        assert_eq!(ALLOWED_METHODS, names.join(", "));
    }

    #[test]
    fn each_hint_is_a_way_that_works() {
        use policy::Error as P;
        for (error, hint) in [
            (
                P::LoginMaterial("/api/sys/users"),
                "`nexudus-proxy client add NAME --allow 'GET /api/sys/users/**'` lets one client do",
            ),
            (
                P::LoginMaterial("/api/sys/refreshtokens"),
                "`nexudus-proxy client add NAME --allow 'GET /api/sys/refreshtokens/**'` lets one",
            ),
            (
                P::LoginMaterial("*/token/refresh"),
                "`nexudus-proxy client add NAME --allow '* /api/sys/users/*/token/refresh'` lets one",
            ),
            (P::Indirect("/api/auth/me.*"), "Ask for `/api/auth/me`."),
            (P::Indirect("/api/auth/me/*"), "Ask for `/api/auth/me`."),
            (P::Indirect("/**/user/me/*"), "Ask for the path that ends in `/user/me`."),
            (
                P::Indirect("/**/$batch*"),
                "Send each request by itself, to the path that it is about.",
            ),
            (P::Ambiguous, "Write the path plainly: without dot segments, encoded slashes, "),
            (P::Ambiguous, "cookieless segments such as `(S(x))`"),
            (P::Ambiguous, "letters in disguise"),
            (P::ReadOnly, "--allow 'METHOD /path'` without --read-only lets one client do this."),
        ] {
            let told = problem_for_policy(&error).hint.unwrap();
            assert!(told.contains(hint), "{error:?}: {told}");
            assert!(!told.contains("without a key"), "{told}");
        }
        let told = problem_for_guard(guard::Error::User).hint.unwrap();
        assert!(told.ends_with("name yours in listen.users, then restart the daemon."), "{told}");
    }

    /// What the hints of login material name is a rule by which it is let through.
    #[test]
    fn the_rules_that_hints_name_let_login_material_through() {
        for (material, method, path) in [
            ("/api/sys/users", "GET", "/api/sys/users/5"),
            ("/api/sys/refreshtokens", "GET", "/api/sys/refreshtokens"),
            ("*/token/refresh", "POST", "/api/sys/users/5/token/refresh"),
        ] {
            let hint = client_key::rule_hint(material);
            let rule = hint.split('\'').nth(1).unwrap();
            let allow = vec![crate::config::Rule::parse(rule).unwrap()];
            let limits = crate::clients::ClientPolicy { allow, ..Default::default() };
            let config = crate::config::Config::default();
            let told = crate::gateway::explain(method, path, Some(&limits), &config);
            assert!(told.is_allowed, "{rule}: {told:?}");
        }
    }

    #[test]
    fn a_key_is_told_what_is_wrong_with_it() {
        use crate::clients::KeyError;
        use crate::gateway::client_auth::{Error as C, KeyLocation};
        for (error, title, hint) in [
            (C::KeyRequired, "Client key needed", "`nexudus-proxy client add NAME` makes one."),
            (
                C::Misplaced(KeyLocation::Query),
                "Client key in a wrong place",
                "exactly as printed, nothing",
            ),
            (
                C::Malformed(KeyLocation::KeyHeader),
                "Malformed client key",
                "exactly as printed, nothing around it",
            ),
            (
                C::Empty(KeyLocation::KeyHeader),
                "Empty client key",
                "exactly as printed, nothing around it",
            ),
            (
                C::InvalidKey(KeyError::Unknown),
                "Client key refused",
                "for a new key: `nexudus-proxy ",
            ),
        ] {
            let told = client_key::problem_for(error);
            let said = told.hint.unwrap();
            assert_eq!((told.title, told.code), (title, "guard.client"));
            assert!(said.contains(hint), "{said}");
        }
    }
}
