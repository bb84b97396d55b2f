//! The end of serving: no new connections, requests in flight may finish, then all ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// Starts the drain, and sees when all connections are closed.
#[derive(Debug)]
pub struct DrainController {
    stage: watch::Sender<DrainStage>,
    shared: Arc<DrainState>,
}

/// Signals to a connection that the drain begins or ends. Each connection holds one.
#[derive(Clone, Debug)]
pub struct DrainSignal {
    stage: watch::Receiver<DrainStage>,
    shared: Arc<DrainState>,
}

/// The part of the state that requests read without the lock of the stage.
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
    /// Requests that have no response yet get a 503.
    Ended,
}

/// Counts one request in flight, until dropped.
#[derive(Debug)]
pub struct InFlightGuard(Arc<DrainState>);

/// Counts the requests in flight.
#[derive(Clone, Debug, Default)]
pub struct InFlightCounter(Arc<DrainState>);

impl InFlightCounter {
    /// Returns how many requests are in flight.
    pub fn get(&self) -> usize {
        self.0.in_flight.load(Ordering::Relaxed)
    }
}

impl DrainController {
    /// Makes a controller and its signal.
    pub fn new() -> (Self, DrainSignal) {
        let (stage, seen) = watch::channel(DrainStage::Serving);
        let shared = Arc::<DrainState>::default();
        (Self { stage, shared: shared.clone() }, DrainSignal { stage: seen, shared })
    }

    /// Signals every connection to end after its current request.
    pub fn begin(&self) {
        self.stage.send_replace(DrainStage::Draining);
    }

    /// Signals every request that waits for its response to stop waiting.
    pub fn end(&self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        self.stage.send_replace(DrainStage::Ended);
    }

    /// Returns how many requests are in flight.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// Returns a counter of the requests in flight, which holds up no drain.
    pub fn counter(&self) -> InFlightCounter {
        InFlightCounter(self.shared.clone())
    }

    /// Waits until every connection is closed, at most `limit`. Says whether all closed in time.
    pub async fn wait_closed(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.stage.closed()).await.is_ok()
    }
}

impl DrainSignal {
    /// Waits until the drain begins.
    pub async fn wait_begin(&mut self) {
        self.wait_for(DrainStage::Draining).await;
    }

    /// Waits until the drain ends.
    pub async fn wait_end(&mut self) {
        self.wait_for(DrainStage::Ended).await;
    }

    /// Says whether the drain has ended.
    pub fn has_ended(&self) -> bool {
        self.shared.has_ended.load(Ordering::Relaxed)
    }

    /// Counts one more request in flight.
    pub fn track(&self) -> InFlightGuard {
        self.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlightGuard(self.shared.clone())
    }

    async fn wait_for(&mut self, wanted: DrainStage) {
        // An error means that the controller is gone, which is every stage at once.
        self.stage.wait_for(|stage| *stage >= wanted).await.ok();
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
