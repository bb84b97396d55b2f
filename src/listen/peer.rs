//! Who is calling, as far as the kernel tells.

use std::fmt;
use std::net::SocketAddr;

#[cfg(target_os = "linux")]
use super::socket_owner::{OwnerSource, socket_owner};
#[cfg(target_os = "linux")]
use super::socket_table::SocketTable;

/// The other end of a local connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP connection.
    Tcp {
        /// Where it comes from.
        remote: SocketAddr,
        /// Whose process it is.
        user: User,
    },
    /// A unix socket; the kernel vouches for the numbers.
    Unix {
        /// The user.
        uid: u32,
        /// The process, where the system tells.
        pid: Option<i32>,
    },
}

/// The user at the other end of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The kernel vouches for this one.
    Known {
        /// The user.
        uid: u32,
        /// The socket at the other end, as the kernel numbers it.
        socket: u32,
    },
    /// On this machine, but nobody is found who holds that end.
    Unknown,
    /// On this machine, which cannot tell.
    Unsupported,
    /// On another machine, or in a container with a network of its own.
    Remote,
}

/// Says whether this system tells whose process is at the other end of a loopback connection, by
/// making one.
pub fn can_identify_peers() -> bool {
    #[cfg(target_os = "linux")]
    {
        let seen = || -> std::io::Result<bool> {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            let _caller = std::net::TcpStream::connect(listener.local_addr()?)?;
            let (stream, remote) = listener.accept()?;
            let local = stream.local_addr()?;
            let user = match OwnerSource::new(local) {
                OwnerSource::Diag(diag) => {
                    socket_owner(diag.find(remote, local).as_slice(), &stream)
                }
                OwnerSource::Table => {
                    socket_owner(SocketTable::read().find(remote, local), &stream)
                }
            };
            let us = nix::unistd::geteuid().as_raw();
            Ok(matches!(user, Some(User::Known { uid, .. }) if uid == us))
        };
        seen().unwrap_or(false)
    }
    #[cfg(not(target_os = "linux"))]
    false
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
    #[cfg(unix)]
    pub(super) fn from_unix_stream(stream: &tokio::net::UnixStream) -> std::io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self::Unix { uid: credentials.uid(), pid: credentials.pid() })
    }

    /// Returns the caller's user where the kernel vouches for it.
    pub fn uid(&self) -> Option<u32> {
        match self {
            Self::Tcp { user: User::Known { uid, .. }, .. } | Self::Unix { uid, .. } => Some(*uid),
            Self::Tcp { user: User::Unknown | User::Unsupported | User::Remote, .. } => None,
        }
    }

    /// Returns the calling process where the kernel vouches for it.
    pub fn pid(&self) -> Option<i32> {
        match self {
            Self::Tcp { .. } => None,
            Self::Unix { pid, .. } => *pid,
        }
    }

    /// Returns the socket at the other end of a TCP connection, for [`super::ProcessInfo`].
    pub fn socket_inode(&self) -> Option<u32> {
        match self {
            Self::Tcp { user: User::Known { socket, .. }, .. } => Some(*socket),
            Self::Tcp { user: User::Unknown | User::Unsupported | User::Remote, .. }
            | Self::Unix { .. } => None,
        }
    }
}
