//! How serving ends: no new connections, requests in flight may finish, then no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// Starts the end, and sees when everything has ended.
#[derive(Debug)]
pub struct DrainController {
    stage: watch::Sender<DrainStage>,
    shared: Arc<DrainState>,
}

/// What every connection holds: it sees the end coming.
#[derive(Clone, Debug)]
pub struct DrainSignal {
    stage: watch::Receiver<DrainStage>,
    shared: Arc<DrainState>,
}

/// What requests look at: without the lock of the stage.
#[derive(Debug, Default)]
struct DrainState {
    in_flight: AtomicUsize,
    has_ended: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum DrainStage {
    /// Requests come and go.
    Serving,
    /// Each connection ends after its request.
    Draining,
    /// Requests that have no answer yet get a 503.
    Ended,
}

/// One request in flight, until dropped.
#[derive(Debug)]
pub struct InFlightGuard(Arc<DrainState>);

/// Counts the requests in flight.
#[derive(Clone, Debug, Default)]
pub struct InFlightCounter(Arc<DrainState>);

impl InFlightCounter {
    /// Returns how many there are.
    pub fn get(&self) -> usize {
        self.0.in_flight.load(Ordering::Relaxed)
    }
}

impl DrainController {
    /// Makes the two ends.
    pub fn new() -> (Self, DrainSignal) {
        let (stage, seen) = watch::channel(DrainStage::Serving);
        let shared = Arc::<DrainState>::default();
        (Self { stage, shared: shared.clone() }, DrainSignal { stage: seen, shared })
    }

    /// Tells every connection to end after its current request.
    pub fn begin(&self) {
        self.stage.send_replace(DrainStage::Draining);
    }

    /// Tells every request that waits for its answer to stop waiting.
    pub fn end(&self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        self.stage.send_replace(DrainStage::Ended);
    }

    /// Returns how many requests are in flight.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// Returns a count of the requests in flight that keeps nothing from ending.
    pub fn counter(&self) -> InFlightCounter {
        InFlightCounter(self.shared.clone())
    }

    /// Waits until every connection is gone, at most `limit`. Says whether all went by themselves.
    pub async fn wait_closed(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.stage.closed()).await.is_ok()
    }
}

impl DrainSignal {
    /// Waits until the end begins.
    pub async fn wait_begin(&mut self) {
        self.wait_for(DrainStage::Draining).await;
    }

    /// Waits until the time to finish is over.
    pub async fn wait_end(&mut self) {
        self.wait_for(DrainStage::Ended).await;
    }

    /// Says whether the time to finish is over.
    pub fn has_ended(&self) -> bool {
        self.shared.has_ended.load(Ordering::Relaxed)
    }

    /// Counts one more request in flight.
    pub fn track(&self) -> InFlightGuard {
        self.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlightGuard(self.shared.clone())
    }

    async fn wait_for(&mut self, wanted: DrainStage) {
        // An error means that the daemon is gone, which is every stage at once.
        self.stage.wait_for(|stage| *stage >= wanted).await.ok();
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
