//! What is malformed, foreign or not ours to answer gets a status, a code and a way out.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::support::{PATIENCE, daemon, problem, upstream};

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
    let proxied = upstream.seen().into_iter().filter(|seen| seen.path() != "/api/token");
    assert_eq!(proxied.count(), 0);
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
async fn without_a_login_it_starts_and_says_what_to_do() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).without_login().run().await;

    let answer = daemon.get("/api/auth/me").await;

    assert_eq!(answer.status(), 503);
    assert_eq!(problem(answer).await["code"], "session.not-logged-in");
}

#[tokio::test]
async fn an_upstream_that_cannot_prove_itself_gets_nothing() {
    let trusted = upstream().start().unwrap();
    let certificate = nexudus_simulator::Certificate::UnknownCa;
    let impostor = upstream().certificate(certificate).start().unwrap();
    let port = impostor.address().port();
    let elsewhere = nexudus_proxy::config::Origin::new("localhost", port);
    let setup = daemon(&trusted).set(|config| {
        config.upstream.origin = elsewhere;
        config.session.wait = std::time::Duration::from_millis(300);
    });
    let daemon = setup.run().await;

    let answer = daemon.get("/api/auth/me").await;

    assert_eq!(answer.status(), 503);
    assert_eq!(problem(answer).await["code"], "session.unavailable");
    assert_eq!(impostor.seen().len(), 0);
}

#[tokio::test]
async fn an_upstream_that_is_gone_is_named() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);

    upstream.stop_listening();
    upstream.close_idle_connections();
    assert!(upstream.wait_until_async(|view| view.connections().open == 0, PATIENCE).await);
    // A read may be repeated, so it finds out whichever way the connections from before ended.
    let answer = daemon.get("/api/auth/me").await;

    assert_eq!(answer.status(), 502);
    let status = answer.headers()["proxy-status"].to_str().unwrap().to_owned();
    assert!(status.contains("error=connection_refused"), "{status}");
    assert_eq!(problem(answer).await["code"], "upstream.unreachable");
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
