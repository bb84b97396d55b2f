//! Where connections come from, and who is calling.
//!
//! Binding happens before anything else starts, so that a port in use ends the program instead of
//! half of it. Accepting happens on the data path's runtime.

mod browser;
mod drain;
mod holder;
mod inherited;
#[cfg(target_os = "macos")]
mod launchd;
#[cfg(target_os = "linux")]
mod owner;
mod peer;
#[cfg(target_os = "linux")]
mod reserve;
mod sandbox_io;
mod stream;
mod tcp;
#[cfg(unix)]
mod unix;
mod users;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::browser::{BrowserHeaders, is_navigation, sandbox};
pub use self::drain::{Counter, Drain, Draining, InFlight};
pub use self::holder::Holder;
pub use self::inherited::{Inherited, inherited};
#[cfg(target_os = "linux")]
use self::owner::Owners;
pub use self::peer::{Peer, User, tells_callers};
#[cfg(target_os = "linux")]
pub use self::reserve::{Reserved, reserve};
pub use self::sandbox_io::SandboxIo;
pub use self::stream::Stream;
pub use self::tcp::bind as bind_tcp;
#[cfg(unix)]
pub use self::unix::{Bound as UnixBound, Opening, bind as bind_unix, shut};
pub use self::users::Users;
pub use self::wire::{Canned, Patience, Phase, Refusal, Wire};

/// Why a place could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else listens there.
    #[error("{address} is already in use{}", holder.as_ref().map(|holder| format!(" by {holder}")).unwrap_or_default())]
    InUse {
        /// The address.
        address: SocketAddr,
        /// Who it is, where that can be found out.
        holder: Option<Holder>,
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
    #[cfg(target_os = "linux")]
    #[expect(private_interfaces, reason = "how callers are looked up is nobody's business")]
    Tcp(tokio::net::TcpListener, Owners),
    /// A TCP address.
    #[cfg(not(target_os = "linux"))]
    Tcp(tokio::net::TcpListener),
    /// A unix socket; its file goes with it.
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, UnixBound),
}

/// A bound place before there is a runtime to watch it.
#[derive(Debug)]
pub enum Bound {
    /// A TCP address.
    Tcp(std::net::TcpListener),
    /// A unix socket.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener, UnixBound),
}

impl Bound {
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
    pub fn watch(self) -> io::Result<Listener> {
        Ok(match self {
            Self::Tcp(listener) => {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                #[cfg(target_os = "linux")]
                let listener = Listener::Tcp(listener, Owners::new());
                #[cfg(not(target_os = "linux"))]
                let listener = Listener::Tcp(listener);
                listener
            }
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
    pub async fn next(&self) -> (Stream, Peer) {
        loop {
            match self.accept().await {
                Ok(connection) => return connection,
                Err(error) if is_lost_connection(&error) => {
                    tracing::debug!("a caller was gone before it could be asked for");
                }
                Err(error) => {
                    tracing::warn!(error = %error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Tcp(listener, owners) => {
                let (stream, remote) = listener.accept().await?;
                // Asked at once, while the caller has not had the time to go away.
                let peer = Peer::tcp(remote, stream.local_addr()?, owners);
                let peer = peer.filter(|peer| !is_reset(peer, &stream)).ok_or(ABORTED)?;
                // Answers are written whole: never wait for more.
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), peer))
            }
            #[cfg(not(target_os = "linux"))]
            Self::Tcp(listener) => {
                let (stream, remote) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Peer::tcp(remote)))
            }
            #[cfg(unix)]
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let peer = Peer::unix(&stream)?;
                Ok((Stream::Unix(stream), peer))
            }
        }
    }
}

fn is_lost_connection(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::ConnectionAborted || kind == io::ErrorKind::ConnectionReset
}

/// Says whether the caller ended the connection in such a way that nothing is left of its end: no
/// stranger, though nobody is found there.
#[cfg(target_os = "linux")]
fn is_reset(peer: &Peer, stream: &tokio::net::TcpStream) -> bool {
    let is_unknown = matches!(peer, Peer::Tcp { user: User::Unknown, .. });
    is_unknown && stream.take_error().is_ok_and(|error| error.is_some())
}

#[cfg(target_os = "linux")]
const ABORTED: io::ErrorKind = io::ErrorKind::ConnectionAborted;

/// Out of descriptors, accepting fails at once and for ever: wait for connections to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn whoever_was_gone_before_it_could_be_asked_for_is_not_met_as_a_stranger() {
        let bound = bind_tcp(&["127.0.0.1:0".parse().unwrap()]).unwrap().remove(0);
        let address = bound.address().unwrap();
        let call = || {
            let mut caller = TcpStream::connect(address).unwrap();
            caller.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            caller
        };
        let (closed, reset) = (call(), call());
        nix::sys::socket::setsockopt(&reset, Linger, &AT_ONCE).unwrap();
        drop((closed, reset));
        let stays = call();

        let (_stream, peer) = bound.watch().unwrap().next().await;

        let Peer::Tcp { remote, user } = peer else { panic!("{peer:?}") };
        assert_eq!(remote, stays.local_addr().unwrap());
        assert!(matches!(user, User::Known { .. }), "{user:?}");
    }

    use nix::sys::socket::sockopt::Linger;

    /// Closing resets the connection, as a program does that is in a hurry.
    const AT_ONCE: nix::libc::linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
}
