//! A model of the engine: what the scripts do, without Lua and with a clock that a test moves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared_session::behind::Behind;
use shared_session::call::{Call, CallError, Place, Reply, Snapshot};
use shared_session::fence::Fence;
use shared_session::record::Incarnation;
use shared_session::register::Stored;
use shared_session::timing::Timing;

/// A rule that a mutant of the engine leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Defect {
    #[default]
    None,
    /// Intents are not kept.
    NoIntent,
    /// A lease has any number.
    NoFence,
    /// A lease has the number after that of the pair.
    CountedGenerations,
}

/// Everything that the engine holds for one profile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    defect: Defect,
    fence: u64,
    lease: Option<(Incarnation, Fence, u64)>,
    registers: BTreeMap<String, Stored>,
    set: BTreeMap<String, Stored>,
    revision: u64,
    intents: BTreeMap<Fence, Stored>,
    spares: BTreeMap<Fence, Stored>,
    members: BTreeMap<Incarnation, (u64, u64, Stored)>,
    behind: Option<(u64, BTreeSet<Incarnation>)>,
}

const DONE: Reply = Reply::Done { is_durable: true };

impl Store {
    pub(crate) fn new(defect: Defect) -> Self {
        Self { defect, ..Self::default() }
    }

    /// Performs a call at the engine's time, in microseconds since 1970.
    pub(crate) fn perform(
        &mut self,
        call: &Call,
        now: u64,
        timing: &Timing,
    ) -> Result<Reply, CallError> {
        let ms = now / 1_000;
        self.expire(ms, timing);
        Ok(match call {
            Call::Poll { .. } => self.poll(call, ms, timing),
            Call::Acquire { me, seen, is_settled, answered } => {
                let has_forgotten = self.has_forgotten(me, *answered);
                self.acquire(me, *seen, *is_settled, has_forgotten, now, timing)?
            }
            Call::Intend { me, lease, known, intent, attempts } => {
                self.intend(me, *lease, *known, intent, attempts.as_ref())
            }
            Call::Commit { me, session, drop } => self.commit(me, session, drop),
            Call::Spare { spare } => self.spare(spare),
            Call::Release { me, lease, keeps_lease, ends } => {
                self.release(me, *lease, *keeps_lease, ends.as_ref())
            }
            Call::Put { place, name, stored, unopened } => {
                self.put(*place, name, stored, *unopened, now)
            }
            Call::Draw { seen } => Reply::Drawn(self.draw(*seen, 0, now)?),
            Call::ReadSet => {
                let records = self.set.iter().map(|(name, one)| (name.clone(), one.clone()));
                Reply::Set { revision: self.revision_text(), records: records.collect() }
            }
            // Counters: their script is tried on the real engines.
            Call::Pace { .. } | Call::Count { .. } => return Err(CallError::Malformed),
            Call::Leave { me } => {
                self.members.remove(me);
                if self.lease.as_ref().is_some_and(|(owner, ..)| owner == me) {
                    self.lease = None;
                }
                DONE
            }
        })
    }

    /// Ends what is over, as the engine's expiry does.
    fn expire(&mut self, ms: u64, timing: &Timing) {
        if let Some((_, _, ends)) = &mut self.lease {
            *ends = (*ends).min(ms + millis(timing.lease));
        }
        if let Some((ends, _)) = &mut self.behind {
            *ends = (*ends).min(ms + millis(timing.behind));
        }
        if self.lease.as_ref().is_some_and(|(_, _, ends)| *ends <= ms) {
            self.lease = None;
        }
        if self.behind.as_ref().is_some_and(|(ends, _)| *ends <= ms) {
            self.behind = None;
        }
    }

    fn draw(&mut self, seen: Fence, salt: u64, now: u64) -> Result<Fence, CallError> {
        let fence = self.fence.max(now).max(seen.number()) + 1 + salt;
        let drawn = Fence::new(fence).map_err(|_| CallError::Malformed)?;
        self.fence = fence;
        Ok(drawn)
    }

    fn lease_fence(&mut self, me: &Incarnation, seen: Fence, now: u64) -> Result<Fence, CallError> {
        match self.defect {
            Defect::None | Defect::NoIntent => self.draw(seen, salt(me), now),
            // Any number that is not ordered by time.
            Defect::NoFence => {
                self.revision += 1;
                let mixed = (now ^ self.revision).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                Ok(Fence::new(1 + mixed % 1_000_000_000_000).unwrap())
            }
            Defect::CountedGenerations => {
                let generation = self.fence_of("session").number();
                Ok(Fence::new(generation + 1).unwrap())
            }
        }
    }

    fn fence_of(&self, name: &str) -> Fence {
        self.registers.get(name).map_or(Fence::ZERO, |stored| stored.fence)
    }

    fn holds(&self, me: &Incarnation, lease: Fence) -> bool {
        self.lease.as_ref().is_some_and(|(owner, fence, _)| owner == me && *fence == lease)
    }

    fn has_forgotten(&self, me: &Incarnation, answered: u64) -> bool {
        answered > self.members.get(me).map_or(0, |(_, number, _)| *number)
    }

    fn note_behind(&mut self, ms: u64, timing: &Timing) {
        let ends = ms + millis(timing.behind);
        self.behind.get_or_insert_with(|| (ends, BTreeSet::new()));
    }

    fn raise(&mut self, seen: Fence) {
        self.fence = self.fence.max(seen.number());
    }

    fn poll(&mut self, call: &Call, ms: u64, timing: &Timing) -> Reply {
        let Call::Poll { me, seen, has_reported, have, info, number, answered } = call else {
            unreachable!()
        };
        let mut is_behind = seen.number() > self.fence || self.has_forgotten(me, *answered);
        let (mut changed, mut same) = (BTreeMap::new(), vec![]);
        for name in ["session", "epoch", "lock", "attempts"] {
            let known = have.get(name).copied().unwrap_or_default();
            is_behind |= self.fence_of(name) < known;
            match self.registers.get(name) {
                Some(stored) if stored.fence == known => same.push(name.to_owned()),
                Some(stored) => drop(changed.insert(name.to_owned(), stored.clone())),
                None => {}
            }
        }
        if is_behind && self.defect != Defect::NoFence {
            self.note_behind(ms, timing);
        }
        if let Some((_, reported)) = &mut self.behind
            && *has_reported
        {
            reported.insert(me.clone());
        }
        self.raise(*seen);
        self.members.insert(me.clone(), (ms, *number, info.clone()));
        self.members.retain(|_, (seen, ..)| ms.saturating_sub(*seen) <= millis(timing.share));
        self.members.values_mut().for_each(|(seen, ..)| *seen = (*seen).min(ms));
        Reply::Polled(self.snapshot(changed, same, ms))
    }

    fn snapshot(
        &self,
        registers: BTreeMap<String, Stored>,
        same: Vec<String>,
        ms: u64,
    ) -> Snapshot {
        let ago = |seen: u64| Duration::from_millis(ms.saturating_sub(seen));
        Snapshot {
            now: ms,
            registers,
            same,
            intents: self.intents.values().cloned().collect(),
            spares: self.spares.values().cloned().collect(),
            members: self
                .members
                .iter()
                .map(|(member, (seen, _, info))| (member.clone(), (ago(*seen), info.clone())))
                .collect(),
            revision: self.revision_text(),
            behind: self.behind(ms),
            lease: self.lease.as_ref().map(|(owner, ..)| owner.clone()),
            paces: BTreeMap::new(),
        }
    }

    fn behind(&self, ms: u64) -> Option<Behind> {
        let (ends, reported) = self.behind.as_ref()?;
        let left = Duration::from_millis(ends.saturating_sub(ms));
        Some(Behind { left, reported: reported.clone() })
    }

    fn revision_text(&self) -> String {
        if self.revision == 0 { String::new() } else { self.revision.to_string() }
    }

    fn acquire(
        &mut self,
        me: &Incarnation,
        seen: Fence,
        is_settled: bool,
        has_forgotten: bool,
        now: u64,
        timing: &Timing,
    ) -> Result<Reply, CallError> {
        let ms = now / 1_000;
        if (seen.number() > self.fence && self.defect != Defect::NoFence) || has_forgotten {
            self.note_behind(ms, timing);
            self.raise(seen);
        }
        if let Some(behind) = self.behind(ms).filter(|_| !is_settled) {
            return Ok(Reply::Behind(behind));
        }
        if let Some((_, _, ends)) = self.lease.as_ref().filter(|(owner, ..)| owner != me) {
            return Ok(Reply::Held(Duration::from_millis(ends.saturating_sub(ms))));
        }
        let fence = self.lease_fence(me, seen, now)?;
        self.lease = Some((me.clone(), fence, ms + millis(timing.lease)));
        Ok(Reply::Acquired { fence, snapshot: self.snapshot(self.registers.clone(), vec![], ms) })
    }

    fn intend(
        &mut self,
        me: &Incarnation,
        lease: Fence,
        known: Fence,
        intent: &Stored,
        attempts: Option<&Stored>,
    ) -> Reply {
        if !self.holds(me, lease) {
            return Reply::Lost;
        }
        if self.fence_of("session") != known || self.intents.contains_key(&lease) {
            return Reply::Stale;
        }
        if let Some(attempts) = attempts {
            if attempts.fence <= self.fence_of("attempts") {
                return Reply::Stale;
            }
            self.registers.insert("attempts".to_owned(), attempts.clone());
        }
        if self.defect != Defect::NoIntent {
            self.intents.insert(lease, intent.clone());
        }
        DONE
    }

    fn commit(&mut self, me: &Incarnation, session: &Stored, drop: &[Fence]) -> Reply {
        let generation = session.fence;
        let is_unordered = self.defect == Defect::NoFence;
        let is_older = self.fence_of("epoch") > generation || self.fence_of("session") > generation;
        if is_older && !is_unordered {
            return Reply::Stale;
        }
        self.raise(generation);
        self.registers.insert("session".to_owned(), session.clone());
        self.spares.retain(|fence, _| !drop.contains(fence));
        if self.holds(me, generation) {
            self.intents.retain(|fence, _| *fence > generation);
            self.lease = None;
        } else {
            self.intents.remove(&generation);
        }
        DONE
    }

    fn spare(&mut self, spare: &Stored) -> Reply {
        self.intents.remove(&spare.fence);
        if self.fence_of("epoch") > spare.fence {
            return Reply::Stale;
        }
        self.spares.insert(spare.fence, spare.clone());
        if self.spares.len() > 8 {
            self.spares.pop_first();
        }
        DONE
    }

    fn release(
        &mut self,
        me: &Incarnation,
        lease: Fence,
        keeps_lease: bool,
        ends: Option<&Fence>,
    ) -> Reply {
        if let Some(ends) = ends {
            self.intents.remove(ends);
        }
        if !self.holds(me, lease) {
            return Reply::Lost;
        }
        if !keeps_lease {
            self.lease = None;
        }
        DONE
    }

    fn put(
        &mut self,
        place: Place,
        name: &str,
        stored: &Stored,
        unopened: Option<Fence>,
        now: u64,
    ) -> Reply {
        let registers = match place {
            Place::Registers => &mut self.registers,
            Place::Set => &mut self.set,
        };
        if let Some(old) = registers.get(name)
            && unopened != Some(old.fence)
            && (stored.is_tombstone, stored.fence) <= (old.is_tombstone, old.fence)
        {
            return Reply::Stale;
        }
        registers.insert(name.to_owned(), stored.clone());
        self.raise(stored.fence);
        if place == Place::Set {
            self.revision = self.revision.max(now) + 1;
        }
        DONE
    }

    /// Says whether a tombstone of this name stands here.
    pub(crate) fn is_revoked(&self, name: &str) -> bool {
        self.set.get(name).is_some_and(|stored| stored.is_tombstone)
    }

    /// Shortens the lease, as the passing of time does.
    pub(crate) fn end_lease(&mut self) {
        self.lease = None;
    }
}

/// A number of the member, so that two of them draw different fences.
fn salt(me: &Incarnation) -> u64 {
    me.as_str().bytes().fold(0, |sum, byte| (sum * 31 + u64::from(byte)) % 4_096)
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap()
}
