//! How serving ends: no new connections, requests in flight may finish, then no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// Starts the end, and sees when everything has ended.
#[derive(Debug)]
pub struct Drain {
    stage: watch::Sender<Stage>,
    shared: Arc<Shared>,
}

/// What every connection holds: it sees the end coming.
#[derive(Clone, Debug)]
pub struct Draining {
    stage: watch::Receiver<Stage>,
    shared: Arc<Shared>,
}

/// What requests look at: without the lock of the stage.
#[derive(Debug, Default)]
struct Shared {
    in_flight: AtomicUsize,
    is_over: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Requests come and go.
    Serving,
    /// Each connection ends after its request.
    Draining,
    /// Requests that have no answer yet get a 503.
    Over,
}

/// One request in flight, until dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Shared>);

/// Counts the requests in flight.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<Shared>);

impl Counter {
    /// Returns how many there are.
    pub fn read(&self) -> usize {
        self.0.in_flight.load(Ordering::Relaxed)
    }
}

impl Drain {
    /// Makes the two ends.
    pub fn new() -> (Self, Draining) {
        let (stage, seen) = watch::channel(Stage::Serving);
        let shared = Arc::<Shared>::default();
        (Self { stage, shared: shared.clone() }, Draining { stage: seen, shared })
    }

    /// Tells every connection to end after its current request.
    pub fn begin(&self) {
        self.stage.send_replace(Stage::Draining);
    }

    /// Tells every request that waits for its answer to stop waiting.
    pub fn end(&self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.stage.send_replace(Stage::Over);
    }

    /// Returns how many requests are in flight.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// Returns a count of the requests in flight that keeps nothing from ending.
    pub fn counter(&self) -> Counter {
        Counter(self.shared.clone())
    }

    /// Waits until every connection is gone, at most `limit`. Says whether all went by themselves.
    pub async fn finished(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.stage.closed()).await.is_ok()
    }
}

impl Draining {
    /// Waits until the end begins.
    pub async fn begun(&mut self) {
        self.reached(Stage::Draining).await;
    }

    /// Waits until the time to finish is over.
    pub async fn over(&mut self) {
        self.reached(Stage::Over).await;
    }

    /// Says whether the time to finish is over.
    pub fn is_over(&self) -> bool {
        self.shared.is_over.load(Ordering::Relaxed)
    }

    /// Counts one more request in flight.
    pub fn enter(&self) -> InFlight {
        self.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.shared.clone())
    }

    async fn reached(&mut self, wanted: Stage) {
        // An error means that the daemon is gone, which is every stage at once.
        self.stage.wait_for(|stage| *stage >= wanted).await.ok();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
