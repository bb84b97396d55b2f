//! Which clients with keys a member of a fleet serves: it may not have heard of a revocation.
//!
//! A machine that is alone has no gate. A member that has just started holds requests with keys back
//! until it has read from its disk when it last heard of the fleet.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::KeyError;
use super::store::{Sharing, StoredClient};

/// The gate of one profile.
#[derive(Debug, Default)]
pub(super) struct FleetGate {
    rules: ArcSwapOption<GateRules>,
    opened: Notify,
}

/// The knowledge of a member of a fleet about the keys of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateRules {
    /// Whether the member has read what it has kept.
    pub has_started: bool,
    /// Until when clients are served, on the boot clock; `None`: not before the fleet is heard of.
    pub serves_until: Option<Duration>,
    /// The identifiers of the clients that were revoked.
    pub revoked: Arc<BTreeSet<String>>,
    /// The identifiers of the clients whose records do not open.
    pub unopened: BTreeSet<String>,
}

impl FleetGate {
    pub(super) fn set(&self, rules: GateRules) {
        self.rules.store(Some(Arc::new(rules)));
        self.opened.notify_waiters();
    }

    /// Says whether this client is served at `now`, on the boot clock.
    ///
    /// # Errors
    ///
    /// [`KeyError::Stale`], [`KeyError::Unopened`] or [`KeyError::Unknown`]; [`KeyError::Changed`] before the member has
    /// started: see [`FleetGate::wait_started`].
    pub(super) fn check(&self, client: &StoredClient, now: Duration) -> Result<(), KeyError> {
        let rules = self.rules.load();
        let Some(rules) = rules.as_ref().filter(|_| client.sharing == Sharing::Shared) else {
            return Ok(());
        };
        if !rules.has_started {
            return Err(KeyError::Changed);
        }
        if rules.revoked.contains(&client.id) {
            return Err(KeyError::Unknown);
        }
        if rules.unopened.contains(&client.id) {
            return Err(KeyError::Unopened);
        }
        if rules.serves_until.is_none_or(|end| now > end) {
            return Err(KeyError::Stale);
        }
        Ok(())
    }

    /// Says whether a member that has started serves no shared client at `now`.
    pub(super) fn is_stale(&self, now: Duration) -> bool {
        let is_stale =
            |rules: &GateRules| rules.has_started && rules.serves_until.is_none_or(|end| now > end);
        self.rules.load().as_ref().is_some_and(|rules| is_stale(rules))
    }

    /// Waits a while for the member to start; without it, it has heard of nothing.
    pub(super) async fn wait_started(&self) {
        let is_starting = || self.rules.load().as_ref().is_some_and(|rules| !rules.has_started);
        let started = async {
            loop {
                let mut opened = std::pin::pin!(self.opened.notified());
                opened.as_mut().enable();
                if !is_starting() {
                    return;
                }
                opened.await;
            }
        };
        if tokio::time::timeout(LONGEST_START, started).await.is_err() && is_starting() {
            self.set(GateRules { has_started: true, ..GateRules::default() });
        }
    }
}

/// As long as a request waits for a token by default.
const LONGEST_START: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::clients::{ClientPolicy, store};

    fn client(sharing: Sharing) -> StoredClient {
        StoredClient {
            id: "a".to_owned(),
            name: "etl".to_owned(),
            hash: store::new_key().1,
            created: UNIX_EPOCH,
            limits: ClientPolicy::default(),
            key_changed: 0,
            limits_changed: 0,
            sharing,
        }
    }

    #[test]
    fn a_shared_key_needs_a_fresh_contact_and_a_record_that_opens() {
        let (gate, now) = (FleetGate::default(), Duration::from_secs(100));
        let shared = client(Sharing::Shared);
        assert_eq!(gate.check(&shared, now), Ok(()), "alone");
        let rules = |serves_until, refused: &[&str]| GateRules {
            has_started: true,
            serves_until,
            revoked: Arc::new(BTreeSet::from(["c".to_owned()])),
            unopened: refused.iter().map(|id| (*id).to_owned()).collect(),
        };
        let second = Duration::from_secs(1);

        for (rules, expected) in [
            (GateRules::default(), Err(KeyError::Changed)),
            (rules(None, &[]), Err(KeyError::Stale)),
            (rules(Some(now - second), &[]), Err(KeyError::Stale)),
            (rules(Some(now), &[]), Ok(())),
            (rules(Some(now), &["b"]), Ok(())),
            (rules(Some(now), &["a"]), Err(KeyError::Unopened)),
        ] {
            let is_stale = expected == Err(KeyError::Stale);
            gate.set(rules);
            assert_eq!(gate.check(&shared, now), expected);
            assert_eq!(gate.is_stale(now), is_stale);
            for sharing in [Sharing::NotYet, Sharing::Never] {
                assert_eq!(gate.check(&client(sharing), now), Ok(()), "of this machine alone");
            }
        }
        gate.set(rules(Some(now), &[]));
        let revoked = StoredClient { id: "c".to_owned(), ..shared };
        assert_eq!(gate.check(&revoked, now), Err(KeyError::Unknown));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_a_member_that_starts_and_not_for_ever() {
        let gate = Arc::new(FleetGate::default());
        let (shared, now) = (client(Sharing::Shared), Duration::ZERO);
        gate.set(GateRules::default());
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.wait_started().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());

        gate.set(GateRules { has_started: true, serves_until: Some(now), ..Default::default() });
        waiting.await.unwrap();
        assert_eq!(gate.check(&shared, now), Ok(()));

        gate.set(GateRules::default());
        gate.wait_started().await;
        assert_eq!(gate.check(&shared, now), Err(KeyError::Stale));
    }
}
