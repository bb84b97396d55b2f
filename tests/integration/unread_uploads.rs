//! A client that is still sending when it is answered hears the answer, whoever gives it.

use nexudus_proxy::config::Rule;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::forward::{Forward, origin, with_forward_proxy};
use crate::support::raw_upstream::{RawReply, daemon_before_raw, raw_upstream};
use crate::support::{EVENT_TIMEOUT, daemon, upstream};

/// More than the kernel keeps for a connection.
const LONG: usize = 32 << 20;

#[tokio::test]
async fn a_client_that_reads_only_when_it_has_sent_everything_hears_a_refusal() {
    let upstream = upstream().start().unwrap();
    let denied = Rule::parse("POST /api/spaces/coworkers").unwrap();
    let set_up = with_forward_proxy(daemon(&upstream).set(|it| it.policy.deny = vec![denied]));
    let daemon = set_up.run().await;
    let plain = async || TcpStream::connect(daemon.address()).await.unwrap();
    let head = head(&daemon.address().to_string(), &format!("Content-Length: {LONG}"));
    assert_heard(plain().await, &head, "HTTP/1.1 403 ").await;

    let chunked = head.replace("Content-Length", "Transfer-Encoding: chunked\r\nX");
    let chunk = format!("{chunked}{LONG:x}\r\n");
    assert_heard(plain().await, &chunk, "HTTP/1.1 403 ").await;

    let large = format!("GET / HTTP/1.1\r\nHost: {}\r\nX: ", daemon.address());
    assert_heard(plain().await, &large, "HTTP/1.1 431 ").await;

    let malformed = "G@T / HTTP/1.1\r\n\r\n";
    assert_heard(plain().await, malformed, "HTTP/1.1 400 ").await;

    let (forward, target) = (Forward::of(&daemon).await, origin(&upstream));
    let through = head.replace(&daemon.address().to_string(), &target);
    assert_heard(forward.intercepted(&target, "").await, &through, "HTTP/1.1 403 ").await;
}

#[tokio::test]
async fn a_client_that_reads_only_when_it_has_sent_everything_hears_an_early_answer() {
    let early = "HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmuch";
    let upstream = raw_upstream(move |_| RawReply::Early(early.to_owned())).await;
    let daemon = daemon_before_raw(&upstream).await;

    let head = head(&daemon.address().to_string(), &format!("Content-Length: {LONG}"));
    let stream = TcpStream::connect(daemon.address()).await.unwrap();
    assert_heard(stream, &head, "HTTP/1.1 413 ").await;
}

fn head(host: &str, length: &str) -> String {
    format!("POST /api/spaces/coworkers HTTP/1.1\r\nHost: {host}\r\n{length}\r\n\r\n")
}

/// Sends a head and a long body, and only then reads.
async fn assert_heard(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str, status: &str) {
    let shown = head.lines().next().unwrap();
    let exchange = async {
        stream.write_all(head.as_bytes()).await.expect(shown);
        for _ in 0..LONG >> 16 {
            stream.write_all(&[b'x'; 1 << 16]).await.expect(shown);
        }
        stream.flush().await.expect(shown);
        let mut answer = vec![];
        stream.read_to_end(&mut answer).await.expect(shown);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = tokio::time::timeout(EVENT_TIMEOUT, exchange).await.expect(shown);
    assert!(answer.starts_with(status), "{shown}: {answer}");
}
