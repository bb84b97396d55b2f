//! A web page that a client names calls with that client's key; every other page stays refused.

use nexudus_proxy::clients::{self, ClientPolicy, WebOrigin};
use nexudus_proxy::config::Rule;
use nexudus_simulator::Simulator;

use crate::support::{Daemon, daemon, request_count, upstream};

const PAGE: &str = "http://localhost:5173";
const CORS: &str =
    "sec-fetch-site: cross-site\r\nsec-fetch-mode: cors\r\nsec-fetch-dest: empty\r\n";

#[tokio::test]
async fn a_named_page_with_its_key_is_served_and_reads_every_answer() {
    let (upstream, daemon) = stage().await;
    let key = page_key(&daemon, ClientPolicy { read_only: true, ..ClientPolicy::default() });

    let shown = [
        format!("Nexudus-Proxy-Key: {key}\r\n"),
        format!("Authorization: Bearer {key}\r\nCookie: a=b\r\n"),
    ];
    for header in shown {
        let answer = ask(&daemon, "GET", "/api/spaces/coworkers", &page(&header)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_readable(&answer);
        assert!(answer.contains("content-security-policy: sandbox"), "{answer}");
    }
    let seen = upstream.requests();
    let sent = seen.last().unwrap();
    assert!(sent.header("origin").is_none() && sent.header("cookie").is_none());
    assert_eq!(request_count(&upstream, "/api/spaces"), 2);
    // The page is told why.
    let denied = page(&format!("Nexudus-Proxy-Key: {key}\r\nContent-Length: 0\r\n"));
    let denied = ask(&daemon, "POST", "/api/spaces/coworkers", &denied).await;
    assert!(denied.contains("\"policy.read-only\""), "{denied}");
    assert_readable(&denied);
    // A program shows the same key without an origin, and gets no header for browsers.
    let program =
        ask(&daemon, "GET", "/api/auth/me", &format!("Nexudus-Proxy-Key: {key}\r\n")).await;
    assert!(program.starts_with("HTTP/1.1 200 "), "{program}");
    assert!(!program.contains("access-control-"), "{program}");
}

#[tokio::test]
async fn a_preflight_of_a_named_page_alone_is_answered_and_reaches_nobody() {
    let (upstream, daemon) = stage().await;
    page_key(&daemon, ClientPolicy::default());
    let asks = "Access-Control-Request-Method: PUT\r\n\
                Access-Control-Request-Headers: content-type,nexudus-proxy-key\r\n\
                Access-Control-Request-Private-Network: true\r\n";

    let answer = ask(&daemon, "OPTIONS", "/api/spaces/coworkers", &page(asks)).await;

    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert_readable(&answer);
    for allowed in [
        "access-control-allow-methods: get, head, post, put, patch, delete\r\n",
        "access-control-allow-headers: authorization, content-type, nexudus-proxy-key, prefer, *\r\n",
        "access-control-allow-private-network: true\r\n",
    ] {
        assert!(answer.to_ascii_lowercase().contains(allowed), "{allowed}: {answer}");
    }
    for (origin, more) in [
        ("http://localhost:5174", ""),
        ("https://localhost:5173", ""),
        ("http://localhost:5173/", ""),
        ("null", ""),
        (PAGE, "Origin: http://evil.example\r\n"),
        (PAGE, "Sec-Purpose: prefetch\r\n"),
    ] {
        let refused = format!("Origin: {origin}\r\n{more}{CORS}{asks}");
        let refused = ask(&daemon, "OPTIONS", "/api/spaces/coworkers", &refused).await;
        assert!(refused.contains("details=\"guard.origin\""), "{origin} {more}: {refused}");
        let is_named = origin == PAGE && more.starts_with("Sec-Purpose");
        assert_eq!(refused.contains("access-control-allow-origin"), is_named, "{refused}");
    }
    let rebound = format!("OPTIONS / HTTP/1.1\r\nHost: evil.example\r\n{}\r\n", page(asks));
    assert!(daemon.raw(&rebound).await.starts_with("HTTP/1.1 421 "));
    assert_eq!(request_count(&upstream, "/api/spaces"), 0);
}

#[tokio::test]
async fn a_page_without_the_key_of_its_origin_is_refused_like_any_other() {
    let (upstream, daemon) = stage().await;
    let key = page_key(&daemon, ClientPolicy::default());
    let state = daemon.home().join("state");
    let other = clients::add(&state, "other", ClientPolicy::default()).unwrap();
    let elsewhere =
        ClientPolicy { origin: origin("http://localhost:3000"), ..ClientPolicy::default() };
    let elsewhere = clients::add(&state, "elsewhere", elsewhere).unwrap();
    let shown = format!("Nexudus-Proxy-Key: {key}\r\n");
    let foreign = |name: &str| format!("Origin: {name}\r\n{CORS}{shown}");
    let unknown = format!("Nexudus-Proxy-Key: {}\r\n", "nxp_".to_owned() + &"a".repeat(38));

    for (fields, is_named) in [
        (page(""), true),
        (page(&format!("Nexudus-Proxy-Key: {}\r\n", other.expose())), true),
        (page(&format!("Nexudus-Proxy-Key: {}\r\n", elsewhere.expose())), true),
        (page(&unknown), true),
        (page("Authorization: Bearer something\r\n"), true),
        (foreign("http://evil.example"), false),
        (foreign("http://localhost:5174"), false),
        (foreign("http://LOCALHOST:5173"), false),
        (foreign("null"), false),
        // Not what a script sends across origins.
        (format!("Origin: {PAGE}\r\nSec-Fetch-Mode: navigate\r\n{shown}"), true),
        (format!("Origin: {PAGE}\r\nSec-Fetch-Mode: no-cors\r\n{shown}"), true),
        (format!("Origin: {PAGE}\r\nSec-Fetch-User: ?1\r\n{shown}"), true),
        (format!("Origin: {PAGE}\r\nService-Worker: script\r\n{shown}"), true),
        (format!("Sec-Fetch-Site: cross-site\r\n{shown}"), false),
    ] {
        let answer = ask(&daemon, "GET", "/api/spaces/coworkers", &fields).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{fields}: {answer}");
        assert!(answer.contains("details=\"guard.origin\""), "{fields}: {answer}");
        let is_readable = answer.to_ascii_lowercase().contains("access-control-allow-origin");
        assert_eq!(is_readable, is_named, "{fields}: {answer}");
    }
    assert_eq!(request_count(&upstream, "/api/spaces"), 0);
}

#[tokio::test]
async fn a_page_gets_no_login_material_and_no_token() {
    let (upstream, daemon) = stage().await;
    let allow = ["GET /api/sys/users/**", "* /api/**"];
    let allow = allow.map(|rule| Rule::parse(rule).unwrap()).into_iter().collect();
    let key = page_key(&daemon, ClientPolicy { allow, ..ClientPolicy::default() });
    let shown = format!("Nexudus-Proxy-Key: {key}\r\n");

    let users = ask(&daemon, "GET", "/api/sys/users", &page(&shown)).await;
    assert!(users.contains("details=\"policy.denied\""), "{users}");
    assert_readable(&users);
    let program = ask(&daemon, "GET", "/api/sys/users", &shown).await;
    assert!(!program.contains("policy.denied"), "its rule names them: {program}");
    let me = ask(&daemon, "GET", "/api/auth/me", &page(&shown)).await;
    assert!(me.contains("\"AccessToken\":\"\"") || !me.contains("AccessToken"), "{me}");
    assert!(me.starts_with("HTTP/1.1 200 "), "{me}");
    for path in ["/api/token", "/api/sys/users/token"] {
        let form = format!("{shown}Content-Length: 0\r\n");
        let granted = ask(&daemon, "POST", path, &page(&form)).await;
        assert!(granted.contains("details=\"guard.origin\""), "{path}: {granted}");
    }
    let before = upstream.requests().len();
    let upgrade = "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let socket = format!("GET /ws HTTP/1.1\r\nHost: HOST\r\n{}{upgrade}\r\n", page(&shown));
    assert!(!daemon.raw(&socket).await.starts_with("HTTP/1.1 101 "));
    assert_eq!(upstream.requests().len(), before);
}

#[tokio::test]
async fn a_page_is_refused_from_the_moment_that_its_client_is_gone() {
    let (_upstream, daemon) = stage().await;
    let key = page_key(&daemon, ClientPolicy::default());
    let fields = page(&format!("Nexudus-Proxy-Key: {key}\r\n"));
    let answer = ask(&daemon, "GET", "/api/auth/me", &fields).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    clients::revoke(&daemon.home().join("state"), "web").unwrap();

    let answer = ask(&daemon, "GET", "/api/auth/me", &fields).await;
    assert!(answer.contains("details=\"guard.origin\""), "{answer}");
    assert!(!answer.contains("access-control-"), "{answer}");
    let asks = page("Access-Control-Request-Method: GET\r\n");
    let answer = ask(&daemon, "OPTIONS", "/api/auth/me", &asks).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

async fn stage() -> (Simulator, Daemon) {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.get("/api/auth/me").await;
    upstream.clear_recording();
    (upstream, daemon)
}

/// Adds the client of the page.
fn page_key(daemon: &Daemon, limits: ClientPolicy) -> String {
    let limits = ClientPolicy { origin: origin(PAGE), ..limits };
    let key = clients::add(&daemon.home().join("state"), "web", limits).unwrap();
    key.expose().to_owned()
}

fn origin(text: &str) -> Option<WebOrigin> {
    Some(WebOrigin::parse(text).unwrap())
}

/// The fields of a request that a script of the page sends, and more.
fn page(more: &str) -> String {
    format!("Origin: {PAGE}\r\n{CORS}{more}")
}

async fn ask(daemon: &Daemon, method: &str, path: &str, fields: &str) -> String {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n");
    daemon.raw(&format!("{head}{fields}\r\n")).await
}

/// A browser shows the page what names its origin, and no caches mix origins up.
#[track_caller]
fn assert_readable(answer: &str) {
    let head = answer.split_once("\r\n\r\n").unwrap().0.to_ascii_lowercase();
    assert_eq!(head.matches("access-control-allow-origin").count(), 1, "{head}");
    assert!(head.contains(&format!("access-control-allow-origin: {PAGE}")), "{head}");
    assert!(head.contains("vary: origin") && !head.contains("allow-credentials"), "{head}");
}
