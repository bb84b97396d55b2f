//! Confines a panic to the request that caused it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// Returns a future that yields `on_panic()` if the inner future panics.
pub(super) fn catch_panic<F: Future>(inner: F, on_panic: fn() -> F::Output) -> CatchPanic<F> {
    CatchPanic { inner, on_panic }
}

pin_project! {
    /// A future whose panics are caught.
    pub(super) struct CatchPanic<F: Future> {
        #[pin]
        inner: F,
        on_panic: fn() -> F::Output,
    }
}

impl<F: Future> Future for CatchPanic<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        match catch_unwind(AssertUnwindSafe(|| this.inner.poll(cx))) {
            Ok(polled) => polled,
            Err(_) => Poll::Ready((this.on_panic)()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_one_request_only() {
        let answer = async |number| {
            assert_ne!(number, 13, "unlucky");
            number
        };

        assert_eq!(catch_panic(answer(13), || 0).await, 0);
        assert_eq!(catch_panic(answer(1), || 0).await, 1);
    }
}
