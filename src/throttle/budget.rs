//! How much may be sent, and when: a function of what happened and the time. No clock, no lock,
//! no task.
//!
//! Nothing is paced until Nexudus throttles for the first time; after that everything in scope is:
//! first the shape of the path that was throttled, and the whole kind (reads or writes) once a
//! second shape is. A throttle answer pauses the scope for its `Retry-After`. Then one request
//! goes alone; once it has passed, the sliding windows that explain what was seen
//! (`window_inference.rs`) are kept: lowered when they turn out too wide, raised again slowly while they
//! hold callers back. A day without a throttle answer forgets all of it.
//!
//! Published figures, none of which is built in because they contradict each other and Nexudus
//! asks not to hard-code them:
//!
//! | source | reads | writes |
//! |---|---|---|
//! | developers.nexudus.com/reference/api-limitations | 1/100 ms, 120/min, 5,000/h, 200,000/day (all) | 60/min, 5,000/day |
//! | help.nexudus.com/v3/docs/service-limits | 10/100 ms | 60/min, 2,500/day |
//! | the Public API, as told by Nexvite | 10/5 s, answered with 429 | the same |

use std::time::Duration;

use super::adaptive_window::AdaptiveWindow;
use super::history::{History, SentRequest};
use super::window_inference::{self, Observation, Window};

/// What one kind of requests may send.
#[derive(Debug, Default)]
pub(super) struct Budget {
    fixed: Option<Window>,
    scope: Scope,
    history: History,
    learned: Vec<AdaptiveWindow>,
    pause: Option<Pause>,
    last_throttled: Duration,
}

/// What is paced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Scope {
    /// Nothing.
    #[default]
    Nothing,
    /// Requests for paths of this shape.
    Shape(String),
    /// Every request of the kind.
    All,
}

/// When the next request in scope may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextSend {
    /// Now.
    Now,
    /// Not before this time.
    At(Duration),
    /// When the single probe under way has its answer, or at this time.
    AfterProbe(Duration),
}

/// A throttle answer, with what is needed to draw conclusions from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThrottleSignal<'a> {
    /// The request's number.
    pub(super) number: u64,
    /// When it was sent.
    pub(super) sent: Duration,
    /// The shape of its path.
    pub(super) shape: &'a str,
    /// Its `Retry-After`.
    pub(super) retry_after: Option<Duration>,
    /// Spreads growing waits; in thousandths.
    pub(super) jitter: u16,
}

#[derive(Debug)]
struct Pause {
    until: Duration,
    /// One request may go alone from here on, although `until` is far.
    probe_at: Duration,
    probe: Option<(u64, Duration)>,
    /// The throttle answers that each round began with.
    observations: Vec<Observation>,
}

impl Budget {
    /// Paces at `fixed` from the beginning, or at what will be learned.
    pub(super) fn new(fixed: Option<Window>) -> Self {
        let scope = if fixed.is_some() { Scope::All } else { Scope::Nothing };
        Self { fixed, scope, ..Self::default() }
    }

    /// Paces at `fixed` from now on, or at what will be learned. A pause holds on.
    pub(super) fn reconfigure(&mut self, fixed: Option<Window>) {
        if self.fixed == fixed {
            return;
        }
        self.fixed = fixed;
        self.learned.clear();
        let is_paced = fixed.is_some() || self.pause.is_some();
        self.scope = if is_paced { Scope::All } else { Scope::Nothing };
        self.history.count_all();
    }

    /// Says whether anything is paced at all.
    pub(super) fn is_pacing(&self) -> bool {
        self.scope != Scope::Nothing
    }

    /// Says whether a request for a path of this shape must look at [`Budget::next_send`].
    pub(super) fn covers(&self, shape: &str) -> bool {
        match &self.scope {
            Scope::Nothing => false,
            Scope::Shape(paced) => paced == shape,
            Scope::All => true,
        }
    }

    /// Returns what is paced.
    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns until when Nexudus has asked to wait.
    pub(super) fn paused_until(&self, now: Duration) -> Option<Duration> {
        self.pause.as_ref().map(|pause| pause.until).filter(|until| *until > now)
    }

    /// Returns the windows that are kept.
    pub(super) fn windows(&self) -> impl Iterator<Item = Window> {
        self.fixed.into_iter().chain(self.learned.iter().map(|learned| learned.window))
    }

    /// Says whether the windows were learned.
    pub(super) fn is_learned(&self) -> bool {
        self.fixed.is_none()
    }

    /// Takes over what was sent while nothing was paced.
    pub(super) fn set_history(&mut self, log: History) {
        self.history = log;
    }

    /// Says when the next request in scope may go.
    pub(super) fn next_send(&mut self, now: Duration) -> NextSend {
        self.expire_probe(now);
        if let Some(pause) = &self.pause {
            if let Some((_, sent)) = pause.probe {
                return NextSend::AfterProbe(sent + window_inference::MAX_ARRIVAL_DELAY);
            }
            if now < pause.until {
                return NextSend::At(pause.until);
            }
        }
        if let Some(window) = self.fixed {
            return when(window.next_free(&self.history, window.slack(), now), now);
        }
        let free =
            |learned: &AdaptiveWindow| learned.window.next_free(&self.history, learned.slack, now);
        let frees = self.learned.iter().map(free).enumerate();
        let Some((index, free)) = frees.max_by_key(|(_, free)| *free) else { return NextSend::Now };
        self.learned[index].has_delayed |= free > now;
        when(free, now)
    }

    /// Says whether one request may go alone into a pause that is longer than anybody waits.
    pub(super) fn can_probe(&self, now: Duration) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.probe.is_none() && now >= pause.probe_at)
    }

    /// Notes that a request goes out; `counts`: it is in scope.
    pub(super) fn record_sent(&mut self, number: u64, counts: bool, now: Duration) {
        if let Some(start) = now.checked_sub(
            window_inference::MAX_WINDOW_PERIOD + window_inference::MAX_WINDOW_PERIOD / 10,
        ) {
            self.history.forget_before(start);
        }
        self.history.push(SentRequest {
            number,
            at: now,
            answered: None,
            in_scope: counts,
            throttled: false,
        });
        if let Some(pause) = self.pause.as_mut().filter(|_| counts) {
            pause.probe.get_or_insert((number, now));
        }
    }

    /// Notes an answer that was no throttle answer.
    pub(super) fn record_response(&mut self, number: u64, now: Duration) {
        self.history.record_response(number, false, now);
        if self.probe() == Some(number) {
            self.resume(now);
        }
        self.learned.iter_mut().for_each(|learned| learned.raise(now));
        if self.is_learned()
            && self.pause.is_none()
            && now.saturating_sub(self.last_throttled) > LEARNED_LIFETIME
        {
            *self = Self::new(self.fixed);
        }
    }

    /// Notes that no answer came, or that nobody waited for it. It stays in the log: it may have
    /// been counted, and who knows when it arrived.
    pub(super) fn record_loss(&mut self, number: u64) {
        self.forget_probe(number);
    }

    /// Notes that a request was not sent after all.
    pub(super) fn withdraw(&mut self, number: u64) {
        self.history.remove(number);
        self.forget_probe(number);
    }

    /// Notes a throttle answer.
    pub(super) fn record_throttle(&mut self, told: &ThrottleSignal<'_>, now: Duration) {
        self.last_throttled = now;
        self.widen(told.shape);
        self.history.record_response(told.number, true, now);
        let is_probe = self.probe() == Some(told.number);
        let witness = Observation { sent: told.sent, answered: now, retry_after: told.retry_after };
        match &mut self.pause {
            // Sent before the pause began: it tells what is known already.
            Some(pause) if !is_probe => {
                let until = told.retry_after.map_or(pause.until, |wait| now + wait);
                pause.until = pause.until.max(until);
            }
            Some(pause) => {
                let wait = backoff(pause.observations.len(), told.jitter);
                pause.probe = None;
                pause.until = now + told.retry_after.unwrap_or(wait);
                pause.probe_at = now + wait;
                if pause.observations.len() < MAX_OBSERVATIONS {
                    pause.observations.push(witness);
                }
            }
            None => {
                let wait = backoff(0, told.jitter);
                self.pause = Some(Pause {
                    until: now + told.retry_after.unwrap_or(wait),
                    probe_at: now + wait,
                    probe: None,
                    observations: vec![witness],
                });
            }
        }
    }

    fn widen(&mut self, shape: &str) {
        match &self.scope {
            Scope::All => {}
            Scope::Shape(paced) if paced == shape => {}
            Scope::Nothing => self.scope = Scope::Shape(shape.to_owned()),
            Scope::Shape(_) => {
                self.scope = Scope::All;
                self.history.count_all();
                // What was learned of a part does not hold for the whole.
                self.learned.clear();
            }
        }
    }

    fn probe(&self) -> Option<u64> {
        self.pause.as_ref()?.probe.map(|(number, _)| number)
    }

    fn forget_probe(&mut self, number: u64) {
        if let Some(pause) = self
            .pause
            .as_mut()
            .filter(|pause| pause.probe.is_some_and(|(probe, _)| probe == number))
        {
            pause.probe = None;
        }
    }

    /// Throttle answers come fast: a probe that has none after a while is being worked on.
    fn expire_probe(&mut self, now: Duration) {
        let sent = self.pause.as_ref().and_then(|pause| pause.probe).map(|(_, sent)| sent);
        if sent.is_some_and(|sent| now >= sent + window_inference::MAX_ARRIVAL_DELAY) {
            self.resume(now);
        }
    }

    /// Ends the pause and draws the conclusions.
    fn resume(&mut self, now: Duration) {
        let Some(pause) = self.pause.take() else { return };
        if self.fixed.is_some() {
            return;
        }
        for window in window_inference::infer_windows(&self.history, &pause.observations) {
            match self.learned.iter_mut().find(|known| known.window.per == window.per) {
                None => return self.learned.push(AdaptiveWindow::new(window, now)),
                Some(known) if window.count < known.window.count => {
                    return known.lower(window.count, now);
                }
                // Within what was thought to be the limit: most likely the network has pushed
                // requests together, else somebody else draws on it too.
                Some(known) if known.slack < window.max_slack() => return known.loosen(now),
                Some(known) if known.window.count > 1 => {
                    let less = (known.window.count / 8).max(1);
                    return known.lower(known.window.count - less, now);
                }
                Some(_) => {}
            }
        }
        // Nothing explains it: somebody else, or this daemon before a restart, has used the limit
        // up. Less of everything; what is not known yet, the next answer will teach.
        for learned in &mut self.learned {
            let count = learned.window.count;
            learned.lower((count - count.div_ceil(4)).max(1), now);
        }
    }
}

fn when(time: Duration, now: Duration) -> NextSend {
    if time > now { NextSend::At(time) } else { NextSend::Now }
}

/// Returns the wait after so many throttle answers in a row without a `Retry-After`: 1 s, 2 s,
/// 4 s, … up to [`MAX_BACKOFF`], and up to a quarter less.
fn backoff(rounds: usize, jitter: u16) -> Duration {
    let doublings = u32::try_from(rounds).unwrap_or(u32::MAX).min(4);
    let wait = MAX_BACKOFF.min(Duration::from_secs(1 << doublings));
    wait - wait / 4 * u32::from(jitter.min(1_000)) / 1_000
}

/// What clients that know of no `Retry-After` fall back to (5, 10 and 15 s in four of them).
const MAX_BACKOFF: Duration = Duration::from_secs(15);

/// How long a limit is believed in without being met again: the longest published window.
const LEARNED_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Enough to refute every window but the right one.
const MAX_OBSERVATIONS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_secs(1_000) + Duration::from_millis(millis)
    }

    fn told(number: u64, sent: u64, wait: Option<u64>) -> ThrottleSignal<'static> {
        let wait = wait.map(Duration::from_millis);
        ThrottleSignal { number, sent: ms(sent), shape: "/a", retry_after: wait, jitter: 0 }
    }

    /// A budget whose request 1 was throttled at 0 ms.
    fn paused(wait: Option<u64>) -> Budget {
        let mut budget = Budget::default();
        budget.record_sent(1, true, ms(0));
        budget.record_throttle(&told(1, 0, wait), ms(0));
        budget
    }

    #[test]
    fn nothing_is_paced_before_the_first_throttle_answer() {
        let mut budget = Budget::default();
        for number in 0..1_000 {
            assert_eq!(budget.next_send(ms(0)), NextSend::Now);
            budget.record_sent(number, true, ms(0));
            budget.record_response(number, ms(1));
        }
        assert!(!budget.is_pacing());
    }

    #[test]
    fn a_throttle_answer_pauses_for_its_retry_after() {
        let mut budget = paused(Some(2_500));

        assert_eq!(budget.next_send(ms(1)), NextSend::At(ms(2_500)));
        assert_eq!(budget.paused_until(ms(1)), Some(ms(2_500)));
        assert_eq!(budget.next_send(ms(2_500)), NextSend::Now);
        assert_eq!(budget.paused_until(ms(2_500)), None);
    }

    #[test]
    fn without_a_retry_after_the_pause_grows_from_one_to_fifteen_seconds() {
        let mut budget = paused(None);
        let (mut at, mut waits) = (0, vec![]);
        for number in 2..8 {
            let NextSend::At(until) = budget.next_send(ms(at)) else { panic!("not paused") };
            waits.push((until - ms(at)).as_millis());
            at = u64::try_from((until - ms(0)).as_millis()).unwrap();
            budget.record_sent(number, true, until);
            budget.record_throttle(&told(number, at, None), until);
        }
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
    }

    #[test]
    fn jitter_takes_up_to_a_quarter() {
        assert_eq!(backoff(0, 1_000), Duration::from_millis(750));
        assert_eq!(backoff(9, 500), Duration::from_millis(13_125));
    }

    #[test]
    fn what_was_sent_before_the_pause_and_is_throttled_too_only_lengthens_it() {
        let mut budget = Budget::default();
        budget.record_sent(1, true, ms(0));
        budget.record_sent(2, true, ms(0));
        budget.record_throttle(&told(1, 0, Some(1_000)), ms(10));
        budget.record_throttle(&told(2, 0, Some(1_500)), ms(20));
        assert_eq!(budget.next_send(ms(30)), NextSend::At(ms(1_520)));
    }

    #[test]
    fn a_shape_is_paced_first_and_the_whole_kind_after_a_second_one() {
        let mut budget = paused(Some(1_000));
        assert!(budget.covers("/a") && !budget.covers("/b"));

        budget.record_sent(2, false, ms(5));
        budget.record_throttle(&ThrottleSignal { shape: "/b", ..told(2, 5, Some(1_000)) }, ms(6));

        assert!(budget.covers("/a") && budget.covers("/b") && budget.covers("/c"));
    }

    #[test]
    fn after_a_pause_one_goes_alone() {
        let mut budget = paused(Some(1_000));
        budget.record_sent(2, true, ms(1_000));

        assert_eq!(budget.next_send(ms(1_001)), NextSend::AfterProbe(ms(2_000)));
        budget.record_response(2, ms(1_002));
        assert!(matches!(budget.next_send(ms(1_200)), NextSend::Now | NextSend::At(_)));
    }

    #[test]
    fn a_probe_that_takes_long_has_passed() {
        let mut budget = paused(Some(1_000));
        budget.record_sent(2, true, ms(1_000));
        assert!(!matches!(budget.next_send(ms(2_000)), NextSend::AfterProbe(_)));
    }

    #[test]
    fn a_probe_that_was_never_sent_or_got_no_answer_leaves_its_place_to_another() {
        for lose in [Budget::withdraw, Budget::record_loss as fn(&mut Budget, u64)] {
            let mut budget = paused(Some(1_000));
            budget.record_sent(2, true, ms(1_000));
            lose(&mut budget, 2);
            assert_eq!(budget.next_send(ms(1_002)), NextSend::Now);
        }
    }

    #[test]
    fn a_pause_longer_than_anybody_waits_is_probed_now_and_then() {
        let mut budget = paused(Some(3_600_000));
        assert!(!budget.can_probe(ms(999)));
        assert!(budget.can_probe(ms(1_000)));

        budget.record_sent(2, true, ms(1_000));
        assert!(!budget.can_probe(ms(1_001)), "one at a time");
        budget.record_throttle(&told(2, 1_000, Some(3_599_000)), ms(1_010));
        assert!(!budget.can_probe(ms(3_009)));
        assert!(budget.can_probe(ms(3_010)));

        budget.record_sent(3, true, ms(3_010));
        budget.record_response(3, ms(3_020));
        assert_eq!(budget.paused_until(ms(3_021)), None);
    }

    #[test]
    fn a_window_lets_as_many_through_as_it_says() {
        let mut budget = Budget::new(Some(Window { count: 2, per: Duration::from_secs(10) }));
        for number in 1..3 {
            assert_eq!(budget.next_send(ms(0)), NextSend::Now);
            budget.record_sent(number, true, ms(0));
            budget.record_response(number, ms(5));
        }
        assert_eq!(budget.next_send(ms(10)), NextSend::At(ms(10_000)));
        assert_eq!(budget.next_send(ms(10_000)), NextSend::Now);
    }

    #[test]
    fn a_request_arrives_as_late_as_its_answer_came_after_the_quickest() {
        let answers = [(9, 100), (4, 100), (7, 103), (6, 102), (90, 186), (4, 100)];
        assert_eq!(freed(answers.into_iter()), answers);
    }

    #[test]
    fn where_answers_take_long_a_twelfth_of_the_window_is_allowed_for() {
        let answers = (0..40).map(|n| if n == 0 { (1, 100) } else { (60 + n, 108) });
        let late = freed(answers.clone()).into_iter().skip(20);
        assert!(late.eq(answers.skip(20)));
    }

    /// One request in 100 ms, answered after so many milliseconds: after how many goes the next?
    fn freed(answers: impl Iterator<Item = (u64, u128)>) -> Vec<(u64, u128)> {
        let mut budget = Budget::new(Some(Window { count: 1, per: Duration::from_millis(100) }));
        let freed = |(number, (took, _))| {
            let sent = number * 1_000;
            budget.record_sent(number, true, ms(sent));
            budget.record_response(number, ms(sent + took));
            match budget.next_send(ms(sent + took)) {
                NextSend::At(time) => (took, (time - ms(sent)).as_millis()),
                other @ (NextSend::Now | NextSend::AfterProbe(_)) => panic!("{other:?}"),
            }
        };
        (1..).zip(answers).map(freed).collect()
    }

    #[test]
    fn a_fixed_pace_is_never_changed_by_an_answer() {
        let window = Window { count: 5, per: Duration::from_secs(1) };
        let mut budget = Budget::new(Some(window));
        budget.record_sent(1, true, ms(0));
        budget.record_throttle(&told(1, 0, Some(1_000)), ms(1));
        budget.record_sent(2, true, ms(1_001));
        budget.record_response(2, ms(1_002));
        assert_eq!(budget.windows().collect::<Vec<_>>(), [window]);
    }

    #[test]
    fn a_day_without_a_throttle_answer_is_forgotten() {
        let mut budget = paused(Some(1_000));
        let day = 86_400_000;
        budget.record_sent(2, true, ms(1_000));
        budget.record_response(2, ms(1_001));
        budget.record_sent(3, true, ms(day + 1));
        budget.record_response(3, ms(day + 2));
        assert!(!budget.is_pacing());
    }
}
