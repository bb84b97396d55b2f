//! Waiting for a turn: the budget and the line of one kind of requests behind one lock, which
//! nobody touches while nothing is paced.
//!
//! While somebody waits, one task looks at the clock and calls whoever is next; it ends with the
//! line. A caller that goes away drops its place, or the turn it was just given, and neither costs
//! anything upstream.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use humantime::format_duration;
use tokio::sync::{Notify, oneshot};
use tracing::field::display;

use super::budget::{Budget, NextSend, ThrottleSignal};
use super::fair_queue::{FairQueue, FairnessKey, QueuePosition};
use super::history::SendRing;
use super::window_inference::Window;
use crate::clock::Clock;
use crate::path_template;

/// One kind of requests: what it may send, and who waits.
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
    /// Whether a task looks after the line.
    has_driver: bool,
}

/// What a request needs to get its turn.
#[derive(Debug)]
pub(super) struct AcquireRequest<'a> {
    pub(super) path: &'a str,
    pub(super) key: &'a FairnessKey,
    pub(super) deadline: Duration,
    /// Where it stood before, if it has been throttled meanwhile.
    pub(super) position: &'a mut Option<QueuePosition>,
}

/// No turn will come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    /// When one may.
    pub(super) retry_after: Duration,
}

/// How a waiting request is told that its turn has come, or will not.
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

    /// Paces at `fixed` from now on, or at what will be learned.
    pub(super) fn reconfigure(&self, fixed: Option<Window>) {
        self.update(|budget, now| {
            if !budget.is_pacing() {
                budget.set_history(self.ring.to_history(now));
            }
            budget.reconfigure(fixed);
        });
    }

    /// Gives a turn at once if nothing is paced; takes no lock.
    pub(super) fn try_acquire(&self, now: Duration) -> Option<u64> {
        (!self.is_pacing.load(Ordering::Acquire)).then(|| self.ring.record_sent(now))
    }

    /// Waits for a turn and returns its number.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        ask: AcquireRequest<'_>,
    ) -> Result<u64, Rejection> {
        let shape = path_template::from_path(ask.path);
        let (place, called) = {
            let now = self.clock.boot();
            let mut guard = self.state();
            let state = &mut *guard;
            if !state.budget.covers(&shape) {
                let number = self.ring.record_sent(now);
                state.budget.record_sent(number, false, now);
                return Ok(number);
            }
            let goes = match state.budget.next_send(now) {
                NextSend::Now => state.queue.is_empty(),
                NextSend::At(time) if time > ask.deadline && !state.budget.can_probe(now) => {
                    return Err(Rejection { retry_after: time - now });
                }
                NextSend::At(time) => time > ask.deadline,
                NextSend::AfterProbe(_) => false,
            };
            if goes {
                return Ok(self.send(state, now));
            }
            let place = *ask.position.get_or_insert_with(|| state.queue.next_position());
            let (call, called) = oneshot::channel();
            if let Some(last) = state.queue.push(place, ask.key, ask.deadline, call) {
                last.send(Err(Rejection { retry_after: QUEUE_FULL_RETRY_AFTER })).ok();
            }
            if !std::mem::replace(&mut state.has_driver, true) {
                tokio::spawn(self.clone().serve_queue());
            }
            (place, called)
        };
        self.changed.notify_one();
        let _waiting = QueueEntry { limiter: self, position: place, key: ask.key };
        match called.await {
            Ok(called) => called.map(Grant::into_number),
            Err(_) => Err(Rejection { retry_after: QUEUE_FULL_RETRY_AFTER }),
        }
    }

    /// Notes an answer that was no throttle answer.
    pub(super) fn record_response(&self, number: u64) {
        if !self.is_pacing.load(Ordering::Relaxed) {
            return self.ring.record_response(number);
        }
        self.update(|budget, now| budget.record_response(number, now));
    }

    /// Notes that no answer came.
    pub(super) fn record_loss(&self, number: u64) {
        if self.is_pacing.load(Ordering::Relaxed) {
            self.update(|budget, _| budget.record_loss(number));
        }
    }

    /// Notes a throttle answer.
    pub(super) fn record_throttle(&self, told: &ThrottleSignal<'_>) {
        self.update(|budget, now| {
            if !budget.is_pacing() {
                budget.set_history(self.ring.to_history(now));
                let retry_in = told.retry_after.map(|wait| display(format_duration(wait)));
                tracing::warn!(path = told.shape, retry_in, "throttled: pacing begins");
            }
            budget.record_throttle(told, now);
        });
    }

    fn update(&self, change: impl FnOnce(&mut Budget, Duration)) {
        let mut state = self.state();
        // Read under the lock: times in the budget never run backwards.
        change(&mut state.budget, self.clock.boot());
        self.is_pacing.store(state.budget.is_pacing(), Ordering::Release);
        let somebody_waits = !state.queue.is_empty();
        drop(state);
        if somebody_waits {
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

    /// Looks after the line until it is empty.
    async fn serve_queue(self: Arc<Self>) {
        let driving = DriverGuard(&self);
        while let Some(wake) = self.grant_ready() {
            tokio::select! {
                () = self.clock.wait_until(wake) => {}
                () = self.changed.notified() => {}
            }
        }
        // The line was found empty under the lock, and somebody else may drive by now.
        std::mem::forget(driving);
    }

    /// Calls whoever may go now, sends away whoever would wait in vain, and returns when to look
    /// again.
    fn grant_ready(self: &Arc<Self>) -> Option<Duration> {
        let now = self.clock.boot();
        let mut called = Vec::new();
        let mut state = self.state();
        let wake = loop {
            if state.queue.is_empty() {
                state.has_driver = false;
                break None;
            }
            let (time, give_up) = match state.budget.next_send(now) {
                NextSend::Now => {
                    if let Some(call) = state.queue.pop() {
                        let number = self.send(&mut state, now);
                        called.push((call, Ok(Grant(Some((self.clone(), number))))));
                    }
                    continue;
                }
                NextSend::At(time) => (time, time),
                NextSend::AfterProbe(time) => (time, now),
            };
            let after = time.saturating_sub(now).max(MIN_RETRY_AFTER);
            while let Some(call) = state.queue.pop_expired(give_up) {
                called.push((call, Err(Rejection { retry_after: after })));
            }
            match state.queue.next_deadline() {
                // One more instant, so that its patience is over and not just ending.
                Some(end) => break Some(time.min(end + DEADLINE_GRACE)),
                None => continue,
            }
        };
        drop(state);
        for (call, result) in called {
            // Whoever has just gone away gives the turn back by dropping it.
            call.send(result).ok();
        }
        wake
    }
}

/// A turn on its way to a request that waits. Dropped, it was not used.
#[derive(Debug)]
pub(super) struct Grant(Option<(Arc<Limiter>, u64)>);

impl Grant {
    fn into_number(mut self) -> u64 {
        self.0.take().map_or(0, |(_, number)| number)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some((lane, number)) = self.0.take() {
            lane.update(|budget, _| budget.withdraw(number));
        }
    }
}

/// A request in line. Dropped, it leaves.
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

/// Lets another task drive when this one is aborted with its runtime.
struct DriverGuard<'a>(&'a Limiter);

impl Drop for DriverGuard<'_> {
    fn drop(&mut self) {
        self.0.state().has_driver = false;
    }
}

/// What a caller is told that had to leave a full line.
const QUEUE_FULL_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Least time after which it is worth to come back.
const MIN_RETRY_AFTER: Duration = Duration::from_millis(100);

const DEADLINE_GRACE: Duration = Duration::from_millis(1);
