//! Where connections come from, and who is calling.
//!
//! Binding happens before anything else starts, so that a port in use ends the program instead of
//! half of it. Accepting happens on the data path's runtime.

mod acceptor;
mod activation;
mod browser;
mod drain;
mod group_members;
#[cfg(target_os = "macos")]
mod launchd;
mod limiter;
#[cfg(target_os = "linux")]
mod lookup;
#[cfg(target_os = "linux")]
mod orphans;
mod peer;
#[cfg(target_os = "linux")]
mod port_reservation;
mod process_info;
mod sandbox_io;
mod server_io;
#[cfg(target_os = "linux")]
mod sock_diag;
#[cfg(target_os = "linux")]
mod socket_owner;
#[cfg(target_os = "linux")]
mod socket_table;
mod stream;
mod tcp;
#[cfg(unix)]
mod unix;
mod user_acl;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use self::acceptor::TcpAcceptor;
pub use self::activation::{Inherited, inherited};
pub use self::browser::{BrowserHeaders, insert_sandbox_headers, is_navigation};
pub use self::drain::{DrainController, DrainSignal, InFlightCounter, InFlightGuard};
pub use self::limiter::{ConnectionLimiter, ConnectionPermit};
pub use self::peer::{Peer, User, can_identify_peers};
#[cfg(target_os = "linux")]
pub use self::port_reservation::{PortReservation, reserve_other_family};
pub use self::process_info::ProcessInfo;
pub use self::sandbox_io::SandboxIo;
pub use self::server_io::{ConnectionState, Rejection, Rejections, ServerIo, Timeouts};
pub use self::stream::Stream;
pub use self::tcp::bind as bind_tcp;
#[cfg(unix)]
pub use self::unix::{SocketAccess, SocketFile as UnixBound, bind as bind_unix, restrict_dir};
pub use self::user_acl::{PeerAccess, UserAcl};

/// Why a place could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else listens there.
    #[error("{address} is already in use{}", holder.as_ref().map(|holder| format!(" by {holder}")).unwrap_or_default())]
    InUse {
        /// The address.
        address: SocketAddr,
        /// Who it is, where that can be found out.
        holder: Option<ProcessInfo>,
    },
    /// The system refused the address.
    #[error("could not listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another user listens on the same port of the other loopback family.
    #[error("another user listens on {address}, where some clients will look for this daemon")]
    OtherFamily {
        /// That address.
        address: SocketAddr,
    },
    /// `listen.users` names somebody unknown.
    #[error("there is no user `{name}` on this machine")]
    NoSuchUser {
        /// The name.
        name: String,
    },
    /// `listen.groups` names a group that does not exist.
    #[error("there is no group `{name}` on this machine")]
    NoSuchGroup {
        /// The name.
        name: String,
    },
    /// The service manager handed over something that cannot be listened on.
    #[error("the inherited socket {which} is not a listening stream socket")]
    Inherited {
        /// Its number, or its name.
        which: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A live daemon answers on the socket.
    #[error("another daemon answers on {}", path.display())]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// The path is longer than a socket address can be.
    #[error("the socket path {} is longer than {limit} bytes", path.display())]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// The most that every system accepts.
        limit: usize,
    },
    /// The place of the socket is not safe, or cannot be made so.
    #[error("could not make the socket {} safely: {what}", path.display())]
    SocketPlace {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
        /// The cause, if the system gave one.
        #[source]
        source: Option<io::Error>,
    },
}

/// A bound place that connections come from.
#[derive(Debug)]
pub enum Listener {
    /// A TCP address.
    Tcp(TcpAcceptor),
    /// A unix socket; its file goes with it.
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, UnixBound),
}

/// A bound place before there is a runtime to watch it.
#[derive(Debug)]
pub enum BoundSocket {
    /// A TCP address.
    Tcp(std::net::TcpListener),
    /// A unix socket.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener, UnixBound),
}

impl BoundSocket {
    /// Returns the TCP address, with the port that was chosen.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Self::Unix(..) => None,
        }
    }

    /// Returns the path of a unix socket.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            #[cfg(unix)]
            Self::Unix(_, bound) => Some(bound.path()),
        }
    }

    /// Hands the place to the runtime that this is called on.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch it.
    pub fn into_listener(self) -> io::Result<Listener> {
        Ok(match self {
            Self::Tcp(listener) => Listener::Tcp(TcpAcceptor::new(listener)?),
            #[cfg(unix)]
            Self::Unix(listener, bound) => {
                Listener::Unix(tokio::net::UnixListener::from_std(listener)?, bound)
            }
        })
    }
}

impl Listener {
    /// Waits for the next connection. Never fails: a connection that was lost before it could be
    /// said whose it is is nobody's, and without free descriptors it waits for some.
    pub async fn accept(&mut self) -> (Stream, Peer) {
        loop {
            match self.try_accept().await {
                Ok(connection) => return connection,
                Err(error) if is_lost_connection(&error) => {
                    if let Some(count) = LOST_CONNECTIONS.record() {
                        tracing::debug!(count, "callers were gone before they could be asked for");
                    }
                }
                Err(error) => {
                    if let Some(failed) = FAILED_ACCEPTS.record() {
                        tracing::warn!(error = %error, failed, "could not accept a connection");
                    }
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
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
        }
    }
}

fn is_lost_connection(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::ConnectionAborted || kind == io::ErrorKind::ConnectionReset
}

/// Out of descriptors or memory, accepting fails at once and for ever: wait for connections to end.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(10);

/// They are the whole process's: one line for all listeners.
static FAILED_ACCEPTS: FailureCounter = FailureCounter::new(Duration::from_secs(60));

/// Connections that were reset before it was known whose they are: whoever makes them pays nothing
/// for one.
static LOST_CONNECTIONS: FailureCounter = FailureCounter::new(Duration::from_secs(1));

/// Failures that can come as often as others like: one line in each `period`.
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

    #[test]
    fn failures_that_others_cause_are_one_line_in_a_period_and_none_is_lost() {
        let failures = FailureCounter::new(Duration::from_secs(3_600));
        let lines: Vec<_> = (0..1_000).filter_map(|_| failures.record()).collect();
        assert_eq!(lines, [1]);

        let failures = FailureCounter::new(Duration::ZERO);
        assert_eq!((failures.record(), failures.record()), (Some(1), Some(1)));
    }
}
