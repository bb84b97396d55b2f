//! How much may be sent, and when: a function of past responses and the time. No clock, no lock,
//! no task.
//!
//! Nothing is paced until Nexudus throttles for the first time; after that every request in scope
//! is. The scope is the path template that was throttled first, and the whole kind (reads or
//! writes) once a second template is throttled. A throttle response pauses the scope for its
//! `Retry-After`. Then one request goes alone, as a probe. Once it has passed, the sliding windows
//! that explain the history (`window_inference.rs`) stay in use: they are lowered when they turn
//! out too wide, and raised again slowly while they delay requests. A day without a throttle
//! response forgets all of it.
//!
//! Published figures, none of which is built in because they contradict each other and Nexudus
//! asks not to hard-code them:
//!
//! | source | reads | writes |
//! |---|---|---|
//! | developers.nexudus.com/reference/api-limitations | 1/100 ms, 120/min, 5,000/h, 200,000/day (all) | 60/min, 5,000/day |
//! | help.nexudus.com/v3/docs/service-limits | 10/100 ms | 60/min, 2,500/day |
//! | the Public API, as told by Nexvite | 10/5 s, else 429 | the same |

mod sharing;

use std::time::Duration;

use super::adaptive_window::AdaptiveWindow;
use super::history::{History, SentRequest};
use super::window_inference::{self, Observation, Window};

/// The budget of one kind of requests.
#[derive(Debug, Default)]
pub(super) struct Budget {
    fixed: Option<Window>,
    scope: Scope,
    history: History,
    learned: Vec<AdaptiveWindow>,
    pause: Option<Pause>,
    last_throttled: Duration,
    /// Whether other machines send requests too, which this history does not have.
    is_shared: bool,
}

/// The requests that are paced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Scope {
    /// Nothing.
    #[default]
    Nothing,
    /// Requests for paths of this template.
    Template(String),
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
    /// When the probe in flight has its response, or at this time.
    AfterProbe(Duration),
    /// Not before this time, by the common pace of several machines.
    InTurn(Duration),
    /// When the common pace has slots again, or at this time.
    AfterSlots(Duration),
}

/// A throttle response, with the facts needed to learn from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThrottleSignal<'a> {
    /// The number of the request.
    pub(super) number: u64,
    /// When the request was sent.
    pub(super) sent: Duration,
    /// The template of its path.
    pub(super) template: &'a str,
    /// The response's `Retry-After`.
    pub(super) retry_after: Option<Duration>,
    /// Spreads the backoff; in thousandths.
    pub(super) jitter: u16,
}

#[derive(Debug)]
struct Pause {
    until: Duration,
    /// From this time on one request may go alone, although `until` is far.
    probe_at: Duration,
    probe: Option<(u64, Duration)>,
    /// The throttle response that began each round.
    observations: Vec<Observation>,
}

impl Budget {
    /// Paces at `fixed` from the beginning, or at the windows that will be learned.
    pub(super) fn new(fixed: Option<Window>) -> Self {
        let scope = if fixed.is_some() { Scope::All } else { Scope::Nothing };
        Self { fixed, scope, ..Self::default() }
    }

    /// Paces at `fixed` from now on, or at the windows that will be learned. A pause continues.
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

    /// Returns whether anything is paced at all.
    pub(super) fn is_pacing(&self) -> bool {
        self.scope != Scope::Nothing
    }

    /// Returns whether a request for a path of this template must wait for [`Budget::next_send`].
    pub(super) fn covers(&self, template: &str) -> bool {
        match &self.scope {
            Scope::Nothing => false,
            Scope::Template(paced) => paced == template,
            Scope::All => true,
        }
    }

    /// Returns the scope of the pacing.
    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns the time until which Nexudus has asked to wait.
    pub(super) fn paused_until(&self, now: Duration) -> Option<Duration> {
        self.pause.as_ref().map(|pause| pause.until).filter(|until| *until > now)
    }

    /// Returns the windows in use.
    pub(super) fn windows(&self) -> impl Iterator<Item = Window> {
        self.fixed.into_iter().chain(self.learned.iter().map(|learned| learned.window))
    }

    /// Returns whether the windows are learned.
    pub(super) fn is_learned(&self) -> bool {
        self.fixed.is_none()
    }

    /// Takes over the requests that were sent while nothing was paced.
    pub(super) fn set_history(&mut self, history: History) {
        self.history = history;
    }

    /// Returns when the next request in scope may go.
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

    /// Returns whether one request may go alone into a pause that is longer than any request waits.
    pub(super) fn can_probe(&self, now: Duration) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.probe.is_none() && now >= pause.probe_at)
    }

    /// Records that a request is sent.
    pub(super) fn record_sent(&mut self, number: u64, in_scope: bool, now: Duration) {
        if let Some(start) = now.checked_sub(
            window_inference::MAX_WINDOW_PERIOD + window_inference::MAX_WINDOW_PERIOD / 10,
        ) {
            self.history.forget_before(start);
        }
        self.history.push(SentRequest {
            number,
            at: now,
            answered: None,
            in_scope,
            throttled: false,
        });
        if let Some(pause) = self.pause.as_mut().filter(|_| in_scope) {
            pause.probe.get_or_insert((number, now));
        }
    }

    /// Records a response that was no throttle response.
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
            *self = Self { is_shared: self.is_shared, ..Self::new(self.fixed) };
        }
    }

    /// Records that no response came, or that the client did not wait for it. The request stays in
    /// the history: Nexudus may have counted it, at an unknown time.
    pub(super) fn record_loss(&mut self, number: u64) {
        self.forget_probe(number);
    }

    /// Records that a request was not sent after all.
    pub(super) fn withdraw(&mut self, number: u64) {
        self.history.remove(number);
        self.forget_probe(number);
    }

    /// Records a throttle response.
    pub(super) fn record_throttle(&mut self, signal: &ThrottleSignal<'_>, now: Duration) {
        self.last_throttled = now;
        self.widen(signal.template);
        self.history.record_response(signal.number, true, now);
        let is_probe = self.probe() == Some(signal.number);
        let observation =
            Observation { sent: signal.sent, answered: now, retry_after: signal.retry_after };
        match &mut self.pause {
            // Sent before the pause began: nothing new is learned.
            Some(pause) if !is_probe => {
                let until = signal.retry_after.map_or(pause.until, |wait| now + wait);
                pause.until = pause.until.max(until);
            }
            Some(pause) => {
                let wait = backoff(pause.observations.len(), signal.jitter);
                pause.probe = None;
                pause.until = now + signal.retry_after.unwrap_or(wait);
                pause.probe_at = now + wait;
                if pause.observations.len() < MAX_OBSERVATIONS {
                    pause.observations.push(observation);
                }
            }
            None => {
                let wait = backoff(0, signal.jitter);
                self.pause = Some(Pause {
                    until: now + signal.retry_after.unwrap_or(wait),
                    probe_at: now + wait,
                    probe: None,
                    observations: vec![observation],
                });
            }
        }
    }

    fn widen(&mut self, template: &str) {
        match &self.scope {
            Scope::All => {}
            Scope::Template(paced) if paced == template => {}
            Scope::Nothing => self.scope = Scope::Template(template.to_owned()),
            Scope::Template(_) => {
                self.scope = Scope::All;
                self.history.count_all();
                // Windows learned for one template do not hold for the whole kind.
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

    /// Ends the pause if the probe has no response for so long that Nexudus must be working on it:
    /// throttle responses come fast.
    fn expire_probe(&mut self, now: Duration) {
        let sent = self.pause.as_ref().and_then(|pause| pause.probe).map(|(_, sent)| sent);
        if sent.is_some_and(|sent| now >= sent + window_inference::MAX_ARRIVAL_DELAY) {
            self.resume(now);
        }
    }

    /// Ends the pause and learns from it.
    fn resume(&mut self, now: Duration) {
        let Some(pause) = self.pause.take() else { return };
        if self.fixed.is_some() {
            return;
        }
        if self.is_shared && !self.learned.is_empty() {
            return self.resume_shared(&pause.observations, now);
        }
        for window in window_inference::infer_windows(&self.history, &pause.observations) {
            match self.learned.iter_mut().find(|known| known.window.per == window.per) {
                None => return self.learned.push(AdaptiveWindow::new(window, now)),
                Some(known) if window.count < known.window.count => {
                    return known.lower(window.count, now);
                }
                // Throttled within the learned limit: most likely the network has pushed requests
                // together, else another client uses the limit too.
                Some(known) if known.slack < window.max_slack() => return known.loosen(now),
                Some(known) if known.window.count > 1 => {
                    let less = (known.window.count / 8).max(1);
                    return known.lower(known.window.count - less, now);
                }
                Some(_) => {}
            }
        }
        // No window fits: another client, or this daemon before a restart, has used up the limit.
        // Lower all limits and keep observing.
        for learned in &mut self.learned {
            let count = learned.window.count;
            learned.lower((count - count.div_ceil(4)).max(1), now);
        }
    }
}

fn when(time: Duration, now: Duration) -> NextSend {
    if time > now { NextSend::At(time) } else { NextSend::Now }
}

/// Returns the wait after so many throttle responses in a row without a `Retry-After`: 1 s, 2 s,
/// 4 s, … up to [`MAX_BACKOFF`], and up to a quarter less.
fn backoff(rounds: usize, jitter: u16) -> Duration {
    let doublings = u32::try_from(rounds).unwrap_or(u32::MAX).min(4);
    let wait = MAX_BACKOFF.min(Duration::from_secs(1 << doublings));
    wait - wait / 4 * u32::from(jitter.min(1_000)) / 1_000
}

/// The longest wait of clients without a `Retry-After` (5, 10 and 15 s in four known ones).
const MAX_BACKOFF: Duration = Duration::from_secs(15);

/// How long a limit stays in use without another throttle response: the longest published window.
const LEARNED_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Enough to refute every window but the right one.
const MAX_OBSERVATIONS: usize = 64;

#[cfg(test)]
mod tests;
