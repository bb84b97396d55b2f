//! A connection against a server that reads and writes bytes, over TCP.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h1_client::{Connection, Error, Malformed, SendError};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn one_connection_carries_one_request_after_another() {
    let (mut connection, mut server) = pair().await;

    for body in ["one", "another"] {
        let length = body.len();
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        let served = async {
            let head = read_head(&mut server).await;
            server.write_all(response.as_bytes()).await.unwrap();
            head
        };
        let (sent, head) = tokio::join!(get(&mut connection, "/a//b/../c?d=%zz"), served);

        assert_eq!(head, "GET /a//b/../c?d=%zz HTTP/1.1\r\nhost: localhost\r\n\r\n");
        assert_eq!(sent.unwrap().status(), StatusCode::OK);
        assert_eq!(connection.size_hint().exact(), Some(length as u64));
        assert_eq!(read_body(&mut connection).await.unwrap(), body.as_bytes());
        assert!(connection.is_end_stream() && connection.is_reusable());
    }
}

#[tokio::test]
async fn a_body_is_sent_as_long_as_announced_or_in_chunks() {
    for (length, written) in [
        (Some(6), "content-length: 6\r\n\r\nabcdef"),
        (None, "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"),
    ] {
        let (mut connection, mut server) = pair().await;
        let body = Pieces { pieces: ["abc", "def"].into(), length };
        let served = async {
            let mut seen = read_head(&mut server).await.into_bytes();
            while !seen.ends_with(written.as_bytes()) {
                seen.push(server.read_u8().await.unwrap());
            }
            server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        };

        let (response, ()) = tokio::join!(send(&mut connection, "POST", body), served);

        assert_eq!(response.unwrap().status(), StatusCode::NO_CONTENT);
        assert!(connection.is_reusable());
    }
}

#[tokio::test]
async fn a_body_of_another_length_than_announced_ends_the_exchange() {
    for announced in [4, 9] {
        let (mut connection, _server) = pair().await;
        let body = Pieces { pieces: ["abc", "def"].into(), length: Some(announced) };

        let sent = send(&mut connection, "POST", body).await;

        assert!(matches!(sent, Err(SendError { error: Error::BodyLength, .. })), "{sent:?}");
        assert!(!connection.is_reusable());
    }
}

#[tokio::test]
async fn a_response_before_the_end_of_a_request_is_returned() {
    let (mut connection, mut server) = pair().await;
    // More than two socket buffers take.
    let body = Pieces { pieces: vec![LARGE; 1 << 10].into(), length: None };
    let served = async {
        read_head(&mut server).await;
        server.write_all(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
    };

    let (response, ()) = tokio::join!(send(&mut connection, "POST", body), served);

    assert_eq!(response.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(read_body(&mut connection).await.unwrap(), b"no");
    assert!(!connection.is_reusable());
}

#[tokio::test]
async fn interim_responses_are_skipped() {
    let responses = "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\nHTTP/1.1 204 N\r\n\r\n";
    let (response, connection, _server) = respond(responses).await;

    assert_eq!(response.unwrap().status(), StatusCode::NO_CONTENT);
    assert!(connection.is_end_stream());
}

#[tokio::test]
async fn extra_bytes_after_a_response_make_the_connection_unusable() {
    for extra in ["x", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"] {
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{extra}");
        let (_, mut connection, _server) = respond(&response).await;

        assert_eq!(read_body(&mut connection).await.unwrap(), b"ok");
        assert!(!connection.is_reusable());
    }
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_not_reusable() {
    let (response, mut connection, server) = respond("HTTP/1.1 204 No Content\r\n\r\n").await;
    response.unwrap();
    assert!(connection.is_reusable());

    drop(server);
    connection.transport().readable().await.unwrap();

    assert!(!connection.is_reusable());
}

#[tokio::test]
async fn a_body_without_a_length_ends_with_the_connection() {
    let (response, mut connection, server) = respond("HTTP/1.1 200 OK\r\n\r\nall of it").await;
    response.unwrap();
    assert_eq!(connection.size_hint().exact(), None);

    drop(server);

    assert_eq!(read_body(&mut connection).await.unwrap(), b"all of it");
    assert!(!connection.is_reusable());
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_an_error() {
    for head in ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"]
    {
        let (_, mut connection, server) = respond(&format!("HTTP/1.1 200 OK\r\n{head}")).await;

        drop(server);

        let body = read_body(&mut connection).await;
        assert!(matches!(body, Err(Error::Truncated)), "{body:?}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_response_are_refused() {
    for (bytes, expected) in [
        ("SSH-2.0-OpenSSH\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", Some(Malformed::ContentLength)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Some(Malformed::TransferEncoding)),
    ] {
        let (response, mut connection, _server) = respond(bytes).await;

        let Err(SendError { error: Error::Malformed(found), .. }) = response else {
            panic!("{response:?} to {bytes:?}");
        };
        assert!(expected.is_none_or(|expected| expected == found), "{found:?}");
        assert!(!connection.is_reusable());
    }
}

#[tokio::test]
async fn a_server_that_closes_or_says_nothing_is_told_apart() {
    let (mut connection, server) = pair().await;
    drop(server);
    let closed = get(&mut connection, "/").await.unwrap_err();
    assert!(matches!(closed.error, Error::Closed | Error::Io(_)), "{closed:?}");

    let (mut connection, _server) = pair().await;
    let mut request = Request::get("/").body(Pieces::default()).unwrap();
    let silent = connection.send_request(&mut request, Duration::from_millis(20)).await;
    assert!(matches!(silent.unwrap_err().error, Error::TimedOut));
}

#[tokio::test]
async fn a_switched_connection_hands_over_what_has_come() {
    let response = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\nhello";
    let (response, mut connection, mut server) = respond(response).await;
    assert_eq!(response.unwrap().status(), StatusCode::SWITCHING_PROTOCOLS);
    assert!(!connection.is_reusable());

    let (mut stream, read) = connection.into_parts();
    stream.write_all(b"ping").await.unwrap();

    let mut seen = [0; 4];
    server.read_exact(&mut seen).await.unwrap();
    assert_eq!((&*read, &seen), (&b"hello"[..], b"ping"));
}

#[tokio::test]
async fn a_tunnel_is_asked_for_by_authority() {
    let (mut connection, mut server) = pair().await;
    let mut request = Request::connect("example.com:443").body(Pieces::default()).unwrap();
    let served = async {
        let head = read_head(&mut server).await;
        server.write_all(b"HTTP/1.1 200 Connected\r\nContent-Length: 9\r\n\r\n").await.unwrap();
        head
    };

    let (response, head) = tokio::join!(connection.send_request(&mut request, TIMEOUT), served);

    assert_eq!(head, "CONNECT example.com:443 HTTP/1.1\r\n\r\n");
    assert!(response.unwrap().status().is_success());
    assert!(connection.is_end_stream());
    assert_eq!(connection.into_parts().1, "");
}

type Client = Connection<TcpStream, Pieces>;
type Sent = Result<Response<()>, SendError<Infallible>>;

/// Returns both ends of a connection.
async fn pair() -> (Client, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Connection::new(stream), listener.accept().await.unwrap().0)
}

/// Sends a GET to a server that responds with these bytes.
async fn respond(bytes: &str) -> (Sent, Client, TcpStream) {
    let (mut connection, mut server) = pair().await;
    let served = async {
        read_head(&mut server).await;
        server.write_all(bytes.as_bytes()).await.unwrap();
    };
    let (response, ()) = tokio::join!(get(&mut connection, "/"), served);
    (response, connection, server)
}

async fn get(connection: &mut Client, target: &str) -> Sent {
    let mut request = Request::get(target).body(Pieces::default()).unwrap();
    request.headers_mut().insert("host", HeaderValue::from_static("localhost"));
    connection.send_request(&mut request, TIMEOUT).await
}

async fn send(connection: &mut Client, method: &str, body: Pieces) -> Sent {
    let mut request = Request::builder().method(method).uri("/").body(body).unwrap();
    connection.send_request(&mut request, TIMEOUT).await
}

async fn read_body(connection: &mut Client) -> Result<Vec<u8>, Error<Infallible>> {
    let mut body = vec![];
    while let Some(data) = connection.data().await {
        body.extend_from_slice(&data?);
    }
    Ok(body)
}

async fn read_head(server: &mut TcpStream) -> String {
    let mut seen = vec![];
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(server.read_u8().await.unwrap());
    }
    String::from_utf8(seen).unwrap()
}

/// A body in pieces, of an announced length or of none.
#[derive(Debug)]
struct Pieces {
    pieces: VecDeque<&'static str>,
    length: Option<u64>,
}

impl Default for Pieces {
    fn default() -> Self {
        Self { pieces: VecDeque::new(), length: Some(0) }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

static LARGE: &str = {
    static ZEROS: [u8; 64 << 10] = [b'0'; 64 << 10];
    match str::from_utf8(&ZEROS) {
        Ok(text) => text,
        Err(_) => "",
    }
};

/// Longer than any exchange here takes on the slowest machine.
const TIMEOUT: Duration = Duration::from_secs(20);
