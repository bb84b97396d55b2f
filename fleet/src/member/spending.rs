//! From the intent to the commit: what is spent, and what comes of it.

use super::apart::ApartPhase;
use super::work::{Phase, Settle, Then};
use super::{Action, Grant, GrantError, Member, Note, Now, Redemption, Save};
use crate::call::Place;
use crate::decide::OpenIntent;
use crate::fence::Fence;
use crate::lease::Lease;
use crate::record::{Attempts, Epoch, Session, Spend};

impl Member {
    pub(super) fn intended(&mut self, lease: Lease, spend: Spend, is_durable: bool, now: Now) {
        if let Phase::Intend { attempts: Some(attempts), .. } = &self.phase {
            let attempts = *attempts;
            self.local.attempts.raise(lease.fence(), attempts);
            self.tried_in = attempts.epoch;
            self.changed();
        }
        let is_near = self.held.is_none_or(|held| now.boot >= held.near);
        if is_durable || is_near {
            let fence = lease.fence();
            let is_over_another = self.engine.intents.iter().any(|intent| {
                let is_mine = intent.by.as_ref().is_some_and(|by| self.local.mine.contains(by));
                !is_mine && intent.spends.is_none_or(|other| other == spend)
            });
            self.notes.push(Note::Intended { fence, spend, is_over_another, is_durable });
            self.phase = Phase::Post { lease, spend };
        } else {
            self.failures = self.failures.saturating_add(1);
            self.withdraw(lease, spend, now);
        }
    }

    /// Ends an intent that was not posted.
    pub(super) fn withdraw(&mut self, lease: Lease, spend: Spend, now: Now) {
        let then = match spend {
            Spend::Refresh(_) => Then::Rest,
            Spend::Password => Then::Again(Settle::NotTried),
        };
        self.phase = Phase::Release { lease, ends: Some(lease.fence()), then };
        self.work_at = now.boot + self.backoff();
    }

    /// Lets the request leave: everything is saved, and enough of the lease is left.
    pub(super) fn post(&mut self, now: Now, actions: &mut Vec<Action>) {
        let Phase::Post { lease, spend } = self.phase.clone() else { return };
        if self.save != Save::Clean {
            return;
        }
        let timing = self.setup.timing;
        if !lease.can_spend(now.boot, &timing) {
            self.notes.push(Note::Resolved(lease.fence()));
            return self.withdraw(lease, spend, now);
        }
        let Some(redemption) = self.redemption(spend, lease) else {
            self.notes.push(Note::Resolved(lease.fence()));
            return self.withdraw(lease, spend, now);
        };
        self.phase = Phase::Posting { lease, spend };
        actions.push(Action::Redeem(redemption));
    }

    pub(super) fn redemption(&self, spend: Spend, lease: Lease) -> Option<Redemption> {
        let shared = self.local.session.get();
        let (client_id, refresh) = match spend {
            Spend::Password => {
                let shared = shared.map(|(_, session)| session.client_id.clone());
                (shared.unwrap_or_else(|| self.setup.client_id.clone()), None)
            }
            Spend::Refresh(generation) => {
                let session = self.session_of(generation)?;
                (session.client_id.clone(), Some(session.refresh.clone()?))
            }
        };
        let starts_before = lease.deadline().saturating_sub(self.setup.timing.spend_margin);
        Some(Redemption { client_id, refresh, is_apart: false, starts_before })
    }

    /// Returns the record's pair of this generation, or the spare.
    fn session_of(&self, generation: Fence) -> Option<&Session> {
        let record = self.local.session.get().filter(|(fence, _)| *fence == generation);
        let spare = || self.engine.spares.iter().find(|(fence, _)| *fence == generation);
        record.map(|(_, session)| session).or_else(|| spare().map(|(_, spare)| &spare.session))
    }

    pub(super) fn redeemed(&mut self, result: Result<Grant, GrantError>, now: Now) {
        if let ApartPhase::Asking(epoch) = self.apart_phase {
            return self.apart_redeemed(epoch, result, now);
        }
        let Phase::Posting { lease, spend } = self.phase.clone() else { return };
        let fence = lease.fence();
        match (result, spend) {
            (Ok(grant), _) => self.issued(lease, spend, grant, now),
            (Err(GrantError::Unanswered), _) => {
                self.supersede(lease, spend);
                self.unresolved.insert(fence);
                self.login_before = None;
                self.failures = self.failures.saturating_add(1);
                self.phase = Phase::Release { lease, ends: None, then: Then::Rest };
                self.work_at = now.boot + self.backoff();
            }
            (Err(GrantError::NotSent), _) => {
                self.notes.push(Note::Resolved(fence));
                self.failures = self.failures.saturating_add(1);
                self.withdraw(lease, spend, now);
            }
            (Err(GrantError::Refused), Spend::Refresh(generation)) => {
                self.notes.push(Note::Resolved(fence));
                self.refused.insert(generation);
                let then = Then::Again(Settle::Nothing);
                self.phase = Phase::Release { lease, ends: Some(fence), then };
            }
            (Err(GrantError::Refused), Spend::Password) => {
                // The intent stays open until the refusal is in the engine: a member that dies
                // between the two has then at least been about to try. The login of a person that is
                // refused says nothing of the one before.
                if self.login_before.is_none() {
                    self.know_refusal(self.tried_in);
                }
                self.unresolved.insert(fence);
                let then = Then::Again(Settle::PasswordRefused(fence));
                self.phase = Phase::Release { lease, ends: None, then };
            }
        }
    }

    /// Ends this run's older open intents on the same thing: the newest one says as much, and an issuer
    /// that is away for a day must not leave one for each try.
    fn supersede(&mut self, lease: Lease, spend: Spend) {
        let is_older = |intent: &&OpenIntent| {
            intent.by.as_ref() == Some(&self.setup.me) && intent.spends == Some(spend)
        };
        let older = self.engine.intents.iter().filter(is_older).map(|intent| intent.fence);
        let older: Vec<Fence> = older.filter(|fence| *fence != lease.fence()).collect();
        for fence in older {
            // Its outcome is as unknown as before: it ends without being resolved.
            if self.unresolved.remove(&fence) {
                self.end_intent(lease, fence);
            }
        }
    }

    /// Uses the new pair at once; it is saved before it is committed.
    pub(super) fn issued(&mut self, lease: Lease, spend: Spend, grant: Grant, now: Now) {
        let generation = lease.fence();
        let old = self.local.session.get().map(|(_, session)| session.clone());
        let own = self.setup.password.as_ref().map(|login| login.account.clone());
        let by_password = spend == Spend::Password;
        let known = old.as_ref().map(|old| old.account.clone());
        let known = if by_password { own } else { known };
        let client_id = match old {
            Some(old) => old.client_id,
            None => self.setup.client_id.clone(),
        };
        let session = Session {
            client_id,
            account: grant.account.or(known).unwrap_or_default(),
            access: grant.access,
            refresh: grant.refresh,
            issued: self.engine_time(now),
            lifetime: grant.lifetime.as_millis().try_into().unwrap_or(u64::MAX),
            by_password,
            root: match spend {
                Spend::Password => generation,
                Spend::Refresh(of) => self.session_of(of).map_or(of, |session| session.root),
            },
        };
        let begins_epoch = self.login_before.take().is_some() || self.local.epoch.get().is_none();
        let account = session.account.clone();
        if !self.local.session.raise(generation, session) {
            self.phase = Phase::Idle;
            return;
        }
        self.local.is_uncommitted = true;
        self.failures = 0;
        self.refused.clear();
        self.phase = Phase::Commit { lease };
        if begins_epoch {
            let epoch = Epoch::Login { account };
            self.local.epoch.raise(generation, epoch.clone());
            self.epoch_changed(now);
            self.put(Place::Registers, "epoch", generation, &epoch);
        }
        self.changed();
        self.hold(true, now);
    }

    /// Begins an epoch with a pair that a person's login has brought already.
    pub(super) fn bring(&mut self, lease: Lease, session: Session, now: Now) {
        self.login_wanted = false;
        let generation = lease.fence();
        let epoch = Epoch::Login { account: session.account.clone() };
        // It was dated by this member's wall clock; all members go by the engine's.
        let age = now.wall.saturating_sub(session.issued);
        let issued = self.engine_time(now).saturating_sub(age);
        let session = Session { issued, root: generation, ..session };
        if !self.local.session.raise(generation, session) {
            self.phase = Phase::Idle;
            return;
        }
        self.write_attempts(lease, Attempts { epoch: generation, ..Attempts::default() });
        self.local.is_uncommitted = true;
        self.failures = 0;
        self.refused.clear();
        self.phase = Phase::Commit { lease };
        self.local.epoch.raise(generation, epoch.clone());
        self.epoch_changed(now);
        self.put(Place::Registers, "epoch", generation, &epoch);
        self.changed();
        self.hold(true, now);
    }

    pub(super) fn committed(&mut self, now: Now) {
        self.phase = Phase::Idle;
        self.local.is_uncommitted = false;
        let generation = self.local.session.fence();
        self.notes.push(Note::Resolved(generation));
        self.unresolved.clear();
        self.engine.spares.clear();
        self.changed();
        self.engine.poll_at = self.engine.poll_at.max(now.boot);
    }
}
