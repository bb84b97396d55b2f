//! Idle connections of one origin, the most recently used one first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Retry;
use super::h1_conn::Http1Connection;
use crate::clock::Clock;

/// What is open and unused.
pub(super) struct Pool {
    clock: Clock,
    state: Mutex<PoolState>,
    /// Told of the first use after a long rest.
    activity: Notify,
}

struct PoolState {
    idle: Vec<IdleConnection>,
    /// Grows when all are closed: what is in use then is not taken back.
    epoch: u64,
    /// When a request last gave a connection back; ages are measured on the boot clock, which
    /// runs on while a laptop sleeps.
    last_used: Duration,
    is_dormant: bool,
}

struct IdleConnection {
    conn: Http1Connection,
    idle_since: Duration,
}

impl Pool {
    pub(super) fn new(clock: Clock) -> Self {
        let used = clock.boot();
        let state =
            Mutex::new(PoolState { idle: vec![], epoch: 0, last_used: used, is_dormant: false });
        Self { clock, state, activity: Notify::new() }
    }

    /// Takes a connection that a request of this kind and this client may use, if there is one that
    /// still lives.
    pub(super) fn take(&self, repeat: Retry, client: Option<&str>) -> Option<Http1Connection> {
        let limit = match repeat {
            Retry::Safe => MAX_IDLE_TIME,
            Retry::Never => MAX_IDLE_TIME_WITHOUT_RETRY,
        };
        let now = self.clock.boot();
        loop {
            let mut taken = {
                let mut state = self.state();
                let is_young = |idle: &IdleConnection| now.saturating_sub(idle.idle_since) <= limit;
                let youngest = |client| {
                    let mut idle = state.idle.iter();
                    idle.rposition(|idle| is_young(idle) && idle.conn.client() == client)
                };
                // A client's own one serves nobody else.
                let at = youngest(client).or_else(|| youngest(None))?;
                state.idle.remove(at)
            };
            if taken.conn.is_reusable() {
                return Some(taken.conn);
            }
        }
    }

    /// Closes all: those that are in use once their answers have ended.
    pub(super) fn close_all(&self) {
        let mut state = self.state();
        state.epoch += 1;
        state.idle.clear();
    }

    /// Returns what a connection must be as old as to be put back.
    pub(super) fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// Puts back a connection that a request has used.
    fn put_back(&self, line: Http1Connection, era: u64) {
        let now = self.clock.boot();
        let mut state = self.state();
        if state.epoch != era {
            return;
        }
        state.last_used = now;
        if std::mem::take(&mut state.is_dormant) {
            self.activity.notify_one();
        }
        state.add(line, now);
    }

    /// Adds a connection that nobody has used yet.
    pub(super) fn add(&self, line: Http1Connection) {
        self.state().add(line, self.clock.boot());
    }

    /// Closes what is dead or too old; says whether a warm connection is missing.
    pub(super) fn evict_expired(&self) -> bool {
        let now = self.clock.boot();
        let mut state = self.state();
        state.idle.retain_mut(|idle| {
            now.saturating_sub(idle.idle_since) <= MAX_IDLE_TIME && idle.conn.is_reusable()
        });
        let mut shared = state.idle.iter().rev().filter(|idle| idle.conn.client().is_none());
        shared.next().is_none_or(|idle| {
            now.saturating_sub(idle.idle_since) > MAX_IDLE_TIME - 2 * CHECK_INTERVAL
        })
    }

    /// Waits for the next look: a moment, or the next use when there was none for long.
    pub(super) async fn wait_for_check(&self) {
        let long = {
            let mut state = self.state();
            state.is_dormant =
                self.clock.boot().saturating_sub(state.last_used) > KEEP_WARM_TIMEOUT;
            state.is_dormant
        };
        match long {
            true => self.activity.notified().await,
            false => tokio::time::sleep(CHECK_INTERVAL).await,
        }
    }

    /// Waits for the next request that gets an answer.
    pub(super) async fn wait_for_use(&self) {
        self.state().is_dormant = true;
        self.activity.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PoolState {
    fn add(&mut self, line: Http1Connection, now: Duration) {
        // The oldest come first.
        let expired =
            self.idle.partition_point(|old| now.saturating_sub(old.idle_since) > MAX_IDLE_TIME);
        self.idle.drain(..expired);
        if self.idle.len() == MAX_IDLE_CONNECTIONS {
            self.idle.remove(0);
        }
        self.idle.push(IdleConnection { conn: line, idle_since: now });
    }
}

/// A connection in use. Dropped before its answer has ended, it is closed.
pub(super) struct PooledConnection {
    pool: Arc<Pool>,
    pub(super) conn: Http1Connection,
    epoch: u64,
}

impl PooledConnection {
    pub(super) fn new(pool: Arc<Pool>, conn: Http1Connection, epoch: u64) -> Self {
        Self { pool, conn, epoch }
    }

    /// For a connection that ends with this answer.
    pub(super) fn single_use(pool: Arc<Pool>, line: Http1Connection) -> Self {
        Self::new(pool, line, NO_EPOCH)
    }

    /// Gives the connection back: its answer has been read to the end. One that came before the
    /// request was sent leaves half a request on the wire.
    pub(super) fn release(mut self) {
        if self.conn.is_reusable() {
            self.pool.put_back(self.conn, self.epoch);
        }
    }
}

/// What is of it is never taken back.
const NO_EPOCH: u64 = u64::MAX;

/// Servers close idle connections after 60 s and more (nginx 75 s, AWS load balancers 60 s): ours
/// must be gone before theirs are.
const MAX_IDLE_TIME: Duration = Duration::from_secs(55);

/// The shortest idle time after which common servers close is 5 s (Node.js, Apache httpd): a
/// request that can never be repeated stays well clear of it.
const MAX_IDLE_TIME_WITHOUT_RETRY: Duration = Duration::from_secs(3);

/// A local machine's tools rarely want more at once; beyond it a handshake costs less than memory.
const MAX_IDLE_CONNECTIONS: usize = 64;

/// How often the idle ones are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A person who works with the API comes back within this time, and pays no handshake; after it
/// nothing is kept open, so that an unused daemon is silent.
const KEEP_WARM_TIMEOUT: Duration = Duration::from_secs(15 * 60);
