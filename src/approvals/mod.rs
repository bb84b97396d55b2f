//! Calls that wait for a person: held in memory, shown byte for byte, sent by nobody but their client.
//!
//! A call that a rule asks about is held. A person says yes or no through the admin surface. After a
//! yes the same call goes through once; nothing is sent by itself, so that a client that has given up
//! finds nothing done behind its back. The same call is the same client, method, target, body and
//! content headers: a keyed hash of them tells. A restart forgets all of it.
//!
//! `waiting_calls.rs` decides, without a clock and without waiting; this file adds both.

mod call;
mod error;
mod record;
mod standing;
mod subject;
mod waiting_calls;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use tokio::sync::watch;

pub use self::call::{Call, Caller};
pub use self::error::Error;
pub use self::record::{ApprovalPhase, ApprovalRecord, Decision, StandingRecord, WaitingCalls};
pub use self::subject::{NameLookups, Subject, UnclearSubject};
use self::waiting_calls::{Verdict, WaitingCallTable};
use crate::clock::Clock;
use crate::config;

/// The calls of one daemon that wait for a person. Clones share them.
#[derive(Clone, Debug)]
pub struct Approvals(Arc<ApprovalsInner>);

#[derive(Debug)]
struct ApprovalsInner {
    clock: Clock,
    /// Of this process alone: a hash tells nothing after a restart.
    key: hmac::Key,
    /// Whether a person can decide. Not where the process is a `run`, whose command is the asker.
    is_attended: bool,
    table: Mutex<WaitingCallTable>,
    /// Grows with each change.
    changes: watch::Sender<u64>,
}

impl Approvals {
    /// Makes an empty table. Without a person to ask (`is_attended`), every call is refused.
    pub fn new(limits: config::Approval, is_attended: bool, clock: Clock) -> Self {
        let mut key = [0; 32];
        rand::fill(&mut key).expect("the system has random numbers, or TLS would not work either");
        Self(Arc::new(ApprovalsInner {
            clock,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            is_attended,
            table: Mutex::new(WaitingCallTable::new(limits)),
            changes: watch::Sender::new(0),
        }))
    }

    /// Makes a table for a gateway that no person watches: every call is refused.
    pub fn unattended() -> Self {
        let limits = config::Config::default().approval;
        Self::new(limits, false, Clock::system())
    }

    /// Takes other limits for calls that come from now on.
    pub fn reconfigure(&self, limits: config::Approval) {
        self.table().set_limits(limits);
    }

    /// Waits until a person has said yes, for `approval.hold` at most; not at all for a call that
    /// prefers an asynchronous response. Returns the call that was approved, unless a permission stands
    /// for it.
    ///
    /// # Errors
    ///
    /// [`Error::Pending`] when there is no decision yet, [`Error::Denied`] and [`Error::Late`] when
    /// there will be no yes, and why nobody was asked.
    pub async fn wait(&self, call: &Call<'_>) -> Result<Option<Arc<str>>, Error> {
        let inner = &*self.0;
        if !inner.is_attended {
            return Err(Error::Unattended);
        }
        let hash = call.hash(&inner.key);
        let mut changes = inner.changes.subscribe();
        let mut deadline = None;
        loop {
            let now = inner.clock.now();
            let (verdict, hold, is_closed) = {
                let mut table = self.table();
                let verdict = table.submit(call, hash, now);
                (verdict, table.limits().hold, table.is_closed())
            };
            let id = match verdict {
                Verdict::Go { id, is_used } => {
                    if is_used {
                        self.announce();
                    }
                    return Ok(id);
                }
                Verdict::Refused(error) => return Err(error),
                Verdict::Waiting { id, is_new } => {
                    if is_new {
                        tracing::info!(
                            approval = &*id,
                            client = call.caller.name(),
                            "a call waits for a person"
                        );
                        self.announce();
                    }
                    id
                }
            };
            let pending = || Error::Pending { id, is_async: call.prefers_async };
            let deadline = *deadline.get_or_insert(now.boot + hold);
            if call.prefers_async || is_closed || now.boot >= deadline {
                return Err(pending());
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return Err(pending());
                },
                () = inner.clock.wait_until(deadline) => {}
            }
        }
    }

    /// Returns the calls that wait, and the standing permissions.
    pub fn list(&self) -> WaitingCalls {
        self.table().list(self.0.clock.now())
    }

    /// Returns one call, with its body.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`].
    pub fn show(&self, id: &str) -> Result<ApprovalRecord, Error> {
        self.table().show(id, self.0.clock.now())
    }

    /// Returns the subjects of the waiting calls whose names are not known yet.
    pub fn unnamed(&self) -> Vec<(Arc<str>, Subject)> {
        self.table().unnamed()
    }

    /// Records what the record of a call is called, or why that is not known.
    pub fn set_name(&self, id: &str, name: Result<String, String>) {
        self.table().set_name(id, name);
    }

    /// Takes the decision of a person, and returns the call that it is about; `record` has it before the
    /// call goes on.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] and [`Error::TooLong`].
    pub fn decide(
        &self,
        id: &str,
        decision: Decision,
        record: impl FnOnce(&ApprovalRecord),
    ) -> Result<ApprovalRecord, Error> {
        if let Decision::Approve { during: Some(during), .. } = decision
            && during > MAX_STANDING
        {
            return Err(Error::TooLong { most: MAX_STANDING });
        }
        let decided = {
            let mut table = self.table();
            let decided = table.decide(id, decision, self.0.clock.now())?;
            // Before the call can go on: its own line of the audit follows that of the decision.
            record(&decided);
            decided
        };
        self.announce();
        Ok(decided)
    }

    /// Holds no call any longer, because the daemon stops.
    pub fn close(&self) {
        self.table().close();
        self.announce();
    }

    /// Returns a receiver that wakes after each change; its number only grows.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    fn announce(&self) {
        self.0.changes.send_modify(|number| *number += 1);
    }

    fn table(&self) -> MutexGuard<'_, WaitingCallTable> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Longest time that a permission may stand: a working day.
const MAX_STANDING: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests;
