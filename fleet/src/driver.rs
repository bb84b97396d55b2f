//! The driver of a member: performs its actions on a real engine, issuer and disk.
//!
//! A program with a session task of its own can perform the actions itself, as [`Member`] says; this
//! driver is for programs without one.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::engine::{Engine, Hint};
use crate::member::{Action, Event, Grant, GrantError, Local, Member, Note, Now, Redemption};

/// The token endpoint.
pub trait Issuer: Send + 'static {
    /// Asks for a pair. The request must not start after `redemption.starts_before`, and must end
    /// within 30 s: the lease ends soon after.
    fn redeem(
        &mut self,
        redemption: Redemption,
    ) -> impl Future<Output = Result<Grant, GrantError>> + Send;
}

/// The member's own disk.
pub trait LocalStore: Send + 'static {
    /// Seals and writes what must survive a restart, fsynced before it returns; says whether it was
    /// written.
    fn save(&mut self, local: Local) -> impl Future<Output = bool> + Send;
}

/// The clocks of the machine.
pub trait Clock {
    /// Returns the time: the boot clock runs on during suspend and never jumps.
    fn now(&self) -> Now;
}

/// Runs a member until the sender of `events` is dropped.
///
/// The engine, the issuer and the disk each have a task, so that none waits for another. `observe`
/// sees the member after each step, and what it wants in the log.
pub async fn run(
    mut member: Member,
    workers: Workers,
    clock: &impl Clock,
    mut events: mpsc::Receiver<Event>,
    mut observe: impl FnMut(&Member, &[Note]),
) {
    let Workers { to, mut results, tasks: _tasks } = workers;
    let mut event = Event::Tick;
    loop {
        let (mut notes, now) = (vec![], clock.now());
        let mut wake_at = now.boot;
        for action in member.step(event, now) {
            match action {
                Action::Note(note) => notes.push(note),
                Action::WakeAt(at) => wake_at = at,
                Action::Call(_) | Action::Redeem(_) | Action::Save(_) => to.hand(action),
            }
        }
        observe(&member, &notes);
        let rest = wake_at.saturating_sub(clock.now().boot).max(SHORTEST_WAIT);
        let next = async {
            tokio::select! {
                next = events.recv() => next,
                next = results.recv() => next,
            }
        };
        match timeout(rest, next).await {
            Ok(Some(next)) => event = next,
            Ok(None) => return,
            Err(_elapsed) => event = Event::Tick,
        }
    }
}

/// The tasks that perform actions; they end when this is dropped.
#[derive(Debug)]
pub struct Workers {
    to: Senders,
    results: UnboundedReceiver<Event>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Senders {
    calls: UnboundedSender<Action>,
    redemptions: UnboundedSender<Action>,
    saves: UnboundedSender<Action>,
}

impl Workers {
    /// Starts the tasks. `hints` are those of the engine's second connection, if there is one.
    pub fn start(
        mut engine: Engine,
        mut issuer: impl Issuer,
        mut store: impl LocalStore,
        hints: Option<mpsc::Receiver<Hint>>,
    ) -> Self {
        let (result, results) = mpsc::unbounded_channel();
        let (calls, mut called) = mpsc::unbounded_channel();
        let (redemptions, mut redeemed) = mpsc::unbounded_channel();
        let (saves, mut saved) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let answer = result.clone();
        tasks.spawn(async move {
            while let Some(action) = called.recv().await {
                if let Action::Call(call) = action {
                    let _stopped = answer.send(Event::Replied(engine.call(&call).await));
                }
            }
        });
        let answer = result.clone();
        tasks.spawn(async move {
            while let Some(action) = redeemed.recv().await {
                if let Action::Redeem(redemption) = action {
                    let _stopped = answer.send(Event::Redeemed(issuer.redeem(redemption).await));
                }
            }
        });
        let answer = result.clone();
        tasks.spawn(async move {
            while let Some(action) = saved.recv().await {
                if let Action::Save(local) = action {
                    let is_saved = store.save(*local).await;
                    let event = if is_saved { Event::Saved } else { Event::SaveFailed };
                    let _stopped = answer.send(event);
                }
            }
        });
        if let Some(mut hints) = hints {
            tasks.spawn(async move {
                while let Some(hint) = hints.recv().await {
                    if hint == Hint::Records {
                        let _stopped = result.send(Event::Hinted);
                    }
                }
            });
        }
        Self { to: Senders { calls, redemptions, saves }, results, tasks }
    }
}

impl Senders {
    /// A task that has ended takes nothing: the member stops with it.
    fn hand(&self, action: Action) {
        let to = match &action {
            Action::Call(_) => &self.calls,
            Action::Redeem(_) => &self.redemptions,
            Action::Save(_) | Action::WakeAt(_) | Action::Note(_) => &self.saves,
        };
        let _stopped = to.send(action);
    }
}

/// A member that wants to be woken at once is woken a little later: it cannot turn into a busy loop.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
