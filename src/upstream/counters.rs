//! The cost of the connections to one host so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one host, for the metrics.
#[derive(Debug, Default)]
pub(super) struct ConnectionCounters {
    full: AtomicU64,
    resumed: AtomicU64,
    raced: AtomicU64,
}

/// The connections to one host: each number since the start, and those that are idle now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionStats {
    /// Connections that were opened with a full TLS handshake.
    pub full_handshakes: u64,
    /// Connections that were opened with a resumed TLS handshake.
    pub resumed_handshakes: u64,
    /// Reads that were sent a second time, because a used connection was silent.
    pub raced_reads: u64,
    /// Open connections that no request uses.
    pub idle: usize,
}

impl ConnectionCounters {
    /// Counts a connection that was opened.
    pub(super) fn count_handshake(&self, is_resumed: bool) {
        let counter = if is_resumed { &self.resumed } else { &self.full };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a read that is sent a second time.
    pub(super) fn count_race(&self) {
        self.raced.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the counts so far.
    pub(super) fn stats(&self, idle: usize) -> ConnectionStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ConnectionStats {
            full_handshakes: read(&self.full),
            resumed_handshakes: read(&self.resumed),
            raced_reads: read(&self.raced),
            idle,
        }
    }
}
