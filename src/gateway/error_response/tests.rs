//! A refused client reads a code, a hint that works and a complete response.

use super::*;
use crate::config::Limits;

#[test]
fn an_error_is_rendered_with_its_status_and_code() {
    let response = render(&Error::Guard(guard::Error::ForeignHost));

    assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    assert_eq!(
        response.headers()[PROXY_STATUS],
        "nexudus-proxy; error=http_request_denied; details=\"guard.host\""
    );
}

#[test]
fn prebuilt_responses_are_complete() {
    let prebuilt = prebuilt(&Limits::default());

    for refusal in [
        &prebuilt.malformed,
        &prebuilt.malformed_target,
        &prebuilt.http2,
        &prebuilt.headers_too_large,
        &prebuilt.target_too_long,
        &prebuilt.head_timeout,
    ] {
        let text = String::from_utf8(refusal.response.to_vec()).unwrap();
        let policy = "\r\ncontent-security-policy: sandbox; default-src 'none'\r\n";
        assert!(text.contains(policy), "{text}");
    }
    let text = String::from_utf8(prebuilt.head_timeout.response.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{head}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["code"], "request.timeout");
}

#[test]
fn the_allow_header_names_the_forwarded_methods() {
    let names = guard::FORWARDED_METHODS.each_ref().map(http::Method::as_str);
    assert_eq!(ALLOWED_METHODS, names.join(", "));
}

#[test]
fn hints_name_a_way_that_works() {
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
        (P::Indirect("/**/$batch*"), "Send each request by itself, to the path that it is about."),
        (P::Ambiguous, "Write the path plainly: without dot segments, encoded slashes, "),
        (P::Ambiguous, "cookieless segments such as `(S(x))`"),
        (P::Ambiguous, "letters in disguise"),
        (
            P::ReadOnlyPath { path: Some("/en/login".into()) },
            "`nexudus-proxy client add NAME --allow 'GET /en/login'`, without --read-only, lets",
        ),
        (P::ReadOnlyPath { path: None }, "--allow 'GET /path'`"),
        (
            P::ReadOnlyPath { path: Some("/Spaces/coworkers/1".into()) },
            "Did you mean `/api/Spaces/coworkers/1`?",
        ),
        (P::UnreadableCommand("it is long"), "Send one JSON object with one `Key`"),
        (P::ReadOnly, "--allow 'METHOD /path'` without --read-only lets one client do this."),
    ] {
        let given = error.details().hint.unwrap();
        assert!(given.contains(hint), "{error:?}: {given}");
        assert!(!given.contains("without a key"), "{given}");
    }
    let given = guard::Error::User(None).details().hint.unwrap();
    assert!(given.ends_with("in listen.users, then run `nexudus-proxy reload`."), "{given}");
}

/// A hint about login material names a rule, and that rule lets the material through.
#[test]
fn rules_in_hints_let_login_material_through() {
    for (material, method, path) in [
        ("/api/sys/users", "GET", "/api/sys/users/5"),
        ("/api/sys/refreshtokens", "GET", "/api/sys/refreshtokens"),
        ("*/token/refresh", "POST", "/api/sys/users/5/token/refresh"),
    ] {
        let hint = policy::Error::LoginMaterial(material).details().hint.unwrap();
        let rule = hint.split('\'').nth(1).unwrap();
        let allow = vec![crate::config::Rule::parse(rule).unwrap()].into();
        let limits = crate::clients::ClientPolicy { allow, ..Default::default() };
        let config = crate::config::Config::default();
        let question = crate::gateway::Question { method, target: path, command: None };
        let explained = crate::gateway::explain(question, Some(&limits), &config);
        assert!(explained.is_allowed, "{rule}: {explained:?}");
    }
}

#[test]
fn each_key_error_has_a_title_and_a_hint() {
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
        (C::InvalidKey(KeyError::Unknown), "Client key refused", "for a new key: `nexudus-proxy "),
    ] {
        let ProblemDetails { kind, hint: given, .. } = error.details();
        assert_eq!((kind.title(), kind.code()), (title, "guard.client"));
        assert!(given.as_ref().unwrap().contains(hint), "{given:?}");
    }
}
