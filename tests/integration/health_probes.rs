//! `admin.health_listen`: probes of other machines get a status, and nothing else.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Daemon, EVENT_TIMEOUT, daemon, upstream};

#[tokio::test]
async fn health_probes_get_a_status_and_nothing_else() {
    let upstream = upstream().start().unwrap();
    let setup = daemon(&upstream).set(|config| config.admin.health_listen = any());
    let daemon = setup.run().await;
    daemon.session_until(|view| view.generation == 1).await;

    for (request, status) in [
        ("GET /healthz HTTP/1.0\r\n\r\n", "200 OK"),
        ("GET /readyz HTTP/1.0\r\n\r\n", "200 OK"),
        ("HEAD /readyz HTTP/1.0\r\n\r\n", "200 OK"),
        (
            "GET /readyz HTTP/1.1\r\nHost: 10.1.2.3:8080\r\nUser-Agent: kube-probe/1.31\r\n\r\n",
            "200 OK",
        ),
        ("GET /readyz?verbose HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK"),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404 Not Found"),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "404 Not Found"),
        ("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", "404 Not Found"),
        ("GET /api/auth/me HTTP/1.1\r\nHost: x\r\n\r\n", "404 Not Found"),
        ("GET /readyz/ HTTP/1.1\r\nHost: x\r\n\r\n", "404 Not Found"),
        ("POST /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "404 Not Found"),
        ("POST /v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "404 Not Found"),
    ] {
        let answer = probe(&daemon, request).await;

        let (line, fields) = answer.split_once("\r\n").expect(&answer);
        assert_eq!(line.split_once(' ').unwrap().1, status, "{request}");
        assert!(fields.ends_with("\r\n\r\n"), "it has a body: {answer}");
        let names = fields.lines().filter_map(|line| Some(line.split_once(':')?.0));
        for name in names {
            assert!(["content-length", "connection", "date"].contains(&name), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_daemon_that_cannot_serve_is_alive_and_not_ready() {
    let upstream = upstream().start().unwrap();
    let setup = daemon(&upstream).without_login();
    let daemon = setup.set(|config| config.admin.health_listen = any()).run().await;

    let alive = probe(&daemon, "GET /healthz HTTP/1.0\r\n\r\n").await;
    let ready = probe(&daemon, "GET /readyz HTTP/1.0\r\n\r\n").await;

    assert!(alive.starts_with("HTTP/1.0 200 "), "{alive}");
    assert!(ready.starts_with("HTTP/1.0 503 ") && ready.ends_with("\r\n\r\n"), "{ready}");
    assert!(!ready.contains("log"), "no reason: {ready}");
}

#[tokio::test]
async fn a_stranger_who_holds_connections_keeps_no_probe_out() {
    let upstream = upstream().start().unwrap();
    let daemon = probed(&upstream).await;
    daemon.session_until(|view| view.generation == 1).await;
    let mut held = vec![];
    for _ in 0..40 {
        held.push(TcpStream::connect(address(&daemon)).await.unwrap());
    }

    let answer = probe(&daemon, "GET /readyz HTTP/1.0\r\n\r\n").await;

    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    // The oldest made room, and all end by themselves.
    for mut stream in held {
        let mut rest = vec![];
        let read = tokio::time::timeout(EVENT_TIMEOUT, stream.read_to_end(&mut rest)).await;
        read.expect("it stays open").ok();
    }
}

#[tokio::test]
async fn an_http_1_0_probe_without_a_host_is_answered_everywhere() {
    let upstream = upstream().start().unwrap();
    let setup =
        daemon(&upstream).set(|config| config.admin.listen = Some(([127, 0, 0, 1], 0).into()));
    let daemon = setup.run().await;

    let data = daemon.raw("GET /api/auth/me HTTP/1.0\r\n\r\n").await;
    let mut admin = TcpStream::connect(daemon.running.admin_address().unwrap()).await.unwrap();
    admin.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
    let mut health = String::new();
    admin.read_to_string(&mut health).await.unwrap();

    assert!(data.starts_with("HTTP/1.0 200 "), "{data}");
    assert!(health.starts_with("HTTP/1.0 200 "), "{health}");
    let newer = daemon.raw("GET /api/auth/me HTTP/1.1\r\n\r\n").await;
    assert!(newer.starts_with("HTTP/1.1 400 "), "{newer}");
}

async fn probed(upstream: &nexudus_simulator::Simulator) -> Daemon {
    daemon(upstream).set(|config| config.admin.health_listen = any()).run().await
}

fn any() -> Option<SocketAddr> {
    Some(SocketAddr::from(([0, 0, 0, 0], 0)))
}

fn address(daemon: &Daemon) -> SocketAddr {
    let address = daemon.running.health_address().unwrap();
    SocketAddr::from(([127, 0, 0, 1], address.port()))
}

/// Sends a request and returns all that comes back.
async fn probe(daemon: &Daemon, request: &str) -> String {
    let mut stream = TcpStream::connect(address(daemon)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(EVENT_TIMEOUT, read).await.expect("it stays open").unwrap();
    answer
}
