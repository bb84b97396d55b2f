//! Every error of the gateway with its status, its code, its title and its hint.
//!
//! The matches name every variant: a new error does not compile until all of these are written.

mod client;
mod upstream_error;

use std::borrow::Cow;
use std::time::Duration;

use http::header::{ALLOW, SEC_WEBSOCKET_VERSION};
use http::{HeaderName, StatusCode};

use crate::clients::Spent;
use crate::gateway::{Error, guard, policy};
use crate::throttle;
use crate::upstream::{Fault, Repeat};

/// What is said about an error, beside its own sentence.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) title: &'static str,
    /// The error token of RFC 9209.
    pub(super) token: &'static str,
    pub(super) hint: Option<Cow<'static, str>>,
    pub(super) retry_after: Option<Duration>,
    /// One that belongs to this answer.
    pub(super) field: Option<(HeaderName, &'static str)>,
    pub(super) close: bool,
}

impl Told {
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
            field: None,
            close: false,
        }
    }

    fn token(self, token: &'static str) -> Self {
        Self { token, ..self }
    }

    fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    fn with(self, name: HeaderName, value: &'static str) -> Self {
        Self { field: Some((name, value)), ..self }
    }

    fn retry(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }
}

pub(super) fn tell(error: &Error) -> Told {
    match error {
        Error::Guard(error) => tell_guard(*error),
        Error::Policy(error) => tell_policy(error),
        Error::Session(error) => tell_session(error),
        Error::Throttle(throttle::Error::Queue { retry_after }) => Told::new(
            StatusCode::TOO_MANY_REQUESTS,
            "throttle.queue",
            "Too many requests for Nexudus",
            "Ask more slowly, or raise throttle.wait.",
        )
        .retry(*retry_after),
        Error::Body(fault) => tell_body(*fault),
        Error::Upstream(error) => upstream_error::tell(error, Repeat::Never),
        Error::Read(error) => upstream_error::tell(error, Repeat::Harmless),
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
        Error::Unserved { hint, .. } => {
            Told::new(StatusCode::SERVICE_UNAVAILABLE, "daemon.draining", "No daemon serves", *hint)
                .retry(Duration::from_secs(1))
                .closing()
        }
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
            "Send one Content-Length or `Transfer-Encoding: chunked`, and one Max-Forwards at most.",
        )
        .token("http_request_error")
        .closing(),
        E::Target(why) => Told::new(
            StatusCode::BAD_REQUEST,
            "request.target",
            "Malformed request target",
            match why {
                guard::NOT_ASCII => {
                    "Percent-encode what is not ASCII: Jos%C3%A9 for José. curl does with \
                     -G --data-urlencode 'Name=José'."
                }
                _ => "Ask for a path, such as /api/spaces/coworkers.",
            },
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
        // RFC 6585 §5: also where a single field is at fault.
        E::Options => Told::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "request.too-large",
            "Request too large",
            "Name in Connection only the header fields that are hop-by-hop.",
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
            "Use http://localhost with the daemon's port, or name the host in listen.hosts; an \
             exposed daemon's own address too.",
        )
        .closing(),
        E::Browser { headers, .. } => Told::new(
            StatusCode::FORBIDDEN,
            "guard.origin",
            "Request from a browser",
            format!(
                "Leave out {headers} (in \"Copy as cURL\": those lines); a development server that \
                 passes a page's requests on must drop them (README)."
            ),
        )
        .closing(),
        E::User => Told::new(
            StatusCode::FORBIDDEN,
            "guard.user",
            "Another user's process",
            "Call as the user who runs the daemon, or name yours in listen.users, then restart the \
             daemon.",
        )
        .closing(),
        E::Method => Told::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "request.method",
            "Method not forwarded",
            "Use one of the methods in the Allow header.",
        )
        .with(ALLOW, METHODS),
        E::Upgrade(why) => {
            let told = Told::new(
                StatusCode::NOT_IMPLEMENTED,
                "request.upgrade",
                "WebSocket not forwarded",
                match why {
                    guard::SWITCHED_OFF => "Ask without Upgrade, or set upstream.upgrade.",
                    _ => "Ask as RFC 6455 section 4.1 says, or without Upgrade.",
                },
            )
            .token("http_upgrade_failed");
            match why {
                // RFC 6455 §4.2.2: which versions there are.
                guard::NOT_13 => told.with(SEC_WEBSOCKET_VERSION, "13"),
                _ => told,
            }
        }
        E::Client(error) => client::tell(error),
    }
}

fn tell_policy(error: &policy::Error) -> Told {
    use policy::Error as E;
    let denied =
        |hint| Told::new(StatusCode::FORBIDDEN, "policy.denied", "Refused by a rule", hint);
    match error {
        E::Reserved | E::Endless => Told::new(
            StatusCode::BAD_REQUEST,
            "request.target",
            "Ambiguous request target",
            if matches!(error, E::Endless) {
                PLAINLY
            } else {
                "Ask for /api/token or /api/sys/users/token in exactly that spelling."
            },
        ),
        E::TokenMethod => Told::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "request.method",
            "Method not allowed here",
            "POST a grant to it.",
        )
        .with(ALLOW, "POST"),
        E::Denied(_) => {
            denied("`nexudus-proxy policy explain METHOD PATH` says what may be asked.")
        }
        E::NotAllowed => denied("Use a key whose rules allow it: `nexudus-proxy client list`."),
        E::Ambiguous => denied(PLAINLY),
        E::Indirect(words) => denied(match words {
            words if words.starts_with("/api/auth/me") => "Ask for `/api/auth/me`.",
            words if words.contains("/user/me") => "Ask for the path that ends in `/user/me`.",
            _ => "Send each request by itself, to the path that it is about.",
        }),
        E::Override(_) => denied("Send the request with the method and the path that it is about."),
        E::Form => {
            denied("Send less than limits.replay_body, in UTF-8 and not compressed, or JSON.")
        }
        E::LoginMaterial(words) => denied(client::naming(words)),
        E::LoginMaterialInside => {
            denied("No limited caller gets this answer: ask whoever runs the daemon.")
        }
        E::ReadOnly => Told::new(
            StatusCode::FORBIDDEN,
            "policy.read-only",
            "Reading only",
            "To write, or to read other paths: `nexudus-proxy client add NAME --allow 'METHOD /path'` \
             without --read-only lets one client do this.",
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

/// For a path in which something has two meanings.
const PLAINLY: &str = "Write the path plainly: without dot segments, encoded slashes, backslashes, \
    control characters, cookieless segments such as `(S(x))`, bytes that are not UTF-8, and letters in \
    disguise (those that cannot be seen, or stand for an ASCII letter or mark).";

/// [`guard::FORWARDED`] as `Allow` wants it.
pub(super) const METHODS: &str = "GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allow_header_names_what_is_forwarded() {
        let names = guard::FORWARDED.each_ref().map(http::Method::as_str);
        assert_eq!(METHODS, names.join(", "));
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
            let told = tell_policy(&error).hint.unwrap();
            assert!(told.contains(hint), "{error:?}: {told}");
            assert!(!told.contains("without a key"), "{told}");
        }
        let told = tell_guard(guard::Error::User).hint.unwrap();
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
            let hint = client::naming(material);
            let rule = hint.split('\'').nth(1).unwrap();
            let allow = vec![crate::config::Rule::read(rule).unwrap()];
            let limits = crate::clients::Limits { allow, ..Default::default() };
            let config = crate::config::Config::default();
            let told = crate::gateway::explain(method, path, Some(&limits), &config);
            assert!(told.is_allowed, "{rule}: {told:?}");
        }
    }

    #[test]
    fn a_key_is_told_what_is_wrong_with_it() {
        use crate::clients::Refused;
        use crate::gateway::caller::{Error as C, Place};
        for (error, title, hint) in [
            (C::Needed, "Client key needed", "`nexudus-proxy client add NAME` makes one."),
            (
                C::Misplaced(Place::Query),
                "Client key in a wrong place",
                "exactly as printed, nothing",
            ),
            (
                C::Malformed(Place::Own),
                "Malformed client key",
                "exactly as printed, nothing around it",
            ),
            (C::Empty(Place::Own), "Empty client key", "exactly as printed, nothing around it"),
            (C::Refused(Refused::Unknown), "Client key refused", "for a new key: `nexudus-proxy "),
        ] {
            let told = client::tell(error);
            let said = told.hint.unwrap();
            assert_eq!((told.title, told.code), (title, "guard.client"));
            assert!(said.contains(hint), "{said}");
        }
    }
}
