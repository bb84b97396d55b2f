//! An issuer with single-use refresh tokens that are bound to a client id, as the documentation of
//! Nexudus has them: one live refresh token per client id; a login ends the one before; access tokens
//! go on to work.

use std::collections::BTreeMap;
use std::time::Duration;

/// The issuer.
#[derive(Debug, Default)]
pub(super) struct Issuer {
    live: BTreeMap<String, String>,
    access: BTreeMap<String, Duration>,
    issued: u64,
    password: u64,
}

/// A pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) access: String,
    pub(super) refresh: String,
}

impl Issuer {
    /// Takes a refresh token, once.
    pub(super) fn refresh(&mut self, client_id: &str, token: &str, now: Duration) -> Option<Pair> {
        let is_live = self.live.get(client_id).is_some_and(|live| live == token);
        is_live.then(|| self.issue(client_id, now))
    }

    /// Takes a password; a number stands for it.
    pub(super) fn log_in(&mut self, client_id: &str, password: u64, now: Duration) -> Option<Pair> {
        (password == self.password).then(|| self.issue(client_id, now))
    }

    pub(super) fn change_password(&mut self) {
        self.password += 1;
    }

    pub(super) fn has_password(&self, password: u64) -> bool {
        self.password == password
    }

    /// Says whether an access token works.
    pub(super) fn accepts(&self, access: &str, now: Duration) -> bool {
        self.access.get(access).is_some_and(|ends| now < *ends)
    }

    /// Says whether the refresh token would be taken.
    pub(super) fn would_refresh(&self, client_id: &str, token: &str) -> bool {
        self.live.get(client_id).is_some_and(|live| live == token)
    }

    fn issue(&mut self, client_id: &str, now: Duration) -> Pair {
        self.issued += 1;
        let pair = Pair {
            access: format!("access-{}", self.issued),
            refresh: format!("refresh-{}", self.issued),
        };
        self.live.insert(client_id.to_owned(), pair.refresh.clone());
        self.access.insert(pair.access.clone(), now + LIFETIME);
        pair
    }
}

/// How long an access token works.
pub(super) const LIFETIME: Duration = Duration::from_secs(20 * 60);
