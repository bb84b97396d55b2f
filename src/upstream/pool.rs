//! Idle connections of one origin, the most recently used one first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Repeat;
use super::line::Line;
use crate::clock::Clock;

/// What is open and unused.
pub(super) struct Pool {
    clock: Clock,
    state: Mutex<State>,
    /// Told of the first use after a long rest.
    roused: Notify,
}

struct State {
    idle: Vec<Idle>,
    /// Grows when all are closed: what is in use then is not taken back.
    era: u64,
    /// When a request last gave a connection back; ages are measured on the boot clock, which
    /// runs on while a laptop sleeps.
    used: Duration,
    asleep: bool,
}

struct Idle {
    line: Line,
    since: Duration,
}

impl Pool {
    pub(super) fn new(clock: Clock) -> Self {
        let used = clock.boot();
        let state = Mutex::new(State { idle: vec![], era: 0, used, asleep: false });
        Self { clock, state, roused: Notify::new() }
    }

    /// Takes a connection that a request of this kind and this client may use, if there is one that
    /// still lives.
    pub(super) fn take(&self, repeat: Repeat, client: Option<&str>) -> Option<Line> {
        let limit = match repeat {
            Repeat::Harmless => KEPT,
            Repeat::Never => JUST_USED,
        };
        let now = self.clock.boot();
        loop {
            let mut taken = {
                let mut state = self.state();
                let is_young = |idle: &Idle| now.saturating_sub(idle.since) <= limit;
                let youngest = |client| {
                    let mut idle = state.idle.iter();
                    idle.rposition(|idle| is_young(idle) && idle.line.client() == client)
                };
                // A client's own one serves nobody else.
                let at = youngest(client).or_else(|| youngest(None))?;
                state.idle.remove(at)
            };
            if taken.line.lives() {
                return Some(taken.line);
            }
        }
    }

    /// Closes all: those that are in use once their answers have ended.
    pub(super) fn clear(&self) {
        let mut state = self.state();
        state.era += 1;
        state.idle.clear();
    }

    /// Returns what a connection must be as old as to be put back.
    pub(super) fn era(&self) -> u64 {
        self.state().era
    }

    /// Puts back a connection that a request has used.
    fn put(&self, line: Line, era: u64) {
        let now = self.clock.boot();
        let mut state = self.state();
        if state.era != era {
            return;
        }
        state.used = now;
        if std::mem::take(&mut state.asleep) {
            self.roused.notify_one();
        }
        state.add(line, now);
    }

    /// Adds a connection that nobody has used yet.
    pub(super) fn add(&self, line: Line) {
        self.state().add(line, self.clock.boot());
    }

    /// Closes what is dead or too old; says whether a warm connection is missing.
    pub(super) fn tidy(&self) -> bool {
        let now = self.clock.boot();
        let mut state = self.state();
        state.idle.retain_mut(|idle| now.saturating_sub(idle.since) <= KEPT && idle.line.lives());
        let mut shared = state.idle.iter().rev().filter(|idle| idle.line.client().is_none());
        shared.next().is_none_or(|idle| now.saturating_sub(idle.since) > KEPT - 2 * TICK)
    }

    /// Waits for the next look: a moment, or the next use when there was none for long.
    pub(super) async fn rest(&self) {
        let long = {
            let mut state = self.state();
            state.asleep = self.clock.boot().saturating_sub(state.used) > WARM_FOR;
            state.asleep
        };
        match long {
            true => self.roused.notified().await,
            false => tokio::time::sleep(TICK).await,
        }
    }

    /// Waits for the next request that gets an answer.
    pub(super) async fn used_again(&self) {
        self.state().asleep = true;
        self.roused.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, line: Line, now: Duration) {
        // The oldest come first.
        let expired = self.idle.partition_point(|old| now.saturating_sub(old.since) > KEPT);
        self.idle.drain(..expired);
        if self.idle.len() == MOST_IDLE {
            self.idle.remove(0);
        }
        self.idle.push(Idle { line, since: now });
    }
}

/// A connection in use. Dropped before its answer has ended, it is closed.
pub(super) struct Lease {
    pool: Arc<Pool>,
    pub(super) line: Line,
    era: u64,
}

impl Lease {
    pub(super) fn new(pool: Arc<Pool>, line: Line, era: u64) -> Self {
        Self { pool, line, era }
    }

    /// For a connection that ends with this answer.
    pub(super) fn last(pool: Arc<Pool>, line: Line) -> Self {
        Self::new(pool, line, NO_ERA)
    }

    /// Gives the connection back: its answer has been read to the end. One that came before the
    /// request was sent leaves half a request on the wire.
    pub(super) fn finish(mut self) {
        if self.line.lives() {
            self.pool.put(self.line, self.era);
        }
    }
}

/// What is of it is never taken back.
const NO_ERA: u64 = u64::MAX;

/// Servers close idle connections after 60 s and more (nginx 75 s, AWS load balancers 60 s): ours
/// must be gone before theirs are.
const KEPT: Duration = Duration::from_secs(55);

/// The shortest idle time after which common servers close is 5 s (Node.js, Apache httpd): a
/// request that can never be repeated stays well clear of it.
const JUST_USED: Duration = Duration::from_secs(3);

/// A local machine's tools rarely want more at once; beyond it a handshake costs less than memory.
const MOST_IDLE: usize = 64;

/// How often the idle ones are looked at.
const TICK: Duration = Duration::from_secs(5);

/// A person who works with the API comes back within this time, and pays no handshake; after it
/// nothing is kept open, so that an unused daemon is silent.
const WARM_FOR: Duration = Duration::from_secs(15 * 60);
