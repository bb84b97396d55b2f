//! A refused password: final in its epoch, and known to all.
//!
//! The record of attempts is a max register: a member that did not hear of a refusal, on an engine that
//! has forgotten it, writes a newer one without it. So each member keeps what it knows apart from the
//! record, and writes it again under a fence of its own when the record lacks it.

use super::Member;
use crate::call::Place;
use crate::fence::Fence;
use crate::record::Attempts;

impl Member {
    /// Says whether the password was refused in this epoch, as far as this member knows.
    pub(super) fn is_password_refused(&self) -> bool {
        self.local.refused_in == Some(self.local.epoch.fence())
    }

    /// Keeps a refusal that this member was told by the issuer or by another member.
    pub(super) fn know_refusal(&mut self, epoch: Fence) {
        if self.local.refused_in.is_none_or(|known| known < epoch) {
            self.local.refused_in = Some(epoch);
            self.changed();
        }
    }

    /// Keeps the refusal that the record of attempts tells of.
    pub(super) fn read_refusal(&mut self) {
        let attempts = self.local.attempts.get().map(|(_, attempts)| *attempts);
        if let Some(attempts) = attempts.filter(|attempts| attempts.refused) {
            self.know_refusal(attempts.epoch);
        }
    }

    /// Says whether the others may not know that the password was refused in this epoch.
    pub(super) fn has_untold_refusal(&self) -> bool {
        let is_told =
            |attempts: &Attempts| attempts.epoch == self.local.epoch.fence() && attempts.refused;
        self.is_password_refused()
            && self.engine.contact.is_some()
            && self.is_idle()
            && !self.local.attempts.get().is_some_and(|(_, attempts)| is_told(attempts))
    }

    /// Writes the refusal into the record of attempts, under a fence that was drawn for it.
    pub(super) fn tell_refusal(&mut self, fence: Fence) {
        if !self.has_untold_refusal() {
            return;
        }
        let epoch = self.local.epoch.fence();
        let known = self.local.attempts.get().map(|(_, attempts)| *attempts);
        let known = known.filter(|known| known.epoch == epoch);
        let known = known.unwrap_or(Attempts { epoch, tries: 1, ..Attempts::default() });
        let attempts = Attempts { refused: true, ..known };
        if self.local.attempts.raise(fence, attempts) {
            self.put(Place::Registers, "attempts", fence, &attempts);
            self.changed();
        }
    }
}
