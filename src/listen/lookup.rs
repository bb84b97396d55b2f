//! Looks callers up in the tables of `/proc` without holding up the data thread.
//!
//! Everything that waits in the listener's queue is looked up in one reading of the tables, on a
//! thread for slow things: a crowd of callers makes that reading larger, never more frequent.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::acceptor::{finish, identify};
use super::orphans::Orphans;
use super::socket_owner::socket_owner;
use super::socket_table::SocketTable;
use super::{Peer, Stream};

/// Accepted connections on their way to their callers' names.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    accepted: Vec<(TcpStream, SocketAddr)>,
    reading: Option<JoinHandle<SocketTable>>,
    identified: VecDeque<(Stream, Peer)>,
    #[cfg(test)]
    table_reads: usize,
}

impl Lookup {
    /// Waits for the next connection whose caller is known. Cancelling it loses none.
    ///
    /// # Errors
    ///
    /// What `accept(2)` says.
    pub(super) async fn accept(
        &mut self,
        listener: &TcpListener,
        orphans: &Orphans,
    ) -> io::Result<(Stream, Peer)> {
        loop {
            if let Some(connection) = self.identified.pop_front() {
                return Ok(connection);
            }
            if self.accepted.is_empty() {
                self.accepted.push(listener.accept().await?);
            }
            let reading = match &mut self.reading {
                Some(reading) => reading,
                None => {
                    self.accept_waiting(listener).await;
                    // Read after the last of them was accepted.
                    self.reading.insert(tokio::task::spawn_blocking(SocketTable::read))
                }
            };
            let table = reading.await.unwrap_or_default();
            self.reading = None;
            #[cfg(test)]
            {
                self.table_reads += 1;
            }
            for (stream, remote) in self.accepted.drain(..) {
                let peer = identify(&stream, remote, |local| match orphans.contains(remote) {
                    true => None,
                    false => socket_owner(table.find(remote, local), &stream),
                });
                self.identified.extend(finish(stream, peer));
            }
        }
    }

    /// Returns how often the tables were read.
    #[cfg(test)]
    pub(super) fn table_reads(&self) -> usize {
        self.table_reads
    }

    /// Accepts what is in the queue already.
    async fn accept_waiting(&mut self, listener: &TcpListener) {
        poll_fn(|cx| {
            while self.accepted.len() < MAX_ACCEPTED
                && let Poll::Ready(Ok(connection)) = listener.poll_accept(cx)
            {
                self.accepted.push(connection);
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// Most connections that wait for one reading of the tables; the next ones wait in the queue.
const MAX_ACCEPTED: usize = 256;
