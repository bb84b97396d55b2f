//! A socket that listens: bound first, watched by a runtime later.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::acceptor::TcpAcceptor;
#[cfg(unix)]
use super::backlog;
#[cfg(windows)]
use super::pipe::{PipeFile, PipeListener};
#[cfg(unix)]
use super::socket_file::SocketFile;
use super::stream::Stream;
use crate::peer::Peer;
#[cfg(unix)]
use crate::tcp_options::{CALLER_USER_TIMEOUT, bound_silence};

/// A bound socket, before there is a runtime to watch it.
#[derive(Debug)]
pub enum BoundSocket {
    /// A TCP address.
    Tcp(std::net::TcpListener),
    /// A unix socket.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener, SocketFile),
    /// A named pipe, which is made when a runtime is there to watch it.
    #[cfg(windows)]
    Pipe(PipeFile),
}

impl BoundSocket {
    /// Returns the TCP address, with the port that was chosen.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Self::Unix(..) => None,
            #[cfg(windows)]
            Self::Pipe(_) => None,
        }
    }

    /// Returns the path of a unix socket, or of the file that names a pipe.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            #[cfg(unix)]
            Self::Unix(_, file) => Some(file.path()),
            #[cfg(windows)]
            Self::Pipe(file) => Some(file.path()),
        }
    }

    /// Takes over a TCP socket that the service manager has opened.
    #[cfg(unix)]
    pub(super) fn inherited_tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        bound_silence(&listener, CALLER_USER_TIMEOUT);
        // Units that were installed by an earlier version have a short queue.
        backlog::extend(&listener)?;
        Ok(Self::Tcp(listener))
    }

    /// Takes over a unix socket that the service manager has opened. Its queue stays as it is:
    /// listening again would make us its owner in the eyes of the clients (`SO_PEERCRED`).
    #[cfg(unix)]
    pub(super) fn inherited_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let file = SocketFile::without_cleanup(address.as_pathname().unwrap_or(Path::new("")));
        Ok(Self::Unix(listener, file))
    }

    /// Hands the socket to the runtime that this is called on.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch it.
    pub fn into_listener(self) -> io::Result<Listener> {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        *spare = spare.take().or_else(open_spare);
        drop(spare);
        Ok(match self {
            Self::Tcp(listener) => Listener::Tcp(TcpAcceptor::new(listener)?),
            #[cfg(unix)]
            Self::Unix(listener, file) => {
                Listener::Unix(tokio::net::UnixListener::from_std(listener)?, file)
            }
            #[cfg(windows)]
            Self::Pipe(file) => Listener::Pipe(file.listen()?),
        })
    }
}

/// A socket that connections are accepted from.
#[derive(Debug)]
pub enum Listener {
    /// A TCP address.
    Tcp(TcpAcceptor),
    /// A unix socket; its file goes with it.
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, SocketFile),
    /// A named pipe; its file goes with it.
    #[cfg(windows)]
    Pipe(PipeListener),
}

impl Listener {
    /// Waits for the next connection, and never fails: a connection that is lost before its peer is
    /// known is skipped, and without free descriptors new connections are closed at once.
    pub async fn accept(&mut self) -> (Stream, Peer) {
        accept_from(self).await
    }
}

/// Something that connections are accepted from: a socket, or a test that fails as the kernel does.
trait Accept {
    type Connection;

    /// Waits for the next connection.
    async fn try_accept(&mut self) -> io::Result<Self::Connection>;

    /// Closes one connection that waits, with a descriptor that is kept for this. Says whether there
    /// was one.
    fn shed(&self) -> bool;
}

async fn accept_from<A: Accept>(source: &mut A) -> A::Connection {
    loop {
        match source.try_accept().await {
            Ok(connection) => return connection,
            Err(error) if is_lost_connection(&error) => {
                if let Some(count) = LOST_CONNECTIONS.record() {
                    tracing::debug!(count, "peers were gone before they could be identified");
                }
            }
            Err(error) => {
                if let Some(failed) = FAILED_ACCEPTS.record() {
                    tracing::warn!(error = %error, failed, "could not accept a connection");
                }
                if !source.shed() {
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }
}

impl Accept for Listener {
    type Connection = (Stream, Peer);

    /// Closes one connection that waits, with the descriptor that is kept for this: its client is
    /// told at once, instead of hanging in the queue. Says whether there was one.
    fn shed(&self) -> bool {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        // Closed first, so that its descriptor is free.
        drop(spare.take());
        let cx = &mut Context::from_waker(Waker::noop());
        let is_shed = match self {
            Self::Tcp(acceptor) => acceptor.poll_discard(cx),
            #[cfg(unix)]
            Self::Unix(listener, _) => listener.poll_accept(cx).map_ok(drop),
            // Clients of a pipe wait in no queue.
            #[cfg(windows)]
            Self::Pipe(_) => Poll::Pending,
        };
        *spare = open_spare();
        matches!(is_shed, Poll::Ready(Ok(())))
    }

    async fn try_accept(&mut self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(acceptor) => acceptor.accept().await,
            #[cfg(unix)]
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let peer = Peer::from_unix_stream(&stream)?;
                Ok((Stream::Unix(stream), peer))
            }
            #[cfg(windows)]
            Self::Pipe(pipe) => {
                let (stream, peer) = pipe.accept().await?;
                Ok((Stream::Pipe(stream), peer))
            }
        }
    }
}

fn is_lost_connection(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::ConnectionAborted || kind == io::ErrorKind::ConnectionReset
}

/// A descriptor for [`Listener::shed`], one for all listeners.
static SPARE: Mutex<Option<File>> = Mutex::new(None);

fn open_spare() -> Option<File> {
    File::open(if cfg!(windows) { "NUL" } else { "/dev/null" }).ok()
}

/// Out of memory, accepting fails at once and for ever: wait for connections to end.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(10);

/// Descriptors and memory are the whole process's: one line for all listeners.
static FAILED_ACCEPTS: FailureCounter = FailureCounter::new(Duration::from_secs(60));

/// Connections that were reset before their peer was known. Making one costs a client nothing.
static LOST_CONNECTIONS: FailureCounter = FailureCounter::new(Duration::from_secs(1));

/// Counts failures that others can cause at will, for one log line in each `period`.
struct FailureCounter {
    period: Duration,
    /// When the last line was, and how many there were since.
    since: Mutex<(Option<Instant>, u64)>,
}

impl FailureCounter {
    const fn new(period: Duration) -> Self {
        Self { period, since: Mutex::new((None, 0)) }
    }

    /// Counts one; returns how many there were since the last line, if it is time for one.
    fn record(&self) -> Option<u64> {
        let mut state = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, failed) = &mut *state;
        *failed += 1;
        if last.is_some_and(|last| last.elapsed() < self.period) {
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that fails as the kernel does where the machine has nothing left.
    struct Starved {
        /// The errors to come, last first.
        errors: Vec<i32>,
        /// Whether a connection can still be closed.
        sheds: bool,
        shed: std::cell::Cell<usize>,
    }

    impl Accept for Starved {
        type Connection = usize;

        async fn try_accept(&mut self) -> io::Result<usize> {
            let error = self.errors.pop().map(io::Error::from_raw_os_error);
            error.map_or(Ok(self.shed.get()), Err)
        }

        fn shed(&self) -> bool {
            self.shed.set(self.shed.get() + 1);
            self.sheds
        }
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn a_machine_that_has_nothing_left_is_waited_for_and_no_error_ends_the_listener() {
        use nix::libc;
        let starved = [libc::ENFILE, libc::EMFILE, libc::ENOMEM, libc::ENOBUFS];
        let lost = [libc::ECONNABORTED, libc::ECONNRESET];
        for sheds in [true, false] {
            let errors = [&starved[..], &lost].concat().repeat(100);
            let mut socket = Starved { errors, sheds, shed: std::cell::Cell::new(0) };
            let begun = tokio::time::Instant::now();

            let shed = accept_from(&mut socket).await;

            assert_eq!(shed, 400, "one caller for each failure, none for a caller that has gone");
            let waits = if sheds { 0 } else { 400 };
            assert_eq!(begun.elapsed(), waits * ACCEPT_RETRY_DELAY);
        }
    }

    #[test]
    fn failures_that_others_cause_are_one_line_in_a_period_and_none_is_lost() {
        let failures = FailureCounter::new(Duration::from_secs(3_600));
        let lines: Vec<_> = (0..1_000).filter_map(|_| failures.record()).collect();
        assert_eq!(lines, [1]);

        let failures = FailureCounter::new(Duration::ZERO);
        assert_eq!((failures.record(), failures.record()), (Some(1), Some(1)));
    }
}
