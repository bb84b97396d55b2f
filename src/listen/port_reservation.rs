//! Holds the other loopback family's port, so that no other user can take it.
//!
//! Clients resolve `localhost` to either family and try both. Where we listen on one family only,
//! another user could take the same port on the other one and receive requests, with bodies and
//! keys, that were meant for us. So that port is bound here and never listened on: a client is
//! refused there at once and tries the other family.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};

use super::Error;
use super::listener::BoundSocket;
use crate::peer::ProcessInfo;

/// A port that is held and not listened on.
#[derive(Debug)]
pub struct PortReservation(#[expect(dead_code, reason = "holding it is all it does")] OwnedFd);

/// Holds the other family's port for each loopback address among `sockets`.
///
/// # Errors
///
/// [`Error::OtherFamily`] when another user listens there.
pub fn reserve_other_family<'a>(
    places: impl Iterator<Item = &'a BoundSocket>,
) -> Result<Vec<PortReservation>, Error> {
    let ours: Vec<SocketAddr> = places.filter_map(BoundSocket::address).collect();
    let mut reserved = vec![];
    for other in ours.iter().filter_map(|address| other_family(*address)) {
        let wildcard = SocketAddr::new(wildcard_ip(other), other.port());
        if ours.contains(&other) || ours.contains(&wildcard) {
            continue;
        }
        match bind_without_listening(other) {
            Ok(held) => reserved.push(PortReservation(held)),
            Err(Errno::EADDRINUSE) => {
                let holder = ProcessInfo::uid_listening_on(other);
                if holder.is_some_and(|uid| uid != nix::unistd::geteuid().as_raw()) {
                    return Err(Error::OtherFamily { address: other });
                }
            }
            // Without that family no other user can listen on it either.
            Err(error) => {
                tracing::debug!(address = %other, error = %io::Error::from(error), "not reserved");
            }
        }
    }
    Ok(reserved)
}

fn other_family(address: SocketAddr) -> Option<SocketAddr> {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => return None,
    };
    Some(SocketAddr::new(ip, address.port()))
}

fn wildcard_ip(address: SocketAddr) -> IpAddr {
    match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Binds without `SO_REUSEADDR`, so that no other socket can be bound beside it.
fn bind_without_listening(address: SocketAddr) -> nix::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let held = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    if address.is_ipv6() {
        setsockopt(&held, sockopt::Ipv6V6Only, &true)?;
    }
    bind(held.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(held)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::listen::bind_tcp;

    #[test]
    fn no_other_socket_can_take_the_other_familys_port() {
        let bound = bind_tcp(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let other = other_family(bound[0].address().unwrap()).unwrap();

        let reserved = reserve_other_family(bound.iter()).unwrap();

        assert_eq!(reserved.len(), 1);
        assert_eq!(TcpListener::bind(other).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(TcpStream::connect(other).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        drop(reserved);
        TcpListener::bind(other).unwrap();
    }

    #[test]
    fn a_port_that_is_listened_on_needs_no_reservation() {
        let both = ["127.0.0.1:0", "[::1]:0"].map(|text| text.parse().unwrap());
        let bound = bind_tcp(&both).unwrap();

        assert!(reserve_other_family(bound.iter()).unwrap().is_empty());
    }

    #[test]
    fn our_own_users_other_program_may_stay() {
        let bound = bind_tcp(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let _own = TcpListener::bind(other_family(bound[0].address().unwrap()).unwrap()).unwrap();

        assert!(reserve_other_family(bound.iter()).unwrap().is_empty());
    }
}
