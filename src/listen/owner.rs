//! Which user holds the far end of a loopback connection, asked of the kernel.
//!
//! `NETLINK_SOCK_DIAG` answers for one exact pair of addresses, without privileges, in about ten
//! microseconds, and the answer is queued before the question returns: nothing waits here. Where
//! that kind of socket is not to be had (a sandbox, a kernel without `tcp_diag`) the tables in
//! `/proc/self/net` say the same, more slowly.
//!
//! A caller that has closed its end already is reported by the kernel as `uid 0, inode 0` while its
//! request can still be read. Whose it was nobody can say, and nobody waits for an answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send,
    socket,
};

use super::User;

/// Asks for the owners of connections.
#[derive(Debug)]
pub(super) struct Owners {
    kernel: Option<OwnedFd>,
    asked: AtomicU32,
}

impl Owners {
    /// Opens the way to the kernel.
    pub(super) fn new() -> Self {
        let kernel = open();
        if let Err(error) = &kernel {
            tracing::info!(%error, "no socket diagnostics here: callers are looked up in /proc");
        }
        Self { kernel: kernel.ok(), asked: AtomicU32::new(0) }
    }

    /// Returns the user whose socket is at `caller`, connected to us at `us`; `None` when it has
    /// been closed.
    pub(super) fn of(&self, caller: SocketAddr, us: SocketAddr) -> Option<User> {
        match self.find(caller, us) {
            Some(Found { inode: 0, state, .. }) if state != ESTABLISHED => None,
            Some(Found { inode: 0, .. } | Found { state: LISTENING, .. }) | None => {
                Some(User::Unknown)
            }
            Some(Found { uid, inode, .. }) => Some(User::Known { uid, socket: inode }),
        }
    }

    fn find(&self, caller: SocketAddr, us: SocketAddr) -> Option<Found> {
        let Some(kernel) = &self.kernel else { return listed(caller, us) };
        match self.ask(kernel, caller, us) {
            // Our own end exists for certain: a kernel that does not know it knows none.
            None if self.ask(kernel, us, caller).is_none() => listed(caller, us),
            found => found,
        }
    }

    fn ask(&self, kernel: &OwnedFd, from: SocketAddr, to: SocketAddr) -> Option<Found> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let question = question(number, from, to)?;
        send(kernel.as_raw_fd(), &question, MsgFlags::empty()).ok()?;
        let mut answer = [0; 512];
        loop {
            let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT).ok()?;
            let answer = answer.get(..length)?;
            // An older question that was given up may have left its answer behind.
            if word(answer, 8)? == number {
                return found(answer, from, to);
            }
        }
    }
}

fn open() -> nix::Result<OwnedFd> {
    let kernel = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkSockDiag,
    )?;
    // Connected to the kernel, so that nobody else can put answers into it.
    connect(kernel.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(kernel)
}

/// What the kernel knows of a socket.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    uid: u32,
    inode: u32,
    state: u8,
}

/// Writes `nlmsghdr` and `inet_diag_req_v2` (linux/netlink.h, linux/inet_diag.h).
fn question(number: u32, from: SocketAddr, to: SocketAddr) -> Option<Vec<u8>> {
    let family = match (from, to) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => AddressFamily::Inet,
        (SocketAddr::V6(_), SocketAddr::V6(_)) => AddressFamily::Inet6,
        (SocketAddr::V4(_), SocketAddr::V6(_)) | (SocketAddr::V6(_), SocketAddr::V4(_)) => {
            return None;
        }
    };
    let mut bytes = Vec::with_capacity(QUESTION as usize);
    bytes.extend(QUESTION.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend(number.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([u8::try_from(family as i32).ok()?, IPPROTO_TCP, 0, 0]);
    bytes.extend(ANY_STATE.to_ne_bytes());
    bytes.extend(from.port().to_be_bytes());
    bytes.extend(to.port().to_be_bytes());
    bytes.extend(address(from.ip()));
    bytes.extend(address(to.ip()));
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    Some(bytes)
}

fn address(ip: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match ip {
        IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes.copy_from_slice(&ip.octets()),
    }
    bytes
}

/// Reads `inet_diag_msg`. It must be about the very connection that was asked for: without one the
/// kernel falls back to whoever listens on the port.
fn found(answer: &[u8], from: SocketAddr, to: SocketAddr) -> Option<Found> {
    if half(answer, 4)? != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let body = answer.get(16..)?;
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
    let same = is(from, port(4)?, ip(8)?) && is(to, port(6)?, ip(24)?);
    same.then_some(Found { uid: word(body, 64)?, inode: word(body, 68)?, state })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Looks for the connection in the tables of `/proc`.
fn listed(caller: SocketAddr, us: SocketAddr) -> Option<Found> {
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(IpAddr::V6(ip.to_ipv6_mapped()), address.port()),
        IpAddr::V6(_) => address,
    };
    let look = |table: &str, caller: SocketAddr, us: SocketAddr| {
        owner_in(&std::fs::read_to_string(table).ok()?, &column(caller), &column(us))
    };
    let own_family = || look("/proc/self/net/tcp", caller, us).filter(|_| caller.is_ipv4());
    own_family().or_else(|| look("/proc/self/net/tcp6", mapped(caller), mapped(us)))
}

fn owner_in(table: &str, caller: &str, us: &str) -> Option<Found> {
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        if columns.get(1) != Some(&caller) || columns.get(2) != Some(&us) {
            return None;
        }
        let state = u8::from_str_radix(columns.get(3)?, 16).ok()?;
        Some(Found {
            uid: columns.get(7)?.parse().ok()?,
            inode: columns.get(9)?.parse().ok()?,
            state,
        })
    })
}

/// Writes an address as `/proc/net/tcp` does: words of the machine's own order.
fn column(address: SocketAddr) -> String {
    let words = |bytes: &[u8]| {
        let words = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word));
        words.map(|word| format!("{word:08X}")).collect::<String>()
    };
    let ip = match address.ip() {
        IpAddr::V4(ip) => words(&ip.octets()),
        IpAddr::V6(ip) => words(&ip.octets()),
    };
    format!("{ip}:{:04X}", address.port())
}

/// The length of a question: a header of 16 bytes and a request of 56.
const QUESTION: u32 = 72;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const IPPROTO_TCP: u8 = 6;
const ANY_STATE: u32 = u32::MAX;
/// `TCP_ESTABLISHED`
const ESTABLISHED: u8 = 1;
/// `TCP_LISTEN`
const LISTENING: u8 = 10;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_caller_of_either_family_is_known_both_ways_of_asking() {
        for place in ["127.0.0.1:0", "[::1]:0"] {
            let (caller, here, there) = connection(place);
            let us = nix::unistd::geteuid().as_raw();

            let asked = Owners::new().find(there, here);
            assert_eq!(asked.as_ref().map(|found| found.uid), Some(us), "{place}");
            assert_eq!(listed(there, here), asked, "{place}");
            drop(caller);
        }
    }

    #[test]
    fn a_caller_with_a_socket_of_the_other_family_is_known() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        let mapped = SocketAddr::new("::ffff:127.0.0.1".parse().unwrap(), here.port());
        let _caller = TcpStream::connect(mapped).unwrap();
        let there = listener.accept().unwrap().1;

        let us = nix::unistd::geteuid().as_raw();
        let asked = Owners::new().find(there, here);
        assert_eq!(asked.as_ref().map(|found| found.uid), Some(us));
        assert_eq!(listed(there, here), asked);
    }

    #[test]
    fn a_caller_that_is_gone_is_nobody() {
        let (caller, here, there) = connection("127.0.0.1:0");
        drop(caller);

        for owners in [Owners::new(), without_diagnostics()] {
            assert_eq!(owners.of(there, here), None);
        }
    }

    #[test]
    fn a_caller_that_is_there_and_nowhere_to_be_found_is_not_gone() {
        let (_caller, here, there) = connection("127.0.0.1:0");
        let elsewhere = SocketAddr::new([127, 0, 0, 2].into(), there.port());

        for owners in [Owners::new(), without_diagnostics()] {
            assert_eq!(owners.of(elsewhere, here), Some(User::Unknown));
            assert!(matches!(owners.of(there, here), Some(User::Known { .. })));
        }
    }

    #[test]
    fn who_listens_on_the_callers_port_is_not_the_caller() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();

        let asked = Owners::new().of(there, SocketAddr::from(([127, 0, 0, 1], 9)));
        assert_eq!(asked, Some(User::Unknown));
    }

    /// Measured with `CARGO_PROFILE_TEST_OPT_LEVEL=3 cargo test --lib asking -- --nocapture`.
    #[test]
    #[allow(clippy::print_stderr, reason = "a figure for whoever asks for it")]
    fn asking_the_kernel_takes_microseconds() {
        let (_caller, here, there) = connection("127.0.0.1:0");
        let owners = Owners::new();
        let rounds = 2_000;
        let started = std::time::Instant::now();
        for _ in 0..rounds {
            assert!(matches!(owners.of(there, here), Some(User::Known { .. })));
        }
        let each = started.elapsed() / rounds;
        eprintln!("asking whose connection it is: {each:?}");
        assert!(each < std::time::Duration::from_millis(5), "{each:?}");
    }

    fn without_diagnostics() -> Owners {
        Owners { kernel: None, asked: AtomicU32::new(0) }
    }

    /// Returns the calling socket, the address it called, and its own.
    fn connection(place: &str) -> (Connection, SocketAddr, SocketAddr) {
        let listener = TcpListener::bind(place).unwrap();
        let here = listener.local_addr().unwrap();
        let caller = TcpStream::connect(here).unwrap();
        let (accepted, there) = listener.accept().unwrap();
        std::mem::forget(accepted);
        (caller, here, there)
    }

    type Connection = TcpStream;
}
