//! The pair that is served: which token, until when, and when it is renewed.

use std::time::Duration;

use super::{Bearer, Member, Note, Now};
use crate::fence::Fence;
use crate::secret::Secret;

/// The pair that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) generation: Fence,
    pub(super) due: Duration,
    pub(super) patience: Duration,
    pub(super) near: Duration,
    /// When the access token ends, as well as the clocks can tell.
    pub(super) expiry: Duration,
    /// When it has surely ended: its age was at least nothing when this member got it.
    pub(super) end: Duration,
}

impl Member {
    /// Returns a token that may be sent now.
    pub fn bearer(&self, now: Now) -> Option<Bearer> {
        if self.is_shut() {
            return None;
        }
        let shared = self.shared_bearer(now);
        if shared.as_ref().is_some_and(|bearer| bearer.expiry > now.boot) {
            return shared;
        }
        // A clock that is wrong must not take away a token that works: a rejection tells the truth.
        self.apart_bearer(now).or(shared)
    }

    fn shared_bearer(&self, now: Now) -> Option<Bearer> {
        let held = self.held.filter(|held| held.end > now.boot)?;
        let (generation, session) = self.local.session.get()?;
        (held.generation == generation).then(|| Bearer {
            access: session.access.clone(),
            generation: Some(generation),
            epoch: generation,
            expiry: held.expiry,
        })
    }

    fn apart_bearer(&self, now: Now) -> Option<Bearer> {
        let epoch = self.local.epoch.fence();
        let apart = self.local.apart.as_ref().filter(|apart| apart.epoch == epoch)?;
        let left = apart.session.left(self.engine_time(now)).unwrap_or_default();
        (!left.is_zero()).then(|| Bearer {
            access: apart.session.access.clone(),
            generation: None,
            epoch,
            expiry: now.boot + left,
        })
    }

    /// Works out the times of the newest pair; this member itself has just got a new one.
    pub(super) fn hold(&mut self, is_new: bool, now: Now) {
        let epoch = self.local.epoch.fence();
        let Some((generation, session)) = self.local.session.get() else { return };
        if generation < epoch {
            self.held = None;
            return;
        }
        let timing = &self.setup.timing;
        let lifetime = Duration::from_millis(session.lifetime);
        // One clock for all members: with clocks of their own, each would find another's new pair due.
        // After that clock was set back the age is unknown: the token is used, and renewed at once.
        let known = if is_new { Some(lifetime) } else { session.left(self.engine_time(now)) };
        let left = known.unwrap_or(lifetime / 5);
        let expiry = now.boot + left;
        let need = expiry.saturating_sub(timing.need.min(lifetime / 50));
        let before = |span: Duration, part: u32| need.saturating_sub(span.min(lifetime / part));
        let early = lifetime / 5 + self.jitter(lifetime / 50);
        let due = known.map_or(now.boot, |_| expiry.saturating_sub(early));
        let end = now.boot + lifetime;
        self.held = Some(Held {
            generation,
            end,
            due,
            patience: before(timing.patience, 10),
            near: before(timing.near, 20),
            expiry,
        });
        self.work_at = due;
        self.blocked = None;
        self.notes.push(Note::Serving(generation));
    }

    /// A part of `span` that differs between members, so that not all ask for the lease at once.
    pub(super) fn jitter(&self, span: Duration) -> Duration {
        let name = self.setup.me.as_str();
        let sum =
            name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        span.mul_f64(f64::from(sum % 1_000) / 1_000.0)
    }

    pub(super) fn rejected(&mut self, access: &Secret, now: Now) {
        let is_shared =
            self.local.session.get().is_some_and(|(_, session)| session.access == *access);
        if is_shared && let Some(held) = &mut self.held {
            (held.expiry, held.due, held.near) = (now.boot, now.boot, now.boot);
            held.end = now.boot;
            self.work_at = now.boot;
        }
        if self.local.apart.as_ref().is_some_and(|apart| apart.session.access == *access) {
            self.leave_apart();
        }
    }
}
