//! One rate for all members: slots from the engine, and a share while the engine is away.
//!
//! Until the issuer throttles, none of this costs anything. Then members share the pause and the
//! windows that they have learned, and each asks once for the slots of the next half second. The
//! engine counts with sliding windows, so that no edge lets twice the rate through.
//!
//! A member that is cut off uses the limit divided by the members that it last heard of, evenly
//! spaced, for as long as the others leave that part unused. After that it sends one request at a
//! time. A member that has never heard of the others does so at once.
//!
//! Requests that the issuer counts apart, such as reads and writes, have a lane each.

use std::fmt::Write as _;
use std::time::Duration;

use crate::timing::Timing;

/// A limit: so many requests in any period of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Requests.
    pub limit: u32,
    /// The length.
    pub period: Duration,
}

/// The windows that members have learned. Of two versions the higher one stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// The version: whoever learns something raises it.
    pub version: u64,
    /// All of them hold at once.
    pub windows: Vec<Window>,
    /// The requests of the lane that they hold for, in the program's words; empty for all of them.
    pub scope: String,
}

/// The part of a call that is about one lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneAsk {
    /// The name of the lane: letters.
    pub lane: String,
    /// How many slots it could use within the horizon.
    pub wants: u32,
    /// The pause that the issuer told it, if there was one since its last call.
    pub pause: Duration,
    /// The windows that it knows.
    pub windows: Windows,
}

/// What the engine says about the pace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paced {
    /// How much longer no request is sent.
    pub pause: Duration,
    /// The newest windows.
    pub windows: Windows,
    /// Slots for the caller.
    pub slots: u32,
    /// When the first of them begins, from now.
    pub first: Duration,
    /// The time between them.
    pub gap: Duration,
}

/// Whether a request may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Now.
    Now,
    /// Not before this reading of the clock.
    At(Duration),
    /// After the next answer of the engine.
    Ask,
    /// Now, if no other request of this member is under way.
    Alone,
}

/// The part of the common rate that a member may use.
#[derive(Clone, Debug, Default)]
pub struct Share {
    windows: Windows,
    paused_until: Duration,
    slots: u32,
    next: Duration,
    gap: Duration,
    /// Slots that were not used by then are lost: the engine has counted them.
    ends: Duration,
    apart: Option<CutOff>,
}

#[derive(Clone, Copy, Debug)]
struct CutOff {
    since: Duration,
    members: u32,
    next: Duration,
}

impl Windows {
    /// Writes them as the scripts read them.
    pub fn to_text(&self) -> String {
        let mut text = format!("{} ", self.version);
        for (index, window) in self.windows.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _infallible = write!(text, "{comma}{}/{}", window.limit, window.period.as_millis());
        }
        // In digits that no script takes for a window.
        for (index, byte) in self.scope.bytes().enumerate() {
            let space = if index == 0 { " " } else { "" };
            let _infallible = write!(text, "{space}{byte:02x}");
        }
        text
    }

    /// Reads what [`Windows::to_text`] wrote; what reads otherwise is no window.
    pub fn from_text(text: &str) -> Self {
        let (version, rest) = text.split_once(' ').unwrap_or_default();
        let (list, scope) = rest.split_once(' ').unwrap_or((rest, ""));
        let window = |one: &str| {
            let (limit, period) = one.split_once('/')?;
            let (limit, period) = (limit.parse().ok()?, period.parse().ok()?);
            (limit > 0 && period > 0)
                .then(|| Window { limit, period: Duration::from_millis(period) })
        };
        let windows = list.split(',').filter_map(window).collect();
        let scope = unhex(scope).unwrap_or_default();
        Self { version: version.parse().unwrap_or_default(), windows, scope }
    }
}

fn unhex(digits: &str) -> Option<String> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    String::from_utf8(pairs.map(byte).collect::<Option<_>>()?).ok()
}

impl Share {
    /// Takes the answer to a call that left at `asked` and asked for the time until `horizon` later.
    pub fn paced(&mut self, paced: &Paced, asked: Duration, horizon: Duration) {
        self.apart = None;
        self.paused_until = asked + paced.pause;
        // Windows that were learned while the call was under way are told with the next one.
        if paced.windows.version >= self.windows.version {
            self.windows = paced.windows.clone();
        }
        (self.slots, self.gap) = (paced.slots, paced.gap);
        // Counted from before the call: a slot is never used later than the engine thinks.
        self.next = asked + paced.first;
        self.ends = asked + horizon + paced.gap;
    }

    /// Takes windows that this member has learned, and which the engine has still to hear of.
    pub fn learn(&mut self, windows: Windows) {
        if windows.version > self.windows.version {
            self.windows = windows;
            self.slots = 0;
        }
    }

    /// Takes a pause that is heard of elsewhere than in an answer.
    pub fn pause(&mut self, until: Duration) {
        self.paused_until = self.paused_until.max(until);
    }

    /// Returns the windows in use.
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    /// Returns until when no request is sent.
    pub fn paused_until(&self) -> Duration {
        self.paused_until
    }

    /// Says whether the engine paces the requests, or this member does because it is cut off.
    pub fn is_apart(&self) -> bool {
        self.apart.is_some()
    }

    /// Says that the engine has not answered since `since`, and how many members there were; zero if
    /// that was never known.
    pub fn cut_off(&mut self, since: Duration, members: u32, timing: &Timing) {
        if self.apart.is_none() {
            // Only from then on do the others leave this share unused.
            let next = since + timing.cut_off;
            self.apart = Some(CutOff { since, members, next });
            self.slots = 0;
        }
    }

    /// Takes a permit for one request, if there is one now.
    pub fn take(&mut self, now: Duration, timing: &Timing) -> Permit {
        if now < self.paused_until {
            return Permit::At(self.paused_until);
        }
        if self.windows.windows.is_empty() {
            return Permit::Now;
        }
        if let Some(apart) = &mut self.apart {
            if apart.members == 0 || now > apart.since + timing.share {
                return Permit::Alone;
            }
            if now < apart.next {
                return Permit::At(apart.next);
            }
            let gaps =
                self.windows.windows.iter().map(|one| one.period * apart.members / one.limit);
            // A little more, so that no delay on the way brings one more into a period.
            apart.next = now + gaps.max().unwrap_or_default() * 21 / 20;
            return Permit::Now;
        }
        if self.slots == 0 || now > self.ends {
            return Permit::Ask;
        }
        if now < self.next {
            return Permit::At(self.next);
        }
        self.slots -= 1;
        // A late one does not make the next one follow at once.
        self.next = (self.next + self.gap).max(now + self.gap / 2);
        Permit::Now
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn windows(limit: u32, period: u64) -> Windows {
        let windows = vec![Window { limit, period: ms(period) }];
        Windows { version: 1, windows, scope: String::new() }
    }

    fn timing() -> Timing {
        Timing { share: ms(600_000), cut_off: ms(15_000), ..Timing::default() }
    }

    #[test]
    fn before_the_first_throttle_every_request_is_sent() {
        assert_eq!(Share::default().take(ms(1), &timing()), Permit::Now);
    }

    #[test]
    fn slots_are_used_one_after_the_other_and_end() {
        let mut share = Share::default();
        let (slots, first, gap) = (3, ms(20), ms(10));
        let paced = Paced { windows: windows(10, 100), slots, first, gap, ..Paced::default() };
        share.paced(&paced, ms(1_000), ms(500));

        assert_eq!(share.take(ms(1_000), &timing()), Permit::At(ms(1_020)));
        assert_eq!(share.take(ms(1_020), &timing()), Permit::Now);
        assert_eq!(share.take(ms(1_021), &timing()), Permit::At(ms(1_030)));
        assert_eq!(share.take(ms(1_040), &timing()), Permit::Now);
        assert_eq!(share.take(ms(1_600), &timing()), Permit::Ask);
    }

    #[test]
    fn a_pause_holds_for_all() {
        let mut share = Share::default();
        share.paced(&Paced { pause: ms(700), ..Paced::default() }, ms(1_000), ms(500));
        assert_eq!(share.take(ms(1_100), &timing()), Permit::At(ms(1_700)));
        assert_eq!(share.take(ms(1_700), &timing()), Permit::Now);
    }

    #[test]
    fn a_member_that_is_cut_off_has_its_share_and_later_one_request_at_a_time() {
        let mut share = Share::default();
        share.paced(&Paced { windows: windows(120, 60_000), ..Paced::default() }, ms(0), ms(500));
        share.cut_off(ms(1_000), 4, &timing());

        assert_eq!(share.take(ms(1_000), &timing()), Permit::At(ms(16_000)));
        assert_eq!(share.take(ms(16_000), &timing()), Permit::Now);
        assert_eq!(share.take(ms(16_001), &timing()), Permit::At(ms(18_100)));
        assert_eq!(share.take(ms(601_001), &timing()), Permit::Alone);
    }

    #[test]
    fn a_member_that_has_never_heard_of_the_others_sends_one_request_at_a_time() {
        let mut share = Share::default();
        share.cut_off(ms(1_000), 0, &timing());
        assert_eq!(share.take(ms(1_000), &timing()), Permit::Now, "nothing was throttled");

        share.learn(windows(120, 60_000));

        assert_eq!(share.take(ms(1_000), &timing()), Permit::Alone);
    }

    #[test]
    fn what_a_member_learns_holds_before_the_engine_knows() {
        let mut share = Share::default();
        share.learn(windows(120, 60_000));
        assert_eq!(share.take(ms(1_000), &timing()), Permit::Ask);
        share.learn(Windows::default());
        assert_eq!(share.windows().version, 1, "an older version changes nothing");
    }

    proptest! {
        #[test]
        fn windows_survive_their_text(
            version: u64,
            list in proptest::collection::vec((1_u32.., 1_u64..1 << 40), 0..5),
            scope: String,
        ) {
            let windows =
                list.into_iter().map(|(limit, period)| Window { limit, period: ms(period) }).collect();
            let windows = Windows { version, windows, scope };
            prop_assert_eq!(Windows::from_text(&windows.to_text()), windows);
        }

        #[test]
        fn any_text_is_read(text: String) {
            let _windows = Windows::from_text(&text);
        }
    }
}
