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

use super::budget::{Budget, Next, Told};
use super::history::Ring;
use super::learn::Window;
use super::line::{Caller, Line, Place};
use crate::clock::Clock;
use crate::shape;

/// One kind of requests: what it may send, and who waits.
#[derive(Debug)]
pub(super) struct Lane {
    clock: Clock,
    /// Whether the lock must be taken at all.
    pacing: AtomicBool,
    ring: Ring,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) budget: Budget,
    pub(super) line: Line<Call>,
    /// Whether a task looks after the line.
    driven: bool,
}

/// What a request needs to get its turn.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) path: &'a str,
    pub(super) caller: &'a Caller,
    pub(super) deadline: Duration,
    /// Where it stood before, if it has been throttled meanwhile.
    pub(super) place: &'a mut Option<Place>,
}

/// No turn will come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// When one may.
    pub(super) after: Duration,
}

/// How a waiting request is told that its turn has come, or will not.
pub(super) type Call = oneshot::Sender<Result<Grant, Refused>>;

impl Lane {
    pub(super) fn new(clock: Clock, fixed: Option<Window>) -> Self {
        let budget = Budget::new(fixed);
        Self {
            clock,
            pacing: AtomicBool::new(budget.is_pacing()),
            ring: Ring::new(),
            state: Mutex::new(State { budget, line: Line::new(), driven: false }),
            news: Notify::new(),
        }
    }

    /// Paces at `fixed` from now on, or at what will be learned.
    pub(super) fn fix(&self, fixed: Option<Window>) {
        self.change(|budget, now| {
            if !budget.is_pacing() {
                budget.recall(self.ring.read(now));
            }
            budget.fix(fixed);
        });
    }

    /// Gives a turn at once if nothing is paced; takes no lock.
    pub(super) fn pass(&self, now: Duration) -> Option<u64> {
        (!self.pacing.load(Ordering::Acquire)).then(|| self.ring.note(now))
    }

    /// Waits for a turn and returns its number.
    pub(super) async fn wait(self: &Arc<Self>, ask: Ask<'_>) -> Result<u64, Refused> {
        let shape = shape::of(ask.path);
        let (place, called) = {
            let now = self.clock.boot();
            let mut guard = self.state();
            let state = &mut *guard;
            if !state.budget.covers(&shape) {
                let number = self.ring.note(now);
                state.budget.sent(number, false, now);
                return Ok(number);
            }
            let goes = match state.budget.next(now) {
                Next::Now => state.line.is_empty(),
                Next::At(time) if time > ask.deadline && !state.budget.may_probe(now) => {
                    return Err(Refused { after: time - now });
                }
                Next::At(time) => time > ask.deadline,
                Next::Probed(_) => false,
            };
            if goes {
                return Ok(self.send(state, now));
            }
            let place = *ask.place.get_or_insert_with(|| state.line.place());
            let (call, called) = oneshot::channel();
            if let Some(last) = state.line.join(place, ask.caller, ask.deadline, call) {
                last.send(Err(Refused { after: FULL })).ok();
            }
            if !std::mem::replace(&mut state.driven, true) {
                tokio::spawn(self.clone().drive());
            }
            (place, called)
        };
        self.news.notify_one();
        let _waiting = Waiting { lane: self, place, caller: ask.caller };
        match called.await {
            Ok(called) => called.map(Grant::used),
            Err(_) => Err(Refused { after: FULL }),
        }
    }

    /// Notes an answer that was no throttle answer.
    pub(super) fn answered(&self, number: u64) {
        if !self.pacing.load(Ordering::Relaxed) {
            return self.ring.answered(number);
        }
        self.change(|budget, now| budget.answered(number, now));
    }

    /// Notes that no answer came.
    pub(super) fn lost(&self, number: u64) {
        if self.pacing.load(Ordering::Relaxed) {
            self.change(|budget, _| budget.lost(number));
        }
    }

    /// Notes a throttle answer.
    pub(super) fn throttled(&self, told: &Told<'_>) {
        self.change(|budget, now| {
            if !budget.is_pacing() {
                budget.recall(self.ring.read(now));
                let retry_in = told.wait.map(|wait| display(format_duration(wait)));
                tracing::warn!(path = told.shape, retry_in, "throttled: pacing begins");
            }
            budget.throttled(told, now);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Budget, Duration)) {
        let mut state = self.state();
        // Read under the lock: times in the budget never run backwards.
        change(&mut state.budget, self.clock.boot());
        self.pacing.store(state.budget.is_pacing(), Ordering::Release);
        let somebody_waits = !state.line.is_empty();
        drop(state);
        if somebody_waits {
            self.news.notify_one();
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, state: &mut State, now: Duration) -> u64 {
        let number = self.ring.number();
        state.budget.sent(number, true, now);
        number
    }

    /// Looks after the line until it is empty.
    async fn drive(self: Arc<Self>) {
        let driving = Driving(&self);
        while let Some(wake) = self.call() {
            tokio::select! {
                () = self.clock.reaches(wake) => {}
                () = self.news.notified() => {}
            }
        }
        // The line was found empty under the lock, and somebody else may drive by now.
        std::mem::forget(driving);
    }

    /// Calls whoever may go now, sends away whoever would wait in vain, and returns when to look
    /// again.
    fn call(self: &Arc<Self>) -> Option<Duration> {
        let now = self.clock.boot();
        let mut called = Vec::new();
        let mut state = self.state();
        let wake = loop {
            if state.line.is_empty() {
                state.driven = false;
                break None;
            }
            let (time, give_up) = match state.budget.next(now) {
                Next::Now => {
                    if let Some(call) = state.line.next() {
                        let number = self.send(&mut state, now);
                        called.push((call, Ok(Grant(Some((self.clone(), number))))));
                    }
                    continue;
                }
                Next::At(time) => (time, time),
                Next::Probed(time) => (time, now),
            };
            let after = time.saturating_sub(now).max(SOON);
            while let Some(call) = state.line.give_up_before(give_up) {
                called.push((call, Err(Refused { after })));
            }
            match state.line.first_end() {
                // One more instant, so that its patience is over and not just ending.
                Some(end) => break Some(time.min(end + INSTANT)),
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
pub(super) struct Grant(Option<(Arc<Lane>, u64)>);

impl Grant {
    fn used(mut self) -> u64 {
        self.0.take().map_or(0, |(_, number)| number)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some((lane, number)) = self.0.take() {
            lane.change(|budget, _| budget.withdrawn(number));
        }
    }
}

/// A request in line. Dropped, it leaves.
struct Waiting<'a> {
    lane: &'a Lane,
    place: Place,
    caller: &'a Caller,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.lane.state().line.leave(self.place, self.caller);
    }
}

/// Lets another task drive when this one is aborted with its runtime.
struct Driving<'a>(&'a Lane);

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        self.0.state().driven = false;
    }
}

/// What a caller is told that had to leave a full line.
const FULL: Duration = Duration::from_secs(1);

/// Least time after which it is worth to come back.
const SOON: Duration = Duration::from_millis(100);

const INSTANT: Duration = Duration::from_millis(1);
