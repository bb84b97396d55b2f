//! The draws of this member from the engine, slots and units: a function of what it is told and the time.

use std::time::Duration;

use shared_session::call::{Call, CallError, Reply, Snapshot};
use shared_session::draws::{Draw, Draws};
use shared_session::quota::Quotas;
use shared_session::record::Incarnation;
use shared_session::timing::Timing;

use super::lane_state::LaneState;

/// The draws of this member.
#[derive(Debug, Default)]
pub(super) struct DrawsState {
    /// As [`LANES`] names them.
    pub(super) lanes: [LaneState; 2],
    pub(super) quotas: Quotas,
    draws: Draws,
    /// How many members there are; zero: not known yet.
    members: u32,
    /// When the engine last answered, to a poll or a draw.
    contact: Option<Duration>,
    failing_since: Option<Duration>,
    in_call: Option<(Draw, Duration)>,
    /// How many calls for units have ended.
    pub(super) counted: u64,
}

impl DrawsState {
    /// Returns when the next call is due, if one is wanted.
    pub(super) fn next(&self, now: Duration) -> Option<Duration> {
        if self.wants_slots(now) || self.quotas.wants_call() {
            return Some(self.draws.next());
        }
        self.lanes.iter().filter_map(|lane| lane.tells_pause_at(now)).min()
    }

    /// Makes the call that is due.
    pub(super) fn due(&mut self, me: &Incarnation, now: Duration) -> Option<Call> {
        let (slots, units) = (self.wants_slots(now), self.quotas.wants_call());
        let draw = self.draws.due(now, slots, units)?;
        let horizon = Draws::horizon(slots && units);
        self.in_call = Some((draw, horizon));
        match draw {
            Draw::Units => self.quotas.call(me, horizon),
            Draw::Slots => {
                let lanes = self.lanes.iter_mut().zip(LANES);
                let lanes = lanes.map(|(lane, name)| lane.ask(name, now)).collect();
                Some(Call::Pace { me: me.clone(), lanes, horizon })
            }
        }
    }

    /// Takes the answer to the call that left at `asked`.
    pub(super) fn answered(
        &mut self,
        answer: &Result<Reply, CallError>,
        (asked, now): (Duration, Duration),
        timing: &Timing,
    ) {
        let Some((draw, horizon)) = self.in_call.take() else { return };
        match answer {
            Ok(Reply::Paced(paced)) => {
                for (lane, paced) in self.lanes.iter_mut().zip(paced) {
                    lane.paced(paced, asked, horizon);
                }
            }
            Ok(Reply::Counted(counted)) => self.quotas.counted(counted, asked, horizon, timing),
            Ok(_) | Err(_) => return self.failed(draw, (asked, now), timing),
        }
        self.counted += u64::from(draw == Draw::Units);
        (self.contact, self.failing_since) = (Some(asked), None);
    }

    fn failed(&mut self, draw: Draw, (asked, now): (Duration, Duration), timing: &Timing) {
        let since = *self.failing_since.get_or_insert(asked);
        // A connection that was closed is opened again once before this member counts as cut off.
        let is_apart = now.saturating_sub(since) >= APART_AFTER;
        let apart = is_apart.then(|| (self.contact.unwrap_or(since), self.members));
        if draw == Draw::Units {
            self.quotas.failed();
            self.counted += 1;
        }
        for lane in &mut self.lanes {
            lane.failed(apart, timing);
        }
        if let Some((since, _)) = apart {
            self.quotas.cut_off(since);
        }
    }

    /// Takes what a poll has brought; says whether something is new.
    pub(super) fn polled(&mut self, snapshot: &Snapshot, now: Duration) -> bool {
        let members = u32::try_from(snapshot.members.len()).unwrap_or(u32::MAX);
        let mut is_new = std::mem::replace(&mut self.members, members) != members;
        self.quotas.members(snapshot.members.len());
        self.quotas.returned();
        self.contact = Some(now);
        for (lane, name) in self.lanes.iter_mut().zip(LANES) {
            let heard = snapshot.paces.get(name).cloned().unwrap_or_default();
            is_new |= lane.heard(heard.0, &heard.1, now);
        }
        is_new
    }

    /// Says whether there are other members.
    pub(super) fn has_others(&self) -> bool {
        self.members > 1
    }

    fn wants_slots(&self, now: Duration) -> bool {
        self.lanes.iter().any(|lane| lane.needs_call(now))
    }
}

/// The lanes: Nexudus counts reads and writes apart.
pub(super) const LANES: [&str; 2] = ["reads", "writes"];

/// How long the engine must have given no answer before this member counts as cut off: two calls.
const APART_AFTER: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use shared_session::pace::Permit;
    use shared_session::quota::{Allowance, Verdict};

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn throttled() -> DrawsState {
        let mut state = DrawsState::default();
        state.lanes[0].learn("", &[(100, ms(60_000))]);
        state
    }

    fn fail(state: &mut DrawsState, at: Duration) {
        assert!(state.due(&Incarnation::named("a"), at).is_some(), "no call at {at:?}");
        state.answered(&Err(CallError::Away), (at, at), &Timing::default());
    }

    #[test]
    fn a_member_with_nothing_to_ask_makes_no_call() {
        let mut state = DrawsState::default();
        assert_eq!(state.next(ms(1_000)), None);
        assert_eq!(state.due(&Incarnation::named("a"), ms(1_000)), None);
    }

    #[test]
    fn one_closed_connection_cuts_no_member_off_and_two_failures_do() {
        let (mut state, timing) = (throttled(), Timing::default());
        state.contact = Some(ms(1_000));
        state.members = 2;
        state.lanes[0].take(ms(2_000), 1, &timing);
        fail(&mut state, ms(2_000));
        assert!(!state.lanes[0].news(true).is_apart);

        fail(&mut state, ms(2_600));

        assert!(state.lanes[0].news(true).is_apart);
        // The others leave its share unused from 15 s after they last heard of it.
        assert_eq!(state.lanes[0].take(ms(2_700), 1, &timing), Permit::At(ms(16_000)));
        assert_eq!(state.lanes[0].take(ms(16_000), 1, &timing), Permit::Now);
        assert_eq!(state.lanes[0].take(ms(16_001), 1, &timing), Permit::At(ms(17_260)));
    }

    #[test]
    fn without_an_answer_units_are_refused_and_those_who_wait_are_told() {
        let (mut state, timing) = (DrawsState::default(), Timing::default());
        let take = |state: &mut DrawsState, at| {
            state.quotas.take("k", Allowance::Total(9), 1, at, &timing)
        };
        assert_eq!(take(&mut state, ms(0)), Verdict::Ask);
        fail(&mut state, ms(0));
        assert_eq!((take(&mut state, ms(1)), state.counted), (Verdict::Ask, 1));
        fail(&mut state, ms(600));
        assert_eq!((take(&mut state, ms(601)), state.counted), (Verdict::Uncounted, 2));
    }
}
