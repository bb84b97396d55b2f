//! How many connections are opened at once, and when a request waits for one that is in use.
//!
//! A request without an idle connection is served by whichever comes first: a connection that
//! another request gives back, or the end of a handshake. Handshakes cost the processors of both
//! ends, so that a thousand at once would all be late. [`OpeningPace`] begins with a few, and adds one
//! for each that ends while requests still wait: their number doubles within a handshake's time. A
//! handshake that takes longer than usual no longer counts, so that a slow host delays only those
//! that wait for it.

use std::time::Duration;

use tokio::time::Instant;

/// The bound on handshakes at once, and what was measured for it.
pub(super) struct OpeningPace {
    /// Handshakes under way that are not late.
    current: usize,
    /// Handshakes under way, with the late ones: a host that never answers gets no more than there
    /// are requests that wait, and [`SPARE_HANDSHAKES`].
    total: usize,
    limit: usize,
    initial_limit: usize,
    /// Smoothed time of a handshake.
    handshake: Option<Duration>,
    /// Smoothed time between two connections that were given back to requests that waited.
    release_interval: Duration,
    last_release: Option<Instant>,
}

impl OpeningPace {
    pub(super) fn new(initial_limit: usize) -> Self {
        Self {
            current: 0,
            total: 0,
            limit: initial_limit,
            initial_limit,
            handshake: None,
            release_interval: Duration::MAX,
            last_release: None,
        }
    }

    /// Lets more handshakes begin at once from the start: each connection serves one request at a
    /// time.
    pub(super) fn set_initial_limit(&mut self, limit: usize) {
        self.initial_limit = limit;
        self.limit = self.limit.max(limit);
    }

    /// Returns how many handshakes may begin for `waiting` requests, and counts them.
    pub(super) fn begin(&mut self, waiting: usize) -> usize {
        if waiting == 0 && self.current == 0 {
            self.limit = self.initial_limit;
        }
        let room = (waiting + SPARE_HANDSHAKES).saturating_sub(self.total);
        let count = self.limit.min(waiting).saturating_sub(self.current).min(room);
        self.current += count;
        self.total += count;
        count
    }

    /// Returns whether connections are given back so fast that `waiting` requests get one within
    /// the time of a handshake.
    pub(super) fn is_served_by_releases(&self, waiting: usize, now: Instant) -> bool {
        let patience = self.patience();
        let Some(last) = self.last_release else { return false };
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        now.saturating_duration_since(last) < patience
            && self.release_interval.saturating_mul(waiting) < patience
    }

    /// Records that a request that waited got a connection of another.
    pub(super) fn record_release(&mut self, now: Instant) {
        let last = self.last_release.replace(now);
        let interval = last.map_or(Duration::MAX, |last| now.saturating_duration_since(last));
        self.release_interval = if interval > self.patience() {
            // A new burst: what was measured in the last one says nothing about it.
            interval
        } else {
            smooth(self.release_interval.min(self.patience()), interval)
        };
    }

    /// Records a handshake that succeeded after `elapsed`, and returns the usual time.
    pub(super) fn record_opened(&mut self, elapsed: Duration, is_late: bool) -> Duration {
        let usual = self.handshake.map_or(elapsed, |old| smooth(old, elapsed));
        self.handshake = Some(usual);
        self.record_end(is_late);
        usual
    }

    /// Lets one more handshake be under way from now on: requests still wait.
    pub(super) fn grow(&mut self) {
        self.limit = (self.limit + 1).min(MAX_LIMIT);
    }

    /// Records a handshake that is over, whatever its outcome.
    pub(super) fn record_end(&mut self, is_late: bool) {
        self.total -= 1;
        if !is_late {
            self.current -= 1;
        }
    }

    /// Records a handshake that goes on for longer than usual: others no longer wait for it.
    pub(super) fn record_late(&mut self) {
        self.current -= 1;
        self.grow();
    }

    /// Returns how long a request waits for a connection of another before it opens one more: about
    /// the time of a handshake.
    pub(super) fn patience(&self) -> Duration {
        self.handshake.unwrap_or(UNMEASURED_HANDSHAKE).clamp(MIN_PATIENCE, MAX_PATIENCE)
    }

    /// Returns after which time a handshake is late.
    pub(super) fn late_after(&self) -> Duration {
        self.patience().saturating_mul(LATE_FACTOR).clamp(MIN_LATE, MAX_PATIENCE)
    }
}

fn smooth(old: Duration, new: Duration) -> Duration {
    (old * 3 + new) / 4
}

/// How many handshakes may be late beside those of the requests that wait: one that was lost is tried
/// again, and again.
const SPARE_HANDSHAKES: usize = 2;

/// Handshakes at once in the beginning: the calls that a page or a script makes at once.
pub(super) const INITIAL_LIMIT: usize = 32;

/// Most handshakes at once. A core does about a thousand in a second, so that each of so many takes
/// a quarter of one.
const MAX_LIMIT: usize = 256;

/// The time of a handshake before one was measured: three round trips across an ocean.
const UNMEASURED_HANDSHAKE: Duration = Duration::from_millis(250);

/// Shortest wait for a connection of another request: one tick of a loaded scheduler.
const MIN_PATIENCE: Duration = Duration::from_millis(10);

/// Longest wait for a connection of another request.
const MAX_PATIENCE: Duration = Duration::from_secs(1);

/// How many times the usual time makes a handshake late.
const LATE_FACTOR: u32 = 2;

/// The shortest time after which a handshake counts as late.
const MIN_LATE: Duration = Duration::from_millis(50);
