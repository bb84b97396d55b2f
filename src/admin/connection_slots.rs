//! Limits the number of connections, so that a command always gets through.
//!
//! Idle connections and event streams have limits of their own. A new connection is worth more than
//! the one that has been idle longest, which is closed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The connections of one class of peers: operators, or all others.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    idle: Mutex<IdleConnections>,
    event_streams: Arc<Semaphore>,
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
    /// The connection's number among the idle ones, while it is idle.
    number: Mutex<Option<u64>>,
    evicted: Arc<Notify>,
}

/// Marks a response that lasts as long as its reader wants: its connection is never idle.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndlessBody;

impl ConnectionSlots {
    pub(super) fn new() -> Self {
        let event_streams = Arc::new(Semaphore::new(MAX_EVENT_STREAMS));
        Self { idle: Mutex::default(), event_streams }
    }

    /// Adds a connection, which is idle until its first request.
    pub(super) fn acquire(&self) -> ConnectionSlot<'_> {
        let slot =
            ConnectionSlot { slots: self, number: Mutex::new(None), evicted: Arc::default() };
        slot.mark_idle();
        slot
    }

    /// Adds an event stream, unless there are [`MAX_EVENT_STREAMS`].
    ///
    /// No tower layer does this: theirs release the permit with the head of the response.
    pub(super) fn acquire_event_stream(&self) -> Option<OwnedSemaphorePermit> {
        self.event_streams.clone().try_acquire_owned().ok()
    }

    fn idle(&self) -> MutexGuard<'_, IdleConnections> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionSlot<'_> {
    /// Begins to wait for a request. Beyond [`MAX_IDLE`], the connection that has been idle longest
    /// ends.
    pub(super) fn mark_idle(&self) {
        let mut idle = self.slots.idle();
        let number = idle.next;
        idle.next += 1;
        idle.connections.insert(number, self.evicted.clone());
        *self.number() = Some(number);
        if idle.connections.len() > MAX_IDLE
            && let Some((_, longest)) = idle.connections.pop_first()
        {
            longest.notify_one();
        }
    }

    /// Ends the wait: a request is there.
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

/// Most idle connections: monitoring, and a command or two.
const MAX_IDLE: usize = 64;

/// Most event streams.
const MAX_EVENT_STREAMS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_idle_connection_makes_room_and_a_busy_one_does_not() {
        let slots = ConnectionSlots::new();
        let busy = slots.acquire();
        busy.mark_busy();
        let idle: Vec<_> = (0..MAX_IDLE).map(|_| slots.acquire()).collect();
        idle[0].mark_busy();
        idle[0].mark_idle();

        let _new = slots.acquire();

        idle[1].evicted().await;
        let others = idle.iter().enumerate().filter(|(at, _)| *at != 1).map(|(_, slot)| slot);
        for slot in others.chain([&busy]) {
            let evicted = tokio::time::timeout(std::time::Duration::ZERO, slot.evicted());
            assert!(evicted.await.is_err());
        }
        drop(idle);
        assert_eq!(slots.idle().connections.len(), 1);
    }
}
