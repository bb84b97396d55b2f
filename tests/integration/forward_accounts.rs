//! Requests through the forward proxy to other hosts are counted and recorded like those to Nexudus.

use nexudus_proxy::clients::{self, ClientPolicy};
use nexudus_proxy::config::AuditFile;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::forward::{Echo, Forward, origin, read_head, tunnelling};
use crate::support::upstream;

#[tokio::test]
async fn requests_to_other_hosts_are_counted_and_recorded() {
    let upstream = upstream().start().unwrap();
    let echo = Echo::start().await;
    let setup =
        tunnelling(&upstream, &echo.target).set(|config| config.audit.file = AuditFile::Auto);
    let daemon = setup.run().await;
    let forward = Forward::of(&daemon).await;
    let limits = ClientPolicy { max_requests: Some(2), ..ClientPolicy::default() };
    let key = clients::add(&daemon.home().join("state"), "bot", limits).unwrap();
    let line = format!("Proxy-Authorization: Bearer {}\r\n", key.expose());

    for status in ["200 Connection established", "200 Connection established", "403"] {
        let (_, head) = forward.connect(&echo.target, &line).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
    }
    let target = &echo.target;
    let plain =
        format!("GET http://{target}/a HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n");
    let answer = forward.raw(&format!("{plain}{line}\r\n")).await;
    assert!(answer.contains("policy.exhausted"), "{answer}");
    let (_, head) = forward.connect("other.test:22", &line).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let home = daemon.stop().await;

    let audit = std::fs::read_to_string(home.path().join("state/audit.jsonl")).unwrap();
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_bot = |line: &&Value| line["client"] == "bot" && line["method"].is_string();
    let told: Vec<_> = lines.iter().filter(of_bot).map(|line| &line["path"]).collect();
    assert_eq!(told, [target, target, target, target, "other.test:22"], "{audit}");
    assert!(!audit.contains(key.expose()), "{audit}");
}

/// A client may send what is meant for the tunnel at once: refused, its bytes are no request.
#[tokio::test]
async fn the_bytes_behind_a_refused_connect_are_no_request() {
    let upstream = upstream().start().unwrap();
    let daemon = tunnelling(&upstream, "127.0.0.1:1").run().await;
    let forward = Forward::of(&daemon).await;

    let ahead = format!("GET http://{}/api/auth/me HTTP/1.1\r\nHost: x\r\n\r\n", origin(&upstream));
    let request = format!("CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n{ahead}");
    let mut tcp = TcpStream::connect(forward.address).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut tcp).await;
    assert!(head.starts_with("HTTP/1.1 403 ") && head.contains("connection: close"), "{head}");
    let mut rest = vec![];
    tcp.read_to_end(&mut rest).await.ok();
    let rest = String::from_utf8_lossy(&rest);
    assert!(!rest.contains("HTTP/1.1"), "{rest}");
}
