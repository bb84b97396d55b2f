//! Idle connections of one origin, the most recently used one first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Retry;
use super::h1_conn::Http1Connection;
use crate::clock::Clock;

/// Open connections that no request uses.
pub(super) struct Pool {
    clock: Clock,
    state: Mutex<PoolState>,
    /// Notified of the first use after a dormant time.
    activity: Notify,
}

struct PoolState {
    idle: Vec<IdleConnection>,
    /// Grows when all connections are closed: those in use then are not taken back.
    epoch: u64,
    /// When a request last gave a connection back. Ages are measured on the boot clock, which runs
    /// on while a laptop sleeps.
    last_used: Duration,
    /// Whether no connection stays warm until the next use.
    is_dormant: bool,
}

struct IdleConnection {
    conn: Http1Connection,
    idle_since: Duration,
}

impl Pool {
    pub(super) fn new(clock: Clock) -> Self {
        let last_used = clock.boot();
        let state = Mutex::new(PoolState { idle: vec![], epoch: 0, last_used, is_dormant: false });
        Self { clock, state, activity: Notify::new() }
    }

    /// Takes a connection that a request of this kind and this client may use, if there is one that
    /// is still open.
    pub(super) fn take(&self, retry: Retry, client: Option<&str>) -> Option<Http1Connection> {
        let max_idle_time = match retry {
            Retry::Safe => MAX_IDLE_TIME,
            Retry::Never => MAX_IDLE_TIME_WITHOUT_RETRY,
        };
        let now = self.clock.boot();
        loop {
            let mut taken = {
                let mut state = self.state();
                let is_young =
                    |idle: &IdleConnection| now.saturating_sub(idle.idle_since) <= max_idle_time;
                let youngest = |client| {
                    let mut idle = state.idle.iter();
                    idle.rposition(|idle| is_young(idle) && idle.conn.reserved_client() == client)
                };
                // A client's own connection serves no other client.
                let at = youngest(client).or_else(|| youngest(None))?;
                state.idle.remove(at)
            };
            if taken.conn.is_reusable() {
                return Some(taken.conn);
            }
        }
    }

    /// Closes all connections: those in use once their responses have ended.
    pub(super) fn close_all(&self) {
        let mut state = self.state();
        state.epoch += 1;
        state.idle.clear();
    }

    /// Returns the epoch: a connection that was taken in an earlier one is not put back.
    pub(super) fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// Puts back a connection that a request has used.
    fn put_back(&self, conn: Http1Connection, epoch: u64) {
        let now = self.clock.boot();
        let mut state = self.state();
        if state.epoch != epoch {
            return;
        }
        state.last_used = now;
        if std::mem::take(&mut state.is_dormant) {
            self.activity.notify_one();
        }
        state.add(conn, now);
    }

    /// Adds a connection that no request has used yet.
    pub(super) fn add(&self, conn: Http1Connection) {
        self.state().add(conn, self.clock.boot());
    }

    /// Closes dead and old connections, and returns whether a warm connection is missing.
    pub(super) fn evict_expired(&self) -> bool {
        let now = self.clock.boot();
        let mut state = self.state();
        state.idle.retain_mut(|idle| {
            now.saturating_sub(idle.idle_since) <= MAX_IDLE_TIME && idle.conn.is_reusable()
        });
        let mut warm = state.idle.iter().rev().filter(|idle| idle.conn.reserved_client().is_none());
        warm.next().is_none_or(|idle| {
            now.saturating_sub(idle.idle_since) > MAX_IDLE_TIME - 2 * CHECK_INTERVAL
        })
    }

    /// Waits until the connections are to be checked again: [`CHECK_INTERVAL`], or until the next
    /// use if there was none for [`KEEP_WARM_TIMEOUT`].
    pub(super) async fn wait_for_check(&self) {
        let is_dormant = {
            let mut state = self.state();
            state.is_dormant =
                self.clock.boot().saturating_sub(state.last_used) > KEEP_WARM_TIMEOUT;
            state.is_dormant
        };
        if is_dormant {
            self.activity.notified().await;
        } else {
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }

    /// Waits for the next request that gets a response.
    pub(super) async fn wait_for_use(&self) {
        self.state().is_dormant = true;
        self.activity.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PoolState {
    fn add(&mut self, conn: Http1Connection, now: Duration) {
        // The oldest come first.
        let expired =
            self.idle.partition_point(|old| now.saturating_sub(old.idle_since) > MAX_IDLE_TIME);
        self.idle.drain(..expired);
        if self.idle.len() == MAX_IDLE_CONNECTIONS {
            self.idle.remove(0);
        }
        self.idle.push(IdleConnection { conn, idle_since: now });
    }
}

/// A connection in use. Dropped before its response has ended, the connection is closed.
pub(super) struct PooledConnection {
    pool: Arc<Pool>,
    pub(super) conn: Http1Connection,
    epoch: u64,
}

impl PooledConnection {
    pub(super) fn new(pool: Arc<Pool>, conn: Http1Connection, epoch: u64) -> Self {
        Self { pool, conn, epoch }
    }

    /// Makes one that ends with this response.
    pub(super) fn single_use(pool: Arc<Pool>, conn: Http1Connection) -> Self {
        Self::new(pool, conn, NO_EPOCH)
    }

    /// Gives the connection back, whose response has been read to its end. A response that came
    /// before the end of the request leaves half a request on the wire: that connection is closed.
    pub(super) fn release(mut self) {
        if self.conn.is_reusable() {
            self.pool.put_back(self.conn, self.epoch);
        }
    }
}

/// The epoch of connections that are never taken back.
const NO_EPOCH: u64 = u64::MAX;

/// Longest idle time of a connection. Servers close them after 60 s and more (nginx 75 s, AWS load
/// balancers 60 s), and we must close before they do.
const MAX_IDLE_TIME: Duration = Duration::from_secs(55);

/// Longest idle time for a request that can never be sent again. The shortest after which common
/// servers close is 5 s (Node.js, Apache httpd), and such a request stays well clear of it.
const MAX_IDLE_TIME_WITHOUT_RETRY: Duration = Duration::from_secs(3);

/// Most idle connections. The tools of one machine rarely need more at once, and beyond that a
/// handshake costs less than memory.
const MAX_IDLE_CONNECTIONS: usize = 64;

/// How often idle connections are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a connection is kept warm without a request. A person who works with the API comes back
/// within this time and pays for no handshake; an unused daemon is silent after it.
const KEEP_WARM_TIMEOUT: Duration = Duration::from_secs(15 * 60);
