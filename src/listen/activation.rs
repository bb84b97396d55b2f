//! Sockets that the service manager opened for us: systemd's (`sd_listen_fds(3)`) here, launchd's
//! in `launchd.rs`.
//!
//! One named `admin` is the control socket; every other one takes requests. They outlive us: their
//! files are not ours to remove, and what arrives between two daemons waits in their queue.

use super::{BoundSocket, Error};

/// What was handed over.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For requests.
    pub data: Vec<BoundSocket>,
    /// For control.
    pub admin: Vec<BoundSocket>,
}

/// Takes what was handed over to this process; a second call finds nothing.
///
/// # Errors
///
/// [`Error::Inherited`] when one of them is no listening stream socket.
#[cfg(unix)]
pub fn inherited() -> Result<Inherited, Error> {
    use std::sync::atomic::{AtomicBool, Ordering};

    static TAKEN: AtomicBool = AtomicBool::new(false);
    let mut inherited = Inherited::default();
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(inherited);
    }
    #[cfg(target_os = "macos")]
    {
        let from_launchd = |name| {
            let taken = super::launchd::take(name);
            taken.map_err(|source| Error::Inherited { which: format!("`{name}`"), source })
        };
        inherited.data = from_launchd("data")?;
        inherited.admin = from_launchd("admin")?;
    }
    let mut sockets = listenfd::ListenFd::from_env();
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    for index in 0..sockets.len() {
        let bound = take(&mut sockets, index)
            .map_err(|source| Error::Inherited { which: (index + FIRST_FD).to_string(), source })?;
        match names.next() {
            Some("admin") => inherited.admin.push(bound),
            Some(_) | None => inherited.data.push(bound),
        }
    }
    Ok(inherited)
}

#[cfg(unix)]
fn take(sockets: &mut listenfd::ListenFd, index: usize) -> std::io::Result<BoundSocket> {
    if let Ok(Some(listener)) = sockets.take_tcp_listener(index) {
        return tcp_socket(listener);
    }
    let listener = sockets.take_unix_listener(index)?;
    unix_socket(listener.ok_or_else(|| std::io::Error::other("it was taken already"))?)
}

#[cfg(unix)]
pub(super) fn tcp_socket(listener: std::net::TcpListener) -> std::io::Result<BoundSocket> {
    listener.set_nonblocking(true)?;
    Ok(BoundSocket::Tcp(listener))
}

#[cfg(unix)]
pub(super) fn unix_socket(
    listener: std::os::unix::net::UnixListener,
) -> std::io::Result<BoundSocket> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let path = address.as_pathname().unwrap_or(std::path::Path::new(""));
    let bound = super::UnixBound::without_cleanup(path);
    Ok(BoundSocket::Unix(listener, bound))
}

/// No other system hands sockets over like this.
#[cfg(not(unix))]
pub fn inherited() -> Result<Inherited, Error> {
    Ok(Inherited::default())
}

/// The first descriptor that can be handed over.
#[cfg(unix)]
const FIRST_FD: usize = 3;
