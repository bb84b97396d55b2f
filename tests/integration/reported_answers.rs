//! Public reports about other proxies, tried on this one: `tests/reports.md` lists them all.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::raw_upstream::{
    RawReply, daemon_before_raw, get, ok, raw_upstream, read_until,
};
use crate::support::{daemon, upstream};

/// <https://github.com/lennart-k/rustical/issues/10>
#[tokio::test]
async fn a_read_with_a_body_leaves_its_connection_in_order() {
    let upstream = raw_upstream(|head| RawReply::Keep(ok(head.split(' ').nth(1).unwrap()))).await;
    let daemon = daemon_before_raw(&upstream).await;
    let mut stream = TcpStream::connect(daemon.address()).await.unwrap();

    for target in ["/one", "/two", "/three"] {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, target).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert_eq!(upstream.requests().iter().filter(|seen| seen.ends_with("hello")).count(), 3);
}

/// <https://github.com/veryfront/veryfront-code/pull/584>, <https://github.com/unjs/httpxy/issues/64>
#[tokio::test]
async fn a_path_with_empty_segments_is_a_path_and_stays_as_it_is() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    let daemon = daemon_before_raw(&upstream).await;

    for target in ["//cms/wp-includes/x", "/a//b///", "//", "/x?y=//z//", "//evil.example:80/x"] {
        let answer = daemon.raw(&get(target, "")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{target}: {answer}");
        let seen = upstream.requests().pop().unwrap();
        assert!(seen.starts_with(&format!("GET {target} HTTP/1.1\r\nhost: localhost:")), "{seen}");
    }
}

/// <https://github.com/http4k/http4k/issues/1022>
#[tokio::test]
async fn a_304_keeps_what_a_cache_needs() {
    let fields = "ETag: W/\"x\"\r\nVary: Accept\r\nCache-Control: private\r\nExpires: -1\r\n\
                  Content-Location: /x\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    let answer = format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n");
    let upstream = raw_upstream(move |_| RawReply::Keep(answer.clone())).await;
    let daemon = daemon_before_raw(&upstream).await;

    let said = daemon.raw(&get("/x", "If-None-Match: W/\"x\"\r\n")).await.to_ascii_lowercase();

    for field in fields.trim_end().to_ascii_lowercase().split("\r\n") {
        assert!(said.contains(&format!("\r\n{field}\r\n")), "{field}: {said}");
    }
    let seen = upstream.requests().pop().unwrap();
    assert!(seen.contains("if-none-match: W/\"x\"\r\n"), "{seen}");
}

/// <https://github.com/garrytan/gbrain/issues/2547>, <https://github.com/gptme/gptme/pull/3318>
#[tokio::test]
async fn an_event_stream_opens_before_its_first_event_and_each_event_comes_at_once() {
    let word = Arc::new(Semaphore::new(0));
    let late = word.clone();
    let upstream = raw_upstream(move |_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_owned();
        RawReply::Late(head, late.clone(), "data: 1\n\n".to_owned())
    })
    .await;
    let daemon = daemon_before_raw(&upstream).await;
    let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();

    // Nothing of the body exists yet.
    let head = read_until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    word.add_permits(1);
    let event = read_until(&mut stream, "data: 1\n\n").await;

    assert!(event.ends_with("data: 1\n\n"), "{event}");
}

/// <https://github.com/vaxerski/checkpoint/issues/7>
#[tokio::test]
async fn a_body_has_one_length_on_its_way_up() {
    let upstream = raw_upstream(|_| RawReply::Keep(ok("{}"))).await;
    let daemon = daemon_before_raw(&upstream).await;

    for name in ["Content-Length", "content-length", "CONTENT-LENGTH"] {
        let request = get("/x", &format!("{name}: 5\r\n")).replacen("GET", "POST", 1) + "hello";
        assert!(daemon.raw(&request).await.starts_with("HTTP/1.1 200 "));
        let seen = upstream.requests().pop().unwrap().to_ascii_lowercase();
        assert_eq!(seen.matches("content-length:").count(), 1, "{seen}");
    }
}

/// <https://github.com/therealaleph/MasterHttpRelayVPN-RUST/pull/70>
#[tokio::test]
async fn our_own_responses_have_the_length_that_they_announce() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let requests = [
        "nonsense\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        get("/x", "Host: evil.example\r\n"),
        get("/x", "").replace("HOST", "evil.example"),
        get("/x", "Origin: http://evil.example\r\n"),
        get("/x", "Transfer-Encoding: gzip\r\n"),
        get("/x", "Connection: upgrade\r\nUpgrade: websocket\r\n"),
        get("/api/token", ""),
        get("/api%2ftoken", ""),
        get("/x", "").replacen("GET", "TRACE", 1),
        get(&format!("/{}", "x".repeat(20_000)), ""),
        get("/x", &format!("X-Large: {}\r\n", "x".repeat(80_000))),
    ];
    for request in requests {
        let answer = daemon.raw(&request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
        });
        assert!(head.starts_with("HTTP/1.1 4") || head.starts_with("HTTP/1.1 5"), "{head}");
        assert_eq!(length, Some(Ok(body.len())), "{request:.60}: {answer}");
    }
}
