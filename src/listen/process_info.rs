//! Which process listens on a port or holds a connection: for messages and logs, best effort.

use std::fmt;
use std::net::SocketAddr;

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its number.
    pub pid: u32,
    /// Its name, as `ps` shows it.
    pub name: String,
}

impl ProcessInfo {
    /// Looks for the process that listens on `address`. Other users' processes stay unknown
    /// without privileges.
    #[cfg(target_os = "linux")]
    pub fn listening_on(address: SocketAddr) -> Option<Self> {
        let table = std::fs::read_to_string(table_path(address)).ok()?;
        Self::holding_socket(find_listener(&table, address.port(), INODE_COLUMN)?.parse().ok()?)
    }

    /// Looks for the process that has the socket with this number open: milliseconds, since every
    /// process is asked.
    #[cfg(target_os = "linux")]
    pub fn holding_socket(number: u32) -> Option<Self> {
        let wanted = format!("socket:[{number}]");
        let processes = std::fs::read_dir("/proc").ok()?.flatten();
        let pid = processes
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .find(|pid| {
                let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
                open.flatten().any(|fd| {
                    std::fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == &*wanted)
                })
            })?;
        Some(Self::from_pid(pid.try_into().ok()?))
    }

    /// Asks what a process calls itself.
    pub fn from_pid(pid: i32) -> Self {
        // Its own choice: nothing that moves a cursor.
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let name = name.trim_end().replace(char::is_control, "?");
        Self { pid: pid.unsigned_abs(), name }
    }

    /// Says whether the process is this user's still: a number can be another process's by now.
    #[cfg(target_os = "linux")]
    pub fn belongs_to(&self, uid: u32) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(format!("/proc/{}", self.pid)).is_ok_and(|found| found.uid() == uid)
    }

    /// Not known on this system, which tells no names either.
    #[cfg(not(target_os = "linux"))]
    pub fn belongs_to(&self, _: u32) -> bool {
        true
    }

    /// Returns the user who listens on `address`, or on every address of its family.
    #[cfg(target_os = "linux")]
    pub(super) fn uid_listening_on(address: SocketAddr) -> Option<u32> {
        let table = std::fs::read_to_string(table_path(address)).ok()?;
        find_listener(&table, address.port(), 7)?.parse().ok()
    }

    /// Not known on this system.
    #[cfg(not(target_os = "linux"))]
    pub fn listening_on(_: SocketAddr) -> Option<Self> {
        None
    }

    /// Not known on this system.
    #[cfg(not(target_os = "linux"))]
    pub fn holding_socket(_: u32) -> Option<Self> {
        None
    }
}

impl fmt::Display for ProcessInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

#[cfg(target_os = "linux")]
fn table_path(address: SocketAddr) -> &'static str {
    match address {
        SocketAddr::V4(_) => "/proc/net/tcp",
        SocketAddr::V6(_) => "/proc/net/tcp6",
    }
}

/// Finds the socket that listens (state `0A`) on `port` in a table of `/proc/net`, and returns
/// this column of its line.
#[cfg(target_os = "linux")]
fn find_listener(table: &str, port: u16, column: usize) -> Option<&str> {
    let port = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (local, state) = (columns.get(1)?, columns.get(3)?);
        let found = columns.get(column)?;
        (local.ends_with(&port) && *state == "0A").then_some(*found)
    })
}

#[cfg(target_os = "linux")]
const INODE_COLUMN: usize = 9;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_told_from_a_connected_one() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:18FE 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000 0 111 1\n\
            1: 0100007F:18FE 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 222 1\n";
        assert_eq!(find_listener(table, 6398, INODE_COLUMN), Some("222"));
        assert_eq!(find_listener(table, 6399, INODE_COLUMN), None);
    }
}
