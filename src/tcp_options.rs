//! One policy for silence on TCP connections, towards Nexudus and towards callers.
//!
//! A path can die without a word: a router forgets a connection, a laptop changes its network, a
//! cable is cut. Without these options the kernel never asks an idle peer whether it is there, and
//! sends unacknowledged bytes again for a quarter of an hour.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Idle time after which the kernel asks the other end whether it is still there: below the 2 min
/// after which home routers forget a connection (RFC 5382 permits it).
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// Time between two such questions.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Questions without a response after which the connection is dead: a minute after the last byte.
pub const KEEPALIVE_RETRIES: u32 = 3;

/// How long bytes sent to Nexudus, or to the proxy on the way, may stay unacknowledged (RFC 5482):
/// as long as an idle connection may be silent.
pub const UPSTREAM_USER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long bytes sent to a caller may stay unacknowledged. The kernel counts the time in which the
/// caller reads nothing as well, so that this is long: five minutes are more than any server before
/// Nexudus waits for a reader (nginx: 60 s).
pub const CALLER_USER_TIMEOUT: Duration = Duration::from_secs(300);

/// Bounds the silence of a connection, or of all connections that a listening socket accepts.
///
/// A system that refuses an option loses the bound and nothing else.
#[cfg(unix)]
pub fn bound_silence(socket: &impl std::os::fd::AsFd, user_timeout: Duration) {
    apply(&SockRef::from(socket), user_timeout);
}

/// Bounds the silence of a connection, or of all connections that a listening socket accepts.
///
/// A system that refuses an option loses the bound and nothing else.
#[cfg(windows)]
pub fn bound_silence(socket: &impl std::os::windows::io::AsSocket, user_timeout: Duration) {
    apply(&SockRef::from(socket), user_timeout);
}

fn apply(socket: &SockRef<'_>, user_timeout: Duration) {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    if let Err(error) = socket.set_tcp_keepalive(&keepalive) {
        tracing::debug!(%error, "no keep-alive on a connection");
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Err(error) = socket.set_tcp_user_timeout(Some(user_timeout)) {
        tracing::debug!(%error, "no user timeout on a connection");
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = user_timeout;
}

/// Returns whether a socket could not be had because this machine or this process has no more: of
/// descriptors, memory or local ports. The network and the other end are not to blame.
pub fn is_local_exhaustion(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use nix::errno::Errno;
        let code = error.raw_os_error().map(Errno::from_raw);
        matches!(
            code,
            Some(
                Errno::EMFILE
                    | Errno::ENFILE
                    | Errno::ENOMEM
                    | Errno::ENOBUFS
                    | Errno::EADDRNOTAVAIL
            )
        )
    }
    #[cfg(not(unix))]
    {
        matches!(error.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::AddrNotAvailable)
    }
}

/// Returns why no socket can be had now, if that is so.
pub fn find_local_exhaustion() -> Option<io::Error> {
    std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).err().filter(is_local_exhaustion)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn accepted_connections_inherit_the_bounds_of_their_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        bound_silence(&listener, CALLER_USER_TIMEOUT);
        let _caller = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();

        let (accepted, _) = listener.accept().unwrap();

        let socket = SockRef::from(&accepted);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_RETRIES);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(CALLER_USER_TIMEOUT));
    }
}
