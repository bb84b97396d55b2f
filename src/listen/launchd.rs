//! Sockets that launchd opened for us (`launch_activate_socket(3)`).
//!
//! The one place with unsafe code: launchd hands over bare numbers, and only we can say that no
//! other code holds them.

use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockaddrLike as _, SockaddrStorage, getsockname};
use raunch::Error;

use super::listener::BoundSocket;

/// Takes the sockets of this name; none where launchd has not started this process.
pub(super) fn take(name: &str) -> io::Result<Vec<BoundSocket>> {
    match raunch::activate_socket(name) {
        Ok(numbers) => numbers.into_iter().map(bound).collect(),
        Err(Error::NotManaged | Error::NotInPlist) => Ok(vec![]),
        Err(error @ (Error::Null | Error::AlreadyActivated | Error::Unknown(_))) => {
            Err(io::Error::other(error))
        }
    }
}

#[expect(unsafe_code, reason = "launchd hands over bare numbers")]
fn bound(number: RawFd) -> io::Result<BoundSocket> {
    let family = getsockname::<SockaddrStorage>(number)?.family();
    // SAFETY: launchd opened it for this process, and gives each number out once.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    // A command that we run must not keep it open.
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    match family {
        Some(AddressFamily::Unix) => BoundSocket::inherited_unix(UnixListener::from(socket)),
        Some(_) | None => BoundSocket::inherited_tcp(TcpListener::from(socket)),
    }
}
