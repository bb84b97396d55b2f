//! A connection that a request has switched to WebSocket, and that belongs to one client from then
//! on.

use std::fmt;

use bytes::Bytes;
use http::header::UPGRADE;
use http::{HeaderMap, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::tls_stream::TlsStream;

/// A connection that speaks WebSocket from now on.
pub struct Upgraded {
    stream: TokioIo<TlsStream>,
    buffered: Bytes,
    close_signal: watch::Receiver<()>,
}

impl Upgraded {
    /// Makes one from a connection, from the bytes that the host has sent on it already, and from
    /// the signal that ends it.
    pub(super) fn new(
        stream: TlsStream,
        buffered: Bytes,
        close_signal: watch::Receiver<()>,
    ) -> Self {
        Self { stream: TokioIo::new(stream), buffered, close_signal }
    }

    /// Takes it apart: the connection, the bytes that the host has sent on it already, and a future
    /// that ends when the connection must.
    pub fn into_parts(
        self,
    ) -> (impl AsyncRead + AsyncWrite + Unpin, Bytes, impl Future<Output = ()>) {
        let Self { stream, buffered, mut close_signal } = self;
        // An error means that the client for this host is gone.
        let closed = async move { drop(close_signal.changed().await) };
        (stream, buffered, closed)
    }
}

/// Returns whether a response switches to WebSocket, and to nothing else.
pub(super) fn is_websocket_upgrade(status: StatusCode, headers: &HeaderMap) -> bool {
    let mut protocols = headers.get_all(UPGRADE).iter();
    let is_websocket =
        protocols.next().is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"));
    status == StatusCode::SWITCHING_PROTOCOLS && is_websocket && protocols.next().is_none()
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upgraded")
    }
}
