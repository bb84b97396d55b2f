//! Accepts TCP connections, each together with its peer.

#[cfg(target_os = "linux")]
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
#[cfg(target_os = "linux")]
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::stream::Stream;
use crate::peer::Peer;
#[cfg(target_os = "linux")]
use crate::peer::{Identifier, Lookup};

/// A TCP listener whose connections come with their peers.
#[derive(Debug)]
pub struct TcpAcceptor {
    listener: TcpListener,
    #[cfg(target_os = "linux")]
    identifier: Identifier,
    /// Connections whose peers are looked up beside the data thread.
    #[cfg(target_os = "linux")]
    lookup: Lookup,
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
            identifier: Identifier::new(listener.local_addr()?),
            #[cfg(target_os = "linux")]
            lookup: Lookup::default(),
            listener,
        })
    }

    /// Waits for the next connection. Cancelling it loses none.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ConnectionAborted`] for a connection whose peer has gone; else the
    /// error of `accept(2)`.
    #[cfg(target_os = "linux")]
    pub(super) async fn accept(&mut self) -> io::Result<(Stream, Peer)> {
        if self.identifier.is_immediate() {
            let (stream, remote) = self.listener.accept().await?;
            let peer = self.identifier.identify(&stream, remote);
            return Ok(prepare(stream, peer.ok_or(io::ErrorKind::ConnectionAborted)?));
        }
        loop {
            if let Some((stream, peer)) = self.lookup.next_identified() {
                return Ok(prepare(stream, peer));
            }
            if self.lookup.is_empty() {
                self.lookup.add(self.listener.accept().await?);
            }
            self.accept_waiting().await;
            self.lookup.read_tables(&self.identifier).await;
        }
    }

    /// Accepts a connection and closes it, whoever has made it.
    pub(super) fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.listener.poll_accept(cx).map_ok(drop)
    }

    /// Accepts the connections that are in the queue already, as far as there is room.
    #[cfg(target_os = "linux")]
    async fn accept_waiting(&mut self) {
        poll_fn(|cx| {
            while self.lookup.has_room()
                && let Poll::Ready(Ok(connection)) = self.listener.poll_accept(cx)
            {
                self.lookup.add(connection);
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Waits for the next connection. Cancelling it loses none.
    ///
    /// # Errors
    ///
    /// The error of `accept(2)`.
    #[cfg(not(target_os = "linux"))]
    pub(super) async fn accept(&mut self) -> io::Result<(Stream, Peer)> {
        let (stream, remote) = self.listener.accept().await?;
        Ok(prepare(stream, Peer::from_address(remote)))
    }
}

/// A TCP listener in a network that no process of another user is in: a namespace of our own. Its
/// connections come without their peers, which the tables of our own namespace do not hold.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub struct NamespaceListener(TcpListener);

#[cfg(target_os = "linux")]
impl NamespaceListener {
    /// Takes over a listener on the runtime that this is called on.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch it.
    pub fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self)
    }

    /// Waits for the next connection, and never fails. Cancelling it loses none.
    pub async fn accept(&self) -> Stream {
        loop {
            match self.0.accept().await {
                Ok((stream, _)) => {
                    stream.set_nodelay(true).ok();
                    return Stream::Tcp(stream);
                }
                Err(error) => {
                    tracing::debug!(%error, "could not accept a connection");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
        }
    }
}

/// Without free descriptors accepting fails at once and for ever: wait for connections to end.
#[cfg(target_os = "linux")]
const RETRY_DELAY: Duration = Duration::from_millis(10);

/// Makes a connection ready to be served.
fn prepare(stream: TcpStream, peer: Peer) -> (Stream, Peer) {
    // Responses are written whole: never wait for more. A connection that has ended meanwhile may
    // not take the option; its next read says so.
    stream.set_nodelay(true).ok();
    (Stream::Tcp(stream), peer)
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{SocketAddr, TcpStream as Client};
    use std::os::fd::AsRawFd as _;
    use std::time::Duration;

    use nix::libc;
    use nix::sys::socket::sockopt::{Linger, ReuseAddr, SendTimeout};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage};
    use nix::sys::socket::{bind, connect, setsockopt, socket};
    use nix::sys::time::{TimeVal, TimeValLike as _};

    use super::*;
    use crate::peer::User;

    #[tokio::test]
    async fn only_the_last_connection_of_a_pair_of_addresses_has_a_peer() {
        for acceptor in [by_diag, by_table] {
            let mut acceptor = acceptor();
            let address = acceptor.listener.local_addr().unwrap();
            let from = connection(address, None).local_addr().unwrap();
            for _ in 0..3 {
                connection(address, Some(from));
            }
            let stays = connection(address, Some(from));
            setsockopt(&stays, Linger, &libc::linger { l_onoff: 0, l_linger: 0 }).unwrap();

            let (mut dropped, mut accepted) = (0, vec![]);
            while accepted.is_empty() {
                let next = tokio::time::timeout(Duration::from_secs(60), acceptor.accept()).await;
                let next = next.unwrap_or_else(|_| {
                    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
                    let port = format!(":{:04X} ", from.port());
                    let ours: Vec<_> = table.lines().filter(|line| line.contains(&port)).collect();
                    panic!("{dropped} dropped, and no other comes: {acceptor:?} {from} {ours:#?}")
                });
                match next {
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
            // A reading of the tables leaves them out.
            assert_eq!(dropped, if acceptor.identifier.is_immediate() { 4 } else { 0 });
        }
    }

    #[tokio::test]
    async fn waiting_connections_share_one_reading_and_a_cancelled_wait_loses_none() {
        let mut acceptor = by_table();
        let address = acceptor.listener.local_addr().unwrap();
        let clients: Vec<_> = (0..50).map(|_| Client::connect(address).unwrap()).collect();

        // Cancelled while the table is read.
        let mut waits = Box::pin(acceptor.accept());
        let first = poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx)));
        assert!(first.await.is_pending());
        drop(waits);

        for _ in &clients {
            let (_, peer) = acceptor.accept().await.unwrap();
            assert!(matches!(peer, Peer::Tcp { user: User::Known { .. }, .. }), "{peer:?}");
        }
        assert_eq!(acceptor.lookup.table_reads(), 1);
    }

    fn by_diag() -> TcpAcceptor {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let acceptor = TcpAcceptor::new(listener).unwrap();
        assert!(acceptor.identifier.is_immediate());
        acceptor
    }

    fn by_table() -> TcpAcceptor {
        let acceptor = by_diag();
        let identifier = Identifier::with_tables(acceptor.listener.local_addr().unwrap());
        TcpAcceptor { identifier, ..acceptor }
    }

    /// Connects, sends a request, and resets the connection when it is dropped.
    fn connection(to: SocketAddr, from: Option<SocketAddr>) -> Client {
        let (family, flags) = (AddressFamily::Inet, SockFlag::SOCK_CLOEXEC);
        let made = socket(family, SockType::Stream, flags, None).unwrap();
        setsockopt(&made, ReuseAddr, &true).unwrap();
        // A handshake that no end completes is an error, and no test that hangs.
        setsockopt(&made, SendTimeout, &TimeVal::seconds(60)).unwrap();
        setsockopt(&made, Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
        if let Some(from) = from {
            bind(made.as_raw_fd(), &SockaddrStorage::from(from)).unwrap();
        }
        connect(made.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
        let mut client = Client::from(made);
        client.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        client
    }
}
