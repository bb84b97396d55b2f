//! One fair budget for all tools: when a request may be sent, and whether it may be sent again.
//!
//! Nexudus throttles per client, and everybody behind this daemon is one client. Nothing is paced
//! until it throttles; then requests wait here for their turn (`queue.rs`), callers in turns
//! (`line.rs`), as fast as was learned (`budget.rs`, `learn.rs`, `trial.rs`) or configured.
//!
//! A request that was throttled is sent again in a turn of its own, as long as `throttle.wait`
//! allows. That Nexudus has not executed it is inferred, not documented: the answer comes from a
//! filter that stands before all work. Reads are sent again on any throttle answer; writes only if
//! it says when to come back, and only if all of their body is here. An answer that is no throttle
//! answer, and a connection that broke, lead to nothing here.

mod answer;
mod budget;
mod history;
mod learn;
mod line;
mod queue;
mod tally;
mod trial;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::Method;
use humantime::format_duration;
use tracing::field::display;

pub use self::answer::Answer;
use self::budget::{Scope, Told};
pub use self::learn::Window;
pub use self::line::Caller;
use self::queue::{Ask, Lane};
use self::tally::{Tally, Total};
pub use self::view::{Kind, Paced, View};
use crate::clock::Clock;
use crate::config::{self, Pace};
use crate::shape;

/// The budget of one host. Clones share it.
#[derive(Clone, Debug)]
pub struct Throttle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    /// `throttle.wait`, in milliseconds.
    wait_ms: AtomicU64,
    /// Wall clock less boot clock at the start, so that a day is a day by one look at one clock.
    midnight: Duration,
    reads: Counted,
    writes: Counted,
    own: Counted,
}

/// A lane and its counters.
#[derive(Debug)]
struct Counted {
    lane: Arc<Lane>,
    /// Requests in a day that Nexudus has published as a limit, the least first.
    daily: &'static [u64],
    minute: Tally,
    day: Tally,
    throttled: Total,
    replayed: Total,
    refused: Total,
    waited_ms: Total,
}

/// A request's claim to be sent, as often as it must be.
#[derive(Debug)]
pub struct Turn<'a> {
    throttle: &'a Shared,
    counted: &'a Counted,
    method: &'a Method,
    path: &'a str,
    caller: Caller,
    /// What is left of `throttle.wait`.
    left: Duration,
    place: Option<u64>,
    sent: bool,
}

/// Leave to send one request once. [`Slot::judge`] wants to see the answer; dropped without one,
/// the request counts as sent.
#[derive(Debug)]
#[must_use = "a turn that is not used delays everybody else"]
pub struct Slot<'a> {
    throttle: &'a Shared,
    counted: &'a Counted,
    method: &'a Method,
    path: &'a str,
    number: u64,
    at: Duration,
    judged: bool,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is no throttle answer.
    Pass,
    /// It is a throttle answer, and the request may be sent again once [`Turn::slot`] gives
    /// another slot. If it does not, the answer is the caller's.
    Again,
    /// It is a throttle answer that only the caller can act upon.
    Relay,
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
        let counted = |pace, daily| Counted::new(clock.clone(), pace, daily);
        Self(Arc::new(Shared {
            wait_ms: AtomicU64::new(millis(config.wait)),
            midnight: wall.saturating_sub(now.boot),
            reads: counted(config.reads, &READS_A_DAY),
            writes: counted(config.writes, &WRITES_A_DAY),
            own: counted(Pace::Auto, &[]),
            clock,
        }))
    }

    /// Takes over what was configured anew; what was sent stays counted, and a pause holds on.
    /// Who waits already waits as long as was allowed before.
    pub fn adopt(&self, config: &config::Throttle) {
        self.0.wait_ms.store(millis(config.wait), Ordering::Relaxed);
        self.0.reads.lane.fix(fixed(config.reads));
        self.0.writes.lane.fix(fixed(config.writes));
    }

    /// Claims to send a local request.
    pub fn turn<'a>(&'a self, method: &'a Method, path: &'a str, caller: Caller) -> Turn<'a> {
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let counted = if reads { &self.0.reads } else { &self.0.writes };
        let wait = Duration::from_millis(self.0.wait_ms.load(Ordering::Relaxed));
        self.claim(counted, method, path, caller, wait)
    }

    /// Claims to make one of the daemon's own calls, for which it waits at most `wait`. They are
    /// paced apart: a throttled token endpoint holds no request back, and no export a renewal.
    pub fn own<'a>(&'a self, method: &'a Method, path: &'a str, wait: Duration) -> Turn<'a> {
        self.claim(&self.0.own, method, path, Caller::Daemon, wait)
    }

    /// Returns what is paced now, and how much has been sent.
    pub fn view(&self) -> View {
        let now = self.0.clock.boot();
        let view = |counted: &Counted| counted.view(now, self.0.midnight);
        View { reads: view(&self.0.reads), writes: view(&self.0.writes), own: view(&self.0.own) }
    }

    fn claim<'a>(
        &'a self,
        counted: &'a Counted,
        method: &'a Method,
        path: &'a str,
        caller: Caller,
        left: Duration,
    ) -> Turn<'a> {
        let throttle = &*self.0;
        Turn { throttle, counted, method, path, caller, left, place: None, sent: false }
    }
}

impl<'a> Turn<'a> {
    /// Returns when the request may be sent; at once, and without a lock, while nothing is paced.
    ///
    /// All calls together wait at most `throttle.wait`. Dropping the future leaves the line.
    ///
    /// # Errors
    ///
    /// [`Error::Queue`] when the wait is over, and at once when it would be in vain.
    pub async fn slot(&mut self) -> Result<Slot<'a>, Error> {
        let now = self.throttle.clock.boot();
        let (number, at) = match self.counted.lane.pass(now) {
            Some(number) => (number, now),
            None => Box::pin(self.wait(now)).await?,
        };
        self.counted.count(at, self.throttle.midnight);
        if std::mem::replace(&mut self.sent, true) {
            self.counted.replayed.count();
        }
        let Self { throttle, counted, method, path, .. } = *self;
        Ok(Slot { throttle, counted, method, path, number, at, judged: false })
    }

    async fn wait(&mut self, now: Duration) -> Result<(u64, Duration), Error> {
        let deadline = now.saturating_add(self.left);
        let Self { path, caller, place, .. } = self;
        let number = self.counted.lane.wait(Ask { path, caller, deadline, place }).await;
        let then = self.throttle.clock.boot();
        let waited = then.saturating_sub(now);
        self.left = self.left.saturating_sub(waited);
        self.counted.waited_ms.add(millis(waited));
        match number {
            Ok(number) => Ok((number, then)),
            Err(refused) => {
                self.counted.refused.count();
                Err(Error::Queue { retry_after: refused.after })
            }
        }
    }
}

impl Slot<'_> {
    /// Learns from the answer and says whether the request may be sent again; `whole`: all of its
    /// body is here.
    pub fn judge(mut self, answer: &Answer<'_>, whole: bool) -> Verdict {
        self.judged = true;
        let now = || self.throttle.clock.now().wall;
        let Some(throttled) = answer.throttled(self.method, now) else {
            self.counted.lane.answered(self.number);
            return Verdict::Pass;
        };
        let shape = shape::of(self.path);
        let (number, sent, wait) = (self.number, self.at, throttled.wait);
        self.counted.throttled.count();
        self.counted.lane.throttled(&Told {
            number,
            sent,
            shape: &shape,
            wait,
            jitter: jitter(sent),
        });
        let retry_in = wait.map(|wait| display(format_duration(wait)));
        tracing::debug!(status = answer.status.as_u16(), path = shape, retry_in, "throttled");
        let is_read = matches!(*self.method, Method::GET | Method::HEAD);
        match whole && (is_read || wait.is_some()) {
            true => Verdict::Again,
            false => Verdict::Relay,
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if !self.judged {
            self.counted.lane.lost(self.number);
        }
    }
}

impl Counted {
    fn new(clock: Clock, pace: Pace, daily: &'static [u64]) -> Self {
        Self {
            lane: Arc::new(Lane::new(clock, fixed(pace))),
            daily,
            minute: Tally::per(Duration::from_secs(60)),
            day: Tally::per(DAY),
            throttled: Total::default(),
            replayed: Total::default(),
            refused: Total::default(),
            waited_ms: Total::default(),
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

    fn view(&self, now: Duration, midnight: Duration) -> Kind {
        let state = self.lane.state();
        let path = match state.budget.scope() {
            Scope::Shape(shape) => Some(shape.clone()),
            Scope::Nothing | Scope::All => None,
        };
        let day = self.day.read(now + midnight);
        Kind {
            paced: Paced::from(state.budget.scope()),
            path,
            paused: state.budget.paused_until(now).map(|until| until.saturating_sub(now)),
            waiting: state.line.len(),
            callers: state.line.callers(),
            windows: state.budget.windows().collect(),
            learned: state.budget.is_learned(),
            minute: self.minute.read(now),
            day,
            above_published: self.daily.first().is_some_and(|published| day >= *published),
            throttled: self.throttled.read(),
            replayed: self.replayed.read(),
            refused: self.refused.read(),
            waited: Duration::from_millis(self.waited_ms.read()),
        }
    }
}

fn fixed(pace: Pace) -> Option<Window> {
    match pace {
        Pace::Auto => None,
        Pace::Fixed { count, per } => Some(Window { count, per }),
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
const READS_A_DAY: [u64; 1] = [200_000];

/// help.nexudus.com/v3/docs/service-limits; developers.nexudus.com/reference/api-limitations.
const WRITES_A_DAY: [u64; 2] = [2_500, 5_000];

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
