//! Counters without a lock: this minute, today, and since the start.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts within the current period of a clock, and starts again with the next one.
#[derive(Debug)]
pub(super) struct PeriodCounter {
    span: u64,
    /// 40 bits of count below 24 bits of the period's number: for minutes, 31 years.
    cell: AtomicU64,
}

impl PeriodCounter {
    pub(super) fn with_period(span: Duration) -> Self {
        Self { span: span.as_secs().max(1), cell: AtomicU64::new(0) }
    }

    /// Counts one and returns the count in this period.
    pub(super) fn count(&self, now: Duration) -> u64 {
        let first = self.number(now) << COUNT_BITS | 1;
        let before = self.cell.load(Ordering::Relaxed);
        if before >> COUNT_BITS == first >> COUNT_BITS {
            return (self.cell.fetch_add(1, Ordering::Relaxed) & COUNT_MASK) + 1;
        }
        // The loser of this race counts in the period that the winner has begun.
        match self.cell.compare_exchange(before, first, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => 1,
            Err(_) => (self.cell.fetch_add(1, Ordering::Relaxed) & COUNT_MASK) + 1,
        }
    }

    /// Returns the count in this period.
    pub(super) fn get(&self, now: Duration) -> u64 {
        let cell = self.cell.load(Ordering::Relaxed);
        if cell >> COUNT_BITS == self.number(now) { cell & COUNT_MASK } else { 0 }
    }

    fn number(&self, now: Duration) -> u64 {
        (now.as_secs() / self.span) & (u64::MAX >> COUNT_BITS)
    }
}

const COUNT_BITS: u32 = 40;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct TotalCounter(AtomicU64);

impl TotalCounter {
    pub(super) fn count(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, many: u64) {
        self.0.fetch_add(many, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_period_begins_at_zero() {
        let tally = PeriodCounter::with_period(Duration::from_secs(60));
        let at = Duration::from_secs;

        assert_eq!((tally.count(at(0)), tally.count(at(59))), (1, 2));
        assert_eq!(tally.get(at(59)), 2);
        assert_eq!(tally.get(at(60)), 0);
        assert_eq!((tally.count(at(60)), tally.count(at(61))), (1, 2));
    }
}
