//! A tower layer that keeps a panic inside the request that caused it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// Turns a panic of the service into the response that `instead` makes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contain<R>(pub(super) fn() -> R);

/// A service whose panics are contained.
#[derive(Debug)]
pub(super) struct Contained<S, R> {
    inner: S,
    instead: fn() -> R,
}

// Not derived: that would ask for a response that can be cloned.
impl<S: Clone, R> Clone for Contained<S, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), instead: self.instead }
    }
}

impl<S, R> Layer<S> for Contain<R> {
    type Service = Contained<S, R>;

    fn layer(&self, inner: S) -> Contained<S, R> {
        Contained { inner, instead: self.0 }
    }
}

impl<S, Q, R> Service<Q> for Contained<S, R>
where
    S: Service<Q, Response = R>,
{
    type Response = R;
    type Error = S::Error;
    type Future = Containing<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        Containing { inner: self.inner.call(request), instead: self.instead }
    }
}

pin_project! {
    /// One contained call.
    #[derive(Debug)]
    pub(super) struct Containing<F, R> {
        #[pin]
        inner: F,
        instead: fn() -> R,
    }
}

impl<F, R, E> Future for Containing<F, R>
where
    F: Future<Output = Result<R, E>>,
{
    type Output = Result<R, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<R, E>> {
        let this = self.project();
        // A call that panicked is never polled again, so nothing half-done is seen of it.
        match catch_unwind(AssertUnwindSafe(|| this.inner.poll(cx))) {
            Ok(polled) => polled,
            Err(_) => Poll::Ready(Ok((this.instead)())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use std::future::{Ready, ready};

    use tower::ServiceExt;

    use super::*;

    #[derive(Clone)]
    struct Unlucky;

    impl Service<u32> for Unlucky {
        type Response = u32;
        type Error = Infallible;
        type Future = Ready<Result<u32, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, number: u32) -> Self::Future {
            ready(Ok(number))
        }
    }

    #[tokio::test]
    async fn a_panic_ends_one_call_only() {
        let unlucky = tower::util::MapResponse::new(Unlucky, |number| {
            assert_ne!(number, 13, "unlucky");
            number
        });
        let contained = Contain(|| 0).layer(unlucky);

        assert_eq!(contained.clone().oneshot(13).await, Ok(0));
        assert_eq!(contained.oneshot(1).await, Ok(1));
    }
}
