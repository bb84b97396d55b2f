//! The member of a fleet that this machine is, as the attempts to get a token use it.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::credentials::sealing::binding::Binding;
use crate::fleet::{Fleet, SharedToken};
use crate::session::error::Error;
use crate::session::store::member_disk::MemberDisk;
use crate::session::store::record::{ReceivedAt, StoredSession, TokenPair};

/// The member, its disk, and how its last login ended.
#[derive(Debug)]
pub(crate) struct FleetSource {
    pub(crate) fleet: Fleet,
    pub(crate) disk: MemberDisk,
    failure: Mutex<LastFailure>,
}

/// How often the token endpoint gave no pair, and why it gave none last.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastFailure {
    pub(crate) count: u64,
    pub(crate) error: Option<Error>,
}

impl FleetSource {
    pub(crate) fn new(fleet: Fleet, directory: Option<PathBuf>, binding: Binding) -> Self {
        let disk = MemberDisk::new(directory, binding);
        Self { fleet, disk, failure: Mutex::default() }
    }

    pub(crate) fn record_failure(&self, error: Error) {
        let mut failure = self.failure();
        failure.count += 1;
        failure.error = Some(error);
    }

    pub(crate) fn record_success(&self) {
        self.failure().error = None;
    }

    pub(crate) fn last_failure(&self) -> LastFailure {
        self.failure().clone()
    }

    fn failure(&self) -> MutexGuard<'_, LastFailure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a record of a token that the fleet shares. The refresh token stays with the member.
pub(crate) fn shared_record(token: &SharedToken, now: Timestamp) -> StoredSession {
    let left = token.expiry.saturating_sub(now.boot);
    // A machine that was booted later than the token was issued cannot date it on its boot clock.
    let age = token.lifetime.saturating_sub(left).min(now.boot);
    let received = ReceivedAt::new(Timestamp {
        boot: now.boot - age,
        wall: now.wall.checked_sub(age).unwrap_or(now.wall),
    });
    let pair = TokenPair {
        access: token.access.clone(),
        refresh_received: received.clone(),
        received,
        lifetime: age + left,
        refresh: None,
    };
    StoredSession {
        epoch: 0,
        generation: token.generation,
        client_id: token.client_id.clone(),
        account: Some(token.account.clone()).filter(|account| !account.is_empty()),
        pair: Some(pair),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::secret::Secret;

    #[test]
    fn a_shared_token_ends_when_the_fleet_says() {
        let (clock, _) = Clock::manual();
        let now = clock.now();
        for (left, lifetime) in [(30, 120), (30, 1_000_000), (120, 60)] {
            let token = SharedToken {
                access: Secret::new("a"),
                generation: 7,
                expiry: now.boot + Duration::from_secs(left),
                lifetime: Duration::from_secs(lifetime),
                client_id: "c".to_owned(),
                account: String::new(),
            };

            let record = shared_record(&token, now);

            let held = record.token(now).unwrap();
            assert_eq!((held.left(now.boot).as_secs(), held.generation), (left, 7));
            assert_eq!(record.account, None);
        }
    }
}
