//! The kernel's socket diagnostics (`NETLINK_SOCK_DIAG`): one exact pair of addresses, queried
//! without privileges.
//!
//! The kernel responds before `send` returns: a query takes about three microseconds and never
//! waits.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send,
    socket,
};

/// The kernel's entry for a TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketEntry {
    /// The user who made the socket; 0 for one that no process holds any more.
    pub(super) uid: u32,
    /// The number of the socket; 0 for one that no process holds any more.
    pub(super) inode: u32,
    /// The state, as `TCP_ESTABLISHED` and the like are numbered.
    pub(super) state: u8,
}

/// A netlink socket for queries about one exact pair of addresses.
#[derive(Debug)]
pub(super) struct SockDiag {
    netlink: OwnedFd,
    sequence: AtomicU32,
}

impl SockDiag {
    /// Opens the socket to the kernel.
    ///
    /// # Errors
    ///
    /// When a sandbox or the kernel offers no such socket.
    pub(super) fn new() -> io::Result<Self> {
        let netlink = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkSockDiag,
        )?;
        // Connected to the kernel, so that no other process can send to it.
        connect(netlink.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { netlink, sequence: AtomicU32::new(0) })
    }

    /// Returns the socket at `local` that is connected to `remote`; where `remote` is
    /// unspecified, the one that listens at `local`.
    pub(super) fn find(&self, local: SocketAddr, remote: SocketAddr) -> Option<SocketEntry> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let request = request(sequence, local, remote)?;
        send(self.netlink.as_raw_fd(), &request, MsgFlags::empty()).ok()?;
        let mut response = [0; 512];
        loop {
            let length = recv(self.netlink.as_raw_fd(), &mut response, MsgFlags::MSG_DONTWAIT);
            let response = response.get(..length.ok()?)?;
            // An earlier request that was given up may have left its response behind.
            if read_u32(response, 8)? == sequence {
                return parse(response, local, remote);
            }
        }
    }
}

/// Writes `nlmsghdr` and `inet_diag_req_v2` (linux/netlink.h, linux/inet_diag.h).
fn request(sequence: u32, local: SocketAddr, remote: SocketAddr) -> Option<Vec<u8>> {
    let family = match (local, remote) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => AddressFamily::Inet,
        (SocketAddr::V6(_), SocketAddr::V6(_)) => AddressFamily::Inet6,
        (SocketAddr::V4(_), SocketAddr::V6(_)) | (SocketAddr::V6(_), SocketAddr::V4(_)) => {
            return None;
        }
    };
    let mut bytes = Vec::with_capacity(REQUEST_LENGTH as usize);
    bytes.extend(REQUEST_LENGTH.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([u8::try_from(family as i32).ok()?, IPPROTO_TCP, 0, 0]);
    bytes.extend(ANY_STATE.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    bytes.extend(address_bytes(local.ip()));
    bytes.extend(address_bytes(remote.ip()));
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    Some(bytes)
}

fn address_bytes(ip: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match ip {
        IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes.copy_from_slice(&ip.octets()),
    }
    bytes
}

/// Reads `inet_diag_msg`. The message must be about the very pair of the query: without such a
/// connection the kernel falls back to the socket that listens on the port.
fn parse(response: &[u8], local: SocketAddr, remote: SocketAddr) -> Option<SocketEntry> {
    if read_u16(response, 4)? != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let body = response.get(16..)?;
    let (family, state) = (*body.first()?, *body.get(1)?);
    let port = |at: usize| Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?));
    // A socket of the other family may be talking IPv4: its addresses are mapped ones.
    let ip = |at: usize| {
        let bytes = body.get(at..at + 16)?;
        Some(if i32::from(family) == AddressFamily::Inet as i32 {
            IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[..4]).ok()?))
        } else {
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).to_canonical()
        })
    };
    let is = |wanted: SocketAddr, port: u16, ip: IpAddr| {
        wanted.port() == port && wanted.ip().to_canonical() == ip
    };
    let is_same = is(local, port(4)?, ip(8)?) && is(remote, port(6)?, ip(24)?);
    let entry = SocketEntry { uid: read_u32(body, 64)?, inode: read_u32(body, 68)?, state };
    is_same.then_some(entry)
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The length of a request: a header of 16 bytes and a body of 56.
const REQUEST_LENGTH: u32 = 72;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const IPPROTO_TCP: u8 = 6;
const ANY_STATE: u32 = u32::MAX;
