//! A local connection over TCP, a unix socket or a named pipe, with or without TLS.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
#[cfg(windows)]
use tokio::net::windows::named_pipe::NamedPipeServer;

use super::tls_server::TlsServer;

/// A local connection.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    #[cfg(unix)]
    Unix(UnixStream),
    /// Over a named pipe.
    #[cfg(windows)]
    Pipe(NamedPipeServer),
    /// Over another connection, as the server of TLS.
    Tls(Box<TlsServer<Stream>>),
}

impl Stream {
    /// Speaks TLS over this connection, as the server of `config`. `received` are the first bytes
    /// of the handshake, read before.
    #[must_use]
    pub fn tls(self, received: Bytes, config: Arc<ServerConfig>) -> Self {
        Self::Tls(Box::new(TlsServer::new(self, received, config)))
    }

    /// Waits for the first byte of a connection, leaves it there, and says whether TLS begins with it.
    /// `received` holds what was read before.
    ///
    /// # Errors
    ///
    /// When the connection ends before, or is not one over TCP.
    pub async fn begins_with_tls(&self, received: &[u8]) -> io::Result<bool> {
        if let Some(first) = received.first() {
            return Ok(*first == TLS_HANDSHAKE);
        }
        let Self::Tcp(stream) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut first = [0];
        match stream.peek(&mut first).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(first == [TLS_HANDSHAKE]),
        }
    }

    /// Returns our own address of a connection over TCP.
    pub fn local_ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok().map(|address| address.ip()),
            #[cfg(unix)]
            Self::Unix(_) => None,
            #[cfg(windows)]
            Self::Pipe(_) => None,
            Self::Tls(tls) => tls.io().and_then(Self::local_ip),
        }
    }

    /// Completes a TLS handshake before any request is read, and returns the name that the client
    /// has asked for.
    ///
    /// # Errors
    ///
    /// When the handshake fails.
    pub async fn complete_handshake(&mut self) -> io::Result<Option<String>> {
        let Self::Tls(tls) = self else { return Ok(None) };
        tls.complete_handshake().await?;
        Ok(tls.server_name().map(str::to_owned))
    }

    /// Says whether the connection speaks TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Takes the connection from the runtime that watches it, for another one.
    ///
    /// # Errors
    ///
    /// When the system does not let it go, or TLS has begun: its state cannot be taken along.
    pub fn detach(self) -> io::Result<DetachedStream> {
        Ok(match self {
            Self::Tcp(stream) => DetachedStream::Tcp(stream.into_std()?),
            #[cfg(unix)]
            Self::Unix(stream) => DetachedStream::Unix(stream.into_std()?),
            // Only the admin surface has one, on one runtime.
            #[cfg(windows)]
            Self::Pipe(_) => return Err(io::ErrorKind::Unsupported.into()),
            Self::Tls(_) => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    /// Makes the connection end as usual after all, because its peer is allowed.
    pub fn disable_reset(&self) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Tcp(stream) => crate::peer::set_reset_on_close(stream, false),
            #[cfg(not(target_os = "linux"))]
            Self::Tcp(_) => {}
            #[cfg(unix)]
            Self::Unix(_) => {}
            #[cfg(windows)]
            Self::Pipe(_) => {}
            Self::Tls(tls) => tls.io().into_iter().for_each(Self::disable_reset),
        }
    }

    /// Says whether the other end will send no more; wakes the task when there is more to know.
    pub(super) fn is_peer_closed(&self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::Tcp(stream) => {
                stream.poll_read_ready(cx).is_ready() && is_closed(stream.ready(Interest::READABLE))
            }
            #[cfg(unix)]
            Self::Unix(stream) => {
                stream.poll_read_ready(cx).is_ready() && is_closed(stream.ready(Interest::READABLE))
            }
            #[cfg(windows)]
            Self::Pipe(stream) => {
                stream.poll_read_ready(cx).is_ready() && is_closed(stream.ready(Interest::READABLE))
            }
            Self::Tls(tls) => tls.io().is_none_or(|io| io.is_peer_closed(cx)),
        }
    }
}

/// The type of the first record of TLS (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// A local connection between two runtimes.
#[derive(Debug)]
pub enum DetachedStream {
    /// Over TCP.
    Tcp(std::net::TcpStream),
    /// Over a unix socket.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
}

impl DetachedStream {
    /// Hands the connection to the runtime that this is called on.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch it.
    pub fn attach(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            #[cfg(unix)]
            Self::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        })
    }
}

/// Polls a known readiness, so that there is nothing to wait for.
fn is_closed(ready: impl Future<Output = io::Result<Ready>>) -> bool {
    let known = pin!(ready).poll(&mut Context::from_waker(Waker::noop()));
    matches!(known, Poll::Ready(Ok(ready)) if ready.is_read_closed())
}

macro_rules! delegate {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Tcp($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
            #[cfg(unix)]
            Stream::Unix($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
            #[cfg(windows)]
            Stream::Pipe($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
            Stream::Tls($inner) => {
                let $inner = Pin::new(&mut **$inner);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, inner => inner.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, inner => inner.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, inner => inner.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, inner => inner.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, inner => inner.poll_shutdown(cx))
    }
}
