//! Where a request's time went: to a token, to its turn, to Nexudus.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A valid token, and what is to be thought of a 401.
    Token,
    /// Its turn, while Nexudus throttles.
    Queue,
    /// Nexudus: from sending to the head of the answer.
    Upstream,
}

/// Every part, and what it is called in `Server-Timing` and metrics.
pub const STAGES: [(Stage, &str); 3] =
    [(Stage::Token, "token"), (Stage::Queue, "queue"), (Stage::Upstream, "upstream")];

/// The time that a request has spent waiting. A step that is done at once took none, and costs no
/// look at the clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestTiming {
    stages: [Duration; STAGES.len()],
    /// Whether any step was taken that is measured.
    is_measured: bool,
}

impl RequestTiming {
    /// Takes a step; the time that it waits goes to `part`.
    pub fn measure<F: Future>(&mut self, part: Stage, step: F) -> Step<'_, F> {
        self.is_measured = true;
        Step { step, took: &mut self.stages[part as usize], since: None }
    }

    /// Returns what each part took, unless the request was refused before all of them.
    pub fn get(&self) -> Option<[Duration; STAGES.len()]> {
        self.is_measured.then_some(self.stages)
    }

    /// Returns the value of a `Server-Timing` header (W3C Server Timing: milliseconds).
    pub fn server_timing(&self) -> String {
        let entry = |((_, name), took): (&(Stage, &str), &Duration)| {
            format!("{name};dur={:.1}", took.as_secs_f64() * 1_000.0)
        };
        STAGES.iter().zip(&self.stages).map(entry).collect::<Vec<_>>().join(", ")
    }
}

pin_project! {
    /// A step whose waiting is measured.
    pub struct Step<'a, F> {
        #[pin]
        step: F,
        took: &'a mut Duration,
        since: Option<Instant>,
    }
}

impl<F: Future> Future for Step<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let polled = this.step.poll(cx);
        match (&polled, *this.since) {
            (Poll::Pending, None) => *this.since = Some(Instant::now()),
            (Poll::Ready(_), Some(since)) => **this.took += since.elapsed(),
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
    async fn what_is_done_at_once_took_no_time() {
        let mut spent = RequestTiming::default();
        assert_eq!(spent.get(), None);

        assert_eq!(spent.measure(Stage::Token, std::future::ready(7)).await, 7);

        assert_eq!(spent.get(), Some([Duration::ZERO; 3]));
        assert_eq!(spent.server_timing(), "token;dur=0.0, queue;dur=0.0, upstream;dur=0.0");
    }

    #[test]
    fn each_part_has_the_time_for_which_it_waited() {
        let mut spent = RequestTiming::default();
        let cx = &mut Context::from_waker(Waker::noop());
        for (part, millis) in [(Stage::Queue, 20), (Stage::Upstream, 40), (Stage::Upstream, 5)] {
            let (done, step) = oneshot::channel();
            let mut step = spent.measure(part, step);
            assert!(Pin::new(&mut step).poll(cx).is_pending());
            // So long ago, that is.
            step.since = step.since.map(|since| since - Duration::from_millis(millis));
            done.send(()).unwrap();
            assert!(Pin::new(&mut step).poll(cx).is_ready());
        }

        let millis = spent.get().unwrap().map(|part| part.as_millis());
        assert_eq!((millis[0], millis[1]), (0, 20));
        assert!((45..1_000).contains(&millis[2]), "{millis:?}");
        let header = spent.server_timing();
        assert!(header.starts_with("token;dur=0.0, queue;dur=20."), "{header}");
    }
}
