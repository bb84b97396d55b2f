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
    /// Nexudus: from sending to the head of the response.
    Upstream,
}

/// Every stage with its name in `Server-Timing` and metrics.
pub const STAGES: [(Stage, &str); 3] =
    [(Stage::Token, "token"), (Stage::Queue, "queue"), (Stage::Upstream, "upstream")];

/// The time that a request has spent waiting. A future that is ready at once took none, and the
/// clock is not read for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestTiming {
    stages: [Duration; STAGES.len()],
    /// Whether any future was measured.
    is_measured: bool,
}

impl RequestTiming {
    /// Measures a future: the time that it is pending counts for `stage`.
    pub fn measure<F: Future>(&mut self, stage: Stage, future: F) -> TimedFuture<'_, F> {
        self.is_measured = true;
        let time = &mut self.stages[stage as usize];
        TimedFuture { future, time, since: None }
    }

    /// Returns the time of each stage; `None` if the request was refused before all of them.
    pub fn get(&self) -> Option<[Duration; STAGES.len()]> {
        self.is_measured.then_some(self.stages)
    }

    /// Returns the time of one stage in milliseconds.
    pub fn millis(&self, stage: Stage) -> u64 {
        u64::try_from(self.stages[stage as usize].as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns the value of a `Server-Timing` header (W3C Server Timing: milliseconds).
    pub fn server_timing(&self) -> String {
        let entry = |((_, name), time): (&(Stage, &str), &Duration)| {
            format!("{name};dur={:.1}", time.as_secs_f64() * 1_000.0)
        };
        STAGES.iter().zip(&self.stages).map(entry).collect::<Vec<_>>().join(", ")
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

        assert_eq!(timing.get(), Some([Duration::ZERO; 3]));
        assert_eq!(timing.server_timing(), "token;dur=0.0, queue;dur=0.0, upstream;dur=0.0");
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
        assert!((45..1_000).contains(&millis[2]), "{millis:?}");
        let header = timing.server_timing();
        assert!(header.starts_with("token;dur=0.0, queue;dur=20."), "{header}");
    }
}
