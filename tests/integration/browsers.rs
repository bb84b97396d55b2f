//! No browser is served, whatever page it shows, and no answer is a document that could run.

use nexudus_proxy::admin::api::Status;
use nexudus_proxy::clients::{self, ClientPolicy};
use nexudus_proxy::config::{Host, Origin, Paths};
use nexudus_proxy::run::{ProfileLeader, RunProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::support::raw_upstream::{RawReply, get, raw_upstream};
use crate::support::{daemon, daemon_before, upstream};

#[tokio::test]
async fn a_browser_neither_reads_nor_writes_whatever_page_it_shows() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.get("/api/auth/me").await;
    upstream.clear_recording();
    let port = daemon.address().port();
    let ours = [
        format!("Origin: http://localhost:{port}"),
        format!("Origin: http://localhost:{port}\r\nSec-Fetch-Site: same-origin"),
    ];

    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let lines = ONLY_BROWSERS_SEND.iter().map(|line| (*line).to_owned());
        for line in lines.chain(ours.clone()) {
            let request = format!(
                "{method} /api/auth/me HTTP/1.1\r\nHost: HOST\r\n{line}\r\nContent-Length: 0\r\n\r\n"
            );
            let answer = daemon.raw(&request).await.to_ascii_lowercase();
            assert!(answer.starts_with("http/1.1 403 "), "{method} {line}: {answer}");
            assert!(answer.contains("details=\"guard.origin\"\r\n"), "{answer}");
            assert!(!answer.contains("access-control-allow"), "{answer}");
        }
    }
    assert_eq!(upstream.requests().len(), 0);
    // Node's fetch says this much of itself.
    let node = "Sec-Fetch-Mode: cors\r\nAccept: */*\r\nAccept-Language: *\r\n";
    let answer = daemon.raw(&get("/api/auth/me", node)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_browsers_request_that_is_passed_on_is_told_what_to_drop() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let passed_on = "Origin: http://marker.example\r\nSec-Fetch-Site: same-origin\r\n\
                     Sec-Fetch-Mode: cors\r\nSec_Fetch_Dest: empty\r\nSec-Fetch-Later: 1\r\n";

    let answer = daemon.raw(&get("/api/auth/me", passed_on)).await;

    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    let hint = problem["hint"].as_str().unwrap();
    assert_eq!(
        hint,
        "Leave out Origin, Sec-Fetch-Site, Sec-Fetch-Dest, Sec-Fetch-* (in \"Copy as cURL\": those \
         lines); a development server that passes a page's requests on must drop them (docs/tools.md). \
         For a page of your own: `nexudus-proxy client add NAME --origin URL` makes a key for its origin \
         (docs/web-apps.md)."
    );
    assert_eq!(problem["code"], "guard.origin");
    assert!(!answer.contains("marker"), "{answer}");
}

#[tokio::test]
async fn a_person_with_a_browser_is_told_how_to_ask_and_offered_no_form() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.get("/api/auth/me").await;
    upstream.clear_recording();
    let new = "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\n\
               Sec-Fetch-Dest: document\r\nUpgrade-Insecure-Requests: 1\r\nAccept: text/html\r\n";
    let old = "Upgrade-Insecure-Requests: 1\r\nAccept: text/html,*/*;q=0.8\r\n";
    let framed = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n";

    for fields in [new, old, framed] {
        for path in ["/", "/api/spaces/coworkers", "/api/token", "/favicon.ico"] {
            let page = daemon.raw(&get(path, fields)).await;
            let (head, body) = page.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 403 "), "{path}: {head}");
            for line in [
                "content-type: text/html; charset=utf-8",
                "cache-control: no-store",
                "x-frame-options: DENY",
                "proxy-status: nexudus-proxy; error=http_request_denied; details=\"guard.origin\"",
            ] {
                assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
            }
            is_sandboxed(&page);
            // The page is one for all ports.
            assert!(!body.contains("6398"), "{body}");
            assert!(body.contains("curl '") && body.contains("Copy as cURL"), "{body}");
            for active in ["<script", "<form", "<input", "<a ", "<img", "<link", "<style"] {
                assert!(!body.contains(active), "{active}: {body}");
            }
        }
        let head = daemon.raw(&get("/", fields).replace("GET ", "HEAD ")).await;
        assert!(
            head.contains("\r\ncontent-type: text/html") && head.ends_with("\r\n\r\n"),
            "{head}"
        );
        is_sandboxed(&head);
    }
    assert_eq!(upstream.requests().len(), 0);
    // The same address is Nexudus's for everything else.
    let answer = daemon.raw(&get("/", "User-Agent: curl/8.5.0\r\nAccept: */*\r\n")).await;
    assert!(!answer.contains("proxy-status"), "{answer}");
    assert_eq!(upstream.requests().len(), 1);
    let load = "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n";
    let answer = daemon.raw(&get("/", load)).await;
    assert!(answer.contains("content-type: application/problem+json"), "{answer}");
}

#[tokio::test]
async fn what_nexudus_says_to_browsers_is_replaced_on_every_answer() {
    let upstream = raw_upstream(|head| {
        let status = head.split(' ').nth(1).unwrap().trim_start_matches('/');
        if status == "switch" {
            return RawReply::Switch;
        }
        let length = if status == "304" { "" } else { "Content-Length: 0\r\n" };
        let early = if status == "200" { "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" } else { "" };
        RawReply::Keep(format!(
            "{early}HTTP/1.1 {status} X\r\nContent-Type: text/html\r\n{SAID_TO_BROWSERS}{length}\r\n"
        ))
    })
    .await;
    let daemon = daemon_before(upstream.address.port(), &upstream.ca)
        .set(|config| config.upstream.upgrade = true)
        .run()
        .await;

    for status in ["200", "204", "206", "304", "302", "400", "404", "410", "500"] {
        for method in ["GET", "HEAD"] {
            let request = get(&format!("/{status}"), "").replace("GET ", &format!("{method} "));
            let answer = daemon.raw(&request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method}: {answer}");
            is_sandboxed(&answer);
            let lower = answer.to_ascii_lowercase();
            for name in SAID_TO_BROWSERS.lines().map(|line| line.split(':').next().unwrap()) {
                let name = name.to_ascii_lowercase();
                let is_ours = OURS.iter().any(|line| line.starts_with(&format!("{name}:")));
                assert!(is_ours || !lower.contains(&format!("\r\n{name}:")), "{name}: {answer}");
            }
        }
    }
    let handshake = "GET /switch HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let closed = "\u{1}\u{0}"; // No frame: the upstream ends the connection.
    let answer = daemon.raw(&format!("{handshake}\r\n{closed}")).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    is_sandboxed(&answer);
    let port = daemon.address().port();
    let with_origin = format!("{handshake}Origin: http://localhost:{port}\r\n\r\n");
    let answer = daemon.raw(&with_origin).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("guard.origin"), "{answer}");
    let switched =
        upstream.requests().iter().filter(|seen| seen.starts_with("GET /switch ")).count();
    assert_eq!(switched, 1);
}

#[tokio::test]
async fn every_answer_of_our_own_is_powerless_in_a_browser_too() {
    let upstream = raw_upstream(|_| RawReply::Cut(String::new())).await;
    let daemon = daemon_before(upstream.address.port(), &upstream.ca)
        .set(|config| {
            let origin = Origin::new("localhost", upstream.address.port());
            let listen = vec!["127.0.0.1:0".parse().unwrap()];
            config.hosts = vec![Host { origin, listen }];
            config.admin.listen = Some("127.0.0.1:0".parse().unwrap());
            config.limits.header_bytes = 8 << 10;
        })
        .run()
        .await;
    let admin = daemon.admin().await.get::<Status>("/v1/status").await.unwrap();
    let admin = admin.listening.admin_tcp.unwrap();
    let paths = Paths::rooted_at(daemon.home());
    let long = "x".repeat(9 << 10);

    for request in proxy_requests(&long) {
        let request = request.replace("HOST", "localhost");
        let host = daemon.running.host_addresses()[0][0];
        for address in [daemon.address(), daemon.running.addresses()[1], host] {
            is_sandboxed(&asked(TcpStream::connect(address).await.unwrap(), &request).await);
        }
        let socket = UnixStream::connect(paths.proxy_socket()).await.unwrap();
        is_sandboxed(&asked(socket, &request).await);
    }
    for request in admin_requests(&long) {
        let request = request.replace("HOST", "localhost");
        is_sandboxed(&asked(TcpStream::connect(admin).await.unwrap(), &request).await);
        let socket = UnixStream::connect(paths.admin_socket()).await.unwrap();
        is_sandboxed(&asked(socket, &request).await);
    }
}

/// Requests that the proxy answers by itself.
fn proxy_requests(long: &str) -> Vec<String> {
    let login = "POST /api/token HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Content-Length: 0\r\n\r\n";
    vec![
        get("/api/x", ""),
        get("/api/x", "Origin: null\r\n"),
        get("/api/%74oken", ""),
        get(&format!("/{long}"), ""),
        get("/", &format!("X: {long}\r\n")),
        get("/", "broken\r\n"),
        get("/ /", ""),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        get("http://evil.example/", ""),
        get("/", "").replace("GET ", "TRACE "),
        login.to_owned(),
    ]
}

/// Requests to the admin surface.
fn admin_requests(long: &str) -> Vec<String> {
    vec![
        get("/healthz", ""),
        get("/readyz", ""),
        get("/metrics", ""),
        get("/none", ""),
        get("/healthz", "").replace("GET ", "HEAD "),
        get("/healthz", "").replace("GET ", "POST "),
        get("/healthz", "Origin: http://localhost\r\n"),
        get("/healthz", "").replace("HOST", "evil.example"),
        get("/healthz", "broken\r\n"),
        get(&format!("/{long}"), ""),
        get("/", &format!("X: {long}\r\n")),
    ]
}

#[tokio::test]
async fn the_listener_of_a_run_serves_no_browser_either() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let key = clients::add(&daemon.home().join("state"), "run", ClientPolicy::default()).unwrap();
    let paths = Paths::rooted_at(daemon.home());
    let relay = RunProxy::start(ProfileLeader::new(&daemon.config, &paths).into(), &key).unwrap();
    daemon.get("/api/auth/me").await;
    upstream.clear_recording();
    let ask = async |request: &str| {
        let request = request.replace("HOST", &relay.address().to_string());
        asked(TcpStream::connect(relay.address()).await.unwrap(), &request).await
    };

    for line in ONLY_BROWSERS_SEND {
        let answer = ask(&get("/api/auth/me", &format!("{line}\r\n"))).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{line}: {answer}");
        is_sandboxed(&answer);
    }
    for malformed in [get("/", "broken\r\n"), get(&format!("/{}", "x".repeat(90_000)), "")] {
        is_sandboxed(&ask(&malformed).await);
    }
    assert_eq!(upstream.requests().len(), 0);
    let answer = ask(&get("/api/auth/me", "Sec-Fetch-Mode: cors\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    is_sandboxed(&answer);
    // The listener answers by itself, without the upstream.
    daemon.stop().await;
    is_sandboxed(&ask(&get("/api/auth/me", "")).await);
}

#[tokio::test]
async fn no_browser_reads_or_acts_through_the_admin_listeners() {
    let upstream = upstream().start().unwrap();
    let loopback = "127.0.0.1:0".parse().unwrap();
    let daemon = daemon(&upstream).set(|config| config.admin.listen = Some(loopback)).run().await;
    let status: Status = daemon.admin().await.get("/v1/status").await.unwrap();
    let admin = status.listening.admin_tcp.unwrap();
    let socket = Paths::rooted_at(daemon.home()).admin_socket();

    for line in ONLY_BROWSERS_SEND {
        for request in [
            get("/metrics", &format!("{line}\r\n")),
            get("/v1/lock", &format!("{line}\r\n")).replace("GET ", "POST "),
        ] {
            let request = request.replace("HOST", "localhost");
            let over_tcp = asked(TcpStream::connect(admin).await.unwrap(), &request).await;
            let over_unix = asked(UnixStream::connect(&socket).await.unwrap(), &request).await;
            for answer in [over_tcp, over_unix] {
                assert!(answer.starts_with("HTTP/1.1 403 "), "{line}: {answer}");
                assert!(answer.contains("\"code\":\"guard.origin\""), "{line}: {answer}");
            }
        }
    }
    let node = get("/metrics", "Sec-Fetch-Mode: cors\r\n").replace("HOST", "localhost");
    let answer = asked(UnixStream::connect(&socket).await.unwrap(), &node).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
}

/// Each alone, with the values that pages, prefetches and typed addresses have.
const ONLY_BROWSERS_SEND: [&str; 34] = [
    "Origin: http://evil.example",
    "Origin: null",
    "Origin:",
    "Origin: http://localhost",
    "Origin: http://localhost:3000",
    "Origin: chrome-extension://abcdefgh",
    "Origin: http://localhost\r\nOrigin: http://evil.example",
    "Origin: http://evil.example\r\nConnection: upgrade\r\nUpgrade: websocket",
    "Sec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: same-site",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Site: none",
    "Sec-Fetch-Site:",
    "Sec_Fetch_Site: none",
    "sec-fetch_site: none",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Dest: empty",
    "Sec-Fetch-User: ?1",
    "Sec-Fetch-Storage-Access: active",
    "Sec-Fetch-Frame-Top: cross-site",
    "Sec-Purpose: prefetch",
    "Sec-Purpose: prefetch;prerender",
    "Purpose: prefetch",
    "X-Purpose: preview",
    "X-Moz: prefetch",
    "Service-Worker: script",
    "Service-Worker-Navigation-Preload: true",
    "Access-Control-Request-Method: GET",
    "Access-Control-Request-Headers: x",
    "Access-Control-Request-Private-Network: true",
    "Access-Control-Request-Local-Network: true",
    "Access_Control_Request_Method: GET",
    "Upgrade-Insecure-Requests: 1",
    "Upgrade_Insecure_Requests: 0",
];

/// Response headers that only browsers read, some of them twice.
const SAID_TO_BROWSERS: &str = "Content-Security-Policy: script-src *\r\n\
     Content-Security-Policy: default-src * 'unsafe-inline'\r\n\
     Content-Security-Policy-Report-Only: default-src 'self'; report-uri /x\r\n\
     X-Content-Type-Options: none\r\nCross-Origin-Resource-Policy: cross-origin\r\n\
     Report-To: {}\r\nReporting-Endpoints: x=\"https://evil.example\"\r\nNEL: {}\r\n\
     Refresh: 0; url=/evil\r\nService-Worker-Allowed: /\r\nSourceMap: /x\r\nX-SourceMap: /x\r\n\
     Clear-Site-Data: \"*\"\r\nSpeculation-Rules: \"/x\"\r\n\
     Supports-Loading-Mode: credentialed-prerender\r\nTiming-Allow-Origin: *\r\n\
     Strict-Transport-Security: max-age=1\r\nAccess-Control-Allow-Origin: *\r\n";

const OURS: [&str; 3] = [
    "content-security-policy: sandbox; default-src 'none'",
    "x-content-type-options: nosniff",
    "cross-origin-resource-policy: same-origin",
];

/// Each of ours is there once, and nothing beside it.
fn is_sandboxed(answer: &str) {
    let lower = answer.to_ascii_lowercase();
    let head = lower.split("\r\n\r\n").next().unwrap();
    for line in OURS {
        let name = line.split(':').next().unwrap();
        let said: Vec<_> = head.lines().filter(|it| it.starts_with(&format!("{name}:"))).collect();
        assert_eq!(said, [line], "{answer}");
    }
}

async fn asked(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![];
    // A connection that is reset after its answer has still answered.
    stream.read_to_end(&mut answer).await.ok();
    String::from_utf8_lossy(&answer).into_owned()
}
