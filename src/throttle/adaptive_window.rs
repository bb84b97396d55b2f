//! A learned window in use: when it has room, and how its limit is raised on trial and lowered.
//!
//! Additive increase, faster while it succeeds; multiplicative decrease. The first reaction to a
//! throttle response is not a lower count, which has been seen to pass, but more slack for the
//! delays of the network.

use std::time::Duration;

use super::history::{History, SentRequest};
use super::window_inference::{MAX_ARRIVAL_DELAY, Window};

impl Window {
    /// Returns when one more request fits; a time in the past if it fits now.
    ///
    /// Arrival times are unknown. A request counts as late by as much as its response was slower
    /// than the fastest one, so that two requests sent in different windows do not arrive in one.
    /// Where responses usually take longer than `slack`, Nexudus is working on them, and no more
    /// than `slack` is added.
    pub(super) fn next_free(&self, history: &History, slack: Duration, now: Duration) -> Duration {
        let most = if history.usual_lateness(now) <= slack { self.max_slack() } else { slack };
        let late = |sent: &SentRequest| {
            let least = if sent.answered.is_some() { Duration::ZERO } else { slack };
            history.lateness(sent, now).clamp(least, most)
        };
        let recent = history.passed().take_while(|sent| sent.at + self.per + most > now);
        let ends = recent.map(|sent| sent.at + late(sent) + self.per);
        let mut ends: Vec<Duration> = ends.filter(|end| *end > now).collect();
        let count = usize::try_from(self.count).unwrap_or(usize::MAX).max(1);
        let Some(index) = ends.len().checked_sub(count) else { return Duration::ZERO };
        *ends.select_nth_unstable(index).1
    }

    /// Returns how late a request may arrive at first: a twelfth of the window, so that with timers
    /// and scheduling no more than a tenth of the limit is lost.
    pub(super) fn slack(&self) -> Duration {
        (self.per / 12).min(MAX_ARRIVAL_DELAY)
    }

    /// Returns how late a request may arrive at most.
    pub(super) fn max_slack(&self) -> Duration {
        self.per.min(MAX_ARRIVAL_DELAY)
    }
}

/// A window that was learned, and the trials to raise its count.
#[derive(Debug)]
pub(super) struct AdaptiveWindow {
    pub(super) window: Window,
    /// The count before the last raise.
    last_good: u32,
    step: u32,
    /// How late a request may arrive: [`Window::slack`], or more where that was not enough.
    pub(super) slack: Duration,
    /// Whether the last change was a trial to send faster.
    is_trial: bool,
    raise_at: Duration,
    raise_interval: Duration,
    /// Whether the window has delayed a request since its last change.
    pub(super) has_delayed: bool,
}

impl AdaptiveWindow {
    pub(super) fn new(window: Window, now: Duration) -> Self {
        let raise_interval = RAISE_INTERVAL.max(window.per * 10);
        let (last_good, slack, raise_at) = (window.count, window.slack(), now + raise_interval);
        let (is_trial, has_delayed) = (false, false);
        Self { window, last_good, step: 1, slack, is_trial, raise_at, raise_interval, has_delayed }
    }

    /// Sends faster if this window has delayed requests for long enough: first reduces the slack,
    /// then raises the count; sooner again while that succeeds.
    pub(super) fn raise(&mut self, now: Duration) {
        if !self.has_delayed || now < self.raise_at {
            return;
        }
        self.last_good = self.window.count;
        if self.slack > self.window.slack() {
            self.slack = (self.slack / 2).max(self.window.slack());
        } else {
            self.window.count += self.step.min(self.last_good.div_ceil(2));
            self.step *= 2;
        }
        self.is_trial = true;
        self.raise_at = now + NEXT_RAISE_INTERVAL.max(self.window.per * 2);
        self.has_delayed = false;
    }

    /// Lowers the count, to no more than the last good one.
    pub(super) fn lower(&mut self, count: u32, now: Duration) {
        self.window.count = count.min(self.last_good).max(1);
        self.end_trial(now);
    }

    /// Expects requests to arrive later than so far; a count on trial is lowered instead.
    pub(super) fn loosen(&mut self, now: Duration) {
        if self.last_good < self.window.count {
            return self.lower(self.last_good, now);
        }
        self.slack = (self.slack * 2).min(self.window.max_slack());
        self.end_trial(now);
    }

    /// Ends a trial; the next one comes later if this one has failed.
    fn end_trial(&mut self, now: Duration) {
        if std::mem::take(&mut self.is_trial) {
            self.raise_interval =
                self.raise_interval.max((self.raise_interval * 2).min(MAX_RAISE_INTERVAL));
        }
        self.last_good = self.window.count;
        self.step = 1;
        self.raise_at = now + self.raise_interval;
        self.has_delayed = false;
    }
}

/// Time before a raise. A raise that fails costs a pause, most often of one second: once a minute
/// that is 2 %. Long windows wait for ten of their lengths: they need many throttle responses to be
/// proven wrong.
const RAISE_INTERVAL: Duration = Duration::from_secs(60);
const MAX_RAISE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Time from one raise that succeeded to the next.
const NEXT_RAISE_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_secs(1_000) + Duration::from_millis(millis)
    }

    #[test]
    fn a_limit_that_delays_requests_is_raised_on_trial_and_later_after_each_failure() {
        let mut learned =
            AdaptiveWindow::new(Window { count: 10, per: Duration::from_millis(100) }, ms(0));
        learned.raise(ms(60_000));
        assert_eq!(learned.window.count, 10, "the window has delayed no request");

        learned.has_delayed = true;
        learned.raise(ms(59_999));
        assert_eq!(learned.window.count, 10);
        learned.raise(ms(60_000));
        assert_eq!(learned.window.count, 11);

        learned.lower(11, ms(60_500));
        assert_eq!((learned.window.count, learned.raise_interval), (10, 2 * RAISE_INTERVAL));
    }

    #[test]
    fn requests_pushed_together_raise_the_slack_before_they_lower_the_count() {
        let per = Duration::from_millis(120);
        let mut learned = AdaptiveWindow::new(Window { count: 10, per }, ms(0));
        for slack in [20, 40, 80, 120] {
            learned.loosen(ms(0));
            assert_eq!((learned.slack.as_millis(), learned.window.count), (slack, 10));
        }

        learned.has_delayed = true;
        learned.raise(ms(60_000));
        assert_eq!((learned.slack.as_millis(), learned.window.count), (60, 10));
        learned.loosen(ms(60_001));
        assert_eq!((learned.slack, learned.raise_interval), (per, 2 * RAISE_INTERVAL));
    }

    #[test]
    fn raises_grow_while_they_succeed() {
        let mut learned =
            AdaptiveWindow::new(Window { count: 1, per: Duration::from_millis(100) }, ms(0));
        let mut counts = vec![];
        for seconds in (60..110).step_by(10) {
            learned.has_delayed = true;
            learned.raise(ms(seconds * 1_000));
            counts.push(learned.window.count);
        }
        assert_eq!(counts, [2, 3, 5, 8, 12]);
    }
}
