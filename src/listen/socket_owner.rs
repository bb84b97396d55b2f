//! Which user holds the far end of a loopback connection, asked of the kernel.
//!
//! The kernel knows sockets by their addresses, and addresses are names: once a caller has died,
//! its pair of addresses is given to the next one, while what the dead one has sent can still be
//! read. So two questions are asked, in this order:
//!
//! 1. Which socket has the caller's address and is connected to ours? It must be ESTABLISHED, and a
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
//! - A caller's socket becomes ESTABLISHED only by a handshake with whatever has the mirrored pair:
//!   that was our end, and our end has made one handshake. A later socket with the same addresses
//!   stays in SYN_SENT until our end has gone.
//!
//! So no interleaving is left: a caller that was reset takes our end to CLOSE, one that has closed
//! takes ours to CLOSE_WAIT, and one that died in silence leaves ours ESTABLISHED and the caller after
//! it in SYN_SENT. All of them are dropped, and nothing of what they have sent is read.
//!
//! A caller's side is not always alone with its pair: beside a socket that is bound to a device
//! (`SO_BINDTODEVICE`, which takes no privilege) the kernel lets another one connect from the same
//! address. Such a twin reaches our end of the other's connection only if it has outlived its own, and
//! then if its sequence numbers fit, which repeat every 275 s. So no twin may outlive its connection:
//!
//! - Every connection of another user ends with a reset, however it ends (`SO_LINGER` 0 from the
//!   first moment on, so that it holds for a killed daemon too): that kills the other socket. Users
//!   who are let in end as usual; they may do what the owner may.
//! - Twins that were made before we listened, with a listener of another user's, are looked for once,
//!   beside the first connections (`orphans.rs`); later ones with their addresses are dropped.
//!
//! The answer holds for the connection's whole life, for every request on it: bytes reach our
//! descriptor only from that one socket, and none of its successors can write to it. It holds
//! alike for every listener, since each of them accepts through [`super::TcpAcceptor`] (the API's,
//! those of `[[host]]`, the one of `run`, `admin.listen`), and for sockets that the service manager
//! has opened. With the tables of `/proc` the first question is a line that was read before the
//! second one is asked, which is all that the argument needs.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use nix::libc;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::GetStruct;

use super::sock_diag::{SockDiag, SocketEntry};
use super::{Peer, User};

/// Where the kernel is asked for the callers of one listener: chosen once, at the start.
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
            Ok(_) => tracing::info!("socket diagnostics know no sockets: callers are in /proc"),
            Err(error) => tracing::info!(%error, "no socket diagnostics: callers are in /proc"),
        }
        Self::Table
    }
}

/// Returns the user at the other end of `stream`, given what the kernel has said just before of
/// the sockets with the caller's addresses; `None` when the caller has gone.
pub(super) fn socket_owner(entries: &[SocketEntry], stream: &impl AsFd) -> Option<User> {
    // After the entries were read: see above.
    if getsockopt(stream, TcpState) != Ok(ESTABLISHED) {
        return None;
    }
    let mut others = entries.iter().filter(|entry| entry.state != TIME_WAIT);
    match (others.next(), others.next()) {
        (Some(entry), None) if entry.state == ESTABLISHED && entry.inode != 0 => {
            Some(User::Known { uid: entry.uid, socket: entry.inode })
        }
        (None, _) if entries.is_empty() => Some(User::Unknown),
        // Gone, or one of two with the same addresses.
        (None | Some(_), _) => None,
    }
}

/// Says whether this caller's socket is another user's, as far as is known of it.
pub(super) fn is_other_user(peer: Option<&Peer>) -> bool {
    match peer {
        Some(Peer::Tcp { user: User::Known { uid, .. }, .. }) => {
            *uid != nix::unistd::geteuid().as_raw()
        }
        Some(Peer::Tcp { user: User::Unknown, .. }) | None => true,
        Some(Peer::Tcp { user: User::Unsupported | User::Remote, .. } | Peer::Unix { .. }) => false,
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
    use crate::listen::socket_table::SocketTable;

    #[test]
    fn the_caller_of_either_family_is_known_both_ways_of_asking() {
        for place in ["127.0.0.1:0", "[::1]:0"] {
            let met = ConnectedPair::at(place);
            let us = nix::unistd::geteuid().as_raw();

            let found = met.by_diag();
            assert!(matches!(found, Some(User::Known { uid, .. }) if uid == us), "{place}");
            assert_eq!(met.by_table(), found, "{place}");
        }
    }

    #[test]
    fn a_caller_with_a_socket_of_the_other_family_is_known() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mapped = format!("[::ffff:127.0.0.1]:{}", listener.local_addr().unwrap().port());
        let met = ConnectedPair::with(listener, mapped.parse().unwrap());

        assert!(matches!(met.by_diag(), Some(User::Known { .. })));
        assert_eq!(met.by_table(), met.by_diag());
    }

    #[test]
    fn a_caller_that_is_gone_is_nobodys() {
        let met = ConnectedPair::at("127.0.0.1:0");
        let (caller, met) = met.without_caller();
        drop(caller);

        assert_eq!((met.by_diag(), met.by_table()), (None, None));
    }

    #[test]
    fn only_an_established_socket_that_a_process_holds_is_a_caller() {
        let met = ConnectedPair::at("127.0.0.1:0");
        let entry = |state, inode| SocketEntry { uid: 7, inode, state };
        let owner = |entries: &[SocketEntry]| socket_owner(entries, &met.accepted);

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
    fn whatever_the_kernel_has_said_before_our_own_end_must_be_established_after_it() {
        let entries = [SocketEntry { uid: 7, inode: 9, state: ESTABLISHED }];
        let met = ConnectedPair::at("127.0.0.1:0");
        assert!(socket_owner(&entries, &met.accepted).is_some());

        let (caller, met) = met.without_caller();
        drop(caller);

        // CLOSE_WAIT: connected still, and not enough.
        assert_eq!(socket_owner(&entries, &met.accepted), None);
        assert!(met.accepted.peer_addr().is_ok());
    }

    #[test]
    fn a_socket_that_listens_on_the_callers_port_is_not_the_caller() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();

        let found = SockDiag::new().unwrap().find(there, SocketAddr::from(([127, 0, 0, 1], 9)));
        assert_eq!(found, None);
    }

    #[test]
    fn the_way_of_asking_is_chosen_by_what_is_known_of_the_listener() {
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
        let met = ConnectedPair::at("127.0.0.1:0");
        let diag = SockDiag::new().unwrap();
        let rounds = 2_000;
        let started = std::time::Instant::now();
        for _ in 0..rounds {
            let entry = diag.find(met.remote, met.local);
            assert!(matches!(
                socket_owner(entry.as_slice(), &met.accepted),
                Some(User::Known { .. })
            ));
        }
        let each = started.elapsed() / rounds;
        eprintln!("asking whose connection it is: {each:?}");
        assert!(each < std::time::Duration::from_millis(5), "{each:?}");
    }

    /// A connection, both of its ends and its addresses.
    struct ConnectedPair {
        caller: Option<TcpStream>,
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
            let caller = TcpStream::connect(address).unwrap();
            let (accepted, remote) = listener.accept().unwrap();
            let local = accepted.local_addr().unwrap();
            Self { caller: Some(caller), accepted, local, remote }
        }

        fn without_caller(mut self) -> (TcpStream, Self) {
            (self.caller.take().unwrap(), self)
        }

        fn by_diag(&self) -> Option<User> {
            let entry = SockDiag::new().unwrap().find(self.remote, self.local);
            socket_owner(entry.as_slice(), &self.accepted)
        }

        fn by_table(&self) -> Option<User> {
            socket_owner(SocketTable::read().find(self.remote, self.local), &self.accepted)
        }
    }
}
