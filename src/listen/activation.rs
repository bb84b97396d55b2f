//! Sockets that the service manager opened for us: systemd's (`sd_listen_fds(3)`) here, launchd's
//! in `launchd.rs`.
//!
//! A socket named `admin` is the control socket; all others take requests. The sockets outlive us:
//! their files are not ours to remove, and connections that arrive between two daemons wait in
//! their queue.

use super::Error;
use super::listener::BoundSocket;

/// The sockets that were handed over.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For requests.
    pub data: Vec<BoundSocket>,
    /// For control.
    pub admin: Vec<BoundSocket>,
}

/// Takes the sockets that the service manager handed over to this process; a second call finds
/// none.
///
/// # Errors
///
/// [`Error::Inherited`] when one is no listening stream socket.
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
    if !is_for_process(|name| std::env::var_os(name), std::process::id()) {
        return Ok(inherited);
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

/// Says whether the sockets are for this process: `LISTEN_PID` names it. The library also takes
/// sockets without that variable, or from another number on, which sd_listen_fds(3) does not know:
/// descriptors of any kind would be taken for ours.
#[cfg(unix)]
fn is_for_process(var: impl Fn(&str) -> Option<std::ffi::OsString>, pid: u32) -> bool {
    var("LISTEN_PID").is_some_and(|listed| *listed == *pid.to_string())
        && var("LISTEN_FDS_FIRST_FD").is_none()
}

#[cfg(unix)]
fn take(sockets: &mut listenfd::ListenFd, index: usize) -> std::io::Result<BoundSocket> {
    if let Ok(Some(listener)) = sockets.take_tcp_listener(index) {
        return BoundSocket::inherited_tcp(listener);
    }
    let listener = sockets.take_unix_listener(index)?;
    BoundSocket::inherited_unix(
        listener.ok_or_else(|| std::io::Error::other("it was taken already"))?,
    )
}

/// No other system hands sockets over like this.
#[cfg(not(unix))]
pub fn inherited() -> Result<Inherited, Error> {
    Ok(Inherited::default())
}

/// The first descriptor that can be handed over.
#[cfg(unix)]
const FIRST_FD: usize = 3;

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_for_this_very_process_are_taken() {
        for (vars, is_ours) in [
            (&[("LISTEN_PID", "7")][..], true),
            (&[], false),
            (&[("LISTEN_PID", "")], false),
            (&[("LISTEN_PID", "8")], false),
            (&[("LISTEN_PID", "7x")], false),
            (&[("LISTEN_PID", "7"), ("LISTEN_FDS_FIRST_FD", "1")], false),
        ] {
            let var = |name: &str| {
                let found = vars.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| std::ffi::OsString::from(value))
            };
            assert_eq!(is_for_process(var, 7), is_ours, "{vars:?}");
        }
    }
}
