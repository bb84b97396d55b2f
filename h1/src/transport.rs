//! The stream below a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

/// A stream of bytes in both directions: every [`AsyncRead`] and [`AsyncWrite`].
///
/// A stream that decrypts or copies anyway implements the trait itself, instead of the other two,
/// and then writes straight into the connection's buffer.
pub trait Transport: Unpin {
    /// Appends what has come to `buf` and returns how many bytes that was: 0 once the other end has
    /// said that no more follows. `room` is how much the connection expects at most; a transport
    /// that knows better reserves the room that it needs.
    fn poll_read_buf(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        room: usize,
    ) -> Poll<io::Result<usize>>;

    /// Takes bytes to be sent, as [`AsyncWrite::poll_write`].
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Sends what was taken, as [`AsyncWrite::poll_flush`].
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Returns whether it is certain, after a write that failed, that none of its bytes was sent.
    fn is_unsent(&self) -> bool {
        false
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport for S {
    fn poll_read_buf(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        buf.reserve(room);
        poll_read_buf(Pin::new(self), cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_flush(cx)
    }
}
