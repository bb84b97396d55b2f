//! A member that is cut off near expiry: a chain of its own, under a client id of its own.
//!
//! The shared refresh token is never spent without a lease. A login under another client id leaves
//! the shared chain alive. It is tried once in each epoch, and only if the issuer accepted this login
//! in this epoch: a changed password must not become one refused login for each member.

use super::{Action, Grant, GrantError, Member, Note, Now, Redemption, Save};
use crate::call::Place;
use crate::fence::Fence;
use crate::member::Apart;
use crate::record::{Epoch, Session, Stray};
use crate::register::STRAY;

/// How far a chain of its own is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApartPhase {
    Idle,
    /// The try is written down first.
    Saving,
    /// The issuer is asked, with the password or the chain's own refresh token.
    Asking(Fence),
}

impl Member {
    /// Begins or renews the chain where that is needed and allowed.
    pub(super) fn apart(&mut self, now: Now, actions: &mut Vec<Action>) {
        match self.apart_phase {
            ApartPhase::Asking(_) => {}
            ApartPhase::Saving => {
                if self.save == Save::Clean {
                    self.ask_apart(None, now, actions);
                }
            }
            ApartPhase::Idle => {
                let is_early = now.boot < self.apart_at || self.is_posting();
                if is_early || !self.is_cut_off(now) || !self.needs_apart(now) {
                    return;
                }
                let epoch = self.local.epoch.fence();
                if let Some(apart) = self.local.apart.as_ref().filter(|one| one.epoch == epoch) {
                    let refresh = apart.session.refresh.clone();
                    if refresh.is_some() {
                        self.ask_apart(refresh, now, actions);
                    }
                } else if self.may_open(epoch) {
                    self.local.apart_tried = Some(epoch);
                    self.changed();
                    self.apart_phase = ApartPhase::Saving;
                }
            }
        }
    }

    fn needs_apart(&self, now: Now) -> bool {
        if self.is_shut() {
            return false;
        }
        if self.held.is_some_and(|held| now.boot < held.near) {
            return false;
        }
        let Some(apart) = &self.local.apart else { return true };
        let left = apart.session.left(self.engine_time(now)).unwrap_or_default();
        left.as_millis() < u128::from(apart.session.lifetime / 5)
    }

    fn may_open(&self, epoch: Fence) -> bool {
        let is_accepted =
            self.local.epoch.get().is_some_and(|(_, epoch)| matches!(epoch, Epoch::Login { .. }));
        let is_alone = self
            .local
            .session
            .get()
            .is_none_or(|(_, session)| session.client_id != self.setup.apart_client_id);
        let has_login = self
            .setup
            .password
            .as_ref()
            .is_some_and(|login| !login.needs_code || self.setup.partition_login);
        let is_untried = !self.is_password_refused() && self.local.apart_tried != Some(epoch);
        is_accepted && is_alone && has_login && is_untried
    }

    fn ask_apart(
        &mut self,
        refresh: Option<crate::secret::Secret>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        self.apart_phase = ApartPhase::Asking(self.local.epoch.fence());
        actions.push(Action::Redeem(Redemption {
            client_id: self.setup.apart_client_id.clone(),
            refresh,
            is_apart: true,
            starts_before: now.boot + self.setup.timing.spend_margin,
        }));
    }

    /// Takes the issuer's answer to a chain of its own.
    pub(super) fn apart_redeemed(
        &mut self,
        epoch: Fence,
        result: Result<Grant, GrantError>,
        now: Now,
    ) {
        let is_password = self.local.apart.as_ref().is_none_or(|apart| apart.epoch != epoch);
        self.apart_phase = ApartPhase::Idle;
        self.apart_at = now.boot + self.setup.timing.retry.1;
        match result {
            Ok(grant) => {
                let session = Session {
                    client_id: self.setup.apart_client_id.clone(),
                    account: grant.account.unwrap_or_default(),
                    access: grant.access,
                    refresh: grant.refresh,
                    issued: self.engine_time(now),
                    lifetime: grant.lifetime.as_millis().try_into().unwrap_or(u64::MAX),
                    by_password: true,
                    root: Fence::ZERO,
                };
                self.local.apart = Some(Apart { epoch, session });
                self.notes.push(Note::Apart);
            }
            Err(GrantError::Refused) => {
                if is_password {
                    self.know_refusal(epoch);
                }
                self.forget_refresh();
            }
            Err(GrantError::Unanswered) => {
                self.forget_refresh();
                // The chain may exist at the issuer.
                if self.local.apart.is_none() {
                    let account = self.setup.password.as_ref().map(|one| one.account.clone());
                    self.list_stray(
                        self.setup.apart_client_id.clone(),
                        account.unwrap_or_default(),
                    );
                }
            }
            // One try a member and epoch: this one was none.
            Err(GrantError::NotSent) => {
                if self.local.apart.is_none() {
                    self.local.apart_tried = None;
                }
            }
        }
        self.changed();
    }

    fn forget_refresh(&mut self) {
        if let Some(apart) = &mut self.local.apart {
            apart.session.refresh = None;
        }
    }

    /// Drops the chain once the shared pair works again, and lists it.
    pub(super) fn return_from_apart(&mut self, now: Now) {
        let is_served = self.held.is_some_and(|held| held.expiry > now.boot);
        let is_over =
            self.local.apart.as_ref().is_some_and(|one| one.epoch != self.local.epoch.fence());
        if self.apart_phase == ApartPhase::Idle && (is_served || is_over) {
            self.leave_apart();
        }
    }

    pub(super) fn leave_apart(&mut self) {
        let Some(apart) = self.local.apart.take() else { return };
        let Session { client_id, account, .. } = apart.session;
        self.list_stray(client_id, account);
    }

    fn list_stray(&mut self, client_id: String, account: String) {
        // Another chain under the same client id may have ended since.
        let fence = self.local.seen.max(self.local.set.stray_fence(&client_id).next());
        self.note_stray(fence, Stray { client_id, account, ended: false });
    }

    /// Notes that strays have ended at the issuer.
    pub(super) fn end_strays(&mut self, fence: Fence, client_ids: &[String]) {
        let listed = self.local.set.strays().filter(|one| client_ids.contains(&one.client_id));
        for stray in listed.cloned().collect::<Vec<_>>() {
            self.note_stray(fence, Stray { ended: true, ..stray });
        }
    }

    fn note_stray(&mut self, fence: Fence, stray: Stray) {
        let name = stray.client_id.clone();
        self.local.set.raise_stray(&name, fence, stray.clone());
        self.put(Place::Set, &format!("{STRAY}{name}"), fence, &stray);
        self.changed();
    }
}
