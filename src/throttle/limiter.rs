//! Limits one kind of requests: its budget and its queue behind one lock, which is not taken while
//! nothing is paced.
//!
//! While requests are queued, one task watches the clock and grants permits; the task ends with the
//! queue. A client that disconnects drops its queue entry, or the permit that it was just granted,
//! and neither costs anything upstream.

mod sharing;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::budget::{Budget, NextSend, ThrottleSignal};
use super::fair_queue::{FairQueue, FairnessKey, QueuePosition};
use super::history::SendRing;
use super::shared_pace::{LearnedPace, SharedPace};
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
    /// The pace that several machines keep together, if they do.
    shared: OnceLock<Arc<dyn SharedPace>>,
}

#[derive(Debug)]
pub(super) struct LimiterState {
    pub(super) budget: Budget,
    pub(super) queue: FairQueue<GrantSender>,
    /// Whether a task serves the queue.
    has_driver: bool,
    /// Paced requests under way; kept where the pace is shared.
    outstanding: BTreeSet<u64>,
    /// The newest that this machine and the others know of each other, and its version.
    told: (u64, LearnedPace),
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
        let is_pacing = AtomicBool::new(budget.is_pacing());
        let state = LimiterState {
            budget,
            queue: FairQueue::new(),
            has_driver: false,
            outstanding: BTreeSet::new(),
            told: Default::default(),
        };
        Self {
            clock,
            is_pacing,
            ring: SendRing::new(),
            state: Mutex::new(state),
            changed: Notify::new(),
            shared: OnceLock::new(),
        }
    }

    /// Paces at `fixed` from now on, or at the windows that will be learned.
    pub(super) fn reconfigure(&self, fixed: Option<Window>) {
        self.update(|state, now| {
            if !state.budget.is_pacing() {
                state.budget.set_history(self.ring.to_history(now));
            }
            state.budget.reconfigure(fixed);
            // The knowledge of the other machines is taken over again.
            state.told = Default::default();
        });
        self.heed();
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
            if self.may_go(state, request.deadline, now)? {
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
        self.end(number, |budget, now| budget.record_response(number, now));
    }

    /// Records that no response came.
    pub(super) fn record_loss(&self, number: u64) {
        if self.is_pacing.load(Ordering::Relaxed) {
            self.end(number, |budget, _| budget.record_loss(number));
        }
    }

    /// Records a throttle response.
    pub(super) fn record_throttle(&self, signal: &ThrottleSignal<'_>) {
        self.end(signal.number, |budget, now| {
            if !budget.is_pacing() {
                budget.set_history(self.ring.to_history(now));
                let retry_in_s = signal.retry_after.map(|wait| wait.as_secs_f64());
                tracing::warn!(path = signal.template, retry_in_s, "throttled: pacing begins");
            }
            budget.record_throttle(signal, now);
        });
    }

    /// Ends what was sent under this number.
    fn end(&self, number: u64, change: impl FnOnce(&mut Budget, Duration)) {
        self.update(|state, now| {
            state.outstanding.remove(&number);
            change(&mut state.budget, now);
        });
    }

    fn update(&self, change: impl FnOnce(&mut LimiterState, Duration)) {
        let mut guard = self.state();
        let state = &mut *guard;
        // Read under the lock: times in the budget never run backwards.
        let now = self.clock.boot();
        change(state, now);
        if let Some(shared) = self.shared.get() {
            state.tell(&**shared, now);
        }
        let is_pacing = state.budget.is_pacing();
        if !is_pacing {
            state.outstanding.clear();
        }
        self.is_pacing.store(is_pacing, Ordering::Release);
        let has_waiting = !state.queue.is_empty();
        drop(guard);
        if has_waiting {
            self.changed.notify_one();
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, LimiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether a request may go now; else it queues.
    ///
    /// # Errors
    ///
    /// The request would wait in vain.
    fn may_go(
        &self,
        state: &mut LimiterState,
        deadline: Duration,
        now: Duration,
    ) -> Result<bool, Rejection> {
        // A request that has to queue takes no slot of the common pace.
        let next = if state.queue.is_empty() {
            self.next_send(state, now)
        } else {
            state.budget.next_send(now)
        };
        match next {
            NextSend::Now => Ok(state.queue.is_empty()),
            NextSend::At(time) if time > deadline && state.budget.can_probe(now) => Ok(true),
            NextSend::At(time) | NextSend::InTurn(time) if time > deadline => {
                Err(Rejection { retry_after: time - now })
            }
            NextSend::At(_)
            | NextSend::AfterProbe(_)
            | NextSend::InTurn(_)
            | NextSend::AfterSlots(_) => Ok(false),
        }
    }

    fn send(&self, state: &mut LimiterState, now: Duration) -> u64 {
        let number = self.ring.next_number();
        if self.shared.get().is_some() {
            state.outstanding.insert(number);
        }
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
            let (time, expired_at) = match self.next_send(&mut state, now) {
                NextSend::Now => {
                    if let Some(sender) = state.queue.pop() {
                        let number = self.send(&mut state, now);
                        granted.push((sender, Ok(Grant(Some((self.clone(), number))))));
                    }
                    continue;
                }
                NextSend::At(time) | NextSend::InTurn(time) => (time, time),
                NextSend::AfterProbe(time) | NextSend::AfterSlots(time) => (time, now),
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
            limiter.end(number, |budget, _| budget.withdraw(number));
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
