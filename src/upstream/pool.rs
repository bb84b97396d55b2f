//! Idle connections of one origin, the most recently used one first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;

use super::body::Uploaded;
use super::{Payload, Repeat};
use crate::clock::Clock;

/// What is open and unused.
pub(super) struct Pool {
    clock: Clock,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: SendRequest<Payload>,
    /// On the boot clock: a connection from before a suspend is as old as it is for the host.
    since: Duration,
}

impl Pool {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, idle: Mutex::default() }
    }

    /// Takes a connection that a request of this kind may use, if there is one that still lives.
    pub(super) async fn take(&self, repeat: Repeat) -> Option<SendRequest<Payload>> {
        let limit = match repeat {
            Repeat::Harmless => KEPT,
            Repeat::Never => JUST_USED,
        };
        loop {
            let mut connection = {
                let mut idle = self.idle();
                // The last one is the youngest: when it is too old, all are.
                if self.clock.now().boot.saturating_sub(idle.last()?.since) > limit {
                    return None;
                }
                idle.pop()?.connection
            };
            // It was put back when its last answer ended; an error here means it was closed since.
            if connection.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    pub(super) fn clear(&self) {
        self.idle().clear();
    }

    fn put(&self, connection: SendRequest<Payload>) {
        let now = self.clock.now().boot;
        let mut idle = self.idle();
        // The oldest come first.
        let expired = idle.partition_point(|old| now.saturating_sub(old.since) > KEPT);
        idle.drain(..expired);
        if idle.len() == MOST_IDLE {
            idle.remove(0);
        }
        idle.push(Idle { connection, since: now });
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in use. Dropped before its answer has ended, it is closed.
pub(super) struct Lease {
    pool: Arc<Pool>,
    connection: SendRequest<Payload>,
    uploaded: Uploaded,
}

impl Lease {
    pub(super) fn new(
        pool: Arc<Pool>,
        connection: SendRequest<Payload>,
        uploaded: Uploaded,
    ) -> Self {
        Self { pool, connection, uploaded }
    }

    /// Gives the connection back: its answer has been read to the end.
    pub(super) fn finish(self) {
        // An answer that came before the request was sent leaves half a request on the wire.
        if self.uploaded.is_complete() && !self.connection.is_closed() {
            self.pool.put(self.connection);
        }
    }
}

/// Servers close idle connections after 60 s and more (nginx 75 s, AWS load balancers 60 s): ours
/// must be gone before theirs are.
const KEPT: Duration = Duration::from_secs(55);

/// The shortest idle time after which common servers close is 5 s (Node.js, Apache httpd): a
/// request that can never be repeated stays well clear of it.
const JUST_USED: Duration = Duration::from_secs(3);

/// A local machine's tools rarely want more at once; beyond it a handshake costs less than memory.
const MOST_IDLE: usize = 64;
