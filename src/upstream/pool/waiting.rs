//! Requests that wait for a connection, in the order of their arrival, and the connections that are
//! being opened for them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Pool, PoolState, Poolable, max_idle_time};
use crate::upstream::{Error, Retry, millis};

/// The requests that wait.
pub(super) struct WaitQueue<C> {
    waiters: VecDeque<Waiter<C>>,
    /// The number of the next request. Numbers only grow, so that the queue is in their order.
    next_number: u64,
}

struct Waiter<C> {
    number: u64,
    client: Option<Box<str>>,
    wanted: Wanted,
    sender: oneshot::Sender<Outcome<C>>,
}

/// Which connection a request can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Wanted {
    /// Any, also one that another request gives back.
    Any,
    /// One that no request has used: a used one was closed or silent.
    New,
}

/// The end of a wait.
pub(in crate::upstream) enum Outcome<C> {
    /// This connection is the request's own.
    Connection(C),
    /// The host shares a connection among all requests: it is where those are.
    Shared,
    /// A connection that was opened after the request arrived could not be.
    Failed(Error),
}

impl<C: Poolable> WaitQueue<C> {
    pub(super) fn new() -> Self {
        Self { waiters: VecDeque::new(), next_number: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Gives a connection to the first request that may use it, or returns it.
    pub(super) fn give(&mut self, mut conn: C, is_used: bool) -> Option<C> {
        loop {
            let client = conn.reserved_client();
            let at = self.waiters.iter().position(|waiter| {
                (!is_used || waiter.wanted == Wanted::Any)
                    && (client.is_none() || client == waiter.client.as_deref())
            });
            let Some(waiter) = at.and_then(|at| self.waiters.remove(at)) else {
                return Some(conn);
            };
            match waiter.sender.send(Outcome::Connection(conn)) {
                // The request was given up a moment ago.
                Err(Outcome::Connection(refused)) => conn = refused,
                Ok(()) | Err(Outcome::Shared | Outcome::Failed(_)) => return None,
            }
        }
    }

    fn push(
        &mut self,
        client: Option<&str>,
        wanted: Wanted,
    ) -> (u64, oneshot::Receiver<Outcome<C>>) {
        let (sender, outcome) = oneshot::channel();
        let number = self.next_number;
        self.next_number += 1;
        let client = client.map(Box::from);
        self.waiters.push_back(Waiter { number, client, wanted, sender });
        (number, outcome)
    }

    fn remove(&mut self, number: u64) {
        if let Ok(at) = self.waiters.binary_search_by_key(&number, |waiter| waiter.number) {
            self.waiters.remove(at);
        }
    }

    /// Gives an error to the first request that was there before `number` was. A later one may
    /// have better luck: its host can be back since.
    fn fail(&mut self, error: Error, number: u64) -> Option<Error> {
        if self.waiters.front().is_none_or(|first| first.number >= number) {
            return Some(error);
        }
        let first = self.waiters.pop_front()?;
        first.sender.send(Outcome::Failed(error)).ok();
        None
    }

    /// Sends all requests to the connection that they share.
    fn share(&mut self) {
        for waiter in self.waiters.drain(..) {
            waiter.sender.send(Outcome::Shared).ok();
        }
    }
}

impl<C: Poolable> Pool<C> {
    /// Lets a request wait for a connection. The caller opens the connections that are returned.
    pub(in crate::upstream) fn wait(
        self: &Arc<Self>,
        (retry, client): (Retry, Option<&str>),
        wanted: Wanted,
    ) -> (Waiting<C>, Vec<Opening<C>>) {
        let now = self.clock.boot();
        let mut state = self.state();
        let (number, outcome) = state.queue.push(client, wanted);
        // Another thread may have given one back since this request found none.
        if wanted == Wanted::Any
            && let Some(conn) = state.idle.take(
                Handle::current().id(),
                client,
                now.saturating_sub(max_idle_time(retry)),
            )
            && let Some(conn) = state.queue.give(conn, true)
        {
            state.keep(conn, now, self.max_idle);
        }
        let waiting = state.queue.waiters.len();
        let is_served = state.pace.is_served_by_releases(waiting, Instant::now());
        let openings =
            if is_served && wanted == Wanted::Any { vec![] } else { self.begin(&mut state) };
        let (epoch, patience) = (state.epoch, state.pace.patience());
        drop(state);
        (Waiting { pool: self.clone(), number, epoch, patience, outcome }, openings)
    }

    /// Begins to open the connections that those who wait may have now.
    fn begin(self: &Arc<Self>, state: &mut PoolState<C>) -> Vec<Opening<C>> {
        let count = state.pace.begin(state.queue.waiters.len());
        let opening = || Opening {
            pool: self.clone(),
            number: state.queue.next_number,
            began: Instant::now(),
            late_after: state.pace.late_after(),
            is_late: false,
            is_over: false,
        };
        std::iter::repeat_with(opening).take(count).collect()
    }
}

/// A request that waits. Dropped, the request leaves the queue, and a connection that it was just
/// given goes to the next.
pub(in crate::upstream) struct Waiting<C: Poolable> {
    pool: Arc<Pool<C>>,
    number: u64,
    epoch: u64,
    patience: Duration,
    outcome: oneshot::Receiver<Outcome<C>>,
}

impl<C: Poolable> Waiting<C> {
    /// Returns the epoch of the pool when the wait began.
    pub(in crate::upstream) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Waits for the outcome, but for about the time of a handshake: if none comes, connections are
    /// to be opened, as far as there may be more.
    pub(in crate::upstream) async fn outcome_soon(
        &mut self,
    ) -> Result<Outcome<C>, Vec<Opening<C>>> {
        match tokio::time::timeout(self.patience, &mut self.outcome).await {
            Ok(outcome) => Ok(outcome.unwrap_or(Outcome::Shared)),
            Err(_) => Err(self.pool.begin(&mut self.pool.state())),
        }
    }

    /// Waits for the outcome.
    #[cfg(test)]
    pub(super) async fn outcome(&mut self) -> Outcome<C> {
        // The other end is dropped only after this one has left the queue.
        (&mut self.outcome).await.unwrap_or(Outcome::Shared)
    }
}

impl<C: Poolable> Drop for Waiting<C> {
    fn drop(&mut self) {
        self.outcome.close();
        self.pool.state().queue.remove(self.number);
        if let Ok(Outcome::Connection(conn)) = self.outcome.try_recv() {
            self.pool.take_back(conn, self.epoch);
        }
    }
}

/// A connection that is being opened, for any request that waits. Each method that ends it returns
/// the connections that are to be opened next.
pub(in crate::upstream) struct Opening<C: Poolable> {
    pool: Arc<Pool<C>>,
    /// Requests with a lower number were there when it began.
    number: u64,
    began: Instant,
    late_after: Duration,
    is_late: bool,
    is_over: bool,
}

impl<C: Poolable> Opening<C> {
    /// Waits until this takes longer than usual; others go on without it then.
    pub(in crate::upstream) async fn late(&mut self) -> Vec<Opening<C>> {
        if self.is_late {
            return std::future::pending().await;
        }
        tokio::time::sleep_until(self.began + self.late_after).await;
        self.is_late = true;
        let mut state = self.pool.state();
        state.pace.record_late();
        self.pool.begin(&mut state)
    }

    /// Gives the connection to the first request that waits, or to the idle ones.
    pub(in crate::upstream) fn succeed(mut self, conn: C) -> Vec<Opening<C>> {
        self.is_over = true;
        let elapsed = self.began.elapsed();
        let boot = self.pool.clock.boot();
        let mut state = self.pool.state();
        let surplus = state.give(conn, false, boot, self.pool.max_idle);
        let waiting = state.queue.waiters.len();
        let usual = state.pace.record_opened(elapsed, self.is_late);
        self.pool.handshake_ms.store(millis(usual), Ordering::Relaxed);
        // Each connection serves one request at a time, whatever was offered.
        state.pace.set_initial_limit(super::INITIAL_LIMIT);
        let next = if state.pace.is_served_by_releases(waiting, Instant::now()) {
            vec![]
        } else {
            if waiting > 0 {
                state.pace.grow();
            }
            self.pool.begin(&mut state)
        };
        drop(state);
        drop(surplus);
        next
    }

    /// Tells all requests that wait of the connection that they share.
    pub(in crate::upstream) fn succeed_shared(mut self) {
        self.is_over = true;
        let elapsed = self.began.elapsed();
        let mut state = self.pool.state();
        state.queue.share();
        let usual = state.pace.record_opened(elapsed, self.is_late);
        self.pool.handshake_ms.store(millis(usual), Ordering::Relaxed);
    }

    /// Gives the error to the first request that was there when this began.
    pub(in crate::upstream) fn fail(mut self, error: Error) -> Vec<Opening<C>> {
        self.is_over = true;
        let mut state = self.pool.state();
        state.pace.record_end(self.is_late);
        let unheard = state.queue.fail(error, self.number);
        let next = self.pool.begin(&mut state);
        drop(state);
        if let Some(error) = unheard {
            tracing::debug!(%error, "a connection for no request could not be opened");
        }
        next
    }
}

impl<C: Poolable> Drop for Opening<C> {
    /// The task has ended before the handshake: its runtime is gone.
    fn drop(&mut self) {
        if !self.is_over {
            self.pool.state().pace.record_end(self.is_late);
        }
    }
}
