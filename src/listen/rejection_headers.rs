//! hyper's own refusals, with the headers that keep a browser from running or showing a response.
//!
//! For listeners without a [`ServerIo`](super::ServerIo), which replaces such a refusal as a whole.
//! Only the first write of a connection is examined: the first write begins with a head, while a
//! later one may be a part of a body that looks like a refusal. A browser gets no further, since
//! its malformed request ends the connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::browser_headers::insert_sandbox_headers;
use super::discard::Discard;
use super::hyper_rejection::rejection_status;

/// A connection on which refusals of hyper's get sandbox headers.
#[derive(Debug)]
pub struct SandboxIo<S> {
    stream: S,
    is_new: bool,
    /// The rest of the bytes that are written in place of a refusal.
    replacement: Bytes,
    is_shut_down: bool,
    discard: Discard,
}

impl<S> SandboxIo<S> {
    /// Wraps a connection on which nothing has been written.
    pub fn new(stream: S) -> Self {
        let (replacement, discard) = (Bytes::new(), Discard::default());
        Self { stream, is_new: true, replacement, is_shut_down: false, discard }
    }

    /// Returns the connection, once HTTP has ended on it.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncWrite + Unpin> SandboxIo<S> {
    fn poll_replacement(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.replacement.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.replacement))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.replacement.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Returns a refusal of hyper's with our headers, or `None` for anything else.
fn with_sandbox_headers(written: &[u8]) -> Option<Bytes> {
    rejection_status(written)?;
    let head = written.strip_suffix(b"\r\n")?;
    let mut headers = HeaderMap::new();
    insert_sandbox_headers(&mut headers);
    let lines = headers
        .iter()
        .map(|(name, value)| [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    Some([head, &lines.collect::<Vec<_>>().concat(), b"\r\n"].concat().into())
}

impl<S: AsyncRead + Unpin> AsyncRead for SandboxIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SandboxIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if std::mem::take(&mut self.is_new) {
            self.replacement = with_sandbox_headers(bytes).unwrap_or_default();
        }
        if self.replacement.is_empty() {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        }
        ready!(self.poll_replacement(cx))?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_new || !self.replacement.is_empty() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(cx, first.map_or(&[], |slice| &**slice));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Also waits for the end of what the client may still be sending.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_shut_down {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.is_shut_down = true;
        }
        this.discard.poll(cx, Pin::new(&mut this.stream)).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn only_a_refusal_at_the_start_of_a_connection_gets_headers() {
        let refusal = b"HTTP/1.1 431 X\r\ncontent-length: 0\r\n\r\n";
        // Through a pipe that takes a few bytes at a time.
        let (near, mut far) = duplex(7);
        let mut connection = SandboxIo::new(near);
        let written = async {
            connection.write_all(refusal).await.unwrap();
            connection.write_all(refusal).await.unwrap();
            drop(connection);
        };
        let mut read = String::new();
        let (_, result) = tokio::join!(written, far.read_to_string(&mut read));
        result.unwrap();

        let policy = "\r\ncontent-security-policy: sandbox; default-src 'none'\r\n";
        let (first, second) = read.split_once("\r\n\r\n").unwrap();
        assert!(first.starts_with("HTTP/1.1 431 X\r\ncontent-length: 0\r\n"), "{read}");
        assert!(format!("{first}\r\n").contains(policy), "{read}");
        assert_eq!(second.as_bytes(), refusal);
    }
}
