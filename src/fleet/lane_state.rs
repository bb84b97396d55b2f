//! One lane, reads or writes, as this machine knows it: the slots in hand, and what it asks for.

use std::time::Duration;

use shared_session::pace::{LaneAsk, Paced, Permit, Share, Window, Windows};
use shared_session::timing::Timing;

use super::pacing::LaneNews;

/// One lane of this member.
#[derive(Debug, Default)]
pub(super) struct LaneState {
    share: Share,
    /// Requests that wait for a slot.
    waiting: u32,
    /// Slots that were used since the last call.
    used: u32,
    /// Slots of the last answer.
    granted: u32,
    wants: Wants,
    /// The reasons of the call in flight.
    in_call: Wants,
    /// Until when Nexudus has asked this machine to wait; zero: no pause.
    own_pause: Duration,
    /// Until when the others were told to.
    told_until: Duration,
}

/// Why a call is needed.
#[derive(Clone, Copy, Debug, Default)]
struct Wants {
    /// A request has found no slot.
    slots: bool,
    /// The others have not heard of the windows.
    news: bool,
    /// The others may have news.
    look: bool,
}

impl LaneState {
    /// Takes a slot for one of `waiting` requests.
    pub(super) fn take(&mut self, now: Duration, waiting: usize, timing: &Timing) -> Permit {
        let permit = self.share.take(now, timing);
        self.waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        if self.share.windows().windows.is_empty() {
            return permit;
        }
        if permit == Permit::Now {
            self.used = self.used.saturating_add(1);
            self.waiting = self.waiting.saturating_sub(1);
        }
        // Cut off, each request is a reason to try the engine again.
        self.wants.slots |= permit == Permit::Ask || self.share.is_apart();
        permit
    }

    /// Takes what this machine has learned; returns its version.
    pub(super) fn learn(&mut self, scope: &str, windows: &[(u32, Duration)]) -> u64 {
        let version = self.share.windows().version + 1;
        let windows = windows.iter().map(|&(limit, period)| Window { limit, period }).collect();
        self.share.learn(Windows { version, windows, scope: scope.to_owned() });
        self.wants.news = true;
        version
    }

    /// Takes the pause that Nexudus asked this machine for, if there is one now.
    pub(super) fn pause(&mut self, until: Option<Duration>) {
        self.own_pause = until.unwrap_or_default();
    }

    /// Asks with the next call what the others know.
    pub(super) fn look(&mut self) {
        self.wants.look = true;
    }

    /// Says whether something is to be asked or told now.
    pub(super) fn needs_call(&self, now: Duration) -> bool {
        let Wants { slots, news, look } = self.wants;
        slots
            || news
            || look
            || self.used > 0
            || self.tells_pause_at(now).is_some_and(|at| at <= now)
    }

    /// Returns when the others must hear of the pause, if there is one that they do not know.
    pub(super) fn tells_pause_at(&self, now: Duration) -> Option<Duration> {
        let is_longer = self.own_pause > self.told_until.max(now);
        is_longer.then(|| self.told_until.saturating_sub(PAUSE_MARGIN))
    }

    /// Makes the part of a call.
    pub(super) fn ask(&mut self, lane: &str, now: Duration) -> LaneAsk {
        let pause = self.own_pause.saturating_sub(now).min(LONGEST_TOLD_PAUSE);
        if self.tells_pause_at(now).is_some_and(|at| at <= now) {
            self.told_until = now + pause;
        }
        let windows = self.share.windows().clone();
        let limit = windows.windows.iter().map(|window| window.limit).min().unwrap_or_default();
        // As many as were used; twice as many as there were where they did not suffice.
        let more = self.granted.max(self.used).saturating_mul(2).max(1);
        let rate = if self.wants.slots { more } else { self.used };
        let wants = self.waiting.max(rate).min(limit);
        self.in_call = std::mem::take(&mut self.wants);
        self.used = 0;
        LaneAsk { lane: lane.to_owned(), wants, pause, windows }
    }

    /// Takes the answer to a call that left at `asked`.
    pub(super) fn paced(&mut self, paced: &Paced, asked: Duration, horizon: Duration) {
        // Others than members can write to the engine: what it says is bounded.
        let paced = Paced { pause: paced.pause.min(LONGEST_TOLD_PAUSE), ..paced.clone() };
        self.granted = paced.slots;
        self.share.paced(&bounded_paced(paced), asked, horizon);
    }

    /// Says that the call has no answer, and since when there was none for how many members.
    pub(super) fn failed(&mut self, apart: Option<(Duration, u32)>, timing: &Timing) {
        let Wants { slots, news, look } = std::mem::take(&mut self.in_call);
        self.wants.slots |= slots;
        self.wants.news |= news;
        self.wants.look |= look;
        self.told_until = Duration::ZERO;
        if let Some((since, members)) = apart {
            self.share.cut_off(since, members, timing);
            // Tried again with the next request, or when a poll was answered.
            self.wants = Wants { news: self.wants.news, ..Wants::default() };
        }
    }

    /// Takes what a poll has brought; says whether something is new.
    pub(super) fn heard(&mut self, pause: Duration, windows: &Windows, now: Duration) -> bool {
        self.wants.look |= self.share.is_apart();
        let until = now + pause.min(LONGEST_TOLD_PAUSE);
        let is_longer = !pause.is_zero() && until > self.share.paused_until();
        if is_longer {
            self.share.pause(until);
        }
        let is_newer = windows.version > self.share.windows().version;
        if is_newer {
            self.share.learn(bounded(windows.clone()));
        }
        is_longer || is_newer
    }

    /// Returns what the throttle follows.
    pub(super) fn news(&self, has_others: bool) -> LaneNews {
        let Windows { version, windows, scope } = self.share.windows();
        LaneNews {
            version: *version,
            scope: scope.clone(),
            windows: windows.iter().map(|window| (window.limit, window.period)).collect(),
            paused_until: self.share.paused_until(),
            has_others,
            is_apart: self.share.is_apart(),
        }
    }
}

fn bounded_paced(paced: Paced) -> Paced {
    Paced { windows: bounded(paced.windows), ..paced }
}

/// Leaves out windows that no machine learns: one of them, written to the engine by a stranger, could
/// stop all requests.
fn bounded(windows: Windows) -> Windows {
    let mut windows = windows;
    windows.windows.retain(|window| window.period <= LONGEST_PERIOD);
    windows
}

/// Longest pause that is told at a time. Nexudus may ask for hours, and a request that tries all the same
/// shows that they are over: the others then wait no longer than this.
const LONGEST_TOLD_PAUSE: Duration = Duration::from_secs(15);

/// How long before its end a pause that lasts is told again: two calls.
const PAUSE_MARGIN: Duration = Duration::from_secs(3);

/// The longest window that is learned.
const LONGEST_PERIOD: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const HORIZON: Duration = ms(600);

    fn answered(lane: &mut LaneState, slots: u32, asked: Duration) -> u32 {
        let LaneAsk { windows, wants, .. } = lane.ask("reads", asked);
        lane.paced(&Paced { windows, slots: slots.min(wants), ..Paced::default() }, asked, HORIZON);
        wants
    }

    #[test]
    fn until_something_is_learned_nothing_is_asked() {
        let mut lane = LaneState::default();
        assert_eq!(lane.take(ms(1), 9, &Timing::default()), Permit::Now);
        assert!(!lane.needs_call(ms(1)));
    }

    #[test]
    fn a_program_that_waits_for_each_answer_gets_more_from_call_to_call() {
        let (mut lane, timing) = (LaneState::default(), Timing::default());
        lane.learn("", &[(100, ms(60_000))]);
        let mut wanted = vec![];
        for round in 0..6 {
            let now = ms(round * 600);
            while lane.take(now, 1, &timing) == Permit::Now {}
            wanted.push(answered(&mut lane, 10, now));
        }
        assert_eq!(wanted, [1, 2, 4, 8, 16, 20]);
        // The slots suffice: as many as were used.
        assert_eq!(lane.take(ms(3_100), 1, &timing), Permit::Now);
        assert_eq!(answered(&mut lane, 10, ms(3_600)), 1);
        assert!(!lane.needs_call(ms(3_600)), "nothing was used since");
    }

    #[test]
    fn a_long_pause_is_told_in_parts() {
        let mut lane = LaneState::default();
        lane.pause(Some(ms(40_000)));
        assert!(lane.needs_call(ms(0)));
        assert_eq!(lane.ask("reads", ms(0)).pause, ms(15_000));
        assert_eq!(lane.tells_pause_at(ms(0)), Some(ms(12_000)));
        assert!(!lane.needs_call(ms(11_999)));
        assert_eq!(lane.ask("reads", ms(12_000)).pause, ms(15_000));
        // A request has passed: the rest is told to no machine.
        lane.pause(None);
        assert_eq!(lane.tells_pause_at(ms(12_000)), None);
    }

    #[test]
    fn what_no_answer_has_confirmed_is_told_again() {
        let (mut lane, timing) = (LaneState::default(), Timing::default());
        lane.learn("/api/*", &[(5, ms(1_000))]);
        lane.pause(Some(ms(900)));
        lane.ask("reads", ms(0));
        assert!(!lane.needs_call(ms(0)));
        lane.failed(None, &timing);
        let again = lane.ask("reads", ms(600));
        assert_eq!((again.windows.version, again.pause), (1, ms(300)));
        assert_eq!(again.windows.scope, "/api/*");
    }

    #[test]
    fn no_window_of_the_engine_is_longer_than_what_a_machine_learns() {
        let mut lane = LaneState::default();
        let planted = Windows::from_text("9 1/99999999999,5/1000");
        assert!(lane.heard(ms(99_999_999), &planted, ms(0)));
        let news = lane.news(true);
        assert_eq!(news.windows, [(5, ms(1_000))]);
        assert_eq!(news.paused_until, ms(15_000));
    }
}
