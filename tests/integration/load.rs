//! Thousands of connections, and gigabytes, cost what they must and no more.
//!
//! Memory is that of the program alone, in a process of its own.

use std::time::Duration;

use nexudus_simulator::Simulator;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::raw_upstream::read_until;
use crate::support::{DaemonProcess, EVENT_TIMEOUT, ProcessSetup, upstream};

#[tokio::test]
#[ignore = "keeps a core busy for seconds; make test runs it"]
async fn thousands_of_idle_connections_hold_up_nobody() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let upstream = upstream().start().unwrap();
    let program = ProcessSetup::new(&upstream).start().await;
    assert_eq!(program.status("/api/auth/me").await, 200);
    let mut idle = vec![served(&program).await];
    let before = program.memory();

    while idle.len() < 4_000 {
        idle.push(served(&program).await);
    }

    let each = program.memory().saturating_sub(before) / 4_000;
    // 20 KB is the aim; what is not optimised is larger.
    assert!(each <= 24 << 10, "{each} bytes for each");
    let asked = std::time::Instant::now();
    assert_eq!(program.status("/api/auth/me").await, 200);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());

    // 4096 by default, some of which are those of `program.status`, and 64 the unix socket's.
    let mut overloaded = vec![];
    while overloaded.is_empty() {
        let (stream, answer) = asked_on_its_own(&program).await;
        if answer.starts_with("HTTP/1.1 200 ") {
            idle.push(stream);
        } else {
            overloaded.push(answer);
        }
        assert!(idle.len() <= 4_096 - 64);
    }
    assert!(idle.len() >= 4_090 - 64, "{}", idle.len());
    assert!(overloaded[0].starts_with("HTTP/1.1 503 "), "{}", overloaded[0]);
    assert!(overloaded[0].contains("\"code\":\"daemon.overloaded\""), "{}", overloaded[0]);
    assert!(overloaded[0].contains("\r\nretry-after: "), "{}", overloaded[0]);

    // Open connections stay served; new ones are served again once some have closed.
    let first = &mut idle[0];
    first.write_all(request(&program).as_bytes()).await.unwrap();
    assert!(read_until(first, "}").await.starts_with("HTTP/1.1 200 "));
    idle.truncate(3_000);
    while !asked_on_its_own(&program).await.1.starts_with("HTTP/1.1 200 ") {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn whoever_stays_beyond_the_bound_is_let_go_at_once() {
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream).set("NEXUDUS_PROXY_LIMITS_CONNECTIONS", "2");
    let program = place.start().await;
    let kept = [served(&program).await, served(&program).await];

    let (mut stream, answer) = asked_on_its_own(&program).await;

    assert!(answer.contains("\"code\":\"daemon.overloaded\""), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    drop(kept);
}

/// The few places beyond the bound are for answers: a client that stays keeps none of them.
#[tokio::test]
async fn whoever_is_still_sending_beyond_the_bound_is_let_go_at_once_too() {
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream).set("NEXUDUS_PROXY_LIMITS_CONNECTIONS", "2");
    let program = place.start().await;
    let mut kept = vec![served(&program).await, served(&program).await];

    for _ in 0..200 {
        let mut stream = TcpStream::connect(program.address()).await.unwrap();
        let host = program.address();
        let head = format!("POST /api/echo HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "}").await;
        assert!(answer.contains("\"code\":\"daemon.overloaded\""), "{answer}");
        kept.push(stream);
    }
}

#[tokio::test]
async fn idle_connections_end_by_themselves() {
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream).set("NEXUDUS_PROXY_LIMITS_KEEP_ALIVE", "1s");
    let program = place.start().await;
    let mut idle = vec![TcpStream::connect(program.address()).await.unwrap()];
    for _ in 0..100 {
        idle.push(served(&program).await);
    }

    for stream in &mut idle {
        let ended = tokio::time::timeout(EVENT_TIMEOUT, stream.read(&mut [0])).await;
        assert_eq!(ended.expect("it stays open").unwrap(), 0);
    }
}

#[tokio::test]
#[ignore = "keeps a core busy for seconds; make test runs it"]
async fn eight_gigabytes_that_nobody_reads_stay_where_they_are() {
    let upstream = upstream().start().unwrap();
    let program = ProcessSetup::new(&upstream).start().await;
    served(&program).await;
    let before = program.memory();
    let head = request(&program).replace("/api/auth/me", "/ContentDownload/x?bytes=1000000000");
    let mut readers = vec![];
    for _ in 0..8 {
        let mut reader = TcpStream::connect(program.address()).await.unwrap();
        reader.write_all(head.as_bytes()).await.unwrap();
        readers.push(reader);
    }
    for reader in &mut readers {
        assert!(read_until(reader, "\r\n\r\n").await.contains("content-length: 1000000000\r\n"));
    }

    // The one thread that all of them share turns round that often.
    for _ in 0..300 {
        assert_eq!(program.status("/api/auth/me").await, 200);
    }

    let added = program.memory().saturating_sub(before);
    assert!(added <= 8 << 20, "{added}");
    let wanted = upstream.requests().into_iter().filter(|seen| seen.path().ends_with("/x"));
    assert!(wanted.into_iter().all(|seen| !seen.answered), "all of it was taken in");
}

#[tokio::test]
#[ignore = "keeps a core busy for seconds; make test runs it"]
async fn a_gigabyte_goes_up_and_leaves_nothing_behind() {
    let upstream = upstream().start().unwrap();
    let program = ProcessSetup::new(&upstream).start().await;
    served(&program).await;
    let before = program.memory();
    let length: usize = 1 << 30;
    let mut caller = TcpStream::connect(program.address()).await.unwrap();
    let head = format!(
        "POST /api/spaces/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    );
    caller.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b'x'; 1 << 20];
    let mut most = 0;

    for _ in 0..length / piece.len() {
        caller.write_all(&piece).await.unwrap();
        most = most.max(program.memory());
    }

    let answer = read_until(&mut caller, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    assert_eq!(arrived(&upstream, "/api/spaces/files"), length as u64);
    let added = most.saturating_sub(before);
    assert!(added <= 4 << 20, "{added}");
}

fn arrived(upstream: &Simulator, path: &str) -> u64 {
    upstream.requests().iter().find(|seen| seen.path() == path).unwrap().body_length
}

/// A connection that has had one answer and stays.
async fn served(program: &DaemonProcess) -> TcpStream {
    let (stream, answer) = asked_on_its_own(program).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    stream
}

async fn asked_on_its_own(program: &DaemonProcess) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(program.address()).await.unwrap();
    stream.write_all(request(program).as_bytes()).await.unwrap();
    let mut bytes = vec![];
    while !is_whole(&bytes) {
        let read = tokio::time::timeout(EVENT_TIMEOUT, stream.read_buf(&mut bytes)).await;
        assert!(read.expect("no answer").unwrap() > 0, "{}", String::from_utf8_lossy(&bytes));
    }
    (stream, String::from_utf8(bytes).unwrap())
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.to_ascii_lowercase();
    let length = length.split("content-length: ").nth(1).and_then(|it| it.split("\r\n").next());
    length.is_some_and(|length| body.len() >= length.parse().unwrap())
}

fn request(program: &DaemonProcess) -> String {
    format!("GET /api/auth/me HTTP/1.1\r\nHost: {}\r\n\r\n", program.address())
}
