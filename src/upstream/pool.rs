//! The connections of one origin: idle ones, and the requests that wait for one.
//!
//! Idle connections follow the demand by themselves. A request takes the one that was used last, so
//! that those beyond the demand stay unused and are closed after [`MAX_IDLE_TIME`]. A request that
//! finds none waits in the queue for a connection that is given back or opened, whichever comes
//! first; each connection that was opened is used or becomes idle.
//!
//! All data threads share one pool. An idle connection belongs to the runtime that watches its
//! socket; a request of another runtime takes it only if its own has none, and moves it.

mod idle;
mod pace;
mod waiting;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;

use self::idle::IdleConnections;
use self::pace::{INITIAL_LIMIT, OpeningPace};
use self::waiting::WaitQueue;
pub(super) use self::waiting::{Opening, Outcome, Wanted};
use super::Retry;
use super::h1_conn::Http1Connection;
use crate::clock::Clock;

/// Open connections, and the requests that wait for one. `C` is a stand-in in tests.
pub(super) struct Pool<C = Http1Connection> {
    clock: Clock,
    max_idle: usize,
    state: Mutex<PoolState<C>>,
    /// The smoothed time of a handshake.
    handshake_ms: AtomicU64,
    /// Notified of the first use after a dormant time.
    activity: Notify,
}

struct PoolState<C> {
    idle: IdleConnections<C>,
    queue: WaitQueue<C>,
    pace: OpeningPace,
    /// Grows when all connections are closed: those in use then are not taken back.
    epoch: u64,
    /// When a request last gave a connection back. Ages are measured on the boot clock, which runs
    /// on while a laptop sleeps.
    last_used: Duration,
    /// Whether no connection stays warm until the next use.
    is_dormant: bool,
}

/// A connection as the pool sees it.
pub(super) trait Poolable {
    /// Returns whether the connection can take a request.
    fn is_reusable(&mut self) -> bool;

    /// Returns whether a request was sent on it before.
    fn is_used(&self) -> bool;

    /// Returns the client whose requests alone may use it, if there is one.
    fn reserved_client(&self) -> Option<&str>;

    /// Returns the runtime that watches its socket.
    fn runtime(&self) -> Id;

    /// Lets the runtime of this thread watch its socket.
    fn move_here(&mut self);
}

impl Poolable for Http1Connection {
    fn is_reusable(&mut self) -> bool {
        Self::is_reusable(self)
    }

    fn is_used(&self) -> bool {
        Self::is_used(self)
    }

    fn reserved_client(&self) -> Option<&str> {
        Self::reserved_client(self)
    }

    fn runtime(&self) -> Id {
        Self::runtime(self)
    }

    fn move_here(&mut self) {
        Self::move_here(self);
    }
}

impl<C: Poolable> Pool<C> {
    /// Makes an empty pool that keeps at most `max_idle` idle connections. `shares_connections`:
    /// one connection may serve all requests, so that one is opened at first.
    pub(super) fn new(clock: Clock, max_idle: usize, shares_connections: bool) -> Self {
        let state = PoolState {
            idle: IdleConnections::new(),
            queue: WaitQueue::new(),
            pace: OpeningPace::new(if shares_connections { 1 } else { INITIAL_LIMIT }),
            epoch: 0,
            last_used: clock.boot(),
            is_dormant: false,
        };
        let handshake_ms = AtomicU64::new(0);
        Self { clock, max_idle, state: Mutex::new(state), handshake_ms, activity: Notify::new() }
    }

    /// Takes a connection that a request of this kind and this client may use, if there is one that
    /// is still open, and the epoch of the pool: in a later one the connection is not put back.
    pub(super) fn take(&self, retry: Retry, client: Option<&str>) -> Option<(C, u64)> {
        let oldest = self.clock.boot().saturating_sub(max_idle_time(retry));
        let runtime = Handle::current().id();
        loop {
            let (mut conn, epoch) = {
                let mut state = self.state();
                (state.idle.take(runtime, client, oldest)?, state.epoch)
            };
            if conn.is_reusable() {
                if conn.runtime() != runtime {
                    conn.move_here();
                }
                return Some((conn, epoch));
            }
        }
    }

    /// Closes all connections: those in use once their responses have ended.
    pub(super) fn close_all(&self) {
        let closed = {
            let mut state = self.state();
            state.epoch += 1;
            state.idle.clear()
        };
        drop(closed);
    }

    /// Returns how many connections are idle.
    pub(super) fn idle_count(&self) -> usize {
        self.state().idle.len()
    }

    /// Returns how long a handshake takes, without a lock: zero before there was one.
    pub(super) fn handshake_time(&self) -> Duration {
        Duration::from_millis(self.handshake_ms.load(Ordering::Relaxed))
    }

    /// Puts back a connection that a request has used.
    fn put_back(&self, conn: C, epoch: u64) {
        let now = self.clock.boot();
        let mut state = self.state();
        if state.epoch != epoch {
            return;
        }
        state.last_used = now;
        if std::mem::take(&mut state.is_dormant) {
            self.activity.notify_one();
        }
        let surplus = state.give(conn, true, now, self.max_idle);
        drop(state);
        drop(surplus);
    }

    /// Takes back a connection that was given to a request that is gone, as it was given.
    fn take_back(&self, conn: C, epoch: u64) {
        let now = self.clock.boot();
        let mut state = self.state();
        if state.epoch != epoch {
            return;
        }
        let is_used = conn.is_used();
        let surplus = state.give(conn, is_used, now, self.max_idle);
        drop(state);
        drop(surplus);
    }

    /// Adds a connection that no request has used yet.
    pub(super) fn add(&self, conn: C) {
        let surplus = self.state().give(conn, false, self.clock.boot(), self.max_idle);
        drop(surplus);
    }

    /// Removes dead and old connections, which the caller closes, and returns whether a warm
    /// connection is missing.
    pub(super) fn remove_expired(&self) -> (Vec<C>, bool) {
        let now = self.clock.boot();
        let mut state = self.state();
        let removed = state.idle.remove_expired(now.saturating_sub(MAX_IDLE_TIME));
        let is_missing = state.idle.youngest_shared().is_none_or(|idle_since| {
            now.saturating_sub(idle_since) > MAX_IDLE_TIME - 2 * CHECK_INTERVAL
        });
        (removed, is_missing)
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

    fn state(&self) -> MutexGuard<'_, PoolState<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Poolable> PoolState<C> {
    /// Hands a connection to the request that has waited longest of those that it can serve, or adds
    /// it to the idle ones. Returns the connection that is too many, to be closed without the lock.
    fn give(&mut self, conn: C, is_used: bool, now: Duration, max_idle: usize) -> Option<C> {
        if !self.queue.is_empty() {
            match self.queue.give(conn, is_used) {
                None => {
                    if is_used {
                        self.pace.record_release(tokio::time::Instant::now());
                    }
                    return None;
                }
                Some(refused) => return self.keep(refused, now, max_idle),
            }
        }
        self.keep(conn, now, max_idle)
    }

    fn keep(&mut self, conn: C, now: Duration, max_idle: usize) -> Option<C> {
        self.idle.push(conn, now);
        if self.idle.len() > max_idle { self.idle.pop_oldest() } else { None }
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

fn max_idle_time(retry: Retry) -> Duration {
    match retry {
        Retry::Safe => MAX_IDLE_TIME,
        Retry::Never => MAX_IDLE_TIME_WITHOUT_RETRY,
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

/// How often idle connections are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// How long a connection is kept warm without a request. A person who works with the API comes back
/// within this time and pays for no handshake; an unused daemon is silent after it.
const KEEP_WARM_TIMEOUT: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests;
