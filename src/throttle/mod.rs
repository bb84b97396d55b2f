//! One fair budget for all tools: when a request may be sent, and whether it may be sent again.
//!
//! Nexudus throttles per client, and all tools behind this daemon are one client. Nothing is paced
//! until Nexudus throttles. Then requests wait for a permit (`limiter.rs`), clients in round-robin
//! order (`fair_queue.rs`), at the pace that was learned (`budget.rs`, `window_inference.rs`,
//! `adaptive_window.rs`) or configured.
//!
//! A request that was throttled is sent again with a permit of its own, as long as `throttle.wait`
//! allows. Nexudus does not document that it has not executed such a request; we infer it: the
//! response comes from a filter before all work. Reads are sent again after any throttle response.
//! Writes are sent again only if the response says when to come back (of a 409 only in its head),
//! and only if their whole body is here. Other responses and broken connections change nothing here.

mod adaptive_window;
mod budget;
mod counter;
mod fair_queue;
mod history;
mod limiter;
mod retry_after;
mod shared_pace;
mod status;
mod window_inference;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::Method;

use self::budget::ThrottleSignal;
use self::counter::{PeriodCounter, TotalCounter};
pub use self::fair_queue::FairnessKey;
use self::limiter::{AcquireRequest, Limiter, Rejection};
pub use self::retry_after::ResponseHead;
pub use self::shared_pace::{KnownPace, LearnedPace, SharedPace, Turn};
pub use self::status::{LimiterStatus, ThrottleStatus};
pub use self::window_inference::Window;
use crate::clock::Clock;
use crate::config::{self, Rate};
use crate::path_template;
use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// The budget of one host. Clones share it.
#[derive(Clone, Debug)]
pub struct Throttle(Arc<ThrottleInner>);

#[derive(Debug)]
struct ThrottleInner {
    clock: Clock,
    /// `throttle.wait`, in milliseconds.
    wait_ms: AtomicU64,
    /// Wall clock less boot clock at the start: with it, one reading of one clock tells the day.
    wall_offset: Duration,
    reads: CountedLimiter,
    writes: CountedLimiter,
    internal: CountedLimiter,
}

/// A limiter and its counters.
#[derive(Debug)]
struct CountedLimiter {
    limiter: Arc<Limiter>,
    /// The daily limits that Nexudus has published, the lowest first.
    daily: &'static [u64],
    minute: PeriodCounter,
    day: PeriodCounter,
    throttled: TotalCounter,
    replayed: TotalCounter,
    refused: TotalCounter,
    waited_ms: TotalCounter,
}

/// The right of a request to wait for a permit, as often as it must be sent.
#[derive(Debug)]
pub struct Reservation<'a> {
    throttle: &'a ThrottleInner,
    counted: &'a CountedLimiter,
    method: &'a Method,
    path: &'a str,
    key: FairnessKey,
    /// The rest of `throttle.wait`.
    remaining: Duration,
    position: Option<u64>,
    is_sent: bool,
}

/// Permits to send one request once. [`Permit::observe`] takes the response; dropped without one,
/// the request counts as sent.
#[derive(Debug)]
#[must_use = "an unused permit delays all other requests"]
pub struct Permit<'a> {
    throttle: &'a ThrottleInner,
    counted: &'a CountedLimiter,
    method: &'a Method,
    path: &'a str,
    number: u64,
    at: Duration,
    is_observed: bool,
}

/// The consequence of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// The response is no throttle response.
    Accept,
    /// Throttled: the request may be sent again once [`Reservation::acquire`] gives another permit.
    /// Without one, the response goes to the client.
    Retry,
    /// Throttled, and only the client can send the request again.
    Forward,
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No permit came within `throttle.wait`, or none can.
    #[error("Nexudus limits the rate of requests, and this one could not be sent in time")]
    Queue {
        /// When a permit may come.
        retry_after: Duration,
    },
}

impl Problem for Error {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Queue { retry_after } => {
                ProblemDetails::from(ProblemKind::ThrottleQueue).with_retry_after(*retry_after)
            }
        }
    }
}

impl Throttle {
    /// Starts with nothing paced but what `config` fixes.
    pub fn new(config: &config::Throttle, clock: Clock) -> Self {
        let now = clock.now();
        let wall = now.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let counted = |rate, daily| CountedLimiter::new(clock.clone(), rate, daily);
        Self(Arc::new(ThrottleInner {
            wait_ms: AtomicU64::new(millis(config.wait)),
            wall_offset: wall.saturating_sub(now.boot),
            reads: counted(config.reads, &DAILY_READ_LIMITS),
            writes: counted(config.writes, &DAILY_WRITE_LIMITS),
            internal: counted(Rate::Auto, &[]),
            clock,
        }))
    }

    /// Applies a new configuration. Requests sent so far stay counted, and a pause continues.
    /// Queued requests keep their old deadline.
    pub fn reconfigure(&self, config: &config::Throttle) {
        self.0.wait_ms.store(millis(config.wait), Ordering::Relaxed);
        self.0.reads.limiter.reconfigure(fixed(config.reads));
        self.0.writes.limiter.reconfigure(fixed(config.writes));
    }

    /// Keeps one pace with other machines from now on. The daemon's own calls stay with this machine:
    /// one of the machines makes them.
    pub fn share(&self, [reads, writes]: [Arc<dyn SharedPace>; 2]) {
        self.0.reads.limiter.share(reads);
        self.0.writes.limiter.share(writes);
    }

    /// Follows what the other machines know.
    pub fn heed(&self) {
        self.0.reads.limiter.heed();
        self.0.writes.limiter.heed();
    }

    /// Makes a reservation for a local request.
    pub fn reserve<'a>(
        &'a self,
        method: &'a Method,
        path: &'a str,
        key: FairnessKey,
    ) -> Reservation<'a> {
        let is_read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let counted = if is_read { &self.0.reads } else { &self.0.writes };
        let wait = Duration::from_millis(self.0.wait_ms.load(Ordering::Relaxed));
        self.reservation(counted, method, path, key, wait)
    }

    /// Makes a reservation for one of the daemon's own calls, which waits at most `wait`. These
    /// have a limiter of their own: a throttled token endpoint delays no request, and an export
    /// delays no renewal.
    pub fn internal<'a>(
        &'a self,
        method: &'a Method,
        path: &'a str,
        wait: Duration,
    ) -> Reservation<'a> {
        self.reservation(&self.0.internal, method, path, FairnessKey::Daemon, wait)
    }

    /// Returns the current pacing, and the counts of sent requests.
    pub fn status(&self) -> ThrottleStatus {
        let now = self.0.clock.boot();
        let status = |counted: &CountedLimiter| counted.status(now, self.0.wall_offset);
        ThrottleStatus {
            reads: status(&self.0.reads),
            writes: status(&self.0.writes),
            own: status(&self.0.internal),
        }
    }

    fn reservation<'a>(
        &'a self,
        counted: &'a CountedLimiter,
        method: &'a Method,
        path: &'a str,
        key: FairnessKey,
        remaining: Duration,
    ) -> Reservation<'a> {
        let throttle = &*self.0;
        Reservation {
            throttle,
            counted,
            method,
            path,
            key,
            remaining,
            position: None,
            is_sent: false,
        }
    }
}

impl<'a> Reservation<'a> {
    /// Returns once the request may be sent: at once, and without a lock, while nothing is paced.
    ///
    /// All calls together wait at most `throttle.wait`. Dropping the future leaves the queue.
    ///
    /// # Errors
    ///
    /// [`Error::Queue`] when the wait is over, and at once when no permit can come in time.
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
        let Self { path, key, position, .. } = self;
        let request = AcquireRequest { path, key, deadline, position };
        let number = self.counted.limiter.acquire(request).await;
        let then = self.throttle.clock.boot();
        let waited = then.saturating_sub(now);
        self.remaining = self.remaining.saturating_sub(waited);
        self.counted.waited_ms.add(millis(waited));
        match number {
            Ok(number) => Ok((number, then)),
            Err(Rejection { retry_after }) => {
                self.counted.refused.count();
                Err(Error::Queue { retry_after })
            }
        }
    }
}

impl Permit<'_> {
    /// Learns from the response and decides whether the request may be sent again; `whole`: its
    /// whole body is here.
    pub fn observe(mut self, response: &ResponseHead<'_>, whole: bool) -> RetryDecision {
        self.is_observed = true;
        let now = || self.throttle.clock.now().wall;
        let max_wait = Duration::from_millis(self.throttle.wait_ms.load(Ordering::Relaxed));
        let Some(throttled) = response.throttle_response(self.method, max_wait, now) else {
            self.counted.limiter.record_response(self.number);
            return RetryDecision::Accept;
        };
        let template = path_template::from_path(self.path);
        let (number, sent, wait) = (self.number, self.at, throttled.retry_after);
        self.counted.throttled.count();
        self.counted.limiter.record_throttle(&ThrottleSignal {
            number,
            sent,
            template: &template,
            retry_after: wait,
            // Thousandths: no two machines send again at the same moment.
            jitter: fastrand::u16(..1_000),
        });
        let (status, retry_in_s) = (response.status.as_u16(), wait.map(|wait| wait.as_secs_f64()));
        tracing::debug!(status, path = template, retry_in_s, "throttled");
        let is_read = matches!(*self.method, Method::GET | Method::HEAD);
        if whole && (is_read || throttled.repeats_writes) {
            RetryDecision::Retry
        } else {
            RetryDecision::Forward
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
    fn new(clock: Clock, rate: Rate, daily: &'static [u64]) -> Self {
        Self {
            limiter: Arc::new(Limiter::new(clock, fixed(rate))),
            daily,
            minute: PeriodCounter::with_period(Duration::from_secs(60)),
            day: PeriodCounter::with_period(DAY),
            throttled: TotalCounter::default(),
            replayed: TotalCounter::default(),
            refused: TotalCounter::default(),
            waited_ms: TotalCounter::default(),
        }
    }

    /// Counts a request. The published daily limits contradict each other, so they warn and never
    /// block.
    fn count(&self, now: Duration, wall_offset: Duration) {
        self.minute.count(now);
        let today = self.day.count(now + wall_offset);
        if self.daily.contains(&today) {
            tracing::warn!(
                today,
                "as many requests today as Nexudus has published as its daily limit"
            );
        }
    }

    fn status(&self, now: Duration, wall_offset: Duration) -> LimiterStatus {
        let known = self.limiter.known();
        let state = self.limiter.state();
        let day = self.day.get(now + wall_offset);
        let told = known.as_ref().map(|known| known.paused_until).filter(|until| *until > now);
        let paused =
            state.budget.paused_until(now).max(told).map(|until| until.saturating_sub(now));
        let status = LimiterStatus {
            paused_ms: paused.map(millis),
            waiting: state.queue.len() as u64,
            callers: state.queue.clients() as u64,
            windows: state.budget.windows().map(|window| window.to_string()).collect(),
            learned: state.budget.is_learned(),
            minute: self.minute.get(now),
            day,
            above_published: self.daily.first().is_some_and(|published| day >= *published),
            throttled: self.throttled.get(),
            replayed: self.replayed.get(),
            refused: self.refused.get(),
            waited_ms: self.waited_ms.get(),
            paced_by: status::paced_by(known.as_ref()).to_owned(),
            ..LimiterStatus::default()
        };
        status.described(state.budget.scope())
    }
}

fn fixed(rate: Rate) -> Option<Window> {
    match rate {
        Rate::Auto => None,
        Rate::Fixed { count, per } => Some(Window { count, per }),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// developers.nexudus.com/reference/api-limitations.
const DAILY_READ_LIMITS: [u64; 1] = [200_000];

/// help.nexudus.com/v3/docs/service-limits; developers.nexudus.com/reference/api-limitations.
const DAILY_WRITE_LIMITS: [u64; 2] = [2_500, 5_000];

#[cfg(test)]
mod tests;
