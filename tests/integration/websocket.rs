//! A WebSocket passes where it is enabled, and no token shows.

use std::cell::RefCell;

use futures_util::{SinkExt as _, StreamExt as _};
use nexudus_proxy::clients::{self, ClientPolicy};
use nexudus_proxy::config::Paths;
use nexudus_proxy::run::{ProfileLeader, RunProxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::raw_upstream::{RawReply, raw_upstream, read_until};
use crate::support::websocket::{
    handshake, next, nothing_is_open, open, open_at, said_back, switching,
};
use crate::support::{Daemon, EVENT_TIMEOUT, ProcessSetup};

#[tokio::test]
async fn a_websocket_carries_whatever_both_ends_say() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;
    let (mut socket, answer) = open(&daemon, "/api/live?x=%20y").await.unwrap();

    assert_eq!(answer["upgrade"], "websocket");
    assert_eq!(answer["sec-websocket-protocol"], "chat");
    let large = vec![0x5a; 1 << 20];
    for message in [Message::text("héllo"), Message::binary(vec![0, 255]), Message::binary(large)]
    {
        assert_eq!(said_back(&mut socket, message.clone()).await, message);
    }
    let pong = said_back(&mut socket, Message::Ping("are you there".into())).await;
    assert_eq!(pong, Message::Pong("are you there".into()));
    let head = upstream.requests().concat();
    assert!(head.starts_with("GET /api/live?x=%20y HTTP/1.1\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
    for line in ["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13"] {
        assert_eq!(head.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line}: {head}");
    }
    assert!(head.contains("\r\nauthorization: bearer marker-token-5c1d\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nhost: localhost:{}\r\n", upstream.address.port())));
    assert!(!head.contains("cookie") && !head.contains("theirs"), "{head}");
}

#[tokio::test]
async fn pythons_websockets_are_served_as_by_the_host() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;

    talks(&daemon, "/usr/bin/python3", &["with_websockets.py"]).await;

    let heads = upstream.requests();
    assert!(
        heads.iter().all(|head| head.contains("permessage-deflate")),
        "offers go up: {heads:?}"
    );
}

#[tokio::test]
async fn nodes_own_websocket_is_served_as_by_the_host() {
    let mut node = &["with_websocket.mjs"][..];
    let has_one = async |options: &[&str]| {
        let mut node = tokio::process::Command::new("node");
        let asks = node
            .args(options)
            .args(["-e", "process.exit(typeof WebSocket === 'function' ? 0 : 1)"]);
        asks.output().await.unwrap().status.success()
    };
    if !has_one(&[]).await {
        // Node 20 has WebSocket behind an option; older ones have none.
        node = &["--experimental-websocket", "with_websocket.mjs"];
        if !has_one(&node[..1]).await {
            return;
        }
    }
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;

    talks(&daemon, "node", node).await;
}

#[tokio::test]
async fn many_messages_stand_in_both_directions_at_once() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;
    let (socket, _) = open(&daemon, "/live").await.unwrap();
    let (mut out, back) = socket.split();

    let say = async {
        for number in 0..200_u8 {
            out.send(Message::binary(vec![number; 64 << 10])).await.unwrap();
        }
        out.send(Message::text("bye")).await.unwrap();
    };
    let heard = back.map(Result::unwrap).filter(|it| std::future::ready(it.is_binary())).collect();
    let ((), heard): ((), Vec<_>) =
        tokio::time::timeout(EVENT_TIMEOUT, async { tokio::join!(say, heard) }).await.unwrap();

    let expected = (0..200_u8).map(|number| Message::binary(vec![number; 64 << 10]));
    assert!(expected.eq(heard));
}

#[tokio::test]
async fn a_websocket_goes_through_the_listener_of_a_run_too() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;
    let key = clients::add(&daemon.home().join("state"), "run", ClientPolicy::default()).unwrap();
    let turn = ProfileLeader::new(&daemon.config, &Paths::rooted_at(daemon.home()));
    let relay = RunProxy::start(turn.into(), &key).unwrap();

    let (mut socket, _) = open_at(relay.address(), "/live", "").await.unwrap();
    let message = Message::text("through two");
    assert_eq!(said_back(&mut socket, message.clone()).await, message);
    drop(socket);
    nothing_is_open(&daemon).await;

    let (mut socket, _) = open_at(relay.address(), "/live", "").await.unwrap();
    daemon.running.session().lock().await;
    assert!(!matches!(next(&mut socket).await, Some(Ok(_))), "it ends from the other side too");
}

#[tokio::test]
async fn what_a_caller_sends_ahead_arrives() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;
    let mut caller = TcpStream::connect(daemon.address()).await.unwrap();

    // A masked text frame, mask zero, right behind the head.
    let ahead = [&handshake()[..], b"\x81\x82\0\0\0\0hi"].concat();
    caller.write_all(&ahead).await.unwrap();

    let head = read_until(&mut caller, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut frame = [0; 4];
    caller.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"\x81\x02hi");
}

#[tokio::test]
async fn no_token_shows_where_a_websocket_goes_through() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;
    let mut caller = TcpStream::connect(daemon.address()).await.unwrap();
    caller.write_all(&handshake()).await.unwrap();

    let head = read_until(&mut caller, "\r\n\r\n").await;

    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(!head.contains("marker-token") && !head.contains("set-cookie"), "{head}");
    assert!(!daemon.metrics().await.contains("marker-token"));
}

#[tokio::test]
async fn the_log_tells_of_a_websocket_and_of_no_token() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let origin = format!("https://localhost:{}", upstream.address.port());
    let place = ProcessSetup::before(origin, &upstream.ca)
        .set("NEXUDUS_PROXY_UPSTREAM_UPGRADE", "true")
        .set("NEXUDUS_PROXY_LOG_LEVEL", "trace");
    let mut program = place.start().await;
    let (mut socket, _) =
        open_at(program.address(), "/live?secret=marker-query", "").await.unwrap();
    said_back(&mut socket, Message::text("marker-message")).await;
    drop(socket);

    let lines = RefCell::new(String::new());
    let is_last = |line: &serde_json::Value| {
        lines.borrow_mut().push_str(&line.to_string());
        line["status"] == 101
    };
    let line = program.wait_for_log(is_last).await;

    assert_eq!((&line["path"], &line["bytes"]), (&"/live".into(), &16.into()), "{line}");
    assert!(lines.borrow().contains("a WebSocket ended"));
    assert!(!lines.borrow().contains("marker"), "{}", lines.borrow());
}

/// Runs a script of those beside this file, which talks to an echo behind the daemon.
async fn talks(daemon: &Daemon, program: &str, arguments: &[&str]) {
    let mut talking = tokio::process::Command::new(program);
    talking
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/websocket"))
        .args(arguments)
        .arg(format!("ws://{}/api/live", daemon.address()));

    let told = talking.output().await.unwrap();

    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert_eq!(told.stdout, b"all of it\n");
    nothing_is_open(daemon).await;
}
