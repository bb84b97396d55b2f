//! What the engine says: merged into what the member has, and the other way round.

use std::time::Duration;

use super::{InFlight, Member, Note, Now};
use crate::call::{Call, CallError, Place, Reply, Snapshot};
use crate::decide::OpenIntent;
use crate::fence::Fence;
use crate::record::{Attempts, Epoch, Intent, Lock, Session, Spare};
use crate::register::{Merge, Stored};

impl Member {
    pub(super) fn hinted(&mut self, now: Now) {
        self.engine.is_hinted = self.in_flight == Some(InFlight::Poll);
        let soonest = self.engine.polled + self.setup.timing.hint;
        self.engine.poll_at = self.engine.poll_at.min(soonest.max(now.boot));
    }

    /// Says what the member has, so that the answer holds only what differs.
    pub(super) fn poll(&mut self, now: Now) -> Call {
        self.engine.polls += 1;
        let mut have = [
            ("epoch", self.local.epoch.fence()),
            ("lock", self.local.lock.fence()),
            ("attempts", self.local.attempts.fence()),
        ]
        .map(|(name, fence)| (name.to_owned(), fence))
        .into_iter()
        .filter(|(name, fence)| *fence > Fence::ZERO && !self.engine.unwritten.contains_key(name))
        .collect::<std::collections::BTreeMap<_, _>>();
        // Nor does a pair that is not committed yet make the engine look behind.
        if !self.local.is_uncommitted && self.local.session.fence() > Fence::ZERO {
            have.insert("session".to_owned(), self.local.session.fence());
        }
        let name = self.setup.me.as_str();
        Call::Poll {
            me: self.setup.me.clone(),
            seen: self.local.seen,
            has_reported: self.engine.has_reported && self.queue.is_empty(),
            have,
            info: Stored::seal(&self.setup.keys, name, self.local.seen, &self.setup.info),
            number: self.engine.polls,
            answered: self.answered(now),
        }
    }

    /// Returns the last poll that the engine must still know.
    pub(super) fn answered(&self, now: Now) -> u64 {
        let is_late = self.silence(now).is_none_or(|one| one > self.setup.timing.share / 2);
        if is_late { 0 } else { self.engine.answered }
    }

    pub(super) fn replied(&mut self, result: Result<Reply, CallError>, now: Now) {
        let Some(in_flight) = self.in_flight.take() else { return };
        let reply = match result {
            Ok(reply) => reply,
            Err(error) => return self.unanswered(in_flight, error, now),
        };
        self.engine.contact = Some(now.boot);
        self.engine.is_away = false;
        self.engine.failures = 0;
        match in_flight {
            InFlight::Poll => self.polled(reply, now),
            InFlight::Queued => self.performed(reply, now),
            InFlight::Command => {
                if let Reply::Drawn(fence) = reply {
                    self.command_drawn(fence, now);
                }
            }
            InFlight::Work(asked) => self.worked(reply, asked, now),
        }
    }

    /// Backs off; what was queued stays queued, since each of these calls may be made twice.
    fn unanswered(&mut self, in_flight: InFlight, error: CallError, now: Now) {
        let (first, longest) = self.setup.timing.retry;
        let wait = (first * 2_u32.saturating_pow(self.engine.failures.min(8))).min(longest);
        let wait = wait.min(self.setup.timing.poll);
        self.engine.failures += 1;
        self.engine.is_away = true;
        self.engine.clean_since = None;
        self.engine.has_reported = false;
        self.engine.poll_at = now.boot + wait / 2 + self.jitter(wait / 2);
        if let InFlight::Work(_) = in_flight {
            self.work_failed(now);
        }
        if error == CallError::Malformed && in_flight == InFlight::Queued {
            // The engine will not take it another time either.
            if let Some(Call::Put { name, stored, .. }) = self.queue.pop_front() {
                self.written(&name, stored.fence);
            }
        }
    }

    fn polled(&mut self, reply: Reply, now: Now) {
        let Reply::Polled(snapshot) = reply else { return };
        self.engine.poll_at = now.boot + self.setup.timing.poll;
        self.engine.answered = self.engine.polls;
        self.read(&snapshot, now);
        self.hear(now);
        if self.engine.revision.as_deref() != Some(&snapshot.revision) {
            self.enqueue_once(Call::ReadSet);
        }
        self.engine.has_reported = self.queue.is_empty();
        self.return_from_apart(now);
        if self.engine.behind.is_some() {
            self.engine.poll_at = now.boot + self.setup.timing.poll / 4;
        }
        if self.engine.is_hinted {
            self.hinted(now);
        }
    }

    /// Notes that the engine is known to be current: it was not found behind for as long as every
    /// other member that is back takes to find that out. A list of members that have just read it
    /// would say so sooner, but an emptied engine has a list of those who came first.
    fn hear(&mut self, now: Now) {
        if self.engine.behind.is_some() {
            self.engine.clean_since = None;
            return;
        }
        let since = *self.engine.clean_since.get_or_insert(now.boot);
        if now.boot.saturating_sub(since) > self.setup.timing.poll * 3 / 2 {
            self.note_contact(now);
        }
    }

    /// Merges everything but the set.
    pub(super) fn read(&mut self, snapshot: &Snapshot, now: Now) {
        let is_first = self.engine.offset.is_none();
        self.set_clock(snapshot.now, now);
        let was_behind = self.engine.behind.is_some();
        self.engine.behind.clone_from(&snapshot.behind);
        if self.engine.behind.is_some() && !was_behind {
            self.notes.push(Note::Behind);
        } else if !was_behind && self.engine.behind.is_none() {
            self.engine.members = snapshot.members.keys().cloned().collect();
        }
        self.read_epoch(snapshot, now);
        self.read_session(snapshot, now);
        self.read_rest(snapshot);
        self.engine.intents =
            snapshot.intents.iter().map(|one| self.open_intent(one, now)).collect();
        self.engine.spares = snapshot
            .spares
            .iter()
            .filter_map(|one| Some((one.fence, one.open::<Spare>(&self.setup.keys, "").ok()?)))
            .collect();
        self.forget_resolved_runs();
        if is_first {
            // The engine's clock is the one that all members see. A renewal that was asked for before is
            // still wanted.
            let is_wanted = self.held.is_some_and(|held| held.due.is_zero());
            self.hold(false, now);
            if is_wanted {
                self.renew();
            }
        }
    }

    fn set_clock(&mut self, engine: u64, now: Now) {
        let (engine, boot) = (i64::try_from(engine), i64::try_from(now.boot.as_millis()));
        if let (Ok(engine), Ok(boot)) = (engine, boot) {
            self.engine.offset = Some(engine - boot);
        }
    }

    fn read_epoch(&mut self, snapshot: &Snapshot, now: Now) {
        if snapshot.same.iter().any(|name| name == "epoch") {
            return;
        }
        let stored = snapshot.registers.get("epoch");
        match self.local.epoch.merge(&self.setup.keys, "epoch", stored) {
            Merge::Adopted => {
                self.see(self.local.epoch.fence());
                self.epoch_changed(now);
            }
            Merge::Reassert => {
                if let Some((fence, epoch)) = self.local.epoch.get() {
                    let epoch: Epoch = epoch.clone();
                    self.put_again("epoch", fence, &epoch);
                }
            }
            Merge::Same | Merge::Unopened => {}
        }
    }

    /// Drops what an older epoch gave.
    pub(super) fn epoch_changed(&mut self, now: Now) {
        let epoch = self.local.epoch.fence();
        self.notes.push(Note::Epoch(epoch));
        self.blocked = None;
        if self.local.lost.as_ref().is_some_and(|(fence, _)| *fence < epoch) {
            self.local.lost = None;
        }
        if self.held.is_none_or(|held| held.generation < epoch) {
            self.held = None;
            self.work_at = now.boot;
        }
        self.changed();
    }

    fn read_session(&mut self, snapshot: &Snapshot, now: Now) {
        if snapshot.same.iter().any(|name| name == "session") {
            return;
        }
        let own = self.local.session.get().map(|(fence, session)| (fence, session.clone()));
        let stored = snapshot.registers.get("session");
        match self.local.session.merge(&self.setup.keys, "session", stored) {
            Merge::Adopted => {
                self.see(self.local.session.fence());
                self.overtaken(own);
                self.local.is_uncommitted = false;
                self.changed();
                self.hold(false, now);
                self.failures = 0;
            }
            Merge::Reassert => self.commit_again(),
            Merge::Same => {
                if self.local.is_uncommitted {
                    self.local.is_uncommitted = false;
                    self.changed();
                }
            }
            Merge::Unopened => {}
        }
    }

    /// Keeps a pair that a newer one overtook before it was committed, if a password brought it: the
    /// issuer may have given it later than the one in the record.
    fn overtaken(&mut self, own: Option<(Fence, Session)>) {
        // Its commit may have arrived unheard: then the pair that overtook it can come of it.
        let root = self.local.session.get().map(|(_, newer)| newer.root);
        if let Some((fence, session)) = own
            && self.local.is_uncommitted
            && session.by_password
            && root != Some(fence)
        {
            self.local.lost = Some((fence, session));
            self.offer_spare();
        }
    }

    /// Queues the pair that lost its commit.
    pub(super) fn offer_spare(&mut self) {
        let Some((fence, session)) = &self.local.lost else { return };
        let spare = Spare { session: session.clone() };
        let spare = Stored::seal(&self.setup.keys, "", *fence, &spare);
        self.queue.push_back(Call::Spare { spare });
    }

    /// Queues the commit of the pair that the engine does not have.
    fn commit_again(&mut self) {
        let Some((fence, session)) = self.local.session.get() else { return };
        if fence < self.local.epoch.fence() || !self.is_idle() {
            return;
        }
        let session = Stored::seal(&self.setup.keys, "session", fence, session);
        let me = self.setup.me.clone();
        self.queue.retain(|call| !matches!(call, Call::Commit { .. }));
        self.queue.push_back(Call::Commit { me, session, drop: vec![] });
    }

    fn read_rest(&mut self, snapshot: &Snapshot) {
        let is_same = |name: &str| snapshot.same.iter().any(|same| same == name);
        if !is_same("lock") {
            let stored = snapshot.registers.get("lock");
            let merge = self.local.lock.merge(&self.setup.keys, "lock", stored);
            if let (Merge::Reassert, Some((fence, lock))) = (merge, self.local.lock.get()) {
                let lock: Lock = *lock;
                self.put_again("lock", fence, &lock);
            }
            self.merged(merge, self.local.lock.fence());
        }
        if !is_same("attempts") {
            let stored = snapshot.registers.get("attempts");
            let merge = self.local.attempts.merge(&self.setup.keys, "attempts", stored);
            self.read_refusal();
            if let (Merge::Reassert, Some((fence, attempts))) = (merge, self.local.attempts.get()) {
                let attempts: Attempts = *attempts;
                self.put_again("attempts", fence, &attempts);
            }
            self.merged(merge, self.local.attempts.fence());
        }
    }

    fn merged(&mut self, merge: Merge, fence: Fence) {
        if merge == Merge::Adopted {
            self.see(fence);
            self.blocked = None;
            self.changed();
        }
    }

    fn open_intent(&self, stored: &Stored, now: Now) -> OpenIntent {
        let known = self.engine.intents.iter().find(|known| known.fence == stored.fence);
        let over = known.map_or(now.boot + self.setup.timing.lease, |known| known.over);
        let intent = stored.open::<Intent>(&self.setup.keys, "").ok();
        OpenIntent {
            fence: stored.fence,
            spends: intent.as_ref().map(|intent| intent.spends),
            by: intent.map(|intent| intent.by),
            over,
        }
    }

    /// Forgets runs of this member that have no open intent any more.
    fn forget_resolved_runs(&mut self) {
        let (me, intents) = (&self.setup.me, &self.engine.intents);
        let before = self.local.mine.len();
        self.local.mine.retain(|run| {
            run == me || intents.iter().any(|intent| intent.by.as_ref() == Some(run))
        });
        if self.local.mine.len() != before && self.engine.behind.is_none() {
            self.changed();
        }
    }

    /// Takes the answer to the first of the queue.
    fn performed(&mut self, reply: Reply, now: Now) {
        let Some(call) = self.queue.pop_front() else { return };
        if let Call::Put { place: Place::Registers, name, stored, .. } = &call {
            self.written(name, stored.fence);
        }
        match (call, reply) {
            (Call::ReadSet, Reply::Set { revision, records }) => {
                let before = self.local.set.clone();
                let again = self.local.set.merge(&self.setup.keys, &records);
                for (name, stored) in again {
                    let place = Place::Set;
                    self.queue.push_back(Call::Put { place, name, stored, unopened: None });
                }
                self.engine.revision = Some(revision);
                if self.local.set != before {
                    self.changed();
                }
            }
            (Call::Commit { session, .. }, Reply::Done { .. })
                if session.fence == self.local.session.fence() && self.local.is_uncommitted =>
            {
                self.local.is_uncommitted = false;
                self.notes.push(Note::Resolved(session.fence));
                self.changed();
            }
            (Call::Spare { spare }, Reply::Done { .. } | Reply::Stale)
                if self.local.lost.as_ref().is_some_and(|(fence, _)| *fence == spare.fence) =>
            {
                self.local.lost = None;
                self.notes.push(Note::Resolved(spare.fence));
                self.changed();
            }
            (Call::Release { ends: Some(fence), .. }, _) if self.unresolved.remove(&fence) => {
                self.notes.push(Note::Resolved(fence));
            }
            // The engine has something newer: the next poll brings it.
            (Call::Put { .. } | Call::Commit { .. }, Reply::Stale) => {
                self.engine.poll_at = now.boot;
            }
            _ => {}
        }
    }

    pub(super) fn enqueue_once(&mut self, call: Call) {
        if !self.queue.contains(&call) {
            self.queue.push_back(call);
        }
    }

    /// Returns when the engine's answer to a failed call may be asked for again.
    pub(super) fn backoff(&self) -> Duration {
        let (first, longest) = self.setup.timing.retry;
        let wait = (first * 2_u32.saturating_pow(self.failures.min(8))).min(longest);
        wait + self.jitter(wait)
    }
}
