//! The lookups of names that clients choose: a few at once, for as long as each really takes.
//!
//! A lookup takes a thread until the system's resolver gives up, which can be half a minute after the
//! client has gone. The session's files and the lookups of Nexudus's name need threads of the same pool.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The permits of all lookups.
#[derive(Debug)]
pub(super) struct Lookups {
    all: Arc<Semaphore>,
    /// Of these, the ones that users other than the owner can have.
    others: Arc<Semaphore>,
}

/// The permit of one lookup. Dropped when its thread is free again, and not when its caller goes.
#[derive(Debug)]
pub(super) struct LookupPermit {
    _all: OwnedSemaphorePermit,
    _other: Option<OwnedSemaphorePermit>,
}

impl Lookups {
    /// Permits as many as there may be at once.
    pub(super) fn new() -> Self {
        let permits = |count| Arc::new(Semaphore::new(count));
        Self { all: permits(MAX_LOOKUPS), others: permits(MAX_LOOKUPS_OF_OTHERS) }
    }

    /// Waits for a permit, and not for long: those before have been given up by their callers.
    pub(super) async fn acquire(&self, is_owner: bool) -> Option<LookupPermit> {
        let acquired = async {
            let other = match (!is_owner).then(|| self.others.clone().acquire_owned()) {
                Some(waiting) => Some(waiting.await.ok()?),
                None => None,
            };
            Some(LookupPermit { _all: self.all.clone().acquire_owned().await.ok()?, _other: other })
        };
        timeout(PERMIT_TIMEOUT, acquired).await.ok().flatten()
    }

    #[cfg(test)]
    pub(super) fn available(&self) -> usize {
        self.all.available_permits()
    }
}

/// Most lookups at once, of the eight threads of the control runtime.
const MAX_LOOKUPS: usize = 4;
const MAX_LOOKUPS_OF_OTHERS: usize = 2;

/// Longest wait for a permit: as long as a lookup itself is waited for.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn other_users_leave_lookups_to_the_owner() {
        let lookups = Lookups::new();
        let others = [lookups.acquire(false).await.unwrap(), lookups.acquire(false).await.unwrap()];

        assert!(lookups.acquire(false).await.is_none(), "in time");
        let own = [lookups.acquire(true).await.unwrap(), lookups.acquire(true).await.unwrap()];

        assert!(lookups.acquire(true).await.is_none());
        drop(others);
        assert!(lookups.acquire(false).await.is_some() && lookups.acquire(true).await.is_some());
        drop(own);
    }
}
