//! The places of tunnels: a share of all connections, so that idle tunnels leave room for requests.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of all tunnels. Clones share them.
#[derive(Clone, Debug)]
pub struct TunnelPlaces {
    all: Arc<Semaphore>,
    /// Of these, the ones that users other than the owner can have.
    others: Arc<Semaphore>,
}

/// The place of one tunnel, until dropped.
#[derive(Debug)]
pub struct TunnelPlace {
    _all: OwnedSemaphorePermit,
    _other: Option<OwnedSemaphorePermit>,
}

impl TunnelPlaces {
    /// Takes the number of connections that are served at once. A quarter of them may be tunnels, an
    /// eighth those of users other than the owner.
    pub fn among(connections: usize) -> Self {
        let (all, others) = (connections.div_ceil(4), connections.div_ceil(8));
        Self { all: Arc::new(Semaphore::new(all)), others: Arc::new(Semaphore::new(others)) }
    }

    /// Takes a place, if there is one.
    pub(super) fn take(&self, is_owner: bool) -> Option<TunnelPlace> {
        let others = (!is_owner).then(|| self.others.clone().try_acquire_owned());
        let other = others.transpose().ok()?;
        Some(TunnelPlace { _all: self.all.clone().try_acquire_owned().ok()?, _other: other })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_leave_room_for_requests_and_other_users_leave_room_for_the_owner() {
        let places = TunnelPlaces::among(4_096);
        let fill = |is_owner| -> Vec<_> { std::iter::from_fn(|| places.take(is_owner)).collect() };

        let others = fill(false);
        assert_eq!(others.len(), 512);
        let own = fill(true);
        assert_eq!(own.len(), 512);
        drop(others);
        assert_eq!(fill(true).len(), 512);
    }
}
