//! A `demo` that runs: a daemon of its own, in a temporary directory that only it knows.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::admin::api::Status;
use crate::admin::client::AdminClient;

/// A running `demo` of this user.
#[derive(Debug)]
pub(in crate::cli) struct RunningDemo {
    /// The process.
    pub(in crate::cli) pid: u32,
    pub(in crate::cli) admin: AdminClient,
    tcp: Vec<SocketAddr>,
}

impl RunningDemo {
    /// Says whether the demo has one of these addresses.
    pub(in crate::cli) fn listens_at(&self, addresses: &[SocketAddr]) -> bool {
        self.tcp.iter().any(|address| addresses.contains(address))
    }
}

/// Finds a running `demo` by the name of its directory.
pub(in crate::cli) async fn find_demo() -> Option<RunningDemo> {
    for socket in sockets() {
        let status = async {
            let admin = AdminClient::find(&[socket]).await?;
            let status: Status = admin.get("/v1/status").await?;
            Ok::<_, crate::admin::client::Error>((admin, status))
        };
        if let Ok((admin, status)) = status.await {
            return Some(RunningDemo { pid: status.pid, admin, tcp: status.listening.tcp });
        }
    }
    None
}

/// Returns where a demo may listen. Another user's directory of that name is not believed.
fn sockets() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    let is_demo = |entry: &std::fs::DirEntry| {
        entry.file_name().to_str().is_some_and(|name| name.starts_with(DEMO_PREFIX))
    };
    let demos = entries.filter(|entry| is_demo(entry) && is_own(entry));
    demos.map(|entry| entry.path().join("run/admin.sock")).collect()
}

#[cfg(unix)]
fn is_own(entry: &std::fs::DirEntry) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    entry.metadata().is_ok_and(|found| found.uid() == nix::unistd::geteuid().as_raw())
}

#[cfg(not(unix))]
fn is_own(_: &std::fs::DirEntry) -> bool {
    true
}

/// The beginning of the name of a demo's directory.
pub(in crate::cli) const DEMO_PREFIX: &str = "nexudus-proxy-demo-";
