//! The TLS stream as HTTP/1.1, HTTP/2 and upgraded connections use it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use h1_client::Transport;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::AsyncWrite as _;

use super::TlsStream;

impl Transport for TlsStream {
    fn poll_read_buf(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        _: usize,
    ) -> Poll<io::Result<usize>> {
        self.poll_read_plain(cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_plain(cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_records(cx)
    }

    fn is_unsent(&self) -> bool {
        self.outgoing.is_untouched()
    }
}

impl Read for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().poll_read_plain(cx, &mut buf).map_ok(drop)
    }
}

impl Write for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_plain(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_write_records(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.encrypt_close_notify()?;
        ready!(this.poll_write_records(cx))?;
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}
