//! Nothing that a web page, a clever target or a clever header can do reaches Nexudus in our name.

use std::collections::BTreeSet;

use nexudus_proxy::clients::{self, ClientPolicy};
use proptest::prelude::*;
use tokio::net::TcpListener;

use crate::support::{Daemon, daemon, upstream};

#[tokio::test]
async fn only_the_exact_names_of_this_machine_are_served() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let port = daemon.address().port();

    for host in OWN_HOSTS {
        assert_eq!(status(&daemon, &host_line(host)).await, 200, "{host}");
        assert_eq!(status(&daemon, &host_line(&format!("{host}:{port}"))).await, 200, "{host}");
    }
    upstream.clear_recording();
    for host in OTHER_HOSTS {
        let status = status(&daemon, &host_line(host)).await;
        assert!([400, 421].contains(&status), "{host}: {status}");
    }
    for lines in [
        "",
        "Host: local\0host\r\n",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host: localhost\r\nHost: evil.example\r\n",
        "Host: localhost\r\n evil.example\r\n",
        "Host : localhost\r\n",
        "X-Forwarded-Host: localhost\r\nForwarded: host=localhost\r\n",
    ] {
        assert_eq!(status(&daemon, lines).await, 400, "{lines:?}");
    }
    let forwarded =
        "Host: evil.example\r\nX-Forwarded-Host: localhost\r\nForwarded: host=localhost\r\n";
    assert_eq!(status(&daemon, forwarded).await, 421);
    // The target's own authority is looked at as well, and HTTP/2 is not spoken.
    for head in [
        "GET http://localhost/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let answer = daemon.raw(head).await;
        assert!(
            answer.starts_with("HTTP/1.1 4") && answer.contains("connection: close"),
            "{answer}"
        );
        assert!(
            answer.contains("content-security-policy: sandbox; default-src 'none'"),
            "{answer}"
        );
    }
    let preface = daemon.raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(preface.starts_with("HTTP/1.1 400 "), "{preface}");
    assert_eq!(upstream.requests().len(), 0);
}

/// An address cannot be rebound in any spelling, and `localhost.` is the same name (RFC 6761).
const OWN_HOSTS: [&str; 7] = [
    "localhost",
    "LocalHost",
    "localhost.",
    "127.0.0.1",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
];

/// Names that are none of this machine, and what is no name.
const OTHER_HOSTS: [&str; 26] = [
    "evil.example",
    "localhost.evil.example",
    "evil.localhost",
    "127.0.0.1.nip.io",
    "127.evil.example",
    "127a0b0c1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0.0.0.0",
    "[::]",
    "::1",
    "localhost:1",
    "localhost:06398",
    "127.0.0.1:",
    "localhost:x",
    "user@localhost",
    "localhost/",
    "localhost#",
    "localhost?",
    "localhost, evil.example",
    "loc alhost",
    "",
    "localhost\\",
    "xn--lcalhost-n4a",
    "l\u{00f6}calhost",
];

#[tokio::test]
async fn no_other_protocol_is_switched_to() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let asks = |upgrade: &str| {
        let lines = format!("Host: HOST\r\nUpgrade: {upgrade}\r\nConnection: upgrade, close\r\n");
        request("GET", "/api/spaces/coworkers", &lines)
    };

    for upgrade in ["websocket", "WebSocket", "h2c, websocket"] {
        let answer = daemon.raw(&asks(upgrade)).await;
        assert!(answer.starts_with("HTTP/1.1 501 "), "{upgrade}: {answer}");
        assert!(answer.contains("request.upgrade"), "{answer}");
    }
    assert_eq!(upstream.requests().iter().filter(|seen| seen.path() != "/api/token").count(), 0);
    for upgrade in ["h2c", "foo"] {
        let answer = daemon.raw(&asks(upgrade)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{upgrade}: {answer}");
    }
    let upgrades = |seen: &nexudus_simulator::RecordedRequest| seen.header("upgrade").is_some();
    assert!(!upstream.requests().iter().any(upgrades));
}

#[tokio::test]
async fn no_target_chooses_where_a_request_goes() {
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let trap_address = trap.local_addr().unwrap();
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let own = daemon.address();

    for (target, expected) in [
        (format!("http://{trap_address}/"), 421),
        (format!("http://{own}@{trap_address}/"), 400),
        (format!("http://user@{own}/"), 400),
        (format!("https://{own}/"), 400),
        (format!("ftp://{own}/"), 400),
        (format!("@{trap_address}/"), 400),
        (format!(".{trap_address}/"), 400),
        (format!("{trap_address}"), 400),
        (":80/".to_owned(), 400),
        ("*".to_owned(), 400),
        ("api/auth/me".to_owned(), 400),
        ("\\\\evil.example/".to_owned(), 400),
    ] {
        let answer = daemon.raw(&request("GET", &target, "Host: HOST\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{target}: {answer}");
    }
    for method in ["CONNECT", "TRACE", "TRACK", "DEBUG", "PROPFIND", "get"] {
        let target = if method == "CONNECT" { trap_address.to_string() } else { "/".to_owned() };
        let lines = "Host: HOST\r\nMax-Forwards: 0\r\nX-HTTP-Method-Override: GET\r\n";
        let answer = daemon.raw(&request(method, &target, lines)).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        assert!(answer.contains("\r\nallow: GET, "), "{answer}");
    }
    let doubled = request("GET", &format!("//{trap_address}/x"), "Host: HOST\r\n");
    daemon.raw(&doubled).await;
    let absolute = request("GET", &format!("http://{own}/api/auth/me"), "Host: HOST\r\n");
    assert!(daemon.raw(&absolute).await.starts_with("HTTP/1.1 200 "));
    let called = tokio::time::timeout(std::time::Duration::from_millis(50), trap.accept()).await;
    assert!(called.is_err(), "a request reached the trap");
}

#[tokio::test]
async fn whatever_a_caller_sends_one_authorization_goes_out_and_it_is_ours() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.get("/api/auth/me").await;
    let tokens: BTreeSet<String> =
        upstream.live_access_tokens().iter().map(|token| format!("Bearer {token}")).collect();
    upstream.clear_recording();
    let key = clients::add(&daemon.home().join("state"), "agent", ClientPolicy::default()).unwrap();

    let keys = [
        format!("Nexudus-Proxy-Key: {}", key.expose()),
        format!("Proxy-Authorization: Bearer {}", key.expose()),
    ];
    let hostile = [&HOSTILE.map(str::to_owned)[..], &keys].concat();
    for lines in &hostile {
        let lines = format!("Host: HOST\r\n{lines}\r\n");
        let answer = daemon.raw(&request("GET", "/api/spaces/coworkers", &lines)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{lines}: {answer}");
        assert!(!tokens.iter().any(|token| answer.contains(&token[7..])), "{lines}");
    }
    let seen = upstream.requests();
    assert_eq!(seen.len(), hostile.len());
    for seen in seen {
        let names: Vec<String> =
            seen.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let text = format!("{:?}", seen.headers);
        assert_eq!(names.iter().filter(|name| *name == "authorization").count(), 1, "{text}");
        assert!(tokens.contains(seen.header("authorization").unwrap()), "{text}");
        for gone in GONE {
            assert!(!names.iter().any(|name| name == gone), "{gone}: {text}");
        }
        assert!(!text.contains("evil") && !text.contains("nxp_"), "{text}");
    }
}

/// Fields that would change who asks, for what, or by which method.
const HOSTILE: [&str; 13] = [
    "Authorization: Bearer theirs",
    "Authorization: Basic bWU6eA==\r\nAuthorization: Bearer x",
    "Connection: close, authorization, via, host",
    "Connection: authorization\r\nConnection: close",
    "Client_Id: x\r\nClient-Id: y\r\nclient_id: z",
    "X_Forwarded_For: 1\r\nX-Forwarded-Host: evil\r\nForwarded: for=1\r\nX-Real-IP: 1",
    "X-Original-URL: /api/token\r\nX-Rewrite-URL: /api/token\r\nX-Host: evil",
    "X-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\nX-Method-Override: PUT",
    "_method: DELETE\r\nX-Method: DELETE\r\nX_Method: DELETE\r\nX-Original-Method: DELETE",
    "X-Override-URL: /api/token\r\nX-MS-Original-URL: /api/token\r\nDestination: /api/token",
    "AspFilterSessionId: S(x)\r\nX-WAWS-Unencoded-URL: /evil\r\nX-Original-URI: /evil",
    "Cookie: a=b\r\nReferer: http://evil.example\r\nProxy: http://evil\r\nVia: 1.0 x",
    "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings, close",
];

/// Fields that never go up, whoever sends them.
const GONE: [&str; 30] = [
    "client-id",
    "client_id",
    "x-forwarded-host",
    "x_forwarded_for",
    "forwarded",
    "x-real-ip",
    "x-original-url",
    "x-rewrite-url",
    "x-host",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "_method",
    "x-method",
    "x_method",
    "x-original-method",
    "x-override-url",
    "x-ms-original-url",
    "x-waws-unencoded-url",
    "x-original-uri",
    "destination",
    "aspfiltersessionid",
    "cookie",
    "referer",
    "proxy",
    "upgrade",
    "http2-settings",
    "proxy-authorization",
    "nexudus-proxy-key",
    "origin",
];

#[test]
fn what_is_let_through_arrives_as_exactly_one_request() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (upstream, daemon) = runtime.block_on(async {
        let upstream = upstream().start().unwrap();
        let daemon = daemon(&upstream).run().await;
        daemon.get("/api/auth/me").await;
        (upstream, daemon)
    });
    proptest!(ProptestConfig { cases: 80, ..ProptestConfig::default() }, |((method, lines, body) in requests())| {
        upstream.clear_recording();
        let head = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
        let text = format!("{method} /api/spaces/coworkers HTTP/1.1\r\nHost: localhost\r\n{head}\r\n{body}");
        let answer = runtime.block_on(sent(&daemon, &text));
        let answers = answer.matches("HTTP/1.1 ").count() - answer.matches("HTTP/1.1 100 ").count();
        let seen = upstream.requests();
        prop_assert!(seen.len() <= answers, "{text:?}\n{answer}");
        for seen in &seen {
            prop_assert!(seen.path() != "/smuggled" || answers > 1, "{:?}\n{:?}", text, seen);
            let framed = seen.headers.iter().filter(|(name, _)| {
                let name = name.to_ascii_lowercase().replace('_', "-");
                name == "content-length" || name == "transfer-encoding"
            });
            prop_assert!(framed.count() <= 1, "{:?}\n{:?}", text, seen);
        }
    });
}

/// Methods, fields about the body, and bodies, of which few fit together.
fn requests() -> impl Strategy<Value = (&'static str, Vec<&'static str>, &'static str)> {
    let line = prop_oneof![
        Just("Content-Length: 0"),
        Just("Content-Length: 5"),
        Just("Content-Length: 005"),
        Just("Content-Length: +5"),
        Just("Content-Length: 5, 5"),
        Just("Content-Length: 5\r\nContent-Length: 6"),
        Just("Transfer-Encoding: chunked"),
        Just("Transfer-Encoding: chunked, chunked"),
        Just("Transfer-Encoding : chunked"),
        Just("Transfer-Encoding: \tchunked"),
        Just("Transfer-Encoding: x"),
        Just("Transfer-Encoding: xchunked"),
        Just("Transfer_Encoding: chunked"),
        Just("TE: trailers"),
        Just("Expect: 100-continue"),
        Just("Connection: keep-alive, content-length"),
        Just("X: y"),
        Just("Trailer: x"),
        Just("X: y\r\n Content-Length: 9"),
    ];
    let body = prop_oneof![
        Just(""),
        Just("hello"),
        Just("5\r\nhello\r\n0\r\n\r\n"),
        Just("0\r\n\r\n"),
        Just("5;x=y\r\nhello\r\n0\r\nTrailer: x\r\n\r\n"),
        Just("05\r\nhello\r\n0\r\n\r\n"),
        Just("0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: x\r\n\r\n"),
    ];
    let method = prop_oneof![Just("GET"), Just("POST"), Just("PUT")];
    (method, proptest::collection::vec(line, 0..4), body)
}

/// Sends these bytes and returns all that comes back until nothing more does.
async fn sent(daemon: &Daemon, text: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(daemon.address()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = vec![];
    // A body that never ends is waited for: there is no event for its not coming.
    let quiet = std::time::Duration::from_millis(150);
    while let Ok(Ok(1..)) = tokio::time::timeout(quiet, stream.read_buf(&mut answer)).await {}
    String::from_utf8_lossy(&answer).into_owned()
}

async fn status(daemon: &Daemon, lines: &str) -> u16 {
    let answer = daemon.raw(&request("GET", "/api/auth/me", lines)).await;
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

fn host_line(host: &str) -> String {
    format!("Host: {host}\r\n")
}

fn request(method: &str, target: &str, lines: &str) -> String {
    let close = if lines.to_ascii_lowercase().contains("connection:") {
        ""
    } else {
        "Connection: close\r\n"
    };
    format!("{method} {target} HTTP/1.1\r\n{lines}{close}\r\n")
}
