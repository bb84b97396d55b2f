//! The simulator's own idea of time: the real clock plus whatever a test has skipped.
//!
//! Every expiry, window and one-time code is judged by this clock, so [`Clock::advance`] ages all
//! of them together. Delays and idle timeouts are real time: they are about sockets.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::lock;

/// A clock that only moves forward: with real time (unless frozen), and when told to.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_wall: SystemTime,
    frozen: bool,
    skipped: Mutex<Duration>,
}

/// The time, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestTime {
    pub(crate) time: Duration,
    pub(crate) wall: SystemTime,
}

impl Clock {
    pub(crate) fn new(frozen: bool) -> Self {
        Self {
            started: Instant::now(),
            started_wall: SystemTime::now(),
            frozen,
            skipped: Mutex::new(Duration::ZERO),
        }
    }

    /// Returns the simulated time since the start.
    pub(crate) fn now(&self) -> Duration {
        let real = if self.frozen { Duration::ZERO } else { self.started.elapsed() };
        real + *lock(&self.skipped)
    }

    /// Returns the simulated wall clock.
    pub(crate) fn wall(&self) -> SystemTime {
        self.wall_at(self.now())
    }

    /// Converts a time since the start to the simulated wall clock.
    pub(crate) fn wall_at(&self, time: Duration) -> SystemTime {
        self.started_wall + time
    }

    pub(crate) fn advance(&self, by: Duration) {
        *lock(&self.skipped) += by;
    }
}

/// Returns whole seconds since 1970.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Writes a time as Nexudus does: `2026-01-02T03:04:05Z`.
pub(crate) fn format_utc(unix: u64) -> String {
    let (days, rest) = (unix / 86_400, unix % 86_400);
    // Howard Hinnant's civil_from_days, for dates after 1970.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_utc_dates() {
        assert_eq!(format_utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(format_utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(format_utc(1_767_323_045), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn a_frozen_clock_moves_only_when_told() {
        let clock = Clock::new(true);

        clock.advance(Duration::from_secs(5));

        assert_eq!(clock.now(), Duration::from_secs(5));
    }
}
