//! The peer of a local connection: its user and its process, as the kernel reports them.
//!
//! `listen` accepts connections and asks here for the peer of each. The kernel itself names the
//! peer of a unix socket; [`Identifier`] finds that of a TCP connection. [`UserAcl`] then says
//! whether the peer may connect.

mod group_members;
#[cfg(target_os = "linux")]
mod half_open;
#[cfg(target_os = "linux")]
mod identifier;
#[cfg(target_os = "linux")]
mod lookup;
mod process_info;
#[cfg(target_os = "linux")]
mod sock_diag;
#[cfg(target_os = "linux")]
mod socket_owner;
#[cfg(target_os = "linux")]
mod socket_table;
mod user_acl;
mod user_names;

use std::fmt;
use std::net::SocketAddr;

#[cfg(target_os = "linux")]
pub use self::identifier::{Identifier, can_identify_peers, set_reset_on_close};
#[cfg(target_os = "linux")]
pub use self::lookup::Lookup;
pub use self::process_info::ProcessInfo;
pub use self::user_acl::{PeerAccess, UserAcl, gid_by_name, uid_by_name};
pub use self::user_names::local_user_name;

/// The other end of a local connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP connection.
    Tcp {
        /// The address of the other end.
        remote: SocketAddr,
        /// The user whose process is there.
        user: User,
    },
    /// A unix socket; the kernel vouches for the numbers.
    Unix {
        /// The user.
        uid: u32,
        /// The process, where the system names it.
        pid: Option<i32>,
    },
}

/// The user at the other end of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The kernel vouches for this user.
    Known {
        /// The user.
        uid: u32,
        /// The socket at the other end, as the kernel numbers it.
        socket: u32,
    },
    /// On this machine, but no socket is found that has the address of the other end.
    Unknown,
    /// On this machine, whose kernel does not name the user.
    Unsupported,
    /// On another machine, or in a container with a network of its own.
    Remote,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { remote, .. } => write!(f, "{remote}"),
            Self::Unix { uid, pid: Some(pid) } => write!(f, "process {pid} of user {uid}"),
            Self::Unix { uid, pid: None } => write!(f, "user {uid}"),
        }
    }
}

impl Peer {
    /// Asks the kernel for the user and the process at the other end of a unix socket.
    ///
    /// # Errors
    ///
    /// When the system does not know.
    #[cfg(unix)]
    pub fn from_unix_stream(stream: &tokio::net::UnixStream) -> std::io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self::Unix { uid: credentials.uid(), pid: credentials.pid() })
    }

    /// Returns the peer of a TCP connection, as far as its address tells.
    #[cfg(not(target_os = "linux"))]
    pub fn from_address(remote: SocketAddr) -> Self {
        let is_local = remote.ip().to_canonical().is_loopback();
        Self::Tcp { remote, user: if is_local { User::Unsupported } else { User::Remote } }
    }

    /// Returns the peer's user where the kernel vouches for it.
    pub fn uid(&self) -> Option<u32> {
        match self {
            Self::Tcp { user: User::Known { uid, .. }, .. } | Self::Unix { uid, .. } => Some(*uid),
            Self::Tcp { user: User::Unknown | User::Unsupported | User::Remote, .. } => None,
        }
    }

    /// Returns the peer's process where the kernel vouches for it.
    pub fn pid(&self) -> Option<i32> {
        match self {
            Self::Tcp { .. } => None,
            Self::Unix { pid, .. } => *pid,
        }
    }

    /// Returns the socket at the other end of a TCP connection, for [`ProcessInfo`].
    pub fn socket_inode(&self) -> Option<u32> {
        match self {
            Self::Tcp { user: User::Known { socket, .. }, .. } => Some(*socket),
            Self::Tcp { user: User::Unknown | User::Unsupported | User::Remote, .. }
            | Self::Unix { .. } => None,
        }
    }
}

/// Says whether this system names the user at the other end of a loopback connection: only Linux
/// does so far.
#[cfg(not(target_os = "linux"))]
pub fn can_identify_peers() -> bool {
    false
}
