//! The three descriptors that the command gets from outside, looked at before anything is made.
//!
//! An open directory leads past every mount. A socket of the network outside, or one that is connected to
//! nothing, can be connected to another program.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType, getpeername};

use super::plan::Protected;

/// Why a descriptor is not passed on.
#[derive(Debug, thiserror::Error)]
pub(in crate::run) enum DescriptorFault {
    #[error("its {0} is a directory")]
    Directory(&'static str),
    #[error("its {0} is a file that is hidden from it: {1}")]
    Hidden(&'static str, PathBuf),
    #[error("its {0} is a socket that reaches other programs")]
    Socket(&'static str),
    #[error("its {0} cannot be looked at")]
    Unknown(&'static str, #[source] io::Error),
}

/// Looks at the three.
pub(in crate::run) fn check_descriptors(protected: &Protected) -> Result<(), DescriptorFault> {
    let hidden: Vec<PathBuf> = [&protected.own, &protected.hidden]
        .into_iter()
        .flatten()
        .map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()))
        .collect();
    check(io::stdin().as_fd(), 0, "standard input", &hidden)?;
    check(io::stdout().as_fd(), 1, "standard output", &hidden)?;
    check(io::stderr().as_fd(), 2, "standard error", &hidden)
}

fn check(
    descriptor: BorrowedFd<'_>,
    number: u8,
    name: &'static str,
    hidden: &[PathBuf],
) -> Result<(), DescriptorFault> {
    let link = format!("/proc/self/fd/{number}");
    let failed = |error| DescriptorFault::Unknown(name, error);
    let kind = fs::metadata(&link).map_err(failed)?.file_type();
    if kind.is_dir() {
        return Err(DescriptorFault::Directory(name));
    }
    if kind.is_socket() && !is_connected_pair(descriptor) {
        return Err(DescriptorFault::Socket(name));
    }
    let place = fs::read_link(&link).map_err(failed)?;
    let is_hidden = |path: &PathBuf| place.starts_with(path);
    if kind.is_file() && hidden.iter().any(is_hidden) {
        return Err(DescriptorFault::Hidden(name, place));
    }
    Ok(())
}

/// Says whether a socket is connected to one program, and can be to no other (connect(2)): Node makes
/// such a pair for a child.
fn is_connected_pair(socket: BorrowedFd<'_>) -> bool {
    let is_unix = socket_domain(socket).is_ok_and(|domain| domain == AddressFamily::UNIX);
    let is_stream = socket_type(socket)
        .is_ok_and(|kind| [SocketType::STREAM, SocketType::SEQPACKET].contains(&kind));
    is_unix && is_stream && getpeername(socket).is_ok()
}
