//! Looks peers up in the tables of `/proc` without holding up the data thread.
//!
//! All connections that wait are looked up in one reading of the tables, on a thread for slow
//! things: a crowd of clients makes that reading larger, never more frequent.

use std::collections::VecDeque;
use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::Peer;
use super::identifier::Identifier;
use super::socket_table::SocketTable;

/// Accepted connections whose peers are being looked up.
#[derive(Debug, Default)]
pub struct Lookup {
    accepted: Vec<(TcpStream, SocketAddr)>,
    reading: Option<JoinHandle<SocketTable>>,
    identified: VecDeque<(TcpStream, Peer)>,
    #[cfg(test)]
    table_reads: usize,
}

impl Lookup {
    /// Returns the next connection whose peer is known.
    pub fn next_identified(&mut self) -> Option<(TcpStream, Peer)> {
        self.identified.pop_front()
    }

    /// Says whether no connection waits.
    pub fn is_empty(&self) -> bool {
        self.accepted.is_empty()
    }

    /// Says whether a connection can be added: a table must be read after the last connection in it
    /// was accepted.
    pub fn has_room(&self) -> bool {
        self.reading.is_none() && self.accepted.len() < MAX_ACCEPTED
    }

    /// Adds a connection that was just accepted.
    pub fn add(&mut self, (stream, remote): (TcpStream, SocketAddr)) {
        self.accepted.push((stream, remote));
    }

    /// Reads the tables, once for all connections that wait. Cancelling it loses none of them.
    pub async fn read_tables(&mut self, identifier: &Identifier) {
        let read = || tokio::task::spawn_blocking(SocketTable::read);
        let table = self.reading.get_or_insert_with(read).await.unwrap_or_default();
        self.reading = None;
        #[cfg(test)]
        {
            self.table_reads += 1;
        }
        for (stream, remote) in self.accepted.drain(..) {
            let peer = identifier.identify_in(&table, &stream, remote);
            // Without a peer the connection ends here.
            self.identified.extend(peer.map(|peer| (stream, peer)));
        }
    }

    /// Returns how often the tables were read.
    #[cfg(test)]
    pub(crate) fn table_reads(&self) -> usize {
        self.table_reads
    }
}

/// Most connections that wait for one reading of the tables; the next ones wait in the queue.
const MAX_ACCEPTED: usize = 256;
