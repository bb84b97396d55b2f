//! What one client may use, counted for all members together: totals, budgets and rates.
//!
//! A member takes units from the engine ahead and then uses them without asking. A unit that was taken
//! and not used is lost to the client, never used twice: no limit is exceeded, whatever dies or is cut
//! off. So a member that is cut off uses what it has in hand and then refuses, but for rates, of which
//! it has its part.
//!
//! [`Quotas`] is a pure function of what it is told: no clock, no I/O. It makes at most one call for
//! all counters at a time; [`crate::draws::Draws`] says when.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::call::Call;
use crate::record::Incarnation;
use crate::timing::Timing;

/// How much may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// So much in all.
    Total(u64),
    /// So much in a span that begins with its first use, and at its end all of it again.
    Span {
        /// How much.
        most: u64,
        /// In how long.
        per: Duration,
    },
    /// So much at once, coming back evenly over the period.
    Rate {
        /// How much.
        most: u64,
        /// In how long.
        per: Duration,
    },
}

/// What the engine has counted: of two spans the one that began first stays, and of two numbers the
/// higher one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// When it began, in milliseconds since 1970 by the engine's clock; 0 before the first use.
    pub since: u64,
    /// How much all members have taken of it.
    pub taken: u64,
}

/// One counter of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The counter: the id of a client, and what is counted.
    pub name: String,
    /// How much may be used; a limit of 0 removes the counter.
    pub allowance: Allowance,
    /// How much the caller could use until its next call.
    pub wants: u64,
    /// How much it used without having taken it.
    pub owes: u64,
    /// What it knows, which the engine may have lost.
    pub knows: Span,
}

/// The answer for one counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Units for the caller.
    pub granted: u64,
    /// What the engine has counted now.
    pub span: Span,
    /// The time until the span ends, or until a rate has the next unit; zero for a total.
    pub left: Duration,
}

/// Whether units may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are used now.
    Taken,
    /// After the next answer of the engine, ask again.
    Ask,
    /// Used up, until then by the boot clock; `None` for a total.
    Spent(Option<Duration>),
    /// The engine is away, and nothing is left of what was taken ahead.
    Uncounted,
}

/// The units that this member has in hand.
#[derive(Clone, Debug, Default)]
pub struct Quotas {
    counters: BTreeMap<String, Counter>,
    in_call: Vec<(String, u64, u64)>,
    /// Since when the engine has not answered.
    apart: Option<Duration>,
    members: u64,
}

#[derive(Clone, Debug)]
struct Counter {
    allowance: Allowance,
    knows: Span,
    in_hand: u64,
    /// Units in hand are lost then: the span is over, or the engine counts the rate anew.
    ends: Option<Duration>,
    owes: u64,
    wanted: u64,
    used_lately: u64,
    spent: Option<Spent>,
    /// While cut off, no unit of a rate before.
    apart_next: Duration,
}

/// The engine had nothing left.
#[derive(Clone, Copy, Debug)]
struct Spent {
    /// It is not asked again before.
    until: Duration,
    /// When all or the next of it comes back.
    back: Option<Duration>,
}

impl Quotas {
    /// Uses `amount` of a counter, all of it or nothing.
    pub fn take(
        &mut self,
        name: &str,
        allowance: Allowance,
        amount: u64,
        now: Duration,
        timing: &Timing,
    ) -> Verdict {
        let (apart, members) = (self.apart, self.members.max(1));
        let counter = self.counter(name, allowance, now);
        if counter.in_hand >= amount {
            counter.in_hand -= amount;
            counter.used_lately = counter.used_lately.saturating_add(amount);
            return Verdict::Taken;
        }
        if let Some(since) = apart {
            return counter.take_apart(amount, members, now, since + timing.cut_off);
        }
        if let Some(spent) = counter.spent.filter(|spent| now < spent.until) {
            return Verdict::Spent(spent.back);
        }
        counter.wanted = counter.wanted.saturating_add(amount);
        Verdict::Ask
    }

    /// Counts what was used already, as the bytes of a response; says whether there was room for it.
    pub fn add(&mut self, name: &str, allowance: Allowance, amount: u64, now: Duration) -> bool {
        let counter = self.counter(name, allowance, now);
        let in_hand = counter.in_hand.min(amount);
        counter.in_hand -= in_hand;
        counter.owes = counter.owes.saturating_add(amount - in_hand);
        counter.used_lately = counter.used_lately.saturating_add(amount);
        counter.knows.taken.saturating_add(counter.owes) <= allowance.most()
    }

    /// Forgets a counter here; the next call removes it from the engine.
    pub fn remove(&mut self, name: &str) {
        if let Some(counter) = self.counters.get_mut(name) {
            *counter = Counter::new(Allowance::Total(0));
            counter.wanted = 1;
        }
    }

    /// Says whether there is something to ask or to tell.
    pub fn wants_call(&self) -> bool {
        self.in_call.is_empty()
            && self.counters.values().any(|one| one.wants(self.members) + one.owes > 0)
    }

    /// Makes the call for everything that is wanted; `horizon` is the time until the next one.
    pub fn call(&mut self, me: &Incarnation, horizon: Duration) -> Option<Call> {
        if !self.wants_call() {
            return None;
        }
        let (mut asks, members) = (vec![], self.members);
        for (name, counter) in &mut self.counters {
            let (wants, owes) = (counter.wants(members), counter.owes);
            if wants + owes == 0 {
                continue;
            }
            let (allowance, knows) = (counter.allowance, counter.knows);
            asks.push(Ask { name: name.clone(), allowance, wants, owes, knows });
            self.in_call.push((name.clone(), wants, owes));
            (counter.wanted, counter.owes, counter.used_lately) = (0, 0, 0);
        }
        Some(Call::Count { me: me.clone(), asks, horizon })
    }

    /// Takes the answer to the call that left at `asked`.
    pub fn counted(
        &mut self,
        answers: &[Counted],
        asked: Duration,
        horizon: Duration,
        timing: &Timing,
    ) {
        self.apart = None;
        let in_call = std::mem::take(&mut self.in_call);
        for ((name, wants, _), answer) in in_call.into_iter().zip(answers) {
            let Some(counter) = self.counters.get_mut(&name) else { continue };
            if counter.allowance.most() == 0 {
                self.counters.remove(&name);
                continue;
            }
            counter.answered(answer, wants, asked, horizon, timing);
        }
    }

    /// Says that the call has no answer. What was owed is told again, at the client's expense if the
    /// engine has heard it; what was granted is lost.
    pub fn failed(&mut self) {
        for (name, wants, owes) in std::mem::take(&mut self.in_call) {
            if let Some(counter) = self.counters.get_mut(&name) {
                counter.wanted = counter.wanted.saturating_add(wants);
                counter.owes = counter.owes.saturating_add(owes);
            }
        }
    }

    /// Says how many members there are: no one of them takes much ahead.
    pub fn members(&mut self, members: usize) {
        self.members = members as u64;
    }

    /// Says that the engine has not answered since `since`.
    pub fn cut_off(&mut self, since: Duration) {
        self.apart.get_or_insert(since);
    }

    fn counter(&mut self, name: &str, allowance: Allowance, now: Duration) -> &mut Counter {
        if !self.counters.contains_key(name) {
            self.counters.insert(name.to_owned(), Counter::new(allowance));
        }
        let counter = self.counters.get_mut(name).expect("it was inserted");
        if counter.allowance != allowance {
            // Another limit: the engine decides.
            (counter.allowance, counter.spent) = (allowance, None);
            counter.in_hand = counter.in_hand.min(allowance.most());
        }
        if counter.ends.is_some_and(|ends| now >= ends) {
            (counter.in_hand, counter.ends, counter.knows) = (0, None, Span::default());
        }
        counter
    }
}

impl Counter {
    fn new(allowance: Allowance) -> Self {
        Self {
            allowance,
            knows: Span::default(),
            in_hand: 0,
            ends: None,
            owes: 0,
            wanted: 0,
            used_lately: 0,
            spent: None,
            apart_next: Duration::ZERO,
        }
    }

    /// What is asked for: what waits, and before it runs out as much as was used since the last call.
    fn wants(&self, members: u64) -> u64 {
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

    fn answered(
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
        let is_spent = answer.granted == 0 && wants > 0;
        let again = asked + timing.poll;
        self.spent = is_spent.then(|| {
            let until = back.map_or(again, |back| back.min(again));
            Spent { until, back }
        });
    }

    /// A rate bounds the pace and no harm: its part is used. A number is never guessed.
    fn take_apart(&mut self, amount: u64, members: u64, now: Duration, from: Duration) -> Verdict {
        let Allowance::Rate { most, per } = self.allowance else { return Verdict::Uncounted };
        let from = from.max(self.apart_next);
        if now < from {
            return Verdict::Spent(Some(from));
        }
        let share = u32::try_from(members.saturating_mul(amount)).unwrap_or(u32::MAX);
        let most = u32::try_from(most).unwrap_or(u32::MAX).max(1);
        self.apart_next = now + per.saturating_mul(share) / most;
        Verdict::Taken
    }
}

impl Allowance {
    /// Returns the number.
    pub fn most(&self) -> u64 {
        match self {
            Self::Total(most) | Self::Span { most, .. } | Self::Rate { most, .. } => *most,
        }
    }

    /// Returns the time after which it comes back; zero for a total.
    pub fn period(&self) -> Duration {
        match self {
            Self::Total(_) => Duration::ZERO,
            Self::Span { per, .. } | Self::Rate { per, .. } => *per,
        }
    }
}

#[cfg(test)]
mod tests;
