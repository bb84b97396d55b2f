//! When the next call for slots or units may leave: together with the polls at most two a second.

use std::time::Duration;

/// A call on the connection of draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// [`crate::call::Call::Pace`].
    Slots,
    /// [`crate::call::Call::Count`].
    Units,
}

/// The turn of the draws.
#[derive(Clone, Copy, Debug, Default)]
pub struct Draws {
    next: Duration,
    last: Option<Draw>,
}

impl Draws {
    /// Returns the call that may leave at `now`, if one is wanted. Two that are wanted take turns.
    pub fn due(&mut self, now: Duration, slots: bool, units: bool) -> Option<Draw> {
        if now < self.next {
            return None;
        }
        let draw = match (slots, units) {
            (false, false) => return None,
            (true, false) => Draw::Slots,
            (false, true) => Draw::Units,
            (true, true) if self.last == Some(Draw::Slots) => Draw::Units,
            (true, true) => Draw::Slots,
        };
        (self.next, self.last) = (now + INTERVAL, Some(draw));
        Some(draw)
    }

    /// Returns before when no call leaves.
    pub fn next(&self) -> Duration {
        self.next
    }

    /// Returns the time until the next call of the same kind.
    pub fn horizon(is_in_turn: bool) -> Duration {
        if is_in_turn { INTERVAL * 2 } else { INTERVAL }
    }
}

/// Between two calls: 1.7 a second, and a poll every 5 s.
pub const INTERVAL: Duration = Duration::from_millis(600);

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn slots_and_units_take_turns() {
        let mut draws = Draws::default();
        assert_eq!(draws.due(ms(0), false, false), None);
        assert_eq!(draws.due(ms(0), true, true), Some(Draw::Slots));
        assert_eq!(draws.due(ms(599), true, true), None);
        assert_eq!(draws.due(ms(600), true, true), Some(Draw::Units));
        assert_eq!(draws.due(ms(1_200), false, true), Some(Draw::Units));
        assert_eq!(draws.due(ms(1_800), true, true), Some(Draw::Slots));
    }

    #[test]
    fn with_the_polls_there_are_at_most_two_calls_a_second() {
        let polls = 1.0 / crate::timing::Timing::default().poll.as_secs_f64();
        assert!(1.0 / INTERVAL.as_secs_f64() + polls <= 2.0);
    }
}
