//! A limiter whose pace is kept together with other machines.

use std::sync::Arc;
use std::time::Duration;

use super::{Limiter, LimiterState};
use crate::throttle::budget::NextSend;
use crate::throttle::shared_pace::{KnownPace, SharedPace, Turn};

impl Limiter {
    /// Keeps one pace with other machines from now on.
    pub(in crate::throttle) fn share(&self, shared: Arc<dyn SharedPace>) {
        let _once = self.shared.set(shared);
    }

    /// Follows what the other machines know, and looks again whether queued requests have slots.
    pub(in crate::throttle) fn heed(&self) {
        let Some(KnownPace { version, pace, paused_until, has_others, .. }) = self.known() else {
            return;
        };
        self.update(|state, now| {
            let is_news = version >= state.told.0 && pace != state.told.1;
            if !state.budget.is_pacing() && (is_news || paused_until > now) {
                state.budget.set_history(self.ring.to_history(now));
            }
            state.budget.set_shared(has_others);
            if is_news {
                state.budget.adopt(&pace, now);
                state.told.1 = pace;
            }
            state.told.0 = state.told.0.max(version);
            if paused_until > now {
                state.budget.heed_pause(now);
            }
        });
    }

    /// Returns what all machines know, where the pace is shared.
    pub(in crate::throttle) fn known(&self) -> Option<KnownPace> {
        self.shared.get().map(|shared| shared.known())
    }

    /// Returns when the next request in scope may go, by this machine's budget and the common pace.
    pub(super) fn next_send(&self, state: &mut LimiterState, now: Duration) -> NextSend {
        let next = state.budget.next_send(now);
        let Some(shared) = self.shared.get().filter(|_| next == NextSend::Now) else { return next };
        let later = match shared.take(now, state.queue.len().max(1)) {
            Turn::Now => return NextSend::Now,
            Turn::Alone if state.outstanding.is_empty() => return NextSend::Now,
            Turn::At(time) => NextSend::InTurn(time),
            Turn::Unknown | Turn::Alone => NextSend::AfterSlots(now + SLOT_POLL_INTERVAL),
        };
        state.budget.record_share_delay();
        later
    }
}

impl LimiterState {
    /// Tells the other machines what they do not know.
    pub(super) fn tell(&mut self, shared: &dyn SharedPace, now: Duration) {
        shared.pause(self.budget.paused_until(now));
        if let Some(news) = self.budget.news_since(&self.told.1) {
            self.told = (shared.learn(&news), news);
        }
    }
}

/// When to look again for slots whose arrival is not announced.
const SLOT_POLL_INTERVAL: Duration = Duration::from_secs(1);
