//! One counter: the units of it that this member has in hand, and what it asks for.

use std::time::Duration;

use super::{Allowance, Counted, Span, Verdict};
use crate::timing::Timing;

#[derive(Clone, Debug)]
pub(super) struct Counter {
    pub(super) allowance: Allowance,
    pub(super) knows: Span,
    pub(super) in_hand: u64,
    /// Units in hand are lost then: the span is over, or the engine counts the rate anew.
    pub(super) ends: Option<Duration>,
    pub(super) owes: u64,
    pub(super) wanted: u64,
    pub(super) used_lately: u64,
    /// Whether a person wants to know how much is used.
    pub(super) is_looked_at: bool,
    pub(super) spent: Option<Spent>,
    /// While cut off, no unit of a rate before.
    apart_next: Duration,
}

/// The engine had nothing left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    /// The engine is not asked again before.
    until: Duration,
    /// When all or the next of it comes back.
    back: Option<Duration>,
}

impl Counter {
    pub(super) fn new(allowance: Allowance) -> Self {
        Self {
            allowance,
            knows: Span::default(),
            in_hand: 0,
            ends: None,
            owes: 0,
            wanted: 0,
            used_lately: 0,
            is_looked_at: false,
            spent: None,
            apart_next: Duration::ZERO,
        }
    }

    pub(super) fn needs_call(&self, members: u64) -> bool {
        self.is_looked_at || self.owes > 0 || self.wants(members) > 0
    }

    /// Says how it stands about some units; `from`: cut off, and from then on with a part of a rate.
    pub(super) fn stands(&self, amount: u64, now: Duration, from: Option<Duration>) -> Verdict {
        if self.in_hand >= amount {
            return Verdict::Taken;
        }
        if let Some(from) = from {
            return self.stands_apart(now, from);
        }
        let spent = self.spent.filter(|spent| now < spent.until);
        spent.map_or(Verdict::Ask, |spent| Verdict::Spent(spent.back))
    }

    /// Uses what [`Counter::stands`] has found.
    pub(super) fn use_up(&mut self, amount: u64, members: u64, now: Duration) {
        if let Some(left) = self.in_hand.checked_sub(amount) {
            self.in_hand = left;
            self.used_lately = self.used_lately.saturating_add(amount);
        } else if let Allowance::Rate { most, per } = self.allowance {
            let share = u32::try_from(members.saturating_mul(amount)).unwrap_or(u32::MAX);
            let most = u32::try_from(most).unwrap_or(u32::MAX).max(1);
            self.apart_next = now + per.saturating_mul(share) / most;
        }
    }

    /// Returns how much is asked for: what waits, and before it runs out as much as was used since the last call.
    pub(super) fn wants(&self, members: u64) -> u64 {
        let most = self.allowance.most();
        // All members together have a sixteenth of the limit in hand.
        let step = (most / (16 * members.max(1))).max(1);
        let ahead = match self.allowance {
            Allowance::Rate { .. } => self.used_lately,
            Allowance::Total(_) | Allowance::Span { .. } => self.used_lately.min(step),
        };
        let is_low = self.in_hand < ahead.div_ceil(2);
        if self.wanted == 0 && !is_low {
            return 0;
        }
        // One unit ahead of a small limit would be a large part of it.
        let ahead = if step > 1 { ahead } else { 0 };
        self.wanted.saturating_add(ahead).min(most.max(1))
    }

    pub(super) fn answered(
        &mut self,
        answer: &Counted,
        wants: u64,
        asked: Duration,
        horizon: Duration,
        timing: &Timing,
    ) {
        let is_rate = matches!(self.allowance, Allowance::Rate { .. });
        if is_rate {
            self.in_hand = 0;
        }
        self.in_hand = self.in_hand.saturating_add(answer.granted);
        self.knows = answer.span;
        let back = (!answer.left.is_zero()).then(|| asked + answer.left);
        // Counted from before the call: never later than the engine's.
        self.ends = if is_rate { Some(asked + horizon * 2) } else { back };
        // Of a rate there is a unit at once, and another member has drawn it: the next call may bring one.
        let is_drawn = is_rate && answer.left.is_zero();
        let is_spent = answer.granted == 0 && wants > 0 && !is_drawn;
        let again = asked + timing.poll;
        self.spent = is_spent.then(|| {
            let until = back.map_or(again, |back| back.min(again));
            Spent { until, back }
        });
    }

    /// A rate bounds the pace and no harm: its part is used. A number is never guessed.
    fn stands_apart(&self, now: Duration, from: Duration) -> Verdict {
        let Allowance::Rate { .. } = self.allowance else { return Verdict::Uncounted };
        let from = from.max(self.apart_next);
        if now < from { Verdict::Spent(Some(from)) } else { Verdict::Taken }
    }
}
