//! Keeps a panic inside the request that caused it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// Answers with what `instead` makes if the answer panics.
pub(super) fn catch_panic<F: Future>(answer: F, instead: fn() -> F::Output) -> Contained<F> {
    Contained { answer, instead }
}

pin_project! {
    /// An answer whose panics are contained.
    pub(super) struct Contained<F: Future> {
        #[pin]
        answer: F,
        instead: fn() -> F::Output,
    }
}

impl<F: Future> Future for Contained<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        match catch_unwind(AssertUnwindSafe(|| this.answer.poll(cx))) {
            Ok(polled) => polled,
            Err(_) => Poll::Ready((this.instead)()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_one_answer_only() {
        let answer = async |number| {
            assert_ne!(number, 13, "unlucky");
            number
        };

        assert_eq!(catch_panic(answer(13), || 0).await, 0);
        assert_eq!(catch_panic(answer(1), || 0).await, 1);
    }
}
