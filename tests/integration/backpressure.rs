//! A host that says too much, too little or too early holds up neither its caller nor any other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::support::raw_upstream::{RawReply, RawUpstream, get, ok, raw_upstream, read_until};
use crate::support::tls_records::Flood;
use crate::support::{Daemon, EVENT_TIMEOUT, PROBE_PATH, daemon_before};

#[tokio::test]
async fn interim_answers_without_end_are_no_answer() {
    for interim in ["HTTP/1.1 100 Continue\r\n\r\n", "\r\n"] {
        let (_upstream, daemon) = flooding("", &interim.repeat(1_000)).await;

        let answer = daemon.raw(&get("/flood", "")).await;

        assert!(answer.starts_with("HTTP/1.1 502 "), "{interim:?}: {answer}");
        assert!(answer.contains("\"code\":\"upstream.closed\""), "{interim:?}: {answer}");
    }
}

#[tokio::test]
async fn the_smallest_chunks_without_end_leave_others_their_turns() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (_upstream, daemon) = flooding(head, &"1\r\nx\r\n".repeat(10_000)).await;
    let mut caller = TcpStream::connect(daemon.address()).await.unwrap();
    caller.write_all(b"GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let reading = tokio::spawn(async move {
        tokio::io::copy(&mut caller, &mut tokio::io::sink()).await.unwrap();
    });

    for _ in 0..20 {
        assert!(daemon.raw(&get("/calm", "")).await.ends_with("/calm"));
    }

    assert!(!reading.is_finished());
}

#[tokio::test]
async fn tls_records_without_end_end_the_connection_and_hold_up_nobody() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    for kind in [Flood::KeyUpdates, Flood::Empty, Flood::Tickets] {
        for first in ["", head] {
            let (upstream, daemon) = answering(move |head| match head.split(' ').nth(1).unwrap() {
                "/flood" => RawReply::Flood(first.to_owned(), kind),
                path => RawReply::Keep(ok(path)),
            })
            .await;

            // Ends by itself, long before anything is late.
            let (one, other) = (get("/flood", ""), get("/calm", ""));
            let (answer, calm) = tokio::join!(daemon.raw(&one), daemon.raw(&other));

            assert!(calm.ends_with("/calm"), "{kind:?}: {calm}");
            // What comes in one piece with the flood may be lost with it.
            let is_cut = !first.is_empty() && answer.ends_with("\r\n\r\nhalf");
            assert!(is_cut || answer.contains("\"upstream.closed\""), "{kind:?}: {answer}");
            while upstream.ended() == 0 {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[tokio::test]
async fn tls_records_between_the_bytes_of_an_answer_leave_others_their_turns() {
    let (_upstream, daemon) = answering(|head| match head.split(' ').nth(1).unwrap() {
        "/flood" => {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
            RawReply::Flood(head.to_owned(), Flood::TicketsAndData)
        }
        path => RawReply::Keep(ok(path)),
    })
    .await;
    let mut caller = TcpStream::connect(daemon.address()).await.unwrap();
    caller.write_all(b"GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert!(read_until(&mut caller, "\r\n\r\nx").await.starts_with("HTTP/1.1 200 "));

    for _ in 0..20 {
        assert!(daemon.raw(&get("/calm", "")).await.ends_with("/calm"));
    }
}

#[tokio::test]
async fn an_answer_that_stops_in_its_middle_ends() {
    let never = Arc::new(Semaphore::new(0));
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_owned();
    let (upstream, daemon) = answering(move |head| match head.split(' ').nth(1).unwrap() {
        "/half" => RawReply::Late(half.clone(), never.clone(), String::new()),
        path => RawReply::Keep(ok(path)),
    })
    .await;

    let answer = daemon.raw(&get("/half", "")).await;

    assert!(answer.ends_with("\r\n\r\nhalf"), "{answer}");
    assert!(daemon.raw(&get("/next", "")).await.ends_with("/next"));
    let came_over = upstream.connection_ids();
    assert_ne!(came_over[0], came_over[1], "what stopped is not used again");
}

#[tokio::test]
async fn a_host_that_stops_reading_is_late() {
    let (upstream, daemon) = answering(|_| RawReply::Deaf).await;

    for length in [10, 1 << 20, 100 << 20] {
        let (mut from, upload) = uploading(&daemon, "/x", length).await;
        let mut answer = [0; "HTTP/1.1 504".len()];
        let read = from.read_exact(&mut answer);
        tokio::time::timeout(EVENT_TIMEOUT, read).await.expect("no answer").unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 504", "{length}");
        upload.abort();
    }
    assert_eq!(upstream.requests().len(), 3, "none was sent again");
}

#[tokio::test]
async fn a_body_goes_up_while_its_answer_comes_down() {
    let length = 16 << 20;
    let (upstream, daemon) = answering(move |head| match head.split(' ').nth(1).unwrap() {
        "/echo" => RawReply::Echo(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")),
        path => RawReply::Keep(ok(path)),
    })
    .await;

    let (mut from, _upload) = uploading(&daemon, "/echo", length).await;
    let head = read_until(&mut from, "\r\n\r\n").await;
    let mut body = vec![0; length];
    let read = from.read_exact(&mut body);
    tokio::time::timeout(EVENT_TIMEOUT, read).await.expect("the echo stops").unwrap();

    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(body.iter().all(|&byte| byte == b'x'));
    assert!(daemon.raw(&get("/next", "")).await.ends_with("/next"));
    assert_eq!(upstream.connection_ids(), [1, 1], "the connection was whole again");
}

#[tokio::test]
async fn a_refusal_that_does_not_end_keeps_nobody_waiting() {
    for status in ["429 Too Many Requests", "401 Unauthorized"] {
        let (asked, never) = (AtomicUsize::new(0), Arc::new(Semaphore::new(0)));
        let begun =
            format!("HTTP/1.1 {status}\r\nRetry-After: 1\r\nContent-Length: 100\r\n\r\nhalf of it");
        let (_upstream, daemon) = answering(move |head| match head.split(' ').nth(1).unwrap() {
            // The token is dead indeed.
            PROBE_PATH => RawReply::Keep("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n".to_owned()),
            _ if asked.fetch_add(1, Ordering::Relaxed) == 0 => {
                RawReply::Late(begun.clone(), never.clone(), String::new())
            }
            path => RawReply::Keep(ok(path)),
        })
        .await;

        let answer = daemon.raw(&get("/again", "")).await;

        assert!(answer.ends_with("/again"), "{status}: {answer}");
    }
}

/// Begins an upload of `x`s; returns what its answer comes over.
async fn uploading(
    daemon: &Daemon,
    path: &str,
    length: usize,
) -> (OwnedReadHalf, JoinHandle<OwnedWriteHalf>) {
    let caller = TcpStream::connect(daemon.address()).await.unwrap();
    let (from, mut to) = caller.into_split();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    to.write_all(head.as_bytes()).await.unwrap();
    let upload = tokio::spawn(async move {
        to.write_all(&vec![b'x'; length]).await.ok();
        to
    });
    (from, upload)
}

/// An upstream that answers `/flood` with `first` and then `again`, without end.
async fn flooding(first: &str, again: &str) -> (RawUpstream, Daemon) {
    let (first, again) = (first.to_owned(), again.to_owned());
    answering(move |head| match head.split(' ').nth(1).unwrap() {
        "/flood" => RawReply::Endless(first.clone(), again.clone()),
        path => RawReply::Keep(ok(path)),
    })
    .await
}

/// An upstream and a daemon in front of it that does not wait for long.
async fn answering(
    reply: impl Fn(&str) -> RawReply + Send + Sync + 'static,
) -> (RawUpstream, Daemon) {
    let upstream = raw_upstream(reply).await;
    let setup = daemon_before(upstream.address.port(), &upstream.ca);
    let setup = setup.set(|config| {
        config.upstream.header_timeout = EVENT_TIMEOUT / 20;
        config.limits.body_idle = EVENT_TIMEOUT / 20;
    });
    (upstream, setup.run().await)
}
