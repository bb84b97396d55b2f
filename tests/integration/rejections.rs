//! Malformed requests and those for other hosts get a status, a code and a way out.

use std::net::SocketAddr;
use std::time::Duration;

use nexudus_simulator::Certificate;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::raw_upstream::read_until;
use crate::support::{EVENT_TIMEOUT, ProcessSetup, daemon, problem_json, upstream};

#[tokio::test]
async fn a_request_that_is_not_for_us_never_reaches_nexudus() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;

    for (request, status, code) in [
        ("GET / HTTP/1.1\r\n\r\n", 400, "request.host"),
        ("GET / HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n", 400, "request.host"),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, "guard.host"),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: HOST\r\n\r\n", 421, "guard.host"),
        ("GET / HTTP/1.1\r\nHost: HOST\r\nOrigin: null\r\n\r\n", 403, "guard.origin"),
        ("TRACE / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n", 405, "request.method"),
        (
            "CONNECT a:443 HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
            405,
            "request.method",
        ),
        (
            "GET /api/%74oken HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
            400,
            "request.target",
        ),
        (
            "GET /api/token HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
            405,
            "request.method",
        ),
        ("GET / HTTP/1.1\r\nHost: HOST\r\nbroken header\r\n\r\n", 400, "request.framing"),
        (
            "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            400,
            "request.framing",
        ),
    ] {
        let answer = daemon.raw(request).await;
        let head = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&head), "{request}\n{answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{request}\n{answer}");
        assert!(answer.contains("\r\nproxy-status: nexudus-proxy; error="), "{answer}");
    }
    let proxied = upstream.requests().into_iter().filter(|seen| seen.path() != "/api/token");
    assert_eq!(proxied.count(), 0);
}

#[tokio::test]
async fn a_malformed_target_is_told_from_malformed_framing() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;

    for (line, code) in [
        ("GET /a b HTTP/1.1", "request.target"),
        ("GET /a b HTTP/1.0", "request.target"),
        ("GET  /a HTTP/1.1", "request.target"),
        ("GET /a\tb HTTP/1.1", "request.target"),
        ("GET /a\x7f HTTP/1.1", "request.target"),
        ("GET /a\0b HTTP/1.1", "request.target"),
        ("GET /a<b> HTTP/1.1", "request.target"),
        ("GET /?q=\"b\" HTTP/1.1", "request.target"),
        ("GET http:///a HTTP/1.1", "request.target"),
        ("GET  HTTP/1.1", "request.target"),
        ("GET x HTTP/1.1", "request.target"),
        ("GET /a HTTP/1.2", "request.framing"),
        ("GET /a HTTP/2.0", "request.framing"),
        ("GET /a http/1.1", "request.framing"),
        ("G(T /a HTTP/1.1", "request.framing"),
        (" GET /a HTTP/1.1", "request.framing"),
        ("\x16\x03\x01\x02", "request.framing"),
    ] {
        for rest in ["", "Content-Length: 2\r\n"] {
            let body = if rest.is_empty() { "" } else { "{}" };
            let request = format!("{line}\r\nHost: HOST\r\nConnection: close\r\n{rest}\r\n{body}");
            let answer = daemon.raw(&request).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{line:?}: {answer}");
            assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{line:?}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1 400 ").count(), 1, "{line:?}: {answer}");
        }
    }
    let metrics = daemon.metrics().await;
    assert!(metrics.contains("code=\"request.target\""), "{metrics}");
}

#[tokio::test]
async fn whoever_speaks_http2_at_once_is_told_what_is_spoken_here() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    // The preface of RFC 9113 §3.4, and an empty SETTINGS frame.
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    let answer = daemon.raw(preface).await;

    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("\"code\":\"request.framing\""), "{answer}");
    assert!(answer.contains("HTTP/2") && answer.contains("proxy-status: "), "{answer}");
    assert!(daemon.metrics().await.contains("code=\"request.framing\""));
}

#[tokio::test]
async fn an_empty_line_between_requests_begins_none() {
    let upstream = upstream().start().unwrap();
    let setup = daemon(&upstream).set(|config| {
        config.limits.header_timeout = Duration::from_millis(20);
        config.limits.keep_alive = Duration::from_secs(1);
    });
    let daemon = setup.run().await;
    let request = format!("GET /api/auth/me HTTP/1.1\r\nHost: {}\r\n\r\n", daemon.address());

    let idle = ["\r\n", "\n", "\r\n\r\n"].into_iter().flat_map(|lines| [(lines, 0), (lines, 1)]);
    let ended = idle.map(async |(lines, requests)| {
        let mut caller = TcpStream::connect(daemon.address()).await.unwrap();
        for _ in 0..requests {
            caller.write_all(request.as_bytes()).await.unwrap();
            assert!(read_until(&mut caller, "}").await.starts_with("HTTP/1.1 200 "));
        }
        caller.write_all(lines.as_bytes()).await.unwrap();
        let mut rest = String::new();
        let read = caller.read_to_string(&mut rest);
        tokio::time::timeout(EVENT_TIMEOUT, read).await.expect("it stays open").unwrap();
        assert_eq!(rest, "", "{lines:?} after {requests} requests");
    });
    futures_util::future::join_all(ended).await;

    let half = daemon.raw("\r\nGET /").await;
    assert!(half.starts_with("HTTP/1.1 408 "), "{half}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_told_so() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.limits.target_bytes = 1_000).run().await;

    let long =
        format!("GET /{} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n", "x".repeat(2_000));
    assert!(daemon.raw(&long).await.starts_with("HTTP/1.1 414 "));
    let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    let answer = daemon.raw(&format!("GET / HTTP/1.1\r\nHost: HOST\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(answer.contains("\"code\":\"request.too-large\""), "{answer}");
}

#[tokio::test]
async fn who_is_too_slow_too_large_or_too_many_is_told_so() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(|config| {
        config.limits.header_timeout = Duration::from_millis(200);
        config.limits.body_idle = Duration::from_millis(200);
        config.limits.headers = 3;
        config.limits.body_bytes = 10;
        config.limits.connections = 2;
    });
    let daemon = daemon.run().await;
    let post = |rest: &str| format!("POST /x HTTP/1.1\r\nHost: HOST\r\nContent-Length: {rest}");

    for (request, status, code) in [
        ("GET / HTTP/1.1\r\nHost: HO".to_owned(), 408, "request.timeout"),
        (post("5\r\n\r\nab"), 408, "request.timeout"),
        (post("11\r\n\r\n01234567890"), 413, "request.too-large"),
        (post("1\r\nA: 1\r\nB: 2\r\n\r\n1"), 431, "request.too-large"),
    ] {
        let answer = daemon.raw(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(answer.contains(code), "{answer}");
    }
    let ask = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "api/spaces/coworkers?size=1");
    let mut open = vec![];
    for _ in 0..2 {
        let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
        stream.write_all(ask.as_bytes()).await.unwrap();
        assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
        open.push(stream);
    }
    let answer = daemon.raw("GET / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("daemon.overloaded"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_proxy_in_the_environment_is_not_followed() {
    let upstream = upstream().start().unwrap();
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", trap.local_addr().unwrap());
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"];
    let place =
        names.iter().fold(ProcessSetup::new(&upstream), |place, name| place.set(name, &address));

    let daemon = place.start().await;

    assert_eq!(daemon.status("/api/spaces/coworkers").await, 200);
    let called = tokio::time::timeout(Duration::from_millis(50), trap.accept()).await;
    assert!(called.is_err(), "a request reached the trap");
}

#[tokio::test]
async fn without_a_login_it_starts_and_says_what_to_do() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).without_login().run().await;

    let answer = daemon.get("/api/auth/me").await;

    assert_eq!(answer.status(), 503);
    assert_eq!(problem_json(answer).await["code"], "session.not-logged-in");
}

#[tokio::test]
async fn an_upstream_that_cannot_prove_itself_gets_nothing() {
    let trusted = upstream().start().unwrap();
    let before = |port| {
        daemon(&trusted).set(|config| {
            config.upstream.origin = nexudus_proxy::config::Origin::new("localhost", port);
            config.session.wait = Duration::from_millis(300);
        })
    };
    for certificate in [Certificate::UnknownCa, Certificate::WrongName, Certificate::Expired] {
        let impostor = upstream().certificate(certificate).start().unwrap();
        let daemon = before(impostor.address().port()).run().await;

        let answer = daemon.get("/api/auth/me").await;

        assert_eq!(answer.status(), 503, "{certificate:?}");
        assert_eq!(problem_json(answer).await["code"], "session.unavailable");
        assert_eq!(impostor.requests().len(), 0, "{certificate:?}");
    }
    // No TLS at all, and one that is too old: TLS 1.1's greeting.
    let old = [&[0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2][..], &[7; 32], &[0, 0, 0x2f, 0]].concat();
    for greeting in [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec(), old] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let daemon = before(listener.local_addr().unwrap().port()).run().await;
        let (answer, heard) = tokio::join!(daemon.get("/api/auth/me"), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; 4096];
            let hello = stream.read(&mut heard).await.unwrap();
            stream.write_all(&greeting).await.unwrap();
            let rest = stream.read(&mut heard[hello..]).await.unwrap_or(0);
            heard.truncate(hello + rest);
            heard
        });
        assert_eq!(problem_json(answer).await["code"], "session.unavailable");
        // A greeting, and at most an alert (21): nothing that was meant for Nexudus.
        let (length, after) = (5 + usize::from(heard[3]) * 256 + usize::from(heard[4]), 0x15);
        assert_eq!(heard[0], 0x16);
        assert!(heard.get(length).is_none_or(|kind| *kind == after), "{:?}", &heard[length..]);
    }
}

#[tokio::test]
async fn an_upstream_that_is_gone_is_named() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);

    upstream.stop_listening();
    upstream.close_idle_connections();
    assert!(upstream.wait_until_async(|view| view.connections().open == 0, EVENT_TIMEOUT).await);
    // A read may be repeated, so it finds out whichever way the connections from before ended.
    let answer = daemon.get("/api/auth/me").await;

    assert_eq!(answer.status(), 502);
    let status = answer.headers()["proxy-status"].to_str().unwrap().to_owned();
    assert!(status.contains("error=connection_refused"), "{status}");
    assert_eq!(problem_json(answer).await["code"], "upstream.unreachable");
}

#[tokio::test]
async fn a_port_that_is_taken_on_one_family_is_not_half_taken() {
    let upstream = upstream().start().unwrap();
    let taken = TcpListener::bind("[::1]:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let both = [SocketAddr::from(([127, 0, 0, 1], port)), taken.local_addr().unwrap()];

    let error = nexudus_proxy::listen::bind_tcp(&both).unwrap_err();

    assert!(error.to_string().contains("is already in use"), "{error}");
    drop(upstream);
}
