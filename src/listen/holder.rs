//! Who listens on a port that we wanted: for the error message, best effort.

use std::fmt;
use std::net::SocketAddr;

/// The process that holds a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its name, as `ps` shows it.
    pub name: String,
}

impl Holder {
    /// Looks for the process that listens on `address`. Other users' processes stay unknown
    /// without privileges.
    #[cfg(target_os = "linux")]
    pub fn of(address: SocketAddr) -> Option<Self> {
        let table = std::fs::read_to_string(table_of(address)).ok()?;
        let inode = listening(&table, address.port(), INODE)?;
        let wanted = format!("socket:[{inode}]");
        let processes = std::fs::read_dir("/proc").ok()?.flatten();
        let pid = processes
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .find(|pid| {
                let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
                open.flatten().any(|fd| {
                    std::fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == &*wanted)
                })
            })?;
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned();
        Some(Self { pid, name })
    }

    /// Returns the user who listens on `address`, or on every address of its family.
    #[cfg(target_os = "linux")]
    pub(super) fn user(address: SocketAddr) -> Option<u32> {
        let table = std::fs::read_to_string(table_of(address)).ok()?;
        listening(&table, address.port(), 7)?.parse().ok()
    }

    /// Not known on this system.
    #[cfg(not(target_os = "linux"))]
    pub fn of(_: SocketAddr) -> Option<Self> {
        None
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

#[cfg(target_os = "linux")]
fn table_of(address: SocketAddr) -> &'static str {
    match address {
        SocketAddr::V4(_) => "/proc/net/tcp",
        SocketAddr::V6(_) => "/proc/net/tcp6",
    }
}

/// Finds the socket that listens (state `0A`) on `port` in a table of `/proc/net`, and returns
/// this column of its line.
#[cfg(target_os = "linux")]
fn listening(table: &str, port: u16, column: usize) -> Option<&str> {
    let port = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (local, state) = (columns.get(1)?, columns.get(3)?);
        let found = columns.get(column)?;
        (local.ends_with(&port) && *state == "0A").then_some(*found)
    })
}

#[cfg(target_os = "linux")]
const INODE: usize = 9;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_told_from_a_connected_one() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:18FE 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000 0 111 1\n\
            1: 0100007F:18FE 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 222 1\n";
        assert_eq!(listening(table, 6398, INODE), Some("222"));
        assert_eq!(listening(table, 6399, INODE), None);
    }
}
