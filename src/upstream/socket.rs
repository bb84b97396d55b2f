//! TCP sockets towards a host: their options, what the kernel knows of the other end, and their
//! move to another runtime.

use std::io;
use std::time::Duration;

#[cfg(target_os = "linux")]
use nix::libc;
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::tcp_options::{UPSTREAM_USER_TIMEOUT, bound_silence};

/// Prepares a new connection for requests.
pub(super) fn configure(tcp: &TcpStream) -> io::Result<()> {
    // A request is small and waits for its response: it must not wait for another segment.
    tcp.set_nodelay(true)?;
    bound_silence(tcp, UPSTREAM_USER_TIMEOUT);
    Ok(())
}

/// Returns whether the other end has not acknowledged bytes that were sent `since` ago; `None` where
/// the system does not tell. A server's kernel acknowledges within a round trip, however long the
/// server thinks.
#[cfg(target_os = "linux")]
pub(super) fn is_unacknowledged(tcp: &impl std::os::fd::AsFd, since: Duration) -> Option<bool> {
    let info = nix::sys::socket::getsockopt(tcp, TcpInfo).ok()?;
    // Bytes that a local firewall does not let out are no unacknowledged ones: the kernel probes.
    let is_pending = info.tcpi_unacked > 0 || info.tcpi_probes > 0;
    // Other requests on a shared connection may have sent bytes a moment ago. The kernel counts in
    // ticks of a few milliseconds.
    let acknowledged = Duration::from_millis(info.tcpi_last_ack_recv.into());
    Some(is_pending && acknowledged >= since / 2)
}

/// Returns whether the other end has not acknowledged bytes that were sent `since` ago; `None` where
/// the system does not tell.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_unacknowledged<T>(_: &T, _: Duration) -> Option<bool> {
    None
}

/// Returns the same connection, watched by the runtime of this thread. The old one is to be dropped.
pub(super) fn rewatch(tcp: &TcpStream) -> io::Result<TcpStream> {
    // A second descriptor, because `into_std` takes the stream out of what holds it.
    TcpStream::from_std(SockRef::from(tcp).try_clone()?.into())
}

#[cfg(target_os = "linux")]
#[derive(Clone, Copy)]
struct TcpInfo;

#[cfg(target_os = "linux")]
nix::getsockopt_impl!(
    TcpInfo,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    libc::tcp_info,
    nix::sys::socket::sockopt::GetStruct<libc::tcp_info>
);
