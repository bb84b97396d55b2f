//! The budget of one of several machines that keep one pace: windows come from elsewhere, and the history of this
//! machine is only a part of what Nexudus has counted.

use std::time::Duration;

use super::{Budget, Scope};
use crate::throttle::adaptive_window::AdaptiveWindow;
use crate::throttle::shared_pace::LearnedPace;
use crate::throttle::window_inference::{self, Observation, Window};

impl Budget {
    /// Takes over what another machine has learned. A configured rate stays this machine's own.
    pub(in crate::throttle) fn adopt(&mut self, pace: &LearnedPace, now: Duration) {
        if self.fixed.is_some() {
            return;
        }
        let mut before = std::mem::take(&mut self.learned);
        let learned = pace.windows.iter().map(|window| {
            let same = before.iter().position(|learned| learned.window == *window);
            same.map_or_else(|| AdaptiveWindow::new(*window, now), |at| before.swap_remove(at))
        });
        self.learned = learned.collect();
        self.last_throttled = now;
        self.scope = match &pace.template {
            _ if self.learned.is_empty() && self.pause.is_none() => Scope::Nothing,
            Some(template) => Scope::Template(template.clone()),
            None => Scope::All,
        };
        if self.scope == Scope::All {
            self.history.count_all();
        }
    }

    /// Paces all requests from now on, because another machine was told to wait.
    pub(in crate::throttle) fn heed_pause(&mut self, now: Duration) {
        if self.scope == Scope::Nothing {
            (self.scope, self.last_throttled) = (Scope::All, now);
        }
    }

    /// Says whether other machines send requests too.
    pub(in crate::throttle) fn set_shared(&mut self, is_shared: bool) {
        self.is_shared = is_shared;
    }

    /// Returns what this machine has learned, if that is not `told`. A configured rate is not learned.
    pub(in crate::throttle) fn news_since(&self, told: &LearnedPace) -> Option<LearnedPace> {
        if self.fixed.is_some() {
            return None;
        }
        let template = match &self.scope {
            Scope::Template(template) => Some(template),
            Scope::Nothing | Scope::All => None,
        };
        let windows = || self.learned.iter().map(|learned| learned.window);
        let is_told = windows().eq(told.windows.iter().copied())
            && (self.learned.is_empty() || template == told.template.as_ref());
        let template = template.filter(|_| !self.learned.is_empty()).cloned();
        (!is_told).then(|| LearnedPace { template, windows: windows().collect() })
    }

    /// Records that the common pace delays requests: the slowest window does.
    pub(in crate::throttle) fn record_share_delay(&mut self) {
        let pace = |window: Window| window.per.as_micros() / u128::from(window.count.max(1));
        let slowest = self.learned.iter_mut().max_by_key(|learned| pace(learned.window));
        if let Some(learned) = slowest {
            learned.has_delayed = true;
        }
    }

    /// Learns from a pause where other machines have sent requests too.
    ///
    /// Counts of this machine's history are too low. So a known window is only lowered a little, and one
    /// is added only if it is longer than all that are known: short ones are learned first.
    pub(super) fn resume_shared(&mut self, observations: &[Observation], now: Duration) {
        let inferred = window_inference::infer_windows(&self.history, observations);
        let longest = self.learned.iter().map(|learned| learned.window.per).max();
        match inferred.into_iter().next() {
            Some(window) if Some(window.per) > longest => {
                self.learned.push(AdaptiveWindow::new(window, now));
            }
            Some(_) | None => {
                for learned in &mut self.learned {
                    let count = learned.window.count;
                    learned.lower(count.saturating_sub((count / 8).max(1)), now);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::throttle::budget::{NextSend, ThrottleSignal};

    fn ms(millis: u64) -> Duration {
        Duration::from_secs(1_000) + Duration::from_millis(millis)
    }

    fn learned(count: u32, millis: u64) -> LearnedPace {
        let per = Duration::from_millis(millis);
        LearnedPace { template: None, windows: vec![Window { count, per }] }
    }

    /// Throttles a request and lets the probe pass.
    fn throttle(budget: &mut Budget, at: u64, retry_after: u64) {
        let probe = at + retry_after * 1_000 + 10;
        let retry_after = Some(Duration::from_secs(retry_after));
        budget.record_sent(at, true, ms(at));
        let (sent, template) = (ms(at), "/a");
        let signal = ThrottleSignal { number: at, sent, template, retry_after, jitter: 0 };
        budget.record_throttle(&signal, ms(at + 1));
        budget.record_sent(probe, true, ms(probe));
        budget.record_response(probe, ms(probe + 1));
    }

    #[test]
    fn windows_of_another_machine_pace_this_one_until_they_are_forgotten() {
        let mut budget = Budget::default();
        budget.adopt(&learned(2, 1_000), ms(0));
        assert_eq!(budget.news_since(&learned(2, 1_000)), None);
        for number in 1..=2 {
            assert_eq!(budget.next_send(ms(number)), NextSend::Now);
            budget.record_sent(number, true, ms(number));
        }
        assert!(matches!(budget.next_send(ms(3)), NextSend::At(_)));

        budget.adopt(&LearnedPace::default(), ms(10));

        assert!(!budget.is_pacing());
    }

    #[test]
    fn a_throttle_response_lowers_common_windows_a_little_and_not_to_this_machines_part() {
        let mut budget = Budget::default();
        budget.adopt(&learned(16, 2_000), ms(0));
        budget.set_shared(true);
        throttle(&mut budget, 10_000, 1);
        assert_eq!(budget.news_since(&learned(16, 2_000)), Some(learned(14, 2_000)));
    }

    #[test]
    fn a_long_wait_adds_a_longer_window() {
        let mut budget = Budget::default();
        budget.adopt(&learned(10, 100), ms(0));
        budget.set_shared(true);
        for number in 1..=30 {
            budget.record_sent(number, true, ms(number * 500));
            budget.record_response(number, ms(number * 500 + 1));
        }
        throttle(&mut budget, 20_000, 41);
        let windows = budget.news_since(&LearnedPace::default()).unwrap().windows;
        assert_eq!(windows[0].count, 10, "{windows:?}");
        assert_eq!(windows[1].per, Duration::from_secs(60), "{windows:?}");
    }

    #[test]
    fn a_configured_rate_stays_this_machines_own() {
        let fixed = Window { count: 1, per: Duration::from_secs(1) };
        let mut budget = Budget::new(Some(fixed));
        budget.adopt(&learned(100, 100), ms(0));
        assert_eq!(budget.windows().collect::<Vec<_>>(), [fixed]);
        assert_eq!(budget.news_since(&LearnedPace::default()), None);
    }
}
