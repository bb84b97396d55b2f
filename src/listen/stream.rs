//! A local connection over TCP, a unix socket or a named pipe.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
#[cfg(windows)]
use tokio::net::windows::named_pipe::NamedPipeServer;

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
}

impl Stream {
    /// Takes the connection from the runtime that watches it, for another one.
    ///
    /// # Errors
    ///
    /// When the system does not let it go.
    pub fn detach(self) -> io::Result<DetachedStream> {
        Ok(match self {
            Self::Tcp(stream) => DetachedStream::Tcp(stream.into_std()?),
            #[cfg(unix)]
            Self::Unix(stream) => DetachedStream::Unix(stream.into_std()?),
            // Only the admin surface has one, on one runtime.
            #[cfg(windows)]
            Self::Pipe(_) => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    /// Makes the connection end as usual after all, because its peer is allowed.
    pub fn disable_reset(&self) {
        #[cfg(target_os = "linux")]
        if let Self::Tcp(stream) = self {
            crate::peer::set_reset_on_close(stream, false);
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
        }
    }
}

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
