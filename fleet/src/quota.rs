//! What one client may use, counted for all members together: totals, budgets and rates.
//!
//! A member takes units from the engine ahead and then uses them without asking. A unit that was taken
//! and not used is lost to the client, never used twice: no limit is exceeded, whatever dies or is cut
//! off. So a member that is cut off uses what it has in hand and then refuses, but for rates, of which
//! it has its part.
//!
//! [`Quotas`] is a pure function of what it is told: no clock, no I/O. It makes at most one call for
//! all counters at a time; [`crate::draws::Draws`] says when.

mod counter;

use std::collections::BTreeMap;
use std::time::Duration;

use self::counter::Counter;
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

/// Units of one counter.
#[derive(Clone, Copy, Debug)]
pub struct Units<'a> {
    /// The counter.
    pub name: &'a str,
    /// How much of it may be used.
    pub allowance: Allowance,
    /// How many.
    pub amount: u64,
}

/// The units that this member has in hand.
#[derive(Clone, Debug, Default)]
pub struct Quotas {
    counters: BTreeMap<String, Counter>,
    in_call: Vec<(String, u64, u64)>,
    /// How many calls were made.
    calls: u64,
    /// Since when the engine has not answered.
    apart: Option<Duration>,
    members: u64,
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
        let units = [Units { name, allowance, amount }];
        self.take_all(&units, now, timing).map_or_else(|(_, verdict)| verdict, |()| Verdict::Taken)
    }

    /// Uses units of several counters, all of them or nothing.
    ///
    /// # Errors
    ///
    /// The first of them that stands against it, and why.
    pub fn take_all(
        &mut self,
        units: &[Units<'_>],
        now: Duration,
        timing: &Timing,
    ) -> Result<(), (usize, Verdict)> {
        self.check(units, now, timing)?;
        let members = self.members.max(1);
        for one in units {
            self.counter(one.name, one.allowance, now).use_up(one.amount, members, now);
        }
        Ok(())
    }

    /// Says whether [`Quotas::take_all`] would find enough; what is missing is asked for.
    ///
    /// # Errors
    ///
    /// As [`Quotas::take_all`].
    pub fn check(
        &mut self,
        units: &[Units<'_>],
        now: Duration,
        timing: &Timing,
    ) -> Result<(), (usize, Verdict)> {
        let from = self.apart.map(|since| since + timing.cut_off);
        let mut missing = None;
        for (index, one) in units.iter().enumerate() {
            match self.counter(one.name, one.allowance, now).stands(one.amount, now, from) {
                Verdict::Taken => {}
                Verdict::Ask => missing = missing.or(Some(index)),
                refused @ (Verdict::Spent(_) | Verdict::Uncounted) => return Err((index, refused)),
            }
        }
        let Some(first) = missing else { return Ok(()) };
        for one in units {
            let counter = self.counter(one.name, one.allowance, now);
            if counter.in_hand < one.amount {
                counter.wanted = counter.wanted.saturating_add(one.amount);
            }
        }
        Err((first, Verdict::Ask))
    }

    /// Returns the number of the call that asks for what was found missing last.
    pub fn next_call(&self) -> u64 {
        self.calls + 1
    }

    /// Asks how much is used of a counter, with the next call.
    pub fn look(&mut self, name: &str, allowance: Allowance, now: Duration) {
        self.counter(name, allowance, now).is_looked_at = true;
    }

    /// Returns how much all members have used of a counter, as far as the engine has said, and when its
    /// span ends; what other members have in hand counts as used.
    pub fn used(&self, name: &str, now: Duration) -> Option<(u64, Option<Duration>)> {
        let counter = self.counters.get(name)?;
        if counter.ends.is_some_and(|ends| now >= ends) {
            return Some((counter.owes, None));
        }
        let used = counter.knows.taken.saturating_sub(counter.in_hand);
        Some((used.saturating_add(counter.owes), counter.ends))
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
        self.in_call.is_empty() && self.counters.values().any(|one| one.needs_call(self.members))
    }

    /// Makes the call for everything that is wanted; `horizon` is the time until the next one.
    pub fn call(&mut self, me: &Incarnation, horizon: Duration) -> Option<Call> {
        if !self.wants_call() {
            return None;
        }
        let (mut asks, members) = (vec![], self.members);
        for (name, counter) in &mut self.counters {
            if !counter.needs_call(members) {
                continue;
            }
            let (wants, owes) = (counter.wants(members), counter.owes);
            let (allowance, knows) = (counter.allowance, counter.knows);
            asks.push(Ask { name: name.clone(), allowance, wants, owes, knows });
            self.in_call.push((name.clone(), wants, owes));
            (counter.wanted, counter.owes, counter.used_lately) = (0, 0, 0);
            counter.is_looked_at = false;
        }
        self.calls += 1;
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
    /// engine has heard it; what was granted is lost, and what is still wanted is asked for again by
    /// those who want it.
    pub fn failed(&mut self) {
        for (name, _, owes) in std::mem::take(&mut self.in_call) {
            if let Some(counter) = self.counters.get_mut(&name) {
                counter.owes = counter.owes.saturating_add(owes);
            }
        }
    }

    /// Says how many members there are: no one of them takes much ahead.
    pub fn members(&mut self, members: usize) {
        self.members = members as u64;
    }

    /// Says that the engine answers again: it is asked before anything is refused.
    pub fn returned(&mut self) {
        self.apart = None;
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
