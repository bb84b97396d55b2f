//! The draws of this member, shared by the threads that send requests and the task that asks the engine.
//!
//! Its lock is held for a few instructions, and only for requests that are paced or counted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared_session::call::{Call, CallError, Reply, Snapshot};
use shared_session::engine::{Engine, Options};
use shared_session::pace::Permit;
use shared_session::quota::{Allowance, Quotas, Units, Verdict};
use shared_session::record::Incarnation;
use shared_session::timing::Timing;
use tokio::sync::{Notify, watch};

use super::draws_state::{DrawsState, LANES};
use super::lane_state::LaneState;
use super::pacing::{LaneNews, SlotPermit, UnitLimit, UnitRefusal};
use super::status::LanePace;
use crate::clock::Clock;

/// The draws of this member.
#[derive(Debug)]
pub(super) struct DrawsBoard {
    me: Incarnation,
    timing: Timing,
    clock: Clock,
    state: Mutex<DrawsState>,
    wake: Notify,
    /// Whether the board is open; marked as changed with each answer.
    changes: watch::Sender<bool>,
}

/// One lane of the common pace. Clones share it.
#[derive(Clone, Debug)]
pub struct Lane {
    board: Arc<DrawsBoard>,
    index: usize,
}

/// The counters that all members share. Clones share them.
#[derive(Clone, Debug)]
pub struct SharedUnits(Arc<DrawsBoard>);

impl DrawsBoard {
    pub(super) fn new(me: Incarnation, timing: Timing, clock: Clock) -> Self {
        let changes = watch::Sender::new(true);
        Self { me, timing, clock, state: Mutex::default(), wake: Notify::new(), changes }
    }

    /// Returns the lanes: reads and writes.
    pub(super) fn lanes(self: &Arc<Self>) -> [Lane; 2] {
        [0, 1].map(|index| Lane { board: self.clone(), index })
    }

    pub(super) fn units(self: &Arc<Self>) -> SharedUnits {
        SharedUnits(self.clone())
    }

    /// Takes what a poll has brought.
    pub(super) fn polled(&self, snapshot: &Snapshot) {
        let is_new = self.state().polled(snapshot, self.clock.boot());
        self.wake.notify_one();
        if is_new {
            self.changes.send_modify(|_| {});
        }
    }

    /// Asks what the others know.
    pub(super) fn look(&self) {
        self.state().lanes.iter_mut().for_each(LaneState::look);
        self.wake.notify_one();
    }

    /// Ends everything that follows the board.
    pub(super) fn close(&self) {
        self.changes.send_replace(false);
    }

    /// Returns the pace of each lane, for people.
    pub(super) fn paces(&self) -> Vec<LanePace> {
        let now = self.clock.boot();
        let lanes = self.lanes_news().into_iter().zip(LANES);
        lanes.map(|(news, lane)| LanePace::new(lane, &news, now)).collect()
    }

    fn lanes_news(&self) -> [LaneNews; 2] {
        let state = self.state();
        let has_others = state.has_others();
        state.lanes.each_ref().map(|lane| lane.news(has_others))
    }

    /// Makes the calls that are due, on a connection of their own, until it is aborted.
    pub(super) async fn run(self: Arc<Self>, options: Options) {
        let mut engine = Engine::new(Options { timeout: DRAW_TIMEOUT, ..options });
        loop {
            let call = self.state().due(&self.me, self.clock.boot());
            let Some(call) = call else {
                self.wait().await;
                continue;
            };
            let asked = self.clock.boot();
            let answer = engine.call(&call).await;
            self.answered(&call, &answer, asked);
        }
    }

    fn answered(&self, call: &Call, answer: &Result<Reply, CallError>, asked: Duration) {
        if let Err(error) = answer {
            let is_units = matches!(call, Call::Count { .. });
            tracing::debug!(%error, is_units, "the engine of the fleet gave nothing to draw from");
        }
        let now = self.clock.boot();
        self.state().answered(answer, (asked, now), &self.timing);
        self.changes.send_modify(|_| {});
    }

    /// Waits until a call is due, or something may be wanted.
    async fn wait(&self) {
        let now = self.clock.boot();
        let next = self.state().next(now);
        match next {
            // Out of step with other members: the first that asks has the next slot of a line.
            Some(at) if at > now => tokio::select! {
                () = self.wake.notified() => {}
                () = self.clock.wait_until(at + LONGEST_STEP.mul_f64(fastrand::f64())) => {}
            },
            Some(_) => {}
            None => self.wake.notified().await,
        }
    }

    /// Changes a lane, and wakes the task if it is to make a call for that.
    fn change_lane<T>(
        &self,
        index: usize,
        change: impl FnOnce(&mut LaneState, Duration) -> T,
    ) -> T {
        let mut state = self.state();
        let now = self.clock.boot();
        let lane = &mut state.lanes[index];
        let before = (lane.needs_call(now), lane.tells_pause_at(now));
        let outcome = change(lane, now);
        let is_changed = (lane.needs_call(now), lane.tells_pause_at(now)) != before;
        drop(state);
        if is_changed {
            self.wake.notify_one();
        }
        outcome
    }

    /// Changes the counters, and has the task look whether it is to make a call.
    fn change_units<T>(&self, change: impl FnOnce(&mut Quotas, Duration) -> T) -> T {
        let outcome = {
            let mut state = self.state();
            change(&mut state.quotas, self.clock.boot())
        };
        self.wake.notify_one();
        outcome
    }

    fn state(&self) -> MutexGuard<'_, DrawsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    /// Takes a slot for one of `waiting` requests, if there is one now.
    pub fn take(&self, now: Duration, waiting: usize) -> SlotPermit {
        let timing = &self.board.timing;
        match self.board.change_lane(self.index, |lane, _| lane.take(now, waiting, timing)) {
            Permit::Now => SlotPermit::Now,
            Permit::At(at) => SlotPermit::At(at),
            Permit::Ask => SlotPermit::Ask,
            Permit::Alone => SlotPermit::Alone,
        }
    }

    /// Tells the others what this machine has learned; returns the version.
    pub fn learn(&self, scope: &str, windows: &[(u32, Duration)]) -> u64 {
        self.board.change_lane(self.index, |lane, _| lane.learn(scope, windows))
    }

    /// Tells the others how long Nexudus has asked this machine to wait.
    pub fn pause(&self, until: Option<Duration>) {
        self.board.change_lane(self.index, |lane, _| lane.pause(until));
    }

    /// Returns what is known.
    pub fn news(&self) -> LaneNews {
        let state = self.board.state();
        state.lanes[self.index].news(state.has_others())
    }

    /// Follows what is known, and the slots; the value is whether there will be more.
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.board.changes.subscribe()
    }
}

impl SharedUnits {
    /// Uses one unit of each counter, or none of any; `uses`: else only looks whether there are some.
    ///
    /// # Errors
    ///
    /// The first counter that stands against it, and why.
    pub fn take(
        &self,
        counters: &[(String, UnitLimit)],
        uses: bool,
    ) -> Result<(), (usize, UnitRefusal)> {
        let units: Vec<_> = counters
            .iter()
            .map(|(name, limit)| Units { name, allowance: allowance(*limit), amount: 1 })
            .collect();
        let timing = &self.0.timing;
        let taken = {
            let mut state = self.0.state();
            let (quotas, now) = (&mut state.quotas, self.0.clock.boot());
            let taken = if uses {
                quotas.take_all(&units, now, timing)
            } else {
                quotas.check(&units, now, timing)
            };
            taken.map_err(|(index, verdict)| (index, refusal(verdict, quotas.next_call())))
        };
        // Also after units were used: more are taken ahead.
        self.0.wake.notify_one();
        taken
    }

    /// Waits until this call for units has ended, and no longer than anything is waited for.
    pub async fn wait(&self, call: u64) -> bool {
        let mut changes = self.0.changes.subscribe();
        let ended = async {
            while self.0.state().counted < call {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(ANSWER_TIMEOUT, ended).await.is_ok()
    }

    /// Counts what was used already; says whether there was room for it.
    pub fn add(&self, counter: &str, limit: UnitLimit, amount: u64) -> bool {
        self.0.change_units(|quotas, now| quotas.add(counter, allowance(limit), amount, now))
    }

    /// Asks how much is used of these counters; returns the number of the call that does it.
    pub fn look(&self, counters: &[(String, UnitLimit)]) -> u64 {
        self.0.change_units(|quotas, now| {
            for (name, limit) in counters {
                quotas.look(name, allowance(*limit), now);
            }
            quotas.next_call()
        })
    }

    /// Returns how much all members have used of a counter, as far as it is known, and in how long it
    /// comes back.
    pub fn used(&self, counter: &str) -> Option<(u64, Option<Duration>)> {
        let now = self.0.clock.boot();
        let (used, end) = self.0.state().quotas.used(counter, now)?;
        Some((used, end.map(|end| end.saturating_sub(now))))
    }

    /// Forgets a counter, here and in the engine.
    pub fn remove(&self, counter: &str) {
        self.0.change_units(|quotas, _| quotas.remove(counter));
    }
}

impl LanePace {
    fn new(lane: &str, news: &LaneNews, now: Duration) -> Self {
        let paused = news.paused_until.saturating_sub(now);
        let paced_by = match (news.windows.is_empty(), news.is_apart) {
            (true, _) => "machine",
            (false, false) => "fleet",
            (false, true) => "share",
        };
        Self {
            lane: lane.to_owned(),
            paced_by: paced_by.to_owned(),
            windows: news.windows.iter().map(|(count, per)| format!("{count}/{per:?}")).collect(),
            path: Some(news.scope.clone()).filter(|path| !path.is_empty()),
            paused_ms: (!paused.is_zero())
                .then(|| u64::try_from(paused.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

fn allowance(limit: UnitLimit) -> Allowance {
    match limit {
        UnitLimit::Total(most) => Allowance::Total(most),
        UnitLimit::Span(most, per) => Allowance::Span { most, per },
        UnitLimit::Rate(most, per) => Allowance::Rate { most, per },
    }
}

fn refusal(verdict: Verdict, next_call: u64) -> UnitRefusal {
    match verdict {
        Verdict::Taken | Verdict::Ask => UnitRefusal::Asked(next_call),
        Verdict::Spent(until) => UnitRefusal::Spent(until),
        Verdict::Uncounted => UnitRefusal::Uncounted,
    }
}

/// Longest time by which a call is later than it could be.
const LONGEST_STEP: Duration = Duration::from_millis(120);

/// Longest wait for the answer to a draw: requests wait for it.
const DRAW_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest wait for a call that may have to wait for its turn behind one without an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
