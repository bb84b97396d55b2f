//! The state of a local connection and its timeouts, shared between its I/O and its requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the first byte.
    pub first_byte: Duration,
    /// For a request head, from its first byte to its last.
    pub head: Duration,
    /// Without any request.
    pub idle: Duration,
    /// For the only request head, from connecting to its last byte.
    pub single_request: Option<Duration>,
}

/// The state of a connection: idle, receiving a head, or handling a request.
#[derive(Debug)]
pub struct ConnectionState {
    epoch: Instant,
    /// Milliseconds since `epoch` at which the current wait began, times two, plus one while a
    /// head is arriving. Before the wait has really begun, one of the values below.
    state: AtomicU64,
    /// Whether a request has come.
    is_used: AtomicBool,
    /// Whether a part of the last request's body is unread.
    unread_body: Arc<AtomicBool>,
}

/// A request is being handled; no timeout runs.
const ACTIVE: u64 = u64::MAX;

/// Bytes of a head have come. Most heads come whole, so that the clock is not read for them.
const READING_HEAD: u64 = u64::MAX - 2;

/// A response has ended.
const IDLE: u64 = u64::MAX - 1;

impl ConnectionState {
    /// Starts idle.
    pub fn new() -> Self {
        let (is_used, unread_body) = (AtomicBool::new(false), Arc::default());
        Self { epoch: Instant::now(), state: AtomicU64::new(0), is_used, unread_body }
    }

    /// Notes that a request head is complete. Returns whether it is the first one.
    pub fn begin_request(&self) -> bool {
        self.state.store(ACTIVE, Ordering::Relaxed);
        let is_first = !self.is_used.load(Ordering::Relaxed);
        if is_first {
            self.is_used.store(true, Ordering::Relaxed);
        }
        is_first
    }

    /// Returns the time since the connection began.
    pub fn age(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Notes that the response is over.
    pub fn end_response(&self) {
        self.state.store(IDLE, Ordering::Relaxed);
    }

    /// Returns the flag that says whether a part of the last request's body is unread: its client may
    /// still be sending when the connection ends.
    pub fn unread_body(&self) -> &Arc<AtomicBool> {
        &self.unread_body
    }

    /// Says whether the client may still be sending when the connection ends now.
    pub fn has_unread_body(&self) -> bool {
        self.unread_body.load(Ordering::Relaxed)
    }

    /// Says from now on whether the client may still be sending when the connection ends.
    pub fn set_unread_body(&self, is_unread: bool) {
        self.unread_body.store(is_unread, Ordering::Relaxed);
    }

    /// Says whether no byte has come yet.
    pub fn is_new(&self) -> bool {
        self.state.load(Ordering::Relaxed) == 0
    }

    /// Notes that bytes of a request head have come.
    pub(super) fn begin_head(&self) {
        if self.state.load(Ordering::Relaxed) & 1 == 0 {
            self.state.store(READING_HEAD, Ordering::Relaxed);
        }
    }

    /// Notes that there is nothing to read: a wait begins, unless it has begun already.
    pub(super) fn begin_wait(&self) {
        let state = self.state.load(Ordering::Relaxed);
        if state == READING_HEAD || state == IDLE {
            self.state.store(self.elapsed_ms().max(1) << 1 | state & 1, Ordering::Relaxed);
        }
    }

    /// Returns when the timeout passes, and whether a head is arriving.
    pub(super) fn deadline(&self, timeouts: Timeouts) -> Option<(Instant, bool)> {
        let state = self.state.load(Ordering::Relaxed);
        if matches!(state, ACTIVE | READING_HEAD | IDLE) {
            return None;
        }
        let in_head = state & 1 == 1;
        let timeout = match state {
            0 => timeouts.first_byte,
            _ if in_head => timeouts.head,
            _ => timeouts.idle,
        };
        let deadline = self.epoch + Duration::from_millis(state >> 1) + timeout;
        let single = timeouts.single_request.map(|timeout| self.epoch + timeout);
        Some((single.map_or(deadline, |single| single.min(deadline)), in_head))
    }

    /// Says whether a request is being handled.
    pub(super) fn is_active(&self) -> bool {
        self.state.load(Ordering::Relaxed) == ACTIVE
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX >> 2)
    }
}

impl Default for ConnectionState {
    fn default() -> Self {
        Self::new()
    }
}
