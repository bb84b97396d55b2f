//! One line to the system's log: where another user keeps what this one cannot change.

/// Sends a line to `/dev/log`, which systemd's journal and every syslog daemon read (RFC 3164). Returns
/// whether it was taken.
#[cfg(unix)]
pub(super) fn send(text: &str) -> bool {
    use std::os::unix::net::UnixDatagram;
    let Ok(socket) = UnixDatagram::unbound() else { return false };
    let line = format!("<{AUTHPRIV_INFO}>nexudus-proxy[{}]: {text}", std::process::id());
    // A log that is full must not hold the audit up.
    socket.set_nonblocking(true).is_ok() && socket.send_to(line.as_bytes(), "/dev/log").is_ok()
}

/// Windows has no such socket.
#[cfg(not(unix))]
pub(super) fn send(_: &str) -> bool {
    false
}

/// Facility `authpriv` (10), severity `info` (6).
#[cfg(unix)]
const AUTHPRIV_INFO: u8 = 10 * 8 + 6;
