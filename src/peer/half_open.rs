//! Sockets of other users that are connected to a listener's address and have lost their other end.
//!
//! The bytes that such a socket sends reach the next connection from its address
//! (`socket_owner.rs`). Our own connections leave none behind; a listener that another user had
//! there before us may have.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use super::sock_diag::SocketEntry;
use super::socket_owner::{ESTABLISHED, TIME_WAIT};
use super::socket_table::SocketTable;

/// The addresses of the orphans before one listener. The first connection begins the search, so
/// that a start waits for nothing. The search takes some tens of milliseconds, on a thread for slow
/// things.
#[derive(Debug)]
pub(super) struct Orphans {
    listening: SocketAddr,
    found: OnceLock<Arc<OnceLock<HashSet<SocketAddr>>>>,
}

impl Orphans {
    /// Begins nothing yet.
    pub(super) fn new(listening: SocketAddr) -> Self {
        Self { listening, found: OnceLock::new() }
    }

    /// Says whether an orphan has this address, as far as the search has come.
    pub(super) fn contains(&self, remote: SocketAddr) -> bool {
        let found = self.found.get_or_init(|| {
            let found = Arc::<OnceLock<_>>::default();
            let (listening, result) = (self.listening, found.clone());
            tokio::task::spawn_blocking(move || result.set(search(listening)));
            found
        });
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        found.get().is_some_and(|found| found.contains(&remote))
    }
}

/// Reads the tables twice. A connection that begins or ends meanwhile may show one end alone, but
/// not twice.
fn search(listening: SocketAddr) -> HashSet<SocketAddr> {
    let [first, second] = [(); 2].map(|()| find_orphans(&SocketTable::read(), listening));
    first.intersection(&second).map(|(from, _)| *from).collect()
}

/// Returns address and number of each socket that seems to be an orphan.
fn find_orphans(table: &SocketTable, listening: SocketAddr) -> HashSet<(SocketAddr, u32)> {
    let own = nix::unistd::geteuid().as_raw();
    let is_ours = |to: SocketAddr| {
        let is_there = listening.ip().is_unspecified() || to.ip() == listening.ip().to_canonical();
        to.port() == listening.port() && is_there
    };
    let is_strange = |entry: &&SocketEntry| entry.state != TIME_WAIT && entry.uid != own;
    // One that is about to end is as good as gone.
    let is_lost = |ends: &[SocketEntry]| !ends.iter().any(|entry| entry.state == ESTABLISHED);
    let pairs = table.pairs().filter(|(_, to, _)| is_ours(*to));
    let lost = pairs.filter(|(from, to, _)| is_lost(table.find(*to, *from)));
    lost.flat_map(|(from, _, entries)| {
        entries.iter().filter(is_strange).map(move |entry| (from, entry.inode))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn only_another_users_socket_without_an_other_end_is_an_orphan() {
        let own = nix::unistd::geteuid().as_raw();
        let other = own + 1;
        let line = |from: u16, to: u16, state: &str, uid: u32| {
            format!("0: 0100007F:{from:04X} 0100007F:{to:04X} {state} 0:0 0:0 0 {uid} 0 7 1\n")
        };
        let table = SocketTable::parse(
            &[
                "header\n".to_owned(),
                line(1, 99, "08", other),
                // A whole connection, one of our own, one that has ended, one to another port.
                line(2, 99, "01", other) + &line(99, 2, "01", own),
                line(3, 99, "08", own),
                line(4, 99, "06", other),
                line(5, 98, "08", other),
            ]
            .concat(),
        );

        let found = find_orphans(&table, SocketAddr::from(([127, 0, 0, 1], 99)));

        assert_eq!(Vec::from_iter(found), [(SocketAddr::from(([127, 0, 0, 1], 1)), 7)]);
    }
}
