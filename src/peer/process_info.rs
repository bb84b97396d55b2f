//! The process that listens on a port or holds a connection: for messages and logs, best effort.

use std::fmt;
use std::net::SocketAddr;

#[cfg(target_os = "linux")]
use super::socket_table::SocketTable;

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// The process ID.
    pub pid: u32,
    /// The name, as `ps` shows it.
    pub name: String,
}

impl ProcessInfo {
    /// Looks for the process that listens on `address`. Other users' processes stay unknown
    /// without privileges.
    #[cfg(target_os = "linux")]
    pub fn listening_on(address: SocketAddr) -> Option<Self> {
        Self::holding_socket(SocketTable::read().find_listener(address)?.inode)
    }

    /// Looks for the process that has the socket with this number open: takes milliseconds, since
    /// it looks at every process.
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

    /// Reads the name that a process gives itself.
    pub fn from_pid(pid: i32) -> Self {
        // The process chooses its name: keep control characters out of terminals.
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let name = name.trim_end().replace(char::is_control, "?");
        Self { pid: pid.unsigned_abs(), name }
    }

    /// Says whether the process still belongs to this user: a process ID can be reused.
    #[cfg(target_os = "linux")]
    pub fn belongs_to(&self, uid: u32) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(format!("/proc/{}", self.pid)).is_ok_and(|found| found.uid() == uid)
    }

    /// Unknown on this system, which gives no names either.
    #[cfg(not(target_os = "linux"))]
    pub fn belongs_to(&self, _: u32) -> bool {
        true
    }

    /// Returns the user who listens on `address`, or on every address of its family.
    #[cfg(target_os = "linux")]
    pub fn uid_listening_on(address: SocketAddr) -> Option<u32> {
        SocketTable::read().find_listener(address).map(|entry| entry.uid)
    }

    /// Unknown on this system.
    #[cfg(not(target_os = "linux"))]
    pub fn listening_on(_: SocketAddr) -> Option<Self> {
        None
    }

    /// Unknown on this system.
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
