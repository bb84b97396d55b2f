//! Finds the peer of a TCP connection before a byte of the connection is read.

use std::io;
use std::net::SocketAddr;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;

use super::half_open::Orphans;
use super::socket_owner::{OwnerSource, socket_owner};
use super::socket_table::SocketTable;
use super::{Peer, User};

/// Identifies the peers of one TCP listener.
#[derive(Debug)]
pub struct Identifier {
    source: OwnerSource,
    orphans: Orphans,
}

impl Identifier {
    /// Prepares for the socket that listens at `listening`, which must exist already.
    pub fn new(listening: SocketAddr) -> Self {
        Self { source: OwnerSource::new(listening), orphans: Orphans::new(listening) }
    }

    /// Prepares as on a system without socket diagnostics.
    #[cfg(test)]
    pub(crate) fn with_tables(listening: SocketAddr) -> Self {
        Self { source: OwnerSource::Table, orphans: Orphans::new(listening) }
    }

    /// Says whether [`Identifier::identify`] takes microseconds, rather than reading a table.
    pub fn is_immediate(&self) -> bool {
        matches!(self.source, OwnerSource::Diag(_))
    }

    /// Returns the peer of a connection that was just accepted; `None` when the peer has gone.
    ///
    /// A connection of another user ends with a reset from here on: `socket_owner.rs` says why.
    pub fn identify(&self, stream: &TcpStream, remote: SocketAddr) -> Option<Peer> {
        self.identify_with(stream, remote, |local| self.source.owner(remote, local, stream))
    }

    /// The same, with a table that was read after the connection was accepted.
    pub(super) fn identify_in(
        &self,
        table: &SocketTable,
        stream: &TcpStream,
        remote: SocketAddr,
    ) -> Option<Peer> {
        let find = |local| socket_owner(table.find(remote, local), stream);
        self.identify_with(stream, remote, find)
    }

    fn identify_with(
        &self,
        stream: &TcpStream,
        remote: SocketAddr,
        find: impl FnOnce(SocketAddr) -> Option<User>,
    ) -> Option<Peer> {
        let user = if !remote.ip().to_canonical().is_loopback() {
            Some(User::Remote)
        } else if self.orphans.contains(remote) {
            None
        } else {
            stream.local_addr().ok().and_then(find)
        };
        if user.is_none_or(is_other_user) {
            set_reset_on_close(stream, true);
        }
        user.map(|user| Peer::Tcp { remote, user })
    }
}

/// Says whether a peer may be another user than ours.
fn is_other_user(user: User) -> bool {
    match user {
        User::Known { uid, .. } => uid != nix::unistd::geteuid().as_raw(),
        User::Unknown => true,
        User::Unsupported | User::Remote => false,
    }
}

/// Has the kernel reset the connection when it ends, whatever ends it (`SO_LINGER` 0), or end it as
/// usual.
pub fn set_reset_on_close(stream: &TcpStream, is_reset: bool) {
    let linger = libc::linger { l_onoff: is_reset.into(), l_linger: 0 };
    // Cannot fail for an open socket.
    setsockopt(stream, sockopt::Linger, &linger).ok();
}

/// Says whether this system names the user at the other end of a loopback connection, by making
/// one.
pub fn can_identify_peers() -> bool {
    let identify = || -> io::Result<Option<User>> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let _peer = std::net::TcpStream::connect(listener.local_addr()?)?;
        let (stream, remote) = listener.accept()?;
        let local = stream.local_addr()?;
        Ok(OwnerSource::new(local).owner(remote, local, &stream))
    };
    let us = nix::unistd::geteuid().as_raw();
    matches!(identify(), Ok(Some(User::Known { uid, .. })) if uid == us)
}
