//! The loopback interface of a new network namespace, which begins switched off.

use std::io;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// Switches it on. The kernel then gives it `127.0.0.0/8` and `::1`.
pub(super) fn switch_on() -> io::Result<()> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(netlink.as_raw_fd(), &request(), &kernel, MsgFlags::empty())?;
    let mut response = [0; 256];
    let length = recv(netlink.as_raw_fd(), &mut response, MsgFlags::empty())?;
    match read_error(&response[..length]) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Writes `nlmsghdr` and `ifinfomsg` (linux/netlink.h, linux/rtnetlink.h).
fn request() -> Vec<u8> {
    const LENGTH: u32 = 16 + 16;
    let mut bytes = Vec::with_capacity(LENGTH as usize);
    bytes.extend(LENGTH.to_ne_bytes());
    bytes.extend(RTM_NEWLINK.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    // Sequence and port.
    bytes.extend([0; 8]);
    // Family, padding and type.
    bytes.extend([0; 4]);
    bytes.extend(LOOPBACK_INDEX.to_ne_bytes());
    // The flags, and which of them are meant.
    bytes.extend(IFF_UP.to_ne_bytes());
    bytes.extend(IFF_UP.to_ne_bytes());
    bytes
}

/// Reads the number in `nlmsgerr`: 0 for a success, else an error number below 0.
fn read_error(response: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(response.get(4..6)?.try_into().ok()?);
    let number = i32::from_ne_bytes(response.get(16..20)?.try_into().ok()?);
    (kind == NLMSG_ERROR).then_some(number)
}

const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const IFF_UP: u32 = 1;

/// The loopback is the first interface of every namespace.
const LOOPBACK_INDEX: i32 = 1;
