//! Listening: sockets are bound or taken over, connections accepted, and in the end drained.
//!
//! Binding happens before anything else starts, so that a port in use ends the program instead of
//! half of it. Accepting happens on the data path's runtime; each connection comes with its
//! [`Peer`](crate::peer::Peer).

mod acceptor;
mod acl_resolver;
mod activation;
mod backlog;
mod browser_headers;
mod connection_state;
mod discard;
mod drain;
mod hyper_rejection;
#[cfg(target_os = "macos")]
mod launchd;
mod limiter;
mod listener;
mod own_hosts;
#[cfg(windows)]
mod pipe;
#[cfg(target_os = "linux")]
mod port_reservation;
mod rejection_headers;
mod server_io;
#[cfg(unix)]
mod socket_file;
mod stream;
mod target_encoding;
mod tcp;
mod tls_server;
#[cfg(unix)]
mod unix;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

#[cfg(target_os = "linux")]
pub use self::acceptor::NamespaceListener;
pub use self::acl_resolver::user_acl;
pub use self::activation::{Inherited, inherited};
pub use self::browser_headers::{BrowserHeaders, insert_sandbox_headers, is_navigation};
pub use self::connection_state::{ConnectionState, Timeouts};
pub use self::discard::discard_rest;
pub use self::drain::{DrainController, DrainSignal, InFlightCounter, InFlightGuard};
pub use self::limiter::{ConnectionLimiter, ConnectionPermit};
pub use self::listener::{BoundSocket, Listener};
pub use self::own_hosts::OwnHosts;
#[cfg(windows)]
pub use self::pipe::PipeFile;
#[cfg(target_os = "linux")]
pub use self::port_reservation::{PortReservation, reserve_other_family};
pub use self::rejection_headers::SandboxIo;
pub use self::server_io::{Rejection, Rejections, ServerIo};
pub use self::stream::{DetachedStream, Stream};
pub use self::target_encoding::encode_non_ascii;
pub use self::tcp::bind as bind_tcp;
pub use self::tls_server::TlsServer;
#[cfg(unix)]
pub use self::unix::{SocketAccess, bind as bind_unix, change_access, restrict_dir};
use crate::peer::ProcessInfo;
use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// Why a socket could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process listens on the address.
    #[error("{address} is already in use{}", holder.as_ref().map(|holder| format!(" by {holder}")).unwrap_or_default())]
    InUse {
        /// The address.
        address: SocketAddr,
        /// The process, where the system names it.
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
        /// The address.
        address: SocketAddr,
    },
    /// `listen.users` names an unknown user.
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
        /// The number or the name of the socket.
        which: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A live daemon accepts connections on the socket.
    #[error("another daemon listens on {}", path.display())]
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
    /// The socket cannot be created safely at this path.
    #[error("could not make the socket {} safely: {what}", path.display())]
    SocketPlace {
        /// The path.
        path: PathBuf,
        /// The reason.
        what: &'static str,
        /// The cause, if the system gave one.
        #[source]
        source: Option<io::Error>,
    },
}
impl Problem for Error {
    fn details(&self) -> ProblemDetails {
        let failed = |hint| ProblemKind::CommandFailed.with_hint(hint);
        let invalid = |hint| ProblemKind::ConfigInvalid.with_hint(hint);
        match self {
            Self::InUse { .. } => failed(
                "Stop the program that holds it, or listen elsewhere: --listen localhost:0 picks a \
                 free port.",
            ),
            Self::SocketInUse { .. } => {
                failed("Stop that daemon first, or choose another path with --socket.")
            }
            Self::SocketPath { .. } => failed(
                "Choose a shorter path with --socket (--socket off: none), or set \
                     XDG_RUNTIME_DIR to a short directory of your own.",
            ),
            Self::SocketPlace { .. } => {
                failed("Choose a directory of your own with --socket, or --socket off.")
            }
            Self::Bind { .. } => failed("Choose an address of this machine with --listen."),
            Self::OtherFamily { .. } => {
                failed("Choose another port with --listen, or find out who that is and why.")
            }
            Self::NoSuchUser { .. } => invalid(
                "Write a user of this machine into listen.users or admin.users, by name or number.",
            ),
            Self::NoSuchGroup { .. } => {
                invalid("Write a group of this machine into listen.groups, by name or number.")
            }
            Self::Inherited { .. } => {
                failed("Hand over stream sockets: ListenStream= in the .socket unit.")
            }
        }
    }
}
