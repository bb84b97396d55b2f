//! The lease, and what is decided under it.

use std::time::Duration;

use super::apart::ApartPhase;
use super::commands::Command;
use super::{Member, Note, Now};
use crate::call::{Call, Place, Reply, Snapshot};
use crate::decide::{Block, Candidate, Decision, View, decide, with_another_try};
use crate::fence::Fence;
use crate::lease::Lease;
use crate::record::{Attempts, Intent, Session, Spend};
use crate::register::Stored;

/// How far the work under a lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No lease.
    Idle,
    /// The lease is wanted, to settle this first.
    Acquire(Settle),
    /// What is about to be spent is to be written down.
    Intend { lease: Lease, spend: Spend, known: Fence, attempts: Option<Attempts> },
    /// The request may leave.
    Post { lease: Lease, spend: Spend },
    /// The issuer is asked.
    Posting { lease: Lease, spend: Spend },
    /// The new pair is to be committed.
    Commit { lease: Lease },
    /// The lease goes back.
    Release { lease: Lease, ends: Option<Fence>, then: Then },
}

/// What is known since the last lease and must be written under the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settle {
    /// Nothing.
    Nothing,
    /// The issuer refused the password, under the intent of this fence.
    PasswordRefused(Fence),
    /// The try of the password was none.
    NotTried,
    /// A person gave a login: it is proved.
    Login,
}

/// What follows when the lease is back, or the intent has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Rest,
    Again(Settle),
}

impl Member {
    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// Says whether this member holds the lease, as far as it knows.
    pub fn holds_lease(&self) -> bool {
        !matches!(self.phase, Phase::Idle | Phase::Acquire(_))
    }

    pub(super) fn is_posting(&self) -> bool {
        matches!(self.phase, Phase::Posting { .. } | Phase::Post { .. })
    }

    /// Makes the pair due, and gives a login that was refused another chance.
    pub(super) fn renew(&mut self) {
        if let Some(held) = &mut self.held {
            held.due = Duration::ZERO;
        }
        self.work_at = Duration::ZERO;
        self.blocked = None;
    }

    /// Proves a login that a person gave, as soon as no other work is under way.
    pub(super) fn begin_login(&mut self) {
        self.login_wanted = true;
        self.blocked = None;
        // A logout that the engine has not heard of yet was before this login.
        self.commands.retain(|command| *command != Command::Logout);
    }

    /// Chooses the next call of the work, if there is one.
    pub(super) fn work_call(&mut self, now: Now) -> Option<Call> {
        let me = self.setup.me.clone();
        match &self.phase {
            Phase::Idle => {
                let is_login = self.login_wanted && now.boot >= self.login_at;
                if !is_login && !self.wants_lease(now) {
                    return None;
                }
                let settle = if is_login { Settle::Login } else { Settle::Nothing };
                self.phase = Phase::Acquire(settle);
                self.work_call(now)
            }
            Phase::Acquire(_) => {
                let members = &self.engine.members;
                let is_settled =
                    self.engine.behind.as_ref().is_some_and(|behind| behind.is_settled(members));
                Some(Call::Acquire {
                    me,
                    seen: self.local.seen,
                    is_settled,
                    answered: self.answered(now),
                })
            }
            Phase::Intend { lease, spend, known, attempts } => {
                let (lease, fence) = (*lease, lease.fence());
                let since = self.engine_time(now);
                let intent = Intent { spends: *spend, by: me.clone(), since };
                let intent = Stored::seal(&self.setup.keys, "", fence, &intent);
                let attempts = attempts
                    .map(|attempts| Stored::seal(&self.setup.keys, "attempts", fence, &attempts));
                Some(Call::Intend { me, lease: lease.fence(), known: *known, intent, attempts })
            }
            Phase::Commit { .. } => {
                let (generation, session) = self.local.session.get()?;
                let session = Stored::seal(&self.setup.keys, "session", generation, session);
                let drop = self.engine.spares.iter().map(|(fence, _)| *fence).collect();
                Some(Call::Commit { me, session, drop })
            }
            // What was found out under the lease is in the engine before another member has it.
            Phase::Release { then: Then::Rest, .. } if !self.queue.is_empty() => None,
            Phase::Release { lease, ends, then } => Some(Call::Release {
                me,
                lease: lease.fence(),
                keeps_lease: *then != Then::Rest,
                ends: *ends,
            }),
            Phase::Post { .. } | Phase::Posting { .. } => None,
        }
    }

    fn wants_lease(&self, now: Now) -> bool {
        let is_due = self.held.is_none_or(|held| now.boot >= held.due);
        // A member without a pair has nothing that the engine could have forgotten.
        let has_heard = self.is_current() || self.local.session.get().is_none();
        let has_read = self.engine.contact.is_some() && !self.engine.is_away && has_heard;
        let may_spend =
            self.engine.behind.as_ref().is_none_or(|one| one.is_settled(&self.engine.members));
        has_read
            && may_spend
            && is_due
            && now.boot >= self.work_at
            && !self.is_shut()
            && self.blocked.is_none()
            && self.queue.is_empty()
            && self.apart_phase == ApartPhase::Idle
    }

    /// Takes the engine's answer to the call of the work, which left at `asked`.
    pub(super) fn worked(&mut self, reply: Reply, asked: Duration, now: Now) {
        match (self.phase.clone(), reply) {
            (Phase::Acquire(settle), Reply::Acquired { fence, snapshot }) => {
                let lease = Lease::new(fence, asked, &self.setup.timing);
                self.see(fence);
                self.acquired(lease, settle, &snapshot, now);
            }
            (Phase::Acquire(_), Reply::Held(left)) => {
                self.phase = Phase::Idle;
                self.work_at = now.boot + left.min(self.setup.timing.poll) + self.backoff() / 4;
                self.postpone_login(self.work_at);
            }
            (Phase::Acquire(_), Reply::Behind(behind)) => {
                self.engine.behind = Some(behind);
                self.engine.has_reported = false;
                self.rest(now, self.setup.timing.poll / 4);
                self.engine.poll_at = now.boot;
            }
            (Phase::Intend { lease, spend, .. }, Reply::Done { is_durable }) => {
                self.intended(lease, spend, is_durable, now);
            }
            (Phase::Commit { .. }, Reply::Done { .. }) => self.committed(now),
            (Phase::Commit { .. }, Reply::Stale) => {
                // The next poll adopts what stands there, and keeps a password's pair as a spare.
                self.engine.poll_at = now.boot;
                self.phase = Phase::Idle;
            }
            (
                Phase::Release { then: Then::Again(settle), .. },
                Reply::Done { .. } | Reply::Lost,
            ) => {
                self.phase = Phase::Acquire(settle);
            }
            (Phase::Release { .. }, _) => self.phase = Phase::Idle,
            (_, _) => self.rest(now, self.backoff()),
        }
    }

    /// Gives up for now. What was written stays written; what was not posted is ended later.
    pub(super) fn work_failed(&mut self, now: Now) {
        match &self.phase {
            // The pair is saved: the next poll finds that the engine lacks it.
            Phase::Commit { .. } => self.phase = Phase::Idle,
            // Never posted: the intent, if it was written, is ended under the next lease.
            Phase::Intend { .. } | Phase::Acquire(Settle::Nothing) => {
                self.rest(now, self.backoff());
            }
            Phase::Release { then: Then::Again(settle), .. } => {
                self.phase = Phase::Acquire(*settle)
            }
            Phase::Release { .. } => self.phase = Phase::Idle,
            Phase::Idle | Phase::Acquire(_) | Phase::Post { .. } | Phase::Posting { .. } => {}
        }
    }

    fn rest(&mut self, now: Now, wait: Duration) {
        self.phase = Phase::Idle;
        self.failures = self.failures.saturating_add(1);
        self.work_at = self.work_at.max(now.boot + wait);
        self.postpone_login(now.boot + wait);
    }

    /// Proves a login later that was not tried; it is wanted until it was.
    fn postpone_login(&mut self, at: Duration) {
        self.login_wanted |= self.login_before.take().is_some();
        self.login_at = at;
    }

    fn acquired(&mut self, lease: Lease, settle: Settle, snapshot: &Snapshot, now: Now) {
        let served = self.local.session.fence();
        self.read(snapshot, now);
        self.end_unposted(lease);
        match settle {
            Settle::PasswordRefused(_) | Settle::NotTried => {
                return self.settle(lease, settle, now);
            }
            Settle::Login => {
                return match self.brought.take() {
                    Some(session) => self.bring(lease, session, now),
                    None => self.prove_login(lease, stands(snapshot)),
                };
            }
            Settle::Nothing => {}
        }
        let view = self.view(served, now);
        let decision = decide(&view);
        let dead = self.refused.last().copied().unwrap_or_default();
        let known = stands(snapshot);
        match decision {
            Decision::Rest | Decision::Adopt => self.give_back(lease, now),
            Decision::Wait(until) => {
                self.notes.push(Note::Waiting);
                self.give_back(lease, now);
                self.work_at = until.min(now.boot + self.setup.timing.lease);
            }
            Decision::Refresh(generation) | Decision::Spare(generation) => {
                let spend = Spend::Refresh(generation);
                self.phase = Phase::Intend { lease, spend, known, attempts: None };
            }
            Decision::Password => {
                let attempts = Some(with_another_try(&view, dead));
                self.phase = Phase::Intend { lease, spend: Spend::Password, known, attempts };
            }
            Decision::Blocked(block) => self.block(block, dead, lease, now),
        }
    }

    fn view(&self, served: Fence, now: Now) -> View<'_> {
        let time = self.engine_time(now);
        let oldest = self.setup.timing.refresh_lifetime.as_millis();
        // A spare from which the record's pair comes is spent.
        let root = self.local.session.get().map(|(_, session)| session.root);
        let candidate = |generation, session: &Session| Candidate {
            generation,
            is_refreshable: session.refresh.is_some()
                && u128::from(time.saturating_sub(session.issued)) < oldest,
        };
        View {
            now: now.boot,
            mine: &self.local.mine,
            is_locked: self.local.lock.get().is_some_and(|(_, lock)| lock.locked),
            epoch: self.local.epoch.fence(),
            is_logged_out: self.is_logged_out(),
            record: self.local.session.get().map(|(fence, session)| candidate(fence, session)),
            serves: served,
            spares: self
                .engine
                .spares
                .iter()
                .filter(|(fence, _)| root != Some(*fence))
                .map(|(fence, spare)| candidate(*fence, &spare.session))
                .collect(),
            intents: &self.engine.intents,
            refused: &self.refused,
            attempts: self.local.attempts.get().map(|(fence, attempts)| (fence, *attempts)),
            is_password_refused: self.is_password_refused(),
            has_password: self.setup.password.is_some(),
            due: self.held.map_or(Duration::ZERO, |held| held.due),
            patience: self.held.map_or(Duration::ZERO, |held| held.patience),
        }
    }

    /// Ends intents of this run that were written but never posted: the answer to `intend` was lost.
    fn end_unposted(&mut self, lease: Lease) {
        let me = &self.setup.me;
        let unposted: Vec<Fence> = self
            .engine
            .intents
            .iter()
            .filter(|intent| intent.by.as_ref() == Some(me))
            .filter(|intent| !self.unresolved.contains(&intent.fence))
            .map(|intent| intent.fence)
            .collect();
        for fence in unposted {
            self.end_intent(lease, fence);
        }
    }

    /// Queues the end of an intent, behind what it must not outrun.
    pub(super) fn end_intent(&mut self, lease: Lease, intent: Fence) {
        let (me, lease, ends) = (self.setup.me.clone(), lease.fence(), Some(intent));
        self.queue.push_back(Call::Release { me, lease, keeps_lease: true, ends });
    }

    fn give_back(&mut self, lease: Lease, now: Now) {
        self.phase = Phase::Release { lease, ends: None, then: Then::Rest };
        self.work_at = self.held.map_or(now.boot + self.setup.timing.poll, |held| held.due);
    }

    /// Says that a person is needed, and shares which generation was refused.
    fn block(&mut self, block: Block, dead: Fence, lease: Lease, now: Now) {
        // A try that has brought a pair would count as one in vain under the newer fence.
        let record = self.local.session.fence();
        let known = self.local.attempts.get().map(|(fence, known)| {
            let tries = if record >= fence { 0 } else { known.tries };
            Attempts { tries, ..*known }
        });
        if let Some(known) = known.filter(|known| known.dead < dead) {
            self.write_attempts(lease, Attempts { dead, ..known });
        }
        self.give_back(lease, now);
        self.blocked = Some(block);
        self.notes.push(Note::Blocked(block));
    }

    fn settle(&mut self, lease: Lease, settle: Settle, now: Now) {
        let known = self.local.attempts.get().map(|(_, attempts)| *attempts).unwrap_or_default();
        let refused =
            if let Settle::PasswordRefused(intent) = settle { Some(intent) } else { None };
        let settled = match self.login_before.take() {
            // The login of a person was refused: nothing changes for the one before.
            Some(before) => Some(before),
            // Another login has begun an epoch meanwhile: this try says nothing of it.
            None if known.epoch != self.tried_in => None,
            None if refused.is_some() => Some(Attempts { refused: true, ..known }),
            None => Some(Attempts { tries: known.tries.saturating_sub(1), ..known }),
        };
        if let Some(settled) = settled {
            self.write_attempts(lease, settled);
        }
        if let Some(intent) = refused {
            self.end_intent(lease, intent);
        }
        self.give_back(lease, now);
        if self.is_password_refused() {
            self.blocked = Some(Block::PasswordSpent);
            self.notes.push(Note::Blocked(Block::PasswordSpent));
        }
        self.work_at = now.boot + self.backoff();
    }

    pub(super) fn write_attempts(&mut self, lease: Lease, attempts: Attempts) {
        self.local.attempts.raise(lease.fence(), attempts);
        self.put(Place::Registers, "attempts", lease.fence(), &attempts);
        self.changed();
    }

    /// A login that a person gave begins an epoch of its own, and counts for that one.
    fn prove_login(&mut self, lease: Lease, known: Fence) {
        self.login_wanted = false;
        let attempts = Attempts { epoch: lease.fence(), tries: 1, ..Attempts::default() };
        self.login_before =
            Some(self.local.attempts.get().map(|(_, one)| *one).unwrap_or_default());
        let attempts = Some(attempts);
        self.phase = Phase::Intend { lease, spend: Spend::Password, known, attempts };
    }
}

/// The generation that the engine has, as its scripts compare it.
fn stands(snapshot: &Snapshot) -> Fence {
    snapshot.registers.get("session").map_or(Fence::ZERO, |stored| stored.fence)
}
