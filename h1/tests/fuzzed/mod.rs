//! The properties that hold whatever a server sends, and in whatever pieces its bytes come.
//!
//! Shared by the fuzz target `h1` and by the replay of its seeds.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h1_client::{Connection, Transport};
use http_body_util::Empty;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    /// One for all inputs: the script never waits, and a timeout only has to be possible.
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
}

/// Reads `bytes` as the response to a GET, at once and in pieces.
///
/// # Panics
///
/// When the pieces change what is read, or when a response has a length that is not its body's.
pub(crate) fn check(bytes: &[u8]) {
    let read = |size| RUNTIME.with(|runtime| runtime.block_on(read(bytes, size)));
    let whole = read(usize::MAX);
    for size in [1, 2, 7] {
        assert_eq!(read(size), whole, "in pieces of {size}");
    }
    let Some(Seen { headers, body, error: None, status }) = whole else { return };
    let lengths: Vec<_> = headers.iter().filter(|(name, _)| name == "content-length").collect();
    assert!(lengths.len() <= 1, "{lengths:?}");
    let is_chunked = headers.iter().any(|(name, _)| name == "transfer-encoding");
    if let [(_, length)] = &lengths[..]
        && !is_chunked
        && !matches!(status, 100..200 | 204 | 304)
    {
        assert_eq!(*length, body.len().to_string().as_bytes());
    }
}

/// A response as a connection has read it.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    error: Option<String>,
}

/// Reads a response whose bytes come in pieces of `size`; returns `None` if there is no response.
async fn read(bytes: &[u8], size: usize) -> Option<Seen> {
    let pieces = bytes.chunks(size.min(bytes.len().max(1))).map(Bytes::copy_from_slice).collect();
    let mut connection = Connection::<_, Empty<Bytes>>::new(Script(pieces));
    let mut request = http::Request::get("/").body(Empty::new()).unwrap();
    let response = connection.send_request(&mut request, Duration::from_secs(1)).await.ok()?;
    let headers = response.headers().iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    let mut seen = Seen {
        status: response.status().as_u16(),
        headers: headers.collect(),
        body: vec![],
        error: None,
    };
    while let Some(data) = poll_fn(|cx| connection.poll_data(cx)).await {
        match data {
            Ok(data) => seen.body.extend_from_slice(&data),
            Err(error) => {
                seen.error = Some(error.to_string());
                break;
            }
        }
    }
    Some(seen)
}

/// A server that sends these pieces and then nothing more.
struct Script(VecDeque<Bytes>);

impl Transport for Script {
    fn poll_read_buf(
        &mut self,
        _: &mut Context<'_>,
        buf: &mut BytesMut,
        _: usize,
    ) -> Poll<io::Result<usize>> {
        let piece = self.0.pop_front().unwrap_or_default();
        buf.extend_from_slice(&piece);
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
