//! Accepts TCP connections and says of each whose it is, before a byte of it is read.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

use super::{Peer, Stream, User};
#[cfg(target_os = "linux")]
use super::{
    lookup::Lookup,
    orphans::Orphans,
    socket_owner::{OwnerSource, is_other_user, socket_owner},
};

/// A TCP listener whose connections come with their callers.
#[derive(Debug)]
pub struct TcpAcceptor {
    listener: TcpListener,
    #[cfg(target_os = "linux")]
    owners: OwnerSource,
    /// What is asked beside the data thread.
    #[cfg(target_os = "linux")]
    lookup: Lookup,
    #[cfg(target_os = "linux")]
    orphans: Orphans,
}

impl TcpAcceptor {
    /// Takes over a listener on the runtime that this is called on.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch it.
    pub(super) fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        let listener = TcpListener::from_std(listener)?;
        Ok(Self {
            #[cfg(target_os = "linux")]
            owners: OwnerSource::new(listener.local_addr()?),
            #[cfg(target_os = "linux")]
            lookup: Lookup::default(),
            #[cfg(target_os = "linux")]
            orphans: Orphans::new(listener.local_addr()?),
            listener,
        })
    }

    /// Waits for the next connection. Cancelling it loses none.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ConnectionAborted`] for a connection whose caller has gone; else what
    /// `accept(2)` says.
    #[cfg(target_os = "linux")]
    pub(super) async fn accept(&mut self) -> io::Result<(Stream, Peer)> {
        let OwnerSource::Diag(diag) = &self.owners else {
            return self.lookup.accept(&self.listener, &self.orphans).await;
        };
        let (stream, remote) = self.listener.accept().await?;
        let ask = |local| match self.orphans.contains(remote) {
            true => None,
            false => socket_owner(diag.find(remote, local).as_slice(), &stream),
        };
        let peer = identify(&stream, remote, ask);
        finish(stream, peer)
    }

    /// Waits for the next connection. No system but Linux is asked yet; `doctor` says so.
    #[cfg(not(target_os = "linux"))]
    pub(super) async fn accept(&mut self) -> io::Result<(Stream, Peer)> {
        let (stream, remote) = self.listener.accept().await?;
        let peer = identify(&stream, remote, |_| Some(User::Unsupported));
        finish(stream, peer)
    }
}

/// Returns the caller of a connection, whose user `ask` knows if it is on this machine.
pub(super) fn identify(
    stream: &TcpStream,
    remote: SocketAddr,
    ask: impl FnOnce(SocketAddr) -> Option<User>,
) -> Option<Peer> {
    let user = match remote.ip().to_canonical().is_loopback() {
        true => ask(stream.local_addr().ok()?)?,
        false => User::Remote,
    };
    Some(Peer::Tcp { remote, user })
}

/// Makes a connection ready to be served, if it has a caller still.
pub(super) fn finish(stream: TcpStream, peer: Option<Peer>) -> io::Result<(Stream, Peer)> {
    #[cfg(target_os = "linux")]
    if is_other_user(peer.as_ref()) {
        Stream::set_reset_on_close(&stream, true);
    }
    let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
    // Responses are written whole: never wait for more. A connection that has ended meanwhile may
    // not take it, which is no trouble of the listener's.
    stream.set_nodelay(true).ok();
    Ok((Stream::Tcp(stream), peer))
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpStream as Caller;

    use nix::libc;
    use nix::sys::socket::sockopt::{Linger, ReuseAddr};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage};
    use nix::sys::socket::{bind, connect, setsockopt, socket};
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[tokio::test]
    async fn only_the_last_connection_of_a_pair_of_addresses_has_a_caller() {
        for way in [by_diag, by_table] {
            let mut acceptor = way();
            let address = acceptor.listener.local_addr().unwrap();
            let from = connection(address, None).local_addr().unwrap();
            for _ in 0..3 {
                connection(address, Some(from));
            }
            let stays = connection(address, Some(from));
            setsockopt(&stays, Linger, &libc::linger { l_onoff: 0, l_linger: 0 }).unwrap();

            let (mut dropped, mut accepted) = (0, vec![]);
            while accepted.is_empty() {
                match acceptor.accept().await {
                    Ok(connection) => accepted.push(connection),
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => dropped += 1,
                    Err(error) => panic!("{error}"),
                }
            }

            let Some((_, Peer::Tcp { remote, user })) = accepted.pop() else {
                panic!("{accepted:?}")
            };
            assert_eq!(remote, from);
            assert!(matches!(user, User::Known { .. }), "{user:?}");
            // The tables drop them without a word.
            assert!(matches!(
                (&acceptor.owners, dropped),
                (OwnerSource::Diag(_), 4) | (OwnerSource::Table, 0)
            ));
        }
    }

    #[tokio::test]
    async fn a_crowd_is_looked_up_in_one_reading_and_none_of_it_is_lost_to_a_cancelled_wait() {
        let mut acceptor = by_table();
        let address = acceptor.listener.local_addr().unwrap();
        let callers: Vec<_> = (0..50).map(|_| Caller::connect(address).unwrap()).collect();

        // Given up while the table is read.
        let mut waits = Box::pin(acceptor.accept());
        let first = std::future::poll_fn(|cx| std::task::Poll::Ready(waits.as_mut().poll(cx)));
        assert!(first.await.is_pending());
        drop(waits);

        for _ in &callers {
            let (_, peer) = acceptor.accept().await.unwrap();
            assert!(matches!(peer, Peer::Tcp { user: User::Known { .. }, .. }), "{peer:?}");
        }
        assert_eq!(acceptor.lookup.table_reads(), 1);
    }

    fn by_diag() -> TcpAcceptor {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let acceptor = TcpAcceptor::new(listener).unwrap();
        assert!(matches!(acceptor.owners, OwnerSource::Diag(_)));
        acceptor
    }

    fn by_table() -> TcpAcceptor {
        TcpAcceptor { owners: OwnerSource::Table, ..by_diag() }
    }

    /// Connects, sends a request, and resets the connection when it is dropped.
    fn connection(to: SocketAddr, from: Option<SocketAddr>) -> Caller {
        let (family, flags) = (AddressFamily::Inet, SockFlag::SOCK_CLOEXEC);
        let made = socket(family, SockType::Stream, flags, None).unwrap();
        setsockopt(&made, ReuseAddr, &true).unwrap();
        setsockopt(&made, Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
        if let Some(from) = from {
            bind(made.as_raw_fd(), &SockaddrStorage::from(from)).unwrap();
        }
        connect(made.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
        let mut caller = Caller::from(made);
        caller.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        caller
    }
}
