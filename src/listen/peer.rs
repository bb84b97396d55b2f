//! Who is calling, as far as the kernel tells.

use std::fmt;
use std::net::SocketAddr;

/// The other end of a local connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP connection.
    Tcp {
        /// Where it comes from.
        remote: SocketAddr,
    },
    /// A unix socket; the kernel vouches for the numbers.
    Unix {
        /// The user.
        uid: u32,
        /// The process, where the system tells.
        pid: Option<i32>,
    },
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
    pub(super) fn tcp(remote: SocketAddr) -> Self {
        Self::Tcp { remote }
    }

    #[cfg(unix)]
    pub(super) fn unix(stream: &tokio::net::UnixStream) -> std::io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self::Unix { uid: credentials.uid(), pid: credentials.pid() })
    }

    /// Returns the caller's user where the kernel vouches for it.
    pub fn uid(&self) -> Option<u32> {
        match self {
            Self::Tcp { .. } => None,
            Self::Unix { uid, .. } => Some(*uid),
        }
    }
}
