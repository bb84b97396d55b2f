//! Limits one kind of requests: its budget and its queue behind one lock, which is not taken while
//! nothing is paced.
//!
//! While requests are queued, one task watches the clock and grants permits; the task ends with the
//! queue. A client that disconnects drops its queue entry, or the permit that it was just granted,
//! and neither costs anything upstream.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::budget::{Budget, NextSend, ThrottleSignal};
use super::fair_queue::{FairQueue, FairnessKey, QueuePosition};
use super::history::SendRing;
use super::window_inference::Window;
use crate::clock::Clock;
use crate::path_template;

/// The budget and the queue of one kind of requests.
#[derive(Debug)]
pub(super) struct Limiter {
    clock: Clock,
    /// Whether the lock must be taken at all.
    is_pacing: AtomicBool,
    ring: SendRing,
    state: Mutex<LimiterState>,
    changed: Notify,
}

#[derive(Debug)]
pub(super) struct LimiterState {
    pub(super) budget: Budget,
    pub(super) queue: FairQueue<GrantSender>,
    /// Whether a task serves the queue.
    has_driver: bool,
}

/// A request for a permit.
#[derive(Debug)]
pub(super) struct AcquireRequest<'a> {
    pub(super) path: &'a str,
    pub(super) key: &'a FairnessKey,
    pub(super) deadline: Duration,
    /// The earlier position in the queue of a request that has been throttled meanwhile.
    pub(super) position: &'a mut Option<QueuePosition>,
}

/// No permit will come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    /// When a permit may come.
    pub(super) retry_after: Duration,
}

/// Sends a queued request its permit, or the rejection.
pub(super) type GrantSender = oneshot::Sender<Result<Grant, Rejection>>;

impl Limiter {
    pub(super) fn new(clock: Clock, fixed: Option<Window>) -> Self {
        let budget = Budget::new(fixed);
        Self {
            clock,
            is_pacing: AtomicBool::new(budget.is_pacing()),
            ring: SendRing::new(),
            state: Mutex::new(LimiterState { budget, queue: FairQueue::new(), has_driver: false }),
            changed: Notify::new(),
        }
    }

    /// Paces at `fixed` from now on, or at the windows that will be learned.
    pub(super) fn reconfigure(&self, fixed: Option<Window>) {
        self.update(|budget, now| {
            if !budget.is_pacing() {
                budget.set_history(self.ring.to_history(now));
            }
            budget.reconfigure(fixed);
        });
    }

    /// Returns a number at once if nothing is paced; takes no lock.
    pub(super) fn try_acquire(&self, now: Duration) -> Option<u64> {
        (!self.is_pacing.load(Ordering::Acquire)).then(|| self.ring.record_sent(now))
    }

    /// Waits for a permit and returns its number.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        request: AcquireRequest<'_>,
    ) -> Result<u64, Rejection> {
        let template = path_template::from_path(request.path);
        let (position, granted) = {
            let now = self.clock.boot();
            let mut guard = self.state();
            let state = &mut *guard;
            if !state.budget.covers(&template) {
                let number = self.ring.record_sent(now);
                state.budget.record_sent(number, false, now);
                return Ok(number);
            }
            let may_go = match state.budget.next_send(now) {
                NextSend::Now => state.queue.is_empty(),
                NextSend::At(time) if time > request.deadline && !state.budget.can_probe(now) => {
                    return Err(Rejection { retry_after: time - now });
                }
                NextSend::At(time) => time > request.deadline,
                NextSend::AfterProbe(_) => false,
            };
            if may_go {
                return Ok(self.send(state, now));
            }
            let position = *request.position.get_or_insert_with(|| state.queue.next_position());
            let (grant, granted) = oneshot::channel();
            if let Some(last) = state.queue.push(position, request.key, request.deadline, grant) {
                last.send(Err(Rejection { retry_after: QUEUE_FULL_RETRY_AFTER })).ok();
            }
            if !std::mem::replace(&mut state.has_driver, true) {
                tokio::spawn(self.clone().serve_queue());
            }
            (position, granted)
        };
        self.changed.notify_one();
        let _waiting = QueueEntry { limiter: self, position, key: request.key };
        match granted.await {
            Ok(granted) => granted.map(Grant::into_number),
            Err(_) => Err(Rejection { retry_after: QUEUE_FULL_RETRY_AFTER }),
        }
    }

    /// Records a response that was no throttle response.
    pub(super) fn record_response(&self, number: u64) {
        if !self.is_pacing.load(Ordering::Relaxed) {
            return self.ring.record_response(number);
        }
        self.update(|budget, now| budget.record_response(number, now));
    }

    /// Records that no response came.
    pub(super) fn record_loss(&self, number: u64) {
        if self.is_pacing.load(Ordering::Relaxed) {
            self.update(|budget, _| budget.record_loss(number));
        }
    }

    /// Records a throttle response.
    pub(super) fn record_throttle(&self, signal: &ThrottleSignal<'_>) {
        self.update(|budget, now| {
            if !budget.is_pacing() {
                budget.set_history(self.ring.to_history(now));
                let retry_in_s = signal.retry_after.map(|wait| wait.as_secs_f64());
                tracing::warn!(path = signal.template, retry_in_s, "throttled: pacing begins");
            }
            budget.record_throttle(signal, now);
        });
    }

    fn update(&self, change: impl FnOnce(&mut Budget, Duration)) {
        let mut state = self.state();
        // Read under the lock: times in the budget never run backwards.
        change(&mut state.budget, self.clock.boot());
        self.is_pacing.store(state.budget.is_pacing(), Ordering::Release);
        let has_waiting = !state.queue.is_empty();
        drop(state);
        if has_waiting {
            self.changed.notify_one();
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, LimiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, state: &mut LimiterState, now: Duration) -> u64 {
        let number = self.ring.next_number();
        state.budget.record_sent(number, true, now);
        number
    }

    /// Serves the queue until it is empty.
    async fn serve_queue(self: Arc<Self>) {
        let guard = DriverGuard(&self);
        while let Some(wake) = self.grant_ready() {
            tokio::select! {
                () = self.clock.wait_until(wake) => {}
                () = self.changed.notified() => {}
            }
        }
        // The queue was found empty under the lock, and another task may serve it by now.
        std::mem::forget(guard);
    }

    /// Grants the permits that are due, rejects requests that would wait in vain, and returns when
    /// to look again; `None`: the queue is empty.
    fn grant_ready(self: &Arc<Self>) -> Option<Duration> {
        let now = self.clock.boot();
        let mut granted = Vec::new();
        let mut state = self.state();
        let wake = loop {
            if state.queue.is_empty() {
                state.has_driver = false;
                break None;
            }
            let (time, expired_at) = match state.budget.next_send(now) {
                NextSend::Now => {
                    if let Some(sender) = state.queue.pop() {
                        let number = self.send(&mut state, now);
                        granted.push((sender, Ok(Grant(Some((self.clone(), number))))));
                    }
                    continue;
                }
                NextSend::At(time) => (time, time),
                NextSend::AfterProbe(time) => (time, now),
            };
            let retry_after = time.saturating_sub(now).max(MIN_RETRY_AFTER);
            while let Some(sender) = state.queue.pop_expired(expired_at) {
                granted.push((sender, Err(Rejection { retry_after })));
            }
            match state.queue.next_deadline() {
                // One more instant, so that the deadline has passed.
                Some(end) => break Some(time.min(end + DEADLINE_GRACE)),
                None => continue,
            }
        };
        drop(state);
        for (sender, result) in granted {
            // A client that has just disconnected gives the permit back by dropping it.
            sender.send(result).ok();
        }
        wake
    }
}

/// A permit on its way to a queued request. Dropped, it is withdrawn.
#[derive(Debug)]
pub(super) struct Grant(Option<(Arc<Limiter>, u64)>);

impl Grant {
    fn into_number(mut self) -> u64 {
        self.0.take().map_or(0, |(_, number)| number)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some((limiter, number)) = self.0.take() {
            limiter.update(|budget, _| budget.withdraw(number));
        }
    }
}

/// A request in the queue. Dropped, it leaves the queue.
struct QueueEntry<'a> {
    limiter: &'a Limiter,
    position: QueuePosition,
    key: &'a FairnessKey,
}

impl Drop for QueueEntry<'_> {
    fn drop(&mut self) {
        self.limiter.state().queue.remove(self.position, self.key);
    }
}

/// Lets another task serve the queue when this one is aborted with its runtime.
struct DriverGuard<'a>(&'a Limiter);

impl Drop for DriverGuard<'_> {
    fn drop(&mut self) {
        self.0.state().has_driver = false;
    }
}

/// The `Retry-After` of a request that had to leave a full queue.
const QUEUE_FULL_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Shortest `Retry-After` of a rejection.
const MIN_RETRY_AFTER: Duration = Duration::from_millis(100);

/// Time after a deadline at which it has certainly passed.
const DEADLINE_GRACE: Duration = Duration::from_millis(1);
