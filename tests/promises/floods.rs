//! A host that says more than anybody wants holds up neither its caller nor any other.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::daemon_before;
use crate::support::exact::{Exact, Reply, exact, get, ok};
use crate::support::{Daemon, PATIENCE};

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

/// An upstream that answers `/flood` with `first` and then `again`, without end.
async fn flooding(first: &str, again: &str) -> (Exact, Daemon) {
    let (first, again) = (first.to_owned(), again.to_owned());
    let upstream = exact(move |head| match head.split(' ').nth(1).unwrap() {
        "/flood" => Reply::Endless(first.clone(), again.clone()),
        path => Reply::Keep(ok(path)),
    })
    .await;
    let setup = daemon_before(upstream.address.port(), &upstream.ca);
    let setup = setup.set(|config| config.upstream.header_timeout = PATIENCE / 20);
    (upstream, setup.run().await)
}
