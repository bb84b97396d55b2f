//! The TCP sockets that this process listens on: a connection to one of them would be a loop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

/// The addresses that this process listens on. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct OwnSockets(Arc<[SocketAddr]>);

/// Why a name is not connected to: its addresses are sockets of this daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its address {0} is a socket of this daemon itself")]
pub struct OwnSocket(pub SocketAddr);

impl OwnSockets {
    /// Takes the addresses of listening sockets.
    pub fn new(listening: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self(listening.into_iter().collect())
    }

    /// Says whether a connection to `address` would reach one of these sockets. Only the port of a
    /// socket of ours costs more than a comparison.
    pub fn contains(&self, address: SocketAddr) -> bool {
        let wanted = reached_by(address.ip());
        self.0.iter().any(|ours| {
            let bound = ours.ip().to_canonical();
            ours.port() == address.port()
                && (bound == wanted || bound.is_unspecified() && is_local(wanted))
        })
    }
}

/// Returns the address that a connection reaches: the unspecified one stands for the loopback.
fn reached_by(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    }
}

/// Says whether this machine has the address: only then can a socket be bound to it. Sends nothing.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_ours_with_its_port_and_in_every_spelling() {
        let own = OwnSockets::new(
            ["127.0.0.1:6398", "[::1]:6398", "0.0.0.0:7000"].map(|it| it.parse().unwrap()),
        );
        for ours in [
            "127.0.0.1:6398",
            "[::1]:6398",
            "[::ffff:127.0.0.1]:6398",
            "0.0.0.0:6398",
            "[::]:6398",
            "127.0.0.1:7000",
            "127.3.2.1:7000",
        ] {
            assert!(own.contains(ours.parse().unwrap()), "{ours}");
        }
        for other in ["127.0.0.1:443", "127.0.0.2:6398", "203.0.113.7:6398", "203.0.113.7:7000"] {
            assert!(!own.contains(other.parse().unwrap()), "{other}");
        }
    }
}
