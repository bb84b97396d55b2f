//! How serving ends: no new connections, requests in flight may finish, then no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// Starts the end, and sees when everything has ended.
#[derive(Debug)]
pub struct Drain {
    draining: watch::Sender<bool>,
    in_flight: Arc<AtomicUsize>,
}

/// What every connection holds: it sees the end coming.
#[derive(Clone, Debug)]
pub struct Draining {
    draining: watch::Receiver<bool>,
    in_flight: Arc<AtomicUsize>,
}

/// One request in flight, until dropped.
#[derive(Debug)]
pub struct InFlight(Arc<AtomicUsize>);

impl Drain {
    /// Makes the two ends.
    pub fn new() -> (Self, Draining) {
        let (draining, seen) = watch::channel(false);
        let in_flight = Arc::<AtomicUsize>::default();
        (Self { draining, in_flight: in_flight.clone() }, Draining { draining: seen, in_flight })
    }

    /// Tells every connection to end after its current request.
    pub fn begin(&self) {
        self.draining.send_replace(true);
    }

    /// Returns how many requests are in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Waits until every connection is gone, at most `limit`. Says whether all went by themselves.
    pub async fn finished(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.draining.closed()).await.is_ok()
    }
}

impl Draining {
    /// Waits until the end begins.
    pub async fn begun(&mut self) {
        // An error means that the daemon is gone, which is an end too.
        self.draining.wait_for(|draining| *draining).await.ok();
    }

    /// Counts one more request in flight.
    pub fn enter(&self) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.in_flight.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
