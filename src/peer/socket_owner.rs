//! Asks the kernel which user holds the far end of a loopback connection.
//!
//! The kernel knows sockets by their addresses, and addresses are names: once a peer has died, its
//! pair of addresses is given to the next one, while the bytes that the dead one has sent can still
//! be read. So there are two questions, in this order:
//!
//! 1. Which socket has the peer's address and is connected to ours? It must be ESTABLISHED, and a
//!    process must hold it.
//! 2. Is *our* end, the descriptor in our hand, ESTABLISHED?
//!
//! Then that socket is the true other end of our descriptor, whatever the order of events was:
//!
//! - A socket never enters ESTABLISHED again. Ours is in it now, so it has been since before the
//!   first question.
//! - On our side a connected socket is alone with its pair of addresses: a handshake for that pair
//!   reaches the one that is there. So while ours lives, no other socket can be the listening side of
//!   a handshake with those addresses.
//! - A peer's socket becomes ESTABLISHED only by a handshake with whatever has the mirrored pair:
//!   that was our end, and our end has made one handshake. A later socket with the same addresses
//!   stays in SYN_SENT until our end has gone.
//!
//! So no interleaving is left: a peer that was reset takes our end to CLOSE, one that has closed
//! takes ours to CLOSE_WAIT, and one that died in silence leaves ours ESTABLISHED and the peer
//! after it in SYN_SENT. All of them are dropped, and nothing of what they have sent is read.
//!
//! A peer's side is not always alone with its pair: beside a socket that is bound to a device
//! (`SO_BINDTODEVICE`, which takes no privilege) the kernel lets another one connect from the same
//! address. Such a twin reaches our end of the other's connection only if it has outlived its own,
//! and then if its sequence numbers fit, which repeat every 275 s. So no twin may outlive its
//! connection:
//!
//! - Every connection of another user ends with a reset, however it ends (`SO_LINGER` 0 from the
//!   first moment on, so that it holds for a killed daemon too): that kills the other socket. The
//!   connections of allowed users end as usual; these users may do what the owner may.
//! - Twins that were made before we listened, with a listener of another user's, are looked for
//!   once, beside the first connections (`half_open.rs`); later ones with their addresses are dropped.
//!
//! The result holds for the connection's whole life, for every request on it: bytes reach our
//! descriptor only from that one socket, and none of its successors can write to it. It holds alike
//! for every listener, since each of them accepts through `listen::TcpAcceptor` (the API's, those
//! of `[[host]]`, the one of `run`, `admin.listen`), and for sockets that the service manager has
//! opened. With the tables of `/proc`, the line for the first question is read before the second
//! question is asked. The argument needs no more than that.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use nix::libc;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::GetStruct;

use super::User;
use super::sock_diag::{SockDiag, SocketEntry};
use super::socket_table::SocketTable;

/// Where the kernel is asked for the peers of one listener: chosen once, at the start.
#[derive(Debug)]
pub(super) enum OwnerSource {
    /// At once, by socket diagnostics.
    Diag(SockDiag),
    /// In the tables of `/proc`, beside the data thread.
    Table,
}

impl OwnerSource {
    /// Chooses socket diagnostics where they know the socket that listens at `listening`.
    pub(super) fn new(listening: SocketAddr) -> Self {
        let unspecified = match listening {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        match SockDiag::new() {
            Ok(diag) if diag.find(listening, unspecified).is_some() => return Self::Diag(diag),
            Ok(_) => {
                tracing::info!("socket diagnostics know no sockets: peers are looked up in /proc")
            }
            Err(error) => {
                tracing::info!(%error, "no socket diagnostics: peers are looked up in /proc")
            }
        }
        Self::Table
    }

    /// Returns the user at the other end of `stream`, as [`socket_owner`]. Reading the tables takes
    /// milliseconds.
    pub(super) fn owner(
        &self,
        remote: SocketAddr,
        local: SocketAddr,
        stream: &impl AsFd,
    ) -> Option<User> {
        match self {
            Self::Diag(diag) => socket_owner(diag.find(remote, local).as_slice(), stream),
            Self::Table => socket_owner(SocketTable::read().find(remote, local), stream),
        }
    }
}

/// Returns the user at the other end of `stream`; `None` when the peer has gone. `entries` are the
/// sockets with the peer's addresses, which the kernel has named just before.
pub(super) fn socket_owner(entries: &[SocketEntry], stream: &impl AsFd) -> Option<User> {
    // The second question comes after the entries were read: see the top of this file.
    if getsockopt(stream, TcpState) != Ok(ESTABLISHED) {
        return None;
    }
    let mut others = entries.iter().filter(|entry| entry.state != TIME_WAIT);
    match (others.next(), others.next()) {
        (Some(entry), None) if entry.state == ESTABLISHED && entry.inode != 0 => {
            Some(User::Known { uid: entry.uid, socket: entry.inode })
        }
        (None, _) if entries.is_empty() => Some(User::Unknown),
        // The peer is gone, or is one of two with the same addresses.
        (None | Some(_), _) => None,
    }
}

/// The first byte of `struct tcp_info`: the socket's state.
#[derive(Clone, Copy)]
struct TcpState;

nix::getsockopt_impl!(TcpState, libc::IPPROTO_TCP, libc::TCP_INFO, u8, GetStruct<u8>);

/// `TCP_ESTABLISHED`
pub(super) const ESTABLISHED: u8 = 1;

/// `TCP_TIME_WAIT`: no socket any more.
pub(super) const TIME_WAIT: u8 = 6;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_peer_of_either_family_is_known_from_either_source() {
        for place in ["127.0.0.1:0", "[::1]:0"] {
            let pair = ConnectedPair::at(place);
            let us = nix::unistd::geteuid().as_raw();

            let found = pair.by_diag();
            assert!(matches!(found, Some(User::Known { uid, .. }) if uid == us), "{place}");
            assert_eq!(pair.by_table(), found, "{place}");
        }
    }

    #[test]
    fn a_peer_with_a_socket_of_the_other_family_is_known() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mapped = format!("[::ffff:127.0.0.1]:{}", listener.local_addr().unwrap().port());
        let pair = ConnectedPair::with(listener, mapped.parse().unwrap());

        assert!(matches!(pair.by_diag(), Some(User::Known { .. })));
        assert_eq!(pair.by_table(), pair.by_diag());
    }

    #[test]
    fn a_peer_that_is_gone_has_no_user() {
        let pair = ConnectedPair::at("127.0.0.1:0");
        let (client, pair) = pair.without_client();
        drop(client);

        assert_eq!((pair.by_diag(), pair.by_table()), (None, None));
    }

    #[test]
    fn only_an_established_socket_that_a_process_holds_is_a_peer() {
        let pair = ConnectedPair::at("127.0.0.1:0");
        let entry = |state, inode| SocketEntry { uid: 7, inode, state };
        let owner = |entries: &[SocketEntry]| socket_owner(entries, &pair.accepted);

        for state in (0..=13).filter(|state| *state != ESTABLISHED) {
            assert_eq!(owner(&[entry(state, 9)]), None, "state {state}");
        }
        assert_eq!(owner(&[entry(ESTABLISHED, 0)]), None);
        assert_eq!(owner(&[]), Some(User::Unknown));
        let known = Some(User::Known { uid: 7, socket: 9 });
        assert_eq!(owner(&[entry(TIME_WAIT, 0), entry(ESTABLISHED, 9)]), known);
        // One of them is bound to a device: a twin.
        for state in (0..=13).filter(|state| *state != TIME_WAIT) {
            assert_eq!(owner(&[entry(state, 8), entry(ESTABLISHED, 9)]), None, "state {state}");
        }
    }

    #[test]
    fn our_own_end_must_be_established_after_the_entries_were_read() {
        let entries = [SocketEntry { uid: 7, inode: 9, state: ESTABLISHED }];
        let pair = ConnectedPair::at("127.0.0.1:0");
        assert!(socket_owner(&entries, &pair.accepted).is_some());

        let (client, pair) = pair.without_client();
        drop(client);

        // CLOSE_WAIT: connected still, and not enough.
        assert_eq!(socket_owner(&entries, &pair.accepted), None);
        assert!(pair.accepted.peer_addr().is_ok());
    }

    #[test]
    fn a_socket_that_listens_on_the_peers_port_is_not_the_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();

        let found = SockDiag::new().unwrap().find(there, SocketAddr::from(([127, 0, 0, 1], 9)));
        assert_eq!(found, None);
    }

    #[test]
    fn socket_diagnostics_are_chosen_where_they_know_the_listener() {
        for place in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
            let listener = TcpListener::bind(place).unwrap();
            let address = listener.local_addr().unwrap();
            assert!(matches!(OwnerSource::new(address), OwnerSource::Diag(_)), "{place}");
            drop(listener);
            assert!(matches!(OwnerSource::new(address), OwnerSource::Table), "{place}");
        }
    }

    /// Measured with `CARGO_PROFILE_TEST_OPT_LEVEL=3 cargo test --lib asking -- --nocapture`.
    #[test]
    #[allow(clippy::print_stderr, reason = "a figure for a person who measures")]
    fn asking_the_kernel_takes_microseconds() {
        let pair = ConnectedPair::at("127.0.0.1:0");
        let diag = SockDiag::new().unwrap();
        let rounds = 2_000;
        let started = std::time::Instant::now();
        for _ in 0..rounds {
            let entry = diag.find(pair.remote, pair.local);
            assert!(matches!(
                socket_owner(entry.as_slice(), &pair.accepted),
                Some(User::Known { .. })
            ));
        }
        let each = started.elapsed() / rounds;
        eprintln!("asking whose connection it is: {each:?}");
        assert!(each < std::time::Duration::from_millis(5), "{each:?}");
    }

    /// A connection, both of its ends and its addresses.
    struct ConnectedPair {
        client: Option<TcpStream>,
        accepted: TcpStream,
        local: SocketAddr,
        remote: SocketAddr,
    }

    impl ConnectedPair {
        fn at(place: &str) -> Self {
            let listener = TcpListener::bind(place).unwrap();
            let address = listener.local_addr().unwrap();
            Self::with(listener, address)
        }

        fn with(listener: TcpListener, address: SocketAddr) -> Self {
            let client = TcpStream::connect(address).unwrap();
            let (accepted, remote) = listener.accept().unwrap();
            let local = accepted.local_addr().unwrap();
            Self { client: Some(client), accepted, local, remote }
        }

        fn without_client(mut self) -> (TcpStream, Self) {
            (self.client.take().unwrap(), self)
        }

        fn by_diag(&self) -> Option<User> {
            let diag = OwnerSource::Diag(SockDiag::new().unwrap());
            diag.owner(self.remote, self.local, &self.accepted)
        }

        fn by_table(&self) -> Option<User> {
            OwnerSource::Table.owner(self.remote, self.local, &self.accepted)
        }
    }
}
