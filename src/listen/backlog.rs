//! The queue of connections that wait to be accepted: as long as the system allows.

use std::io;

/// Lets as many connections wait as the system allows (`net.core.somaxconn`): the standard library
/// asks for 128 over TCP, and a burst of clients is refused or delayed by a second beyond that.
///
/// # Errors
///
/// When the system refuses, which it does for no socket that listens already.
#[cfg(unix)]
pub(super) fn extend(listener: &impl std::os::fd::AsFd) -> io::Result<()> {
    use nix::sys::socket::{Backlog, listen};
    #[cfg(target_os = "linux")]
    let longest = Backlog::MAXALLOWABLE;
    #[cfg(not(target_os = "linux"))]
    let longest = Backlog::MAXCONN;
    Ok(listen(listener, longest)?)
}

/// The standard library's own queue is what there is.
#[cfg(not(unix))]
pub(super) fn extend<T>(_: &T) -> io::Result<()> {
    Ok(())
}
