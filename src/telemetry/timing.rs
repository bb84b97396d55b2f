//! Where a request's time went: waiting for a token, in the queue, at Nexudus.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

/// A reason for which a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A valid token, and the classification of a 401.
    Token,
    /// The queue, while Nexudus throttles.
    Queue,
    /// The body of the client, as far as it is read before anything is sent.
    Body,
    /// Nexudus: from sending to the head of the response.
    Upstream,
}

/// Every stage with its name in `Server-Timing` and metrics.
pub const STAGES: [(Stage, &str); 4] = [
    (Stage::Token, "token"),
    (Stage::Queue, "queue"),
    (Stage::Body, "body"),
    (Stage::Upstream, "upstream"),
];

/// The time that a request has spent in each stage.
///
/// By default a future counts from the moment when it first waits: one that is ready at once took
/// no time, and the clock is not read for it. [`RequestTiming::exact_since`] counts all of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestTiming {
    stages: [Duration; STAGES.len()],
    /// Whether any future was measured.
    is_measured: bool,
    /// When the request began, if all of its time counts.
    started: Option<Instant>,
    /// When each step had been passed, in microseconds; known only if all of the time counts.
    passed: [u32; STEPS],
    /// How often the request was sent to Nexudus.
    sends: u8,
    /// The microseconds that it waited for a new connection.
    connect: u32,
}

/// A step that a request passes without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The request is well-formed and from an admitted user.
    Guard,
    /// The rules allow it.
    Policy,
}

/// The number of [`Step`]s.
const STEPS: usize = 2;

impl RequestTiming {
    /// Measures a request that began at `started`, the work of this process included.
    pub fn exact_since(started: Instant) -> Self {
        Self { started: Some(started), ..Self::default() }
    }

    /// Measures a future, which must be awaited at once: its time counts for `stage`.
    pub fn measure<F: Future>(&mut self, stage: Stage, future: F) -> TimedFuture<'_, F> {
        self.is_measured = true;
        let time = &mut self.stages[stage as usize];
        TimedFuture { future, time, since: self.started.map(|_| Instant::now()) }
    }

    /// Notes that a step has been passed. Reads no clock unless all of the time counts.
    pub fn mark(&mut self, step: Step) {
        if let Some(started) = self.started {
            self.passed[step as usize] =
                u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX);
        }
    }

    /// Measures a future that sends the request to Nexudus, and counts it.
    pub fn measure_send<F: Future>(&mut self, future: F) -> TimedFuture<'_, F> {
        self.sends = self.sends.saturating_add(1);
        self.measure(Stage::Upstream, future)
    }

    /// Says whether all of the time counts, because a reader follows this request.
    pub fn is_exact(&self) -> bool {
        self.started.is_some()
    }

    /// Takes down the microseconds that the request has waited for a new connection so far.
    pub fn set_connect_micros(&mut self, micros: u32) {
        self.connect = micros;
    }

    /// Returns the microseconds that the request waited for a new connection.
    pub fn connect_micros(&self) -> u64 {
        self.connect.into()
    }

    /// Returns how often the request was sent to Nexudus.
    pub fn sends(&self) -> u8 {
        self.sends
    }

    /// Returns the microseconds from the head of the request until a step had been passed; 0 where
    /// that is not known.
    pub fn passed_micros(&self, step: Step) -> u64 {
        self.passed[step as usize].into()
    }

    /// Returns the time of one stage in microseconds.
    pub fn micros(&self, stage: Stage) -> u64 {
        u64::try_from(self.stages[stage as usize].as_micros()).unwrap_or(u64::MAX)
    }

    /// Returns the time of each stage; `None` if the request was refused before all of them.
    pub fn get(&self) -> Option<[Duration; STAGES.len()]> {
        self.is_measured.then_some(self.stages)
    }

    /// Returns the time of one stage in milliseconds.
    pub fn millis(&self, stage: Stage) -> u64 {
        u64::try_from(self.stages[stage as usize].as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns the value of a `Server-Timing` header (W3C Server Timing: milliseconds): each stage,
    /// and the time from the request's head to the response's.
    pub fn server_timing(&self) -> String {
        let entry =
            |name: &str, time: Duration| format!("{name};dur={:.3}", time.as_secs_f64() * 1_000.0);
        let stages = STAGES.iter().zip(&self.stages).map(|((_, name), time)| entry(name, *time));
        let total = self.started.map(|started| entry("total", started.elapsed()));
        stages.chain(total).collect::<Vec<_>>().join(", ")
    }
}

pin_project! {
    /// A future whose waiting is measured.
    pub struct TimedFuture<'a, F> {
        #[pin]
        future: F,
        time: &'a mut Duration,
        since: Option<Instant>,
    }
}

impl<F: Future> Future for TimedFuture<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let polled = this.future.poll(cx);
        match (&polled, *this.since) {
            (Poll::Pending, None) => *this.since = Some(Instant::now()),
            (Poll::Ready(_), Some(since)) => **this.time += since.elapsed(),
            (Poll::Pending, Some(_)) | (Poll::Ready(_), None) => {}
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_future_that_is_ready_at_once_took_no_time() {
        let mut timing = RequestTiming::default();
        assert_eq!(timing.get(), None);

        assert_eq!(timing.measure(Stage::Token, std::future::ready(7)).await, 7);

        assert_eq!(timing.get(), Some([Duration::ZERO; 4]));
        assert_eq!(
            timing.server_timing(),
            "token;dur=0.000, queue;dur=0.000, body;dur=0.000, upstream;dur=0.000"
        );
    }

    #[tokio::test]
    async fn an_exact_timing_counts_the_work_before_the_first_wait_too() {
        let mut timing = RequestTiming::exact_since(Instant::now());
        let busy = |millis| async move {
            let until = Instant::now() + Duration::from_millis(millis);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        };

        timing.measure(Stage::Upstream, busy(3)).await;
        timing.measure(Stage::Upstream, busy(2)).await;

        let [token, _, _, upstream] = timing.get().unwrap();
        assert_eq!(token, Duration::ZERO);
        assert!(upstream >= Duration::from_millis(5), "{upstream:?}");
        let header = timing.server_timing();
        let total: f64 = header.rsplit_once("total;dur=").unwrap().1.parse().unwrap();
        assert!(total >= 5.0, "{header}");
    }

    #[tokio::test]
    async fn the_time_of_a_step_is_noted_only_where_all_of_the_time_counts() {
        let mut usual = RequestTiming::default();
        let mut exact = RequestTiming::exact_since(Instant::now() - Duration::from_millis(3));

        usual.mark(Step::Guard);
        exact.mark(Step::Guard);
        exact.measure_send(std::future::ready(())).await;

        assert_eq!((usual.passed_micros(Step::Guard), usual.sends()), (0, 0));
        assert!(exact.passed_micros(Step::Guard) >= 3_000);
        assert_eq!((exact.passed_micros(Step::Policy), exact.sends()), (0, 1));
    }

    #[test]
    fn each_stage_has_the_time_for_which_it_waited() {
        let mut timing = RequestTiming::default();
        let cx = &mut Context::from_waker(Waker::noop());
        for (part, millis) in [(Stage::Queue, 20), (Stage::Upstream, 40), (Stage::Upstream, 5)] {
            let (done, step) = oneshot::channel();
            let mut step = timing.measure(part, step);
            assert!(Pin::new(&mut step).poll(cx).is_pending());
            // As if it had begun to wait so long ago.
            step.since = step.since.map(|since| since - Duration::from_millis(millis));
            done.send(()).unwrap();
            assert!(Pin::new(&mut step).poll(cx).is_ready());
        }

        let millis = timing.get().unwrap().map(|part| part.as_millis());
        assert_eq!((millis[0], millis[1]), (0, 20));
        assert!((45..1_000).contains(&millis[3]), "{millis:?}");
        let header = timing.server_timing();
        assert!(header.starts_with("token;dur=0.000, queue;dur=20."), "{header}");
    }
}
