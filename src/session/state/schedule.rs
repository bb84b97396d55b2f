//! Arithmetic on the boot clock: the life of a token, waits that grow, a budget that is earned
//! back.

use std::time::Duration;

use crate::session::token::LOGIN_LIFETIME;

/// A token without its text: generation and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// Grows by one with each new pair.
    pub(crate) generation: u64,
    /// When the token was read or received, on the boot clock.
    pub(crate) seen: Duration,
    /// Age of the token at that time.
    pub(crate) age: Duration,
    /// Age at which the token expires.
    pub(crate) lifetime: Duration,
}

/// A share of a duration, in thousandths: spreads actions of many machines that would coincide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Jitter(pub u16);

impl Token {
    /// Returns the token's age.
    pub(crate) fn age(&self, now: Duration) -> Duration {
        self.age + now.saturating_sub(self.seen)
    }

    /// Returns how long the token still works; zero once it has expired.
    pub(crate) fn left(&self, now: Duration) -> Duration {
        self.lifetime.saturating_sub(self.age(now))
    }

    /// Says whether the token still works.
    pub(crate) fn is_valid(&self, now: Duration) -> bool {
        !self.left(now).is_zero()
    }

    /// Says whether a request that takes a while may outlive the token.
    pub(crate) fn is_near_expiry(&self, now: Duration) -> bool {
        self.left(now) < NEAR_EXPIRY.min(self.lifetime / 5)
    }

    /// Returns when to renew: a login never, and a token after four fifths of the life, at the latest at [`MAX_RENEWAL_AGE`],
    /// and up to a twentieth of that earlier.
    pub(crate) fn renewal_time(&self, jitter: Jitter) -> Duration {
        if self.lifetime >= LOGIN_LIFETIME {
            return self.expires_at();
        }
        let age = (self.lifetime * 4 / 5).min(MAX_RENEWAL_AGE);
        let age = age - jitter.scale(age / 20);
        self.seen + age.saturating_sub(self.age)
    }

    /// Returns when the token expires.
    pub(crate) fn expires_at(&self) -> Duration {
        self.seen + self.lifetime.saturating_sub(self.age)
    }
}

/// A body that cannot be sent twice is verified in the last minute of a token, or in the last
/// fifth of a short one.
const NEAR_EXPIRY: Duration = Duration::from_secs(60);

/// The refresh token behind lives 15 days by Nexudus's documentation: four days leave it time for
/// a holiday with the machine switched off.
const MAX_RENEWAL_AGE: Duration = Duration::from_secs(4 * 24 * 60 * 60);

/// How many refreshes because of a rejected token are left: [`RefreshBudget::CAPACITY`], and one
/// more per [`RefreshBudget::REFILL_INTERVAL`], so that no pattern of traffic becomes a storm of
/// logins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefreshBudget {
    left: u32,
    since: Duration,
}

impl RefreshBudget {
    /// The most refreshes that may be left, and the number at the start.
    const CAPACITY: u32 = 3;
    const REFILL_INTERVAL: Duration = Duration::from_secs(5 * 60);

    /// Creates a full budget.
    pub(crate) fn full() -> Self {
        Self { left: Self::CAPACITY, since: Duration::ZERO }
    }

    /// Takes one refresh and returns when it may start: now, or once it has been earned.
    pub(crate) fn take(&mut self, now: Duration) -> Duration {
        while self.left < Self::CAPACITY && self.since + Self::REFILL_INTERVAL <= now {
            self.left += 1;
            self.since += Self::REFILL_INTERVAL;
        }
        if self.left == Self::CAPACITY {
            self.since = now;
        }
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return now;
        }
        self.since += Self::REFILL_INTERVAL;
        self.since
    }
}

impl Jitter {
    /// Returns this share of `span`.
    pub(crate) fn scale(self, span: Duration) -> Duration {
        span * u32::from(self.0) / 1_000
    }
}

/// Returns the wait after so many failures in a row: 1 s, 2 s, 4 s, … up to [`MAX_BACKOFF`], and
/// up to a quarter less.
pub(crate) fn backoff(failures: u32, jitter: Jitter) -> Duration {
    let wait = MAX_BACKOFF.min(Duration::from_secs(1 << failures.saturating_sub(1).min(6)));
    wait - jitter.scale(wait / 4)
}

/// One minute: a laptop that wakes up should not wait longer for its token.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ages_from_when_it_was_received() {
        let token = Token { generation: 1, seen: secs(100), age: secs(10), lifetime: secs(60) };

        assert_eq!(token.age(secs(120)), secs(30));
        assert_eq!(token.left(secs(120)), secs(30));
        assert_eq!(token.expires_at(), secs(150));
        assert!(token.is_valid(secs(149)));
        assert!(!token.is_valid(secs(150)));
    }

    #[test]
    fn renewal_comes_after_four_fifths_and_at_the_latest_after_four_days() {
        let renewal = |lasts, age, jitter| {
            let token = Token { generation: 1, seen: secs(1_000), age: secs(age), lifetime: lasts };
            token.renewal_time(Jitter(jitter)).as_secs() - 1_000
        };
        assert_eq!(renewal(secs(1_000), 0, 0), 800);
        assert_eq!(renewal(secs(1_000), 0, 1_000), 760);
        assert_eq!(renewal(secs(1_000), 300, 0), 500);
        assert_eq!(renewal(secs(1_000), 900, 0), 0);
        assert_eq!(renewal(secs(14 * DAY), 0, 0), 4 * DAY);
        assert_eq!(renewal(secs(4 * DAY), 0, 0), 4 * DAY * 4 / 5);
    }

    #[test]
    fn the_last_minute_or_fifth_is_near_the_expiry() {
        let near = |lasts, now| {
            let token = Token { generation: 1, seen: secs(0), age: secs(0), lifetime: secs(lasts) };
            token.is_near_expiry(secs(now))
        };
        assert!(!near(100, 80));
        assert!(near(100, 81));
        assert!(!near(DAY, DAY - 60));
        assert!(near(DAY, DAY - 59));
    }

    #[test]
    fn a_budget_is_earned_back_one_by_one() {
        let mut budget = RefreshBudget::full();
        let mut draw = |now| budget.take(secs(now)).as_secs();

        assert_eq!([draw(10_000), draw(10_001), draw(10_002)], [10_000, 10_001, 10_002]);
        assert_eq!([draw(10_003), draw(10_301)], [10_300, 10_600], "spent: wait for the next");
        assert_eq!(draw(10_900), 10_900, "earned since");
        assert_eq!(draw(10_901), 11_200);
        assert_eq!(
            [draw(90_000), draw(90_000), draw(90_000)],
            [90_000; 3],
            "never more than three"
        );
        assert_eq!(draw(90_000), 90_300);
    }

    #[test]
    fn waits_double_from_one_second_and_stop_at_one_minute() {
        let waits = |jitter| -> Vec<u128> {
            (0..=9).map(|n| backoff(n, Jitter(jitter)).as_millis()).collect()
        };
        let whole = [1_000, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000];
        assert_eq!(waits(0), whole);
        assert_eq!(waits(1_000), whole.map(|wait| wait * 3 / 4));
        assert_eq!(Jitter(500).scale(secs(10)), secs(5));
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const DAY: u64 = 24 * 60 * 60;
}
