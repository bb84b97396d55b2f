//! The saved session: the token pair, the account, and when the pair was received.
//!
//! On disk the generation and the epoch stand in the clear, in the header (`binding.rs`), beside
//! the origin and the profile; the rest is sealed.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::credentials::sealing::binding::EnvelopeHeader;
use crate::secret::Secret;
use crate::session::state::schedule::Token;
use crate::session::token::TokenGrant;

/// Everything that a restart needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredSession {
    /// The epoch of the profile when the pair was received (`epoch.rs`); 0 in records of version 1.
    pub(crate) epoch: u64,
    /// Grows by one with each new pair.
    pub(crate) generation: u64,
    /// The client id that the refresh token is bound to.
    pub(crate) client_id: String,
    /// The account's e-mail address, if it is known.
    pub(crate) account: Option<String>,
    /// The tokens; `None` before the first login.
    pub(crate) pair: Option<TokenPair>,
}

/// The tokens of one response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenPair {
    /// The access token.
    pub(crate) access: Secret,
    /// When the access token was received.
    pub(crate) received: ReceivedAt,
    /// How long the access token works.
    pub(crate) lifetime: Duration,
    /// The refresh token to offer next.
    pub(crate) refresh: Option<Secret>,
    /// When the refresh token was received.
    pub(crate) refresh_received: ReceivedAt,
}

/// A time that means the same after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReceivedAt {
    /// Milliseconds since 1970.
    wall: u64,
    /// The id of the boot, where the system has one.
    boot_id: Option<String>,
    /// Milliseconds since that boot.
    boot: u64,
}

impl ReceivedAt {
    /// Records `now`.
    pub(crate) fn new(now: Timestamp) -> Self {
        let boot = now.boot.as_millis().try_into().unwrap_or(u64::MAX);
        Self { wall: wall_millis(now.wall), boot_id: boot_id(), boot }
    }

    /// Returns milliseconds since 1970.
    pub(crate) fn wall_millis(&self) -> u64 {
        self.wall
    }

    /// Returns the time since then: by the boot clock within one boot, by the wall clock across
    /// boots.
    /// `None` when the wall clock was set back meanwhile.
    fn age(&self, now: Timestamp) -> Option<Duration> {
        let boot = Duration::from_millis(self.boot);
        if self.boot_id.is_some() && self.boot_id == boot_id() && boot <= now.boot {
            return Some(now.boot - boot);
        }
        wall_millis(now.wall).checked_sub(self.wall).map(Duration::from_millis)
    }
}

impl TokenPair {
    /// Makes a pair of a response received `now`. Without a new refresh token, the pair keeps the
    /// one that was `offered`.
    pub(crate) fn new(grant: TokenGrant, offered: Option<&Self>, now: Timestamp) -> Self {
        let received = ReceivedAt::new(now);
        let (refresh, refresh_received) = match (grant.refresh, offered) {
            (Some(refresh), _) => (Some(refresh), received.clone()),
            (None, Some(old)) => (old.refresh.clone(), old.refresh_received.clone()),
            (None, None) => (None, received.clone()),
        };
        Self { access: grant.access, received, lifetime: grant.lifetime, refresh, refresh_received }
    }

    /// Returns how long the refresh token still works by our own record.
    pub(crate) fn refresh_left(&self, now: Timestamp) -> Option<Duration> {
        self.refresh.as_ref()?;
        let age = self.refresh_received.age(now).unwrap_or_default();
        Some(REFRESH_TOKEN_LIFETIME.saturating_sub(age))
    }
}

impl StoredSession {
    /// Returns the access token as the state machine knows it.
    pub(crate) fn token(&self, now: Timestamp) -> Option<Token> {
        let pair = self.pair.as_ref()?;
        // After a clock was set back the age is unknown: the token is used, and renewed at once.
        let age = pair.received.age(now).unwrap_or(pair.lifetime * 4 / 5);
        Some(Token { generation: self.generation, seen: now.boot, age, lifetime: pair.lifetime })
    }

    /// Says whether this record replaces `other`: its login or its pair is later.
    pub(crate) fn is_newer_than(&self, other: &Self) -> bool {
        (other.epoch, other.generation) < (self.epoch, self.generation)
    }

    /// Says whether this record belongs to the account with this address; an unknown account
    /// matches.
    pub(crate) fn belongs_to(&self, account: Option<&str>) -> bool {
        match (self.account.as_deref(), account) {
            (Some(own), Some(other)) => own.trim().eq_ignore_ascii_case(other.trim()),
            (None, _) | (_, None) => true,
        }
    }

    /// Returns the part that is sealed, as JSON.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let pair = self.pair.as_ref().map(|pair| SerializedPair {
            access: pair.access.expose(),
            received: &pair.received,
            lasts: pair.lifetime.as_millis().try_into().unwrap_or(u64::MAX),
            refresh: pair.refresh.as_ref().map(Secret::expose),
            refresh_received: &pair.refresh_received,
        });
        let written = SerializedSession {
            client_id: &self.client_id,
            account: self.account.as_deref(),
            pair,
        };
        serde_json::to_vec(&written).expect("a struct of strings and numbers is valid JSON")
    }

    /// Reads what [`StoredSession::to_json`] wrote, and the header; version 1 sealed the
    /// generation.
    pub(crate) fn from_json(json: &[u8], header: Option<&EnvelopeHeader>) -> Option<Self> {
        let read: DeserializedSession = serde_json::from_slice(json).ok()?;
        let pair = read.pair.map(|pair| TokenPair {
            access: Secret::new(pair.access),
            received: pair.received,
            lifetime: Duration::from_millis(pair.lasts),
            refresh: pair.refresh.map(Secret::new),
            refresh_received: pair.refresh_received,
        });
        Some(Self {
            epoch: header.map_or(0, |header| header.epoch),
            generation: header.map_or(read.generation, |header| header.generation),
            client_id: read.client_id,
            account: read.account,
            pair,
        })
    }
}

#[derive(Serialize)]
struct SerializedSession<'a> {
    client_id: &'a str,
    account: Option<&'a str>,
    pair: Option<SerializedPair<'a>>,
}

#[derive(Serialize)]
struct SerializedPair<'a> {
    access: &'a str,
    received: &'a ReceivedAt,
    lasts: u64,
    refresh: Option<&'a str>,
    refresh_received: &'a ReceivedAt,
}

#[derive(Deserialize)]
struct DeserializedSession {
    #[serde(default)]
    generation: u64,
    client_id: String,
    account: Option<String>,
    pair: Option<DeserializedPair>,
}

#[derive(Deserialize)]
struct DeserializedPair {
    access: String,
    received: ReceivedAt,
    lasts: u64,
    refresh: Option<String>,
    refresh_received: ReceivedAt,
}

/// Returns milliseconds since 1970; a clock before that shows 0.
pub(crate) fn wall_millis(wall: SystemTime) -> u64 {
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

/// Returns the id of this boot.
fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// 15 days by Nexudus's documentation; no response says.
pub(crate) const REFRESH_TOKEN_LIFETIME: Duration = Duration::from_secs(15 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::credentials::sealing::binding::Binding;

    #[test]
    fn a_record_survives_being_written() {
        let (clock, _) = Clock::manual();
        let whole = record(clock.now());
        let empty = StoredSession { pair: None, account: None, ..whole.clone() };

        for record in [whole, empty] {
            let header = Binding::new("https://a.example", "default");
            let header = header.header(record.generation, record.epoch);
            assert_eq!(StoredSession::from_json(&record.to_json(), Some(&header)), Some(record));
        }
        assert_eq!(StoredSession::from_json(b"{}", None), None);
    }

    #[test]
    fn within_a_boot_the_boot_clock_counts_and_the_wall_clock_may_jump() {
        let (clock, hand) = Clock::manual();
        let record = record(clock.now());

        hand.advance(Duration::from_secs(30));
        hand.set_wall(SystemTime::UNIX_EPOCH);

        assert_eq!(record.token(clock.now()).unwrap().left(clock.now().boot).as_secs(), 30);
    }

    #[test]
    fn across_boots_the_wall_clock_counts() {
        let (clock, hand) = Clock::manual();
        let mut record = record(clock.now());
        record.pair.as_mut().unwrap().received.boot_id = Some("another boot".into());
        hand.advance(Duration::from_secs(45));
        let left = |now: Timestamp| record.token(now).unwrap().left(now.boot).as_secs();
        assert_eq!(left(clock.now()), 15);

        hand.set_wall(SystemTime::UNIX_EPOCH);
        assert_eq!(left(clock.now()), 12, "an unknown age: due for renewal, yet used");
    }

    #[test]
    fn a_reply_without_a_refresh_token_keeps_the_old_one_and_its_age() {
        let (clock, hand) = Clock::manual();
        let old = record(clock.now()).pair.unwrap();
        hand.advance(Duration::from_secs(60));
        let issued = |refresh| TokenGrant {
            access: Secret::new("a2"),
            refresh,
            lifetime: Duration::from_secs(60),
        };

        let kept = TokenPair::new(issued(None), Some(&old), clock.now());
        let replaced = TokenPair::new(issued(Some(Secret::new("r2"))), Some(&old), clock.now());

        assert_eq!(kept.refresh, old.refresh);
        assert_eq!(
            kept.refresh_left(clock.now()),
            Some(REFRESH_TOKEN_LIFETIME - Duration::from_secs(60))
        );
        assert_eq!(replaced.refresh_left(clock.now()), Some(REFRESH_TOKEN_LIFETIME));
        let none = TokenPair::new(issued(None), None, clock.now());
        assert_eq!(none.refresh_left(clock.now()), None);
    }

    #[test]
    fn an_account_is_recognised_in_any_casing() {
        let (clock, _) = Clock::manual();
        let record = record(clock.now());

        assert!(record.belongs_to(Some("ADA@example.test ")));
        assert!(record.belongs_to(None));
        assert!(!record.belongs_to(Some("bob@example.test")));
    }

    fn record(now: Timestamp) -> StoredSession {
        let issued = TokenGrant {
            access: Secret::new("a1"),
            refresh: Some(Secret::new("r1")),
            lifetime: Duration::from_secs(60),
        };
        StoredSession {
            epoch: 2,
            generation: 3,
            client_id: "c".into(),
            account: Some("ada@example.test".into()),
            pair: Some(TokenPair::new(issued, None, now)),
        }
    }
}
