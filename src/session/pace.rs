//! When things are due: the life of a token, waits that grow, and a budget that is earned back.
//! Arithmetic on readings of the boot clock, nothing else.

use std::time::Duration;

/// What is known about a token besides its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Grows by one with each new pair.
    pub generation: u64,
    /// A reading of the boot clock.
    pub seen: Duration,
    /// How old the token was then.
    pub age: Duration,
    /// How old it may become.
    pub lasts: Duration,
}

/// A share of a span, in thousandths: spreads what would happen at once on many machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter(pub u16);

impl Token {
    /// Returns the token's age.
    pub fn age(&self, now: Duration) -> Duration {
        self.age + now.saturating_sub(self.seen)
    }

    /// Returns how long the token still works; zero once it has expired.
    pub fn left(&self, now: Duration) -> Duration {
        self.lasts.saturating_sub(self.age(now))
    }

    /// Says whether the token still works.
    pub fn is_valid(&self, now: Duration) -> bool {
        !self.left(now).is_zero()
    }

    /// Says whether a request that takes a while may outlive it.
    pub fn is_near_expiry(&self, now: Duration) -> bool {
        self.left(now) < NEAR.min(self.lasts / 5)
    }

    /// Returns when to renew: after four fifths of the life, at the latest at [`RENEWAL_AGE`],
    /// and up to a twentieth of that earlier.
    pub(super) fn renewal(&self, jitter: Jitter) -> Duration {
        let age = (self.lasts * 4 / 5).min(RENEWAL_AGE);
        let age = age - jitter.of(age / 20);
        self.seen + age.saturating_sub(self.age)
    }

    /// Returns when it expires.
    pub(super) fn expiry(&self) -> Duration {
        self.seen + self.lasts.saturating_sub(self.age)
    }
}

/// A body that cannot be sent twice is verified in the last minute of a token, or in the last
/// fifth of a short one.
const NEAR: Duration = Duration::from_secs(60);

/// The refresh token behind lives 15 days by Nexudus's documentation: four days leave it time for
/// a holiday with the machine switched off.
const RENEWAL_AGE: Duration = Duration::from_secs(4 * 24 * 60 * 60);

/// How many refreshes because of a rejected token are left: [`Budget::MOST`], and one more per
/// [`Budget::SPAN`], so that no pattern of traffic becomes a storm of logins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    left: u32,
    since: Duration,
}

impl Budget {
    /// How many there are at the start.
    const MOST: u32 = 3;
    const SPAN: Duration = Duration::from_secs(5 * 60);

    /// Has all that there may be.
    pub(super) fn full() -> Self {
        Self { left: Self::MOST, since: Duration::ZERO }
    }

    /// Draws one and returns when it may be used: now, or once it has been earned.
    pub(super) fn draw(&mut self, now: Duration) -> Duration {
        while self.left < Self::MOST && self.since + Self::SPAN <= now {
            self.left += 1;
            self.since += Self::SPAN;
        }
        if self.left == Self::MOST {
            self.since = now;
        }
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return now;
        }
        self.since += Self::SPAN;
        self.since
    }
}

impl Jitter {
    /// Returns this share of `span`.
    pub(super) fn of(self, span: Duration) -> Duration {
        span * u32::from(self.0) / 1_000
    }
}

/// Returns the wait after so many failures in a row: 1 s, 2 s, 4 s, … up to [`MAX_BACKOFF`], and
/// up to a quarter less.
pub(super) fn backoff(failures: u32, jitter: Jitter) -> Duration {
    let wait = MAX_BACKOFF.min(Duration::from_secs(1 << failures.saturating_sub(1).min(6)));
    wait - jitter.of(wait / 4)
}

/// One minute: a laptop that wakes up should not wait longer for its token.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
