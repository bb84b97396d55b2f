//! The times of the protocol, each with its reason.

use std::time::Duration;

/// Every period that members agree on by configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a lease lasts: two requests to the issuer and their margin.
    pub lease: Duration,
    /// How much of the lease must be left when the request to the issuer starts: its time-out of
    /// 30 s, and 5 s for the commit.
    pub spend_margin: Duration,
    /// How often a member reads the engine.
    pub poll: Duration,
    /// Shortest time between two reads: hints do not make them more frequent.
    pub hint: Duration,
    /// How long no token is spent on an engine that was found behind.
    pub behind: Duration,
    /// How long before need the holder stops waiting for another member's open intent.
    pub patience: Duration,
    /// How long before need a token is spent without durability, and a member that is cut off
    /// opens a chain of its own.
    pub near: Duration,
    /// How long before its expiry an access token counts as unusable.
    pub need: Duration,
    /// How long after its last report a member still owns a share of the common rate.
    pub share: Duration,
    /// How long after its last successful read a member counts as cut off: three polls.
    pub cut_off: Duration,
    /// How long after its last successful read a member still serves callers with keys.
    pub clients_stale: Duration,
    /// First and longest wait after a failure.
    pub retry: (Duration, Duration),
    /// How long a refresh token works: 15 days at the issuer that this was made for.
    pub refresh_lifetime: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(90),
            spend_margin: Duration::from_secs(35),
            poll: Duration::from_secs(5),
            hint: Duration::from_millis(250),
            behind: Duration::from_secs(30),
            patience: Duration::from_secs(30 * 60),
            near: Duration::from_secs(5 * 60),
            need: Duration::from_secs(30),
            share: Duration::from_secs(10 * 60),
            cut_off: Duration::from_secs(15),
            clients_stale: Duration::from_secs(15 * 60),
            retry: (Duration::from_secs(1), Duration::from_secs(60)),
            refresh_lifetime: Duration::from_secs(15 * 86_400),
        }
    }
}

impl Timing {
    /// Divides every period by `factor`, for tests.
    #[must_use]
    pub fn scaled(self, factor: u32) -> Self {
        Self {
            lease: self.lease / factor,
            spend_margin: self.spend_margin / factor,
            poll: self.poll / factor,
            hint: self.hint / factor,
            behind: self.behind / factor,
            patience: self.patience / factor,
            near: self.near / factor,
            need: self.need / factor,
            share: self.share / factor,
            cut_off: self.cut_off / factor,
            clients_stale: self.clients_stale / factor,
            retry: (self.retry.0 / factor, self.retry.1 / factor),
            refresh_lifetime: self.refresh_lifetime / factor,
        }
    }
}
