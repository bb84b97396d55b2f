//! One fair budget for all tools: when a request may be sent, and whether it may be sent again.
//!
//! Nexudus throttles per client, and everybody behind this daemon is one client. Nothing is paced
//! until it throttles; then requests wait here for their turn (`limiter.rs`), callers in turns
//! (`fair_queue.rs`), as fast as was learned (`budget.rs`, `window_inference.rs`, `adaptive_window.rs`) or configured.
//!
//! A request that was throttled is sent again in a turn of its own, as long as `throttle.wait`
//! allows. That Nexudus has not executed it is inferred, not documented: the answer comes from a
//! filter that stands before all work. Reads are sent again on any throttle answer; writes only if
//! it says when to come back, and only if all of their body is here. An answer that is no throttle
//! answer, and a connection that broke, lead to nothing here.

mod adaptive_window;
mod budget;
mod counter;
mod fair_queue;
mod history;
mod limiter;
mod retry_after;
mod status;
mod window_inference;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::Method;
use humantime::format_duration;
use tracing::field::display;

use self::budget::{Scope, ThrottleSignal};
use self::counter::{PeriodCounter, TotalCounter};
pub use self::fair_queue::FairnessKey;
use self::limiter::{AcquireRequest, Limiter};
pub use self::retry_after::ResponseHead;
pub use self::status::{LimiterStatus, PacedScope, ThrottleStatus};
pub use self::window_inference::Window;
use crate::clock::Clock;
use crate::config::{self, Rate};
use crate::path_template;

/// The budget of one host. Clones share it.
#[derive(Clone, Debug)]
pub struct Throttle(Arc<ThrottleInner>);

#[derive(Debug)]
struct ThrottleInner {
    clock: Clock,
    /// `throttle.wait`, in milliseconds.
    wait_ms: AtomicU64,
    /// Wall clock less boot clock at the start, so that a day is a day by one look at one clock.
    wall_offset: Duration,
    reads: CountedLimiter,
    writes: CountedLimiter,
    internal: CountedLimiter,
}

/// A lane and its counters.
#[derive(Debug)]
struct CountedLimiter {
    limiter: Arc<Limiter>,
    /// Requests in a day that Nexudus has published as a limit, the least first.
    daily: &'static [u64],
    minute: PeriodCounter,
    day: PeriodCounter,
    throttled: TotalCounter,
    replayed: TotalCounter,
    refused: TotalCounter,
    waited_ms: TotalCounter,
}

/// A request's claim to be sent, as often as it must be.
#[derive(Debug)]
pub struct Reservation<'a> {
    throttle: &'a ThrottleInner,
    counted: &'a CountedLimiter,
    method: &'a Method,
    path: &'a str,
    key: FairnessKey,
    /// What is left of `throttle.wait`.
    remaining: Duration,
    position: Option<u64>,
    is_sent: bool,
}

/// Leave to send one request once. [`Permit::observe`] wants to see the answer; dropped without one,
/// the request counts as sent.
#[derive(Debug)]
#[must_use = "a turn that is not used delays everybody else"]
pub struct Permit<'a> {
    throttle: &'a ThrottleInner,
    counted: &'a CountedLimiter,
    method: &'a Method,
    path: &'a str,
    number: u64,
    at: Duration,
    is_observed: bool,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// It is no throttle answer.
    Accept,
    /// It is a throttle answer, and the request may be sent again once [`Reservation::acquire`] gives
    /// another slot. If it does not, the answer is the caller's.
    Retry,
    /// It is a throttle answer that only the caller can act upon.
    Forward,
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No turn came within `throttle.wait`, or none can.
    #[error("Nexudus limits how fast it may be asked, and no turn came in time")]
    Queue {
        /// When one may.
        retry_after: Duration,
    },
}

impl Throttle {
    /// Starts with nothing paced but what `config` fixes.
    pub fn new(config: &config::Throttle, clock: Clock) -> Self {
        let now = clock.now();
        let wall = now.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let counted = |pace, daily| CountedLimiter::new(clock.clone(), pace, daily);
        Self(Arc::new(ThrottleInner {
            wait_ms: AtomicU64::new(millis(config.wait)),
            wall_offset: wall.saturating_sub(now.boot),
            reads: counted(config.reads, &DAILY_READ_LIMITS),
            writes: counted(config.writes, &DAILY_WRITE_LIMITS),
            internal: counted(Rate::Auto, &[]),
            clock,
        }))
    }

    /// Takes over what was configured anew; what was sent stays counted, and a pause holds on.
    /// Who waits already waits as long as was allowed before.
    pub fn reconfigure(&self, config: &config::Throttle) {
        self.0.wait_ms.store(millis(config.wait), Ordering::Relaxed);
        self.0.reads.limiter.reconfigure(fixed(config.reads));
        self.0.writes.limiter.reconfigure(fixed(config.writes));
    }

    /// Claims to send a local request.
    pub fn reserve<'a>(
        &'a self,
        method: &'a Method,
        path: &'a str,
        caller: FairnessKey,
    ) -> Reservation<'a> {
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let counted = if reads { &self.0.reads } else { &self.0.writes };
        let wait = Duration::from_millis(self.0.wait_ms.load(Ordering::Relaxed));
        self.reservation(counted, method, path, caller, wait)
    }

    /// Claims to make one of the daemon's own calls, for which it waits at most `wait`. They are
    /// paced apart: a throttled token endpoint holds no request back, and no export a renewal.
    pub fn internal<'a>(
        &'a self,
        method: &'a Method,
        path: &'a str,
        wait: Duration,
    ) -> Reservation<'a> {
        self.reservation(&self.0.internal, method, path, FairnessKey::Daemon, wait)
    }

    /// Returns what is paced now, and how much has been sent.
    pub fn status(&self) -> ThrottleStatus {
        let now = self.0.clock.boot();
        let view = |counted: &CountedLimiter| counted.status(now, self.0.wall_offset);
        ThrottleStatus {
            reads: view(&self.0.reads),
            writes: view(&self.0.writes),
            own: view(&self.0.internal),
        }
    }

    fn reservation<'a>(
        &'a self,
        counted: &'a CountedLimiter,
        method: &'a Method,
        path: &'a str,
        caller: FairnessKey,
        left: Duration,
    ) -> Reservation<'a> {
        let throttle = &*self.0;
        Reservation {
            throttle,
            counted,
            method,
            path,
            key: caller,
            remaining: left,
            position: None,
            is_sent: false,
        }
    }
}

impl<'a> Reservation<'a> {
    /// Returns when the request may be sent; at once, and without a lock, while nothing is paced.
    ///
    /// All calls together wait at most `throttle.wait`. Dropping the future leaves the line.
    ///
    /// # Errors
    ///
    /// [`Error::Queue`] when the wait is over, and at once when it would be in vain.
    pub async fn acquire(&mut self) -> Result<Permit<'a>, Error> {
        let now = self.throttle.clock.boot();
        let (number, at) = match self.counted.limiter.try_acquire(now) {
            Some(number) => (number, now),
            None => Box::pin(self.wait(now)).await?,
        };
        self.counted.count(at, self.throttle.wall_offset);
        if std::mem::replace(&mut self.is_sent, true) {
            self.counted.replayed.count();
        }
        let Self { throttle, counted, method, path, .. } = *self;
        Ok(Permit { throttle, counted, method, path, number, at, is_observed: false })
    }

    async fn wait(&mut self, now: Duration) -> Result<(u64, Duration), Error> {
        let deadline = now.saturating_add(self.remaining);
        let Self { path, key: caller, position: place, .. } = self;
        let number = self
            .counted
            .limiter
            .acquire(AcquireRequest { path, key: caller, deadline, position: place })
            .await;
        let then = self.throttle.clock.boot();
        let waited = then.saturating_sub(now);
        self.remaining = self.remaining.saturating_sub(waited);
        self.counted.waited_ms.add(millis(waited));
        match number {
            Ok(number) => Ok((number, then)),
            Err(refused) => {
                self.counted.refused.count();
                Err(Error::Queue { retry_after: refused.retry_after })
            }
        }
    }
}

impl Permit<'_> {
    /// Learns from the answer and says whether the request may be sent again; `whole`: all of its
    /// body is here.
    pub fn observe(mut self, answer: &ResponseHead<'_>, whole: bool) -> RetryDecision {
        self.is_observed = true;
        let now = || self.throttle.clock.now().wall;
        let Some(throttled) = answer.throttle_response(self.method, now) else {
            self.counted.limiter.record_response(self.number);
            return RetryDecision::Accept;
        };
        let shape = path_template::from_path(self.path);
        let (number, sent, wait) = (self.number, self.at, throttled.retry_after);
        self.counted.throttled.count();
        self.counted.limiter.record_throttle(&ThrottleSignal {
            number,
            sent,
            shape: &shape,
            retry_after: wait,
            jitter: jitter(sent),
        });
        let retry_in = wait.map(|wait| display(format_duration(wait)));
        tracing::debug!(status = answer.status.as_u16(), path = shape, retry_in, "throttled");
        let is_read = matches!(*self.method, Method::GET | Method::HEAD);
        match whole && (is_read || wait.is_some()) {
            true => RetryDecision::Retry,
            false => RetryDecision::Forward,
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.is_observed {
            self.counted.limiter.record_loss(self.number);
        }
    }
}

impl CountedLimiter {
    fn new(clock: Clock, pace: Rate, daily: &'static [u64]) -> Self {
        Self {
            limiter: Arc::new(Limiter::new(clock, fixed(pace))),
            daily,
            minute: PeriodCounter::with_period(Duration::from_secs(60)),
            day: PeriodCounter::with_period(DAY),
            throttled: TotalCounter::default(),
            replayed: TotalCounter::default(),
            refused: TotalCounter::default(),
            waited_ms: TotalCounter::default(),
        }
    }

    /// Counts a request. The daily figures contradict each other, so they warn and never block.
    fn count(&self, now: Duration, midnight: Duration) {
        self.minute.count(now);
        let today = self.day.count(now + midnight);
        if self.daily.contains(&today) {
            tracing::warn!(today, "as many requests today as Nexudus has published as its limit");
        }
    }

    fn status(&self, now: Duration, midnight: Duration) -> LimiterStatus {
        let state = self.limiter.state();
        let path = match state.budget.scope() {
            Scope::Shape(shape) => Some(shape.clone()),
            Scope::Nothing | Scope::All => None,
        };
        let day = self.day.get(now + midnight);
        LimiterStatus {
            paced: PacedScope::from(state.budget.scope()),
            path,
            paused: state.budget.paused_until(now).map(|until| until.saturating_sub(now)),
            waiting: state.queue.len(),
            callers: state.queue.by_key(),
            windows: state.budget.windows().collect(),
            learned: state.budget.is_learned(),
            minute: self.minute.get(now),
            day,
            above_published: self.daily.first().is_some_and(|published| day >= *published),
            throttled: self.throttled.get(),
            replayed: self.replayed.get(),
            refused: self.refused.get(),
            waited: Duration::from_millis(self.waited_ms.get()),
        }
    }
}

fn fixed(pace: Rate) -> Option<Window> {
    match pace {
        Rate::Auto => None,
        Rate::Fixed { count, per } => Some(Window { count, per }),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns thousandths that no other machine will have at the same moment.
fn jitter(time: Duration) -> u16 {
    u16::try_from(time.subsec_micros() % 1_000).unwrap_or_default()
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// developers.nexudus.com/reference/api-limitations.
const DAILY_READ_LIMITS: [u64; 1] = [200_000];

/// help.nexudus.com/v3/docs/service-limits; developers.nexudus.com/reference/api-limitations.
const DAILY_WRITE_LIMITS: [u64; 2] = [2_500, 5_000];

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
