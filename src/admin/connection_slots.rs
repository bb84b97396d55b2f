//! How many connections there may be, so that a command always gets through.
//!
//! Connections that wait for a request, and readers of events, have bounds of their own; a new
//! connection is worth more than the one that has waited longest, which is closed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The places of one kind of callers: those who may act, or everybody else.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    idle: Mutex<IdleConnections>,
    events: Arc<Semaphore>,
}

/// Connections that wait for a request, the longest first.
#[derive(Debug, Default)]
struct IdleConnections {
    next: u64,
    connections: BTreeMap<u64, Arc<Notify>>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct ConnectionSlot<'a> {
    slots: &'a ConnectionSlots,
    /// Its number, while it waits.
    number: Mutex<Option<u64>>,
    evicted: Arc<Notify>,
}

/// Marks an answer that goes on for as long as its reader wants, and whose connection does not wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndlessBody;

/// Says of a request whether its caller's user may act.
#[derive(Clone, Copy, Debug)]
pub(super) struct IsOperator(pub(super) bool);

impl ConnectionSlots {
    /// Makes them; all are free.
    pub(super) fn new() -> Self {
        Self { idle: Mutex::default(), events: Arc::new(Semaphore::new(MAX_EVENT_STREAMS)) }
    }

    /// Takes a place for a connection, which waits for its first request.
    pub(super) fn acquire(&self) -> ConnectionSlot<'_> {
        let place =
            ConnectionSlot { slots: self, number: Mutex::new(None), evicted: Arc::default() };
        place.mark_idle();
        place
    }

    /// Takes a place for a reader of events, if one is free.
    pub(super) fn acquire_event_stream(&self) -> Option<OwnedSemaphorePermit> {
        self.events.clone().try_acquire_owned().ok()
    }

    fn idle(&self) -> MutexGuard<'_, IdleConnections> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionSlot<'_> {
    /// Begins to wait for a request. Beyond the bound, the connection that has waited longest ends.
    pub(super) fn mark_idle(&self) {
        let mut waiting = self.slots.idle();
        let number = waiting.next;
        waiting.next += 1;
        waiting.connections.insert(number, self.evicted.clone());
        *self.number() = Some(number);
        if waiting.connections.len() > MAX_IDLE
            && let Some((_, longest)) = waiting.connections.pop_first()
        {
            longest.notify_one();
        }
    }

    /// Waits no longer: a request is there.
    pub(super) fn mark_busy(&self) {
        if let Some(number) = self.number().take() {
            self.slots.idle().connections.remove(&number);
        }
    }

    /// Waits until the connection has to make room.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    fn number(&self) -> MutexGuard<'_, Option<u64>> {
        self.number.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionSlot<'_> {
    fn drop(&mut self) {
        self.mark_busy();
    }
}

/// Most connections that wait for a request: monitoring, and a command or two.
const MAX_IDLE: usize = 64;

/// Most readers of events.
const MAX_EVENT_STREAMS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_has_waited_longest_makes_room_and_whoever_asks_does_not() {
        let places = ConnectionSlots::new();
        let asks = places.acquire();
        asks.mark_busy();
        let waits: Vec<_> = (0..MAX_IDLE).map(|_| places.acquire()).collect();
        waits[0].mark_busy();
        waits[0].mark_idle();

        let _new = places.acquire();

        waits[1].evicted().await;
        let others = waits.iter().enumerate().filter(|(at, _)| *at != 1).map(|(_, place)| place);
        for place in others.chain([&asks]) {
            let evicted = tokio::time::timeout(std::time::Duration::ZERO, place.evicted());
            assert!(evicted.await.is_err());
        }
        drop(waits);
        assert_eq!(places.idle().connections.len(), 1);
    }
}
