//! A learned window in use: when it has room, and how its limit is tried upwards and taken back.
//!
//! Additive increase, quicker while it goes well; multiplicative decrease. What is lowered first is
//! not the count, which was seen to pass, but the trust in the network's punctuality.

use std::time::Duration;

use super::history::{Log, Sent};
use super::learn::{ARRIVAL, Window};

impl Window {
    /// Returns when one more fits; a time that has passed if it does now.
    ///
    /// A request may have arrived as much later than the quickest ones do as its answer came
    /// later than theirs: so two that leave in different windows do not arrive in one. Where
    /// answers usually take longer than `slack`, it is their work that takes so long, and no more
    /// than `slack` is allowed for.
    pub(super) fn free_at(&self, log: &Log, slack: Duration, now: Duration) -> Duration {
        let most = if log.usual_lateness(now) <= slack { self.most_slack() } else { slack };
        let late = |sent: &Sent| {
            let least = if sent.answered.is_some() { Duration::ZERO } else { slack };
            log.lateness(sent, now).clamp(least, most)
        };
        let recent = log.passed().take_while(|sent| sent.at + self.per + most > now);
        let ends = recent.map(|sent| sent.at + late(sent) + self.per);
        let mut ends: Vec<Duration> = ends.filter(|end| *end > now).collect();
        let count = usize::try_from(self.count).unwrap_or(usize::MAX).max(1);
        let Some(place) = ends.len().checked_sub(count) else { return Duration::ZERO };
        *ends.select_nth_unstable(place).1
    }

    /// Returns how late a request may arrive at first: a twelfth of the span, so that with timers
    /// and turns no more than a tenth of the limit is lost.
    pub(super) fn slack(&self) -> Duration {
        (self.per / 12).min(ARRIVAL)
    }

    /// Returns how late one may arrive at all.
    pub(super) fn most_slack(&self) -> Duration {
        self.per.min(ARRIVAL)
    }
}

/// A window that was learned, and how its count is tried upwards.
#[derive(Debug)]
pub(super) struct Learned {
    pub(super) window: Window,
    /// The count before it was last raised.
    good: u32,
    step: u32,
    /// How late a request may arrive: [`Window::slack`], more where that has not been enough.
    pub(super) slack: Duration,
    /// Whether the last change was an attempt to send faster.
    tried: bool,
    raise_at: Duration,
    patience: Duration,
    /// Whether it has held anybody back since it was last changed.
    pub(super) pressed: bool,
}

impl Learned {
    pub(super) fn new(window: Window, now: Duration) -> Self {
        let patience = PATIENCE.max(window.per * 10);
        let (good, slack, raise_at) = (window.count, window.slack(), now + patience);
        let (tried, pressed) = (false, false);
        Self { window, good, step: 1, slack, tried, raise_at, patience, pressed }
    }

    /// Sends faster if this window has been in the way for long enough: takes back the slack, then
    /// raises the count; sooner again while that goes well.
    pub(super) fn raise(&mut self, now: Duration) {
        if !self.pressed || now < self.raise_at {
            return;
        }
        self.good = self.window.count;
        if self.slack > self.window.slack() {
            self.slack = (self.slack / 2).max(self.window.slack());
        } else {
            self.window.count += self.step.min(self.good.div_ceil(2));
            self.step *= 2;
        }
        self.tried = true;
        self.raise_at = now + SUCCESS.max(self.window.per * 2);
        self.pressed = false;
    }

    /// Lowers the count, to no more than the last one that was good.
    pub(super) fn lower(&mut self, count: u32, now: Duration) {
        self.window.count = count.min(self.good).max(1);
        self.fall_back(now);
    }

    /// Expects requests to arrive later than so far; a count that was tried is taken back instead.
    pub(super) fn loosen(&mut self, now: Duration) {
        if self.good < self.window.count {
            return self.lower(self.good, now);
        }
        self.slack = (self.slack * 2).min(self.window.most_slack());
        self.fall_back(now);
    }

    /// The next attempt comes later if this one has failed.
    fn fall_back(&mut self, now: Duration) {
        if std::mem::take(&mut self.tried) {
            self.patience = self.patience.max((self.patience * 2).min(MOST_PATIENCE));
        }
        self.good = self.window.count;
        self.step = 1;
        self.raise_at = now + self.patience;
        self.pressed = false;
    }
}

/// A raise that fails costs a pause, most often of one second: once a minute that is 2 %. For long windows
/// ten spans: they take many throttle answers to be proven wrong.
const PATIENCE: Duration = Duration::from_secs(60);
const MOST_PATIENCE: Duration = Duration::from_secs(60 * 60);

/// From one raise that went well to the next.
const SUCCESS: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_secs(1_000) + Duration::from_millis(millis)
    }

    #[test]
    fn a_limit_that_is_in_the_way_is_tried_upwards_and_believed_longer_each_time_it_holds() {
        let mut learned =
            Learned::new(Window { count: 10, per: Duration::from_millis(100) }, ms(0));
        learned.raise(ms(60_000));
        assert_eq!(learned.window.count, 10, "it held nobody back");

        learned.pressed = true;
        learned.raise(ms(59_999));
        assert_eq!(learned.window.count, 10);
        learned.raise(ms(60_000));
        assert_eq!(learned.window.count, 11);

        learned.lower(11, ms(60_500));
        assert_eq!((learned.window.count, learned.patience), (10, 2 * PATIENCE));
    }

    #[test]
    fn requests_pushed_together_cost_slack_before_they_cost_count() {
        let per = Duration::from_millis(120);
        let mut learned = Learned::new(Window { count: 10, per }, ms(0));
        for slack in [20, 40, 80, 120] {
            learned.loosen(ms(0));
            assert_eq!((learned.slack.as_millis(), learned.window.count), (slack, 10));
        }

        learned.pressed = true;
        learned.raise(ms(60_000));
        assert_eq!((learned.slack.as_millis(), learned.window.count), (60, 10));
        learned.loosen(ms(60_001));
        assert_eq!((learned.slack, learned.patience), (per, 2 * PATIENCE));
    }

    #[test]
    fn raising_goes_faster_while_it_goes_well() {
        let mut learned = Learned::new(Window { count: 1, per: Duration::from_millis(100) }, ms(0));
        let mut counts = vec![];
        for seconds in (60..110).step_by(10) {
            learned.pressed = true;
            learned.raise(ms(seconds * 1_000));
            counts.push(learned.window.count);
        }
        assert_eq!(counts, [2, 3, 5, 8, 12]);
    }
}
