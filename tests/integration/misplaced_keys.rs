//! A client key where none is taken: refused, and neither taken for none, sent on nor logged.

use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use nexudus_proxy::admin::api::{Event, RequestRecord};
use nexudus_proxy::admin::client::EventStream;
use nexudus_proxy::clients::{self, ClientPolicy};
use nexudus_simulator::Simulator;

use crate::support::raw_upstream::{RawReply, daemon_before_raw, get, ok, raw_upstream};
use crate::support::{
    Daemon, DaemonProcess, EVENT_TIMEOUT, ProcessSetup, daemon, problem_json, upstream,
};

#[tokio::test]
async fn a_key_that_is_shown_wrongly_is_not_taken_for_none() {
    let (upstream, daemon, key) = stage().await;

    for line in wrong_lines(&key) {
        let answer = daemon.raw(&get("/api/spaces/coworkers", &format!("{line}\r\n"))).await;
        assert_refused(&answer, &key, &line);
    }
    for target in wrong_targets(&key) {
        for method in ["GET", "POST"] {
            let fields = format!("Content-Length: 0\r\nNexudus-Proxy-Key: {key}\r\n");
            let asked = get(&target, &fields).replacen("GET", method, 1);
            assert_refused(&daemon.raw(&asked).await, &key, &target);
        }
    }
    // It is said where, but for names that a caller chooses.
    for (target, line, said) in [
        ("/?key=KEY", "Accept: */*", "a client key stands in the query, where keys are not"),
        ("/api/KEY", "Accept: */*", "a client key stands in the path, where keys are not"),
        ("/", "Cookie: key=KEY", "a client key stands in Cookie, where keys are not"),
        ("/", "Referer: http://x/KEY", "a client key stands in Referer, where keys are not"),
        ("/", "X-Api-Key: KEY", "a client key stands in X-Api-Key, where keys are not"),
        ("/", "X-Marker: KEY", "a client key stands in another header, where keys are not"),
        ("/", "Authorization: Token KEY", "the client key in Authorization is written in a form"),
        (
            "/",
            "Nexudus-Proxy-Key: 'KEY'",
            "the client key in Nexudus-Proxy-Key is written in a form",
        ),
        ("/", "Nexudus-Proxy-Key:", "there is no client key in Nexudus-Proxy-Key: it is empty"),
    ] {
        let asked =
            get(&target.replace("KEY", &key), &format!("{}\r\n", line.replace("KEY", &key)));
        let answer = daemon.raw(&asked).await;
        assert!(answer.contains(said), "{target} {line}: {answer}");
        assert!(!answer.contains("arker"), "{answer}");
    }
    assert_eq!(upstream.requests().len(), 0, "{:?}", upstream.requests());
}

/// Lines that show the key in a place or a form that is not accepted.
fn wrong_lines(key: &str) -> Vec<String> {
    let (upper, encoded) = (key.to_uppercase(), key.replacen('_', "%5F", 1));
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let quoted = format!("\"{key}\"");
    vec![
        format!("Nexudus-Proxy-Key: {quoted}"),
        format!("Nexudus-Proxy-Key: {upper}"),
        format!("Nexudus-Proxy-Key: {key}, {key}"),
        format!("nexudus_proxy_key: {upper}"),
        format!("Authorization: Bearer {quoted}"),
        format!("Authorization: Bearer {upper}"),
        format!("Authorization: Bearer {encoded}"),
        format!("Authorization: Bearer x {key}"),
        format!("Authorization: {key}"),
        format!("Authorization: Token {key}"),
        format!("Authorization: Digest username={key}"),
        format!("Authorization: Digest username={quoted}, realm=\"x\""),
        format!("Authorization: Digest username={}", &key[..20]),
        format!("Authorization: {}", basic(&format!("{key}:"))),
        format!("Authorization: {}", basic(&format!("me:x:{key}"))),
        format!("Authorization: {}", basic(&format!("me:{upper}"))),
        format!("Authorization: Basic {}", URL_SAFE.encode(format!("\u{3ff}\u{3fe}?:x:{key}"))),
        format!("Proxy-Authorization: Token {key}"),
        format!("Proxy_Authorization: Bearer {key}"),
        format!("Cookie: a=b; key={key}"),
        format!("X-Api-Key: {key}"),
        format!("X-Api-Key: {upper}"),
        format!("X-Auth: {}", basic(&format!("me:{key}"))),
        format!("User-Agent: report/1 ({key})"),
        format!("Referer: http://localhost/?key={encoded}"),
        format!("Sec-WebSocket-Protocol: chat, {key}"),
        format!("{key}: x"),
        // Shown as it should be, and elsewhere too.
        format!("Authorization: Bearer {key}\r\nX-Api-Key: {key}"),
        format!("Nexudus-Proxy-Key: {key}\r\nCookie: key={key}"),
    ]
}

/// Targets that show the key.
fn wrong_targets(key: &str) -> Vec<String> {
    let (upper, encoded) = (key.to_uppercase(), key.replacen('_', "%5F", 1));
    vec![
        format!("/api/spaces/coworkers?key={key}"),
        format!("/api/spaces/coworkers?key={upper}&size=1"),
        format!("/api/spaces/coworkers?q=%22{key}%22"),
        format!("/api/spaces/coworkers?q={encoded}"),
        format!("/api/spaces/coworkers?q={}", key.replacen('_', "%255f", 1)),
        format!("/api/spaces/coworkers?q={}", key.replacen('n', "%6E", 1)),
        format!("/api/{key}/coworkers"),
        format!("/api/%20{encoded}"),
        format!("/api/token?password={key}"),
    ]
}

#[tokio::test]
async fn a_websocket_is_not_opened_with_a_key_among_its_protocols() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.upstream.upgrade = true).run().await;
    let key = client(&daemon, "agent");
    let fields = format!(
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {key}\r\n"
    );
    daemon.get("/api/auth/me").await;
    upstream.clear_recording();

    let asked = get("/api/x", &fields).replace("Connection: close", "Connection: Upgrade");
    let answer = daemon.raw(&asked.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)).await;

    assert_refused(&answer, &key, "Sec-WebSocket-Protocol");
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test]
async fn a_field_of_our_own_is_ours_however_its_words_are_joined() {
    let (upstream, daemon, key) = stage().await;

    for name in ["nexudus_proxy_key", "Nexudus-Proxy_Key", "NEXUDUS_PROXY-KEY"] {
        let fields = format!("{name}: {key}\r\n");
        let read = daemon.raw(&get("/api/spaces/coworkers", &fields)).await;
        let write = get("/api/spaces/coworkers", &format!("{fields}Content-Length: 0\r\n"));
        let write = daemon.raw(&write.replacen("GET", "POST", 1)).await;
        assert!(read.starts_with("HTTP/1.1 200 "), "{name}: {read}");
        assert!(write.contains("\"code\":\"policy.read-only\""), "{name}: {write}");
    }
    assert!(upstream.requests().iter().all(|seen| !format!("{seen:?}").contains(&key)));
}

#[tokio::test]
async fn what_only_reminds_of_a_key_goes_on_as_it_came() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    let daemon = daemon_before_raw(&upstream).await;
    let random = format!("abc{}", client(&daemon, "agent"));
    let targets = [
        "/api/spaces/coworkers?q=nxp_holdings".to_owned(),
        "/api/spaces/coworkers?q=nxp_holdings%20of%20London_and_Paris&Coworker_FullName=%22x%22"
            .to_owned(),
        "/ContentDownload/nxp_/logo.png".to_owned(),
        format!("/api/spaces/coworkers?token={random}"),
        format!("/api/spaces/coworkers?token=%41{}", &random[3..]),
    ];
    let fields = [
        "X-Company: nxp_holdings".to_owned(),
        format!("X-Token: {random}"),
        format!("Authorization: Bearer {random}"),
        "Authorization: Bearer eyJhbGci.nxp_JIUzI1NiJ9".to_owned(),
        "Authorization: Basic bWU6eA==".to_owned(),
    ];

    for target in &targets {
        assert!(daemon.raw(&get(target, "")).await.starts_with("HTTP/1.1 200 "), "{target}");
    }
    for line in &fields {
        let answer = daemon.raw(&get("/api/x", &format!("{line}\r\n"))).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{line}: {answer}");
    }
    let seen = upstream.requests();
    for (seen, target) in seen.iter().zip(&targets) {
        assert!(seen.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{seen}");
    }
    assert!(seen[targets.len()].contains("x-company: nxp_holdings\r\n"));
}

#[tokio::test]
async fn a_login_form_with_a_key_in_a_wrong_place_or_form_is_refused() {
    let (_upstream, daemon, key) = stage().await;

    for form in [
        format!("grant_type=password&username={key}&password=x"),
        format!("grant_type=password&username=me&password={}", key.to_uppercase()),
        format!("grant_type=password&username=me&password=%22{key}%22"),
        format!("grant_type=password&username=me&password=x&client_id={key}"),
        format!("{{\"username\":\"me\",\"password\":\"{key}\"}}"),
        "grant_type=password&username=me&password=NXP_x".to_owned(),
    ] {
        let answer = daemon.post("/api/token", &form).await;
        assert_eq!(answer.status(), 403, "{form}");
        assert_eq!(problem_json(answer).await["code"], "guard.client", "{form}");
    }
    let form = "grant_type=password&username=nxp.holdings&password=x&x=anxp_";
    assert_eq!(daemon.post("/api/token", form).await.status(), 200);
}

#[tokio::test]
async fn no_log_and_no_event_shows_a_key_that_was_put_into_a_path_or_a_host() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let key = client(&daemon, "agent");
    let encoded = key.replacen('_', "%5f", 1);
    let paths = [format!("/api/{key}"), format!("/api/{encoded}/x"), key.to_uppercase()];
    let mut events = daemon.admin().await.events("request").await.unwrap();
    let mut told = String::new();
    for path in &paths {
        daemon.raw(&get(&format!("/{path}"), "")).await;
        let request = next_request(&mut events).await;
        assert_eq!((request.status, request.path.as_str()), (Some(403), "[redacted]"));
        told.push_str(&format!("{request:?}"));
    }
    let as_method = get("/x", "").replacen("GET", &key, 1);
    daemon.raw(&as_method).await;
    let request = next_request(&mut events).await;
    assert_eq!((request.status, request.method.as_str()), (Some(405), "[redacted]"));
    told.push_str(&format!("{request:?}"));
    told.push_str(&daemon.metrics().await);

    let logged = RefCell::new(told);
    let mut program =
        ProcessSetup::new(&upstream).set("NEXUDUS_PROXY_LOG_LEVEL", "trace").start().await;
    for path in &paths {
        program.raw(&get(&format!("/{path}"), "").replace("HOST", "localhost")).await;
        assert_eq!(request_line(&mut program, &logged).await["path"], "[redacted]");
    }
    program.raw(&as_method.replace("HOST", "localhost")).await;
    assert_eq!(request_line(&mut program, &logged).await["method"], "[redacted]");
    // Of each kind one is logged in a second.
    let origin = format!("Origin: http://{key}.example\r\n");
    for (field, host, more) in [("host", &*key, ""), ("origin", "localhost", &*origin)] {
        program.raw(&get("/", more).replace("HOST", host)).await;
        let code = format!("guard.{field}");
        let line =
            program.wait_for_log(|line| line["code"] == *code && !line["host"].is_null()).await;
        assert_eq!(line[field], "[redacted]");
    }

    let told = logged.into_inner().to_ascii_lowercase();
    assert!(told.contains("guard.client"), "{told}");
    assert!(!told.contains(&key[4..]), "a key is in what is told");
}

async fn next_request(events: &mut EventStream) -> Box<RequestRecord> {
    let event = tokio::time::timeout(EVENT_TIMEOUT, events.next()).await.unwrap().unwrap();
    let Event::Request(request) = event else { panic!("{event:?}") };
    request
}

/// Returns the next line about a request, and adds all that is logged until then to `logged`.
async fn request_line(program: &mut DaemonProcess, logged: &RefCell<String>) -> serde_json::Value {
    let line = program.wait_for_log(|line| {
        logged.borrow_mut().push_str(&line.to_string());
        line["message"] == "request"
    });
    line.await
}

/// A daemon that allows all requests without a key, and a key that may only read.
async fn stage() -> (Simulator, Daemon, String) {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let key = client(&daemon, "reader");
    daemon.get("/api/auth/me").await;
    upstream.clear_recording();
    (upstream, daemon, key)
}

fn client(daemon: &Daemon, name: &str) -> String {
    let limits = ClientPolicy { read_only: true, ..ClientPolicy::default() };
    let key = clients::add(&daemon.home().join("state"), name, limits).unwrap();
    key.expose().to_owned()
}

#[track_caller]
fn assert_refused(answer: &str, key: &str, why: &str) {
    assert!(answer.starts_with("HTTP/1.1 403 "), "{why}: {answer}");
    assert!(answer.contains("\"code\":\"guard.client\""), "{why}: {answer}");
    assert!(!answer.to_ascii_lowercase().contains(&key[4..]), "{why}: the answer repeats the key");
}
