//! The body of an answer on its way down, never held whole. Trailers are dropped.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use super::Broken;
use super::message::Rest;
use super::pool::Lease;
use super::switch::Far;
use super::turn::{poll_turn, spend};

/// An answer's body on its way to the caller. Read to its end, it gives its connection back.
pub struct Relayed {
    source: Source,
    pause: Pause,
}

/// How long there may be nothing to read. Costs a timer only where there is nothing. Small, for it
/// stands in the future of every request.
struct Pause {
    timer: Option<Pin<Box<Sleep>>>,
    limit_ms: u32,
    /// Something has come since the timer was set.
    has_moved: bool,
}

/// Where a body comes from.
enum Source {
    /// A connection of its own, which this task drives.
    Line(Lease),
    /// A connection that others share.
    Stream(Incoming),
    /// There is no body: what the connection has become is here instead.
    Switched(Box<Far>),
    /// There is no more, but for this.
    Failed(Broken),
    /// There is no more.
    Ended,
}

impl Relayed {
    /// What comes over `lease`, without a pause that is longer than `limit`.
    pub(super) fn over(lease: Lease, limit: Duration) -> Self {
        let mut relayed = Self::new(Source::Line(lease), limit);
        relayed.finish_if_done();
        relayed
    }

    /// The same on a connection that others share.
    pub(super) fn by_stream(incoming: Incoming, limit: Duration) -> Self {
        Self::new(Source::Stream(incoming), limit)
    }

    fn new(source: Source, limit: Duration) -> Self {
        let limit_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        Self { source, pause: Pause { timer: None, limit_ms, has_moved: false } }
    }

    /// There is no body: what its connection has become is `far`.
    pub(super) fn switched(far: Far) -> Self {
        Self::new(Source::Switched(Box::new(far)), Duration::ZERO)
    }

    /// Takes what the connection has become, if the answer was that it switches.
    pub fn take_far(&mut self) -> Option<Box<Far>> {
        match std::mem::replace(&mut self.source, Source::Ended) {
            Source::Switched(far) => Some(far),
            other @ (Source::Line(_) | Source::Stream(_) | Source::Failed(_) | Source::Ended) => {
                self.source = other;
                None
            }
        }
    }

    /// Leaves the memory of fields that nobody needs to the next answer on its connection.
    pub fn leave(&mut self, fields: HeaderMap) {
        if let Source::Line(lease) = &mut self.source {
            lease.line.leave(fields);
        }
    }

    /// Reads at most `most` bytes and throws them away, so that the connection can be used again:
    /// for no longer than a slow handshake would take.
    pub async fn discard(mut self, most: usize) {
        let reading = async {
            let mut left = most;
            while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await
                && let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len))
            {
                left = rest;
            }
        };
        tokio::time::timeout(Duration::from_secs(1), reading).await.ok();
    }

    /// hyper does not ask again once it has every byte of a known length.
    fn finish_if_done(&mut self) {
        if self.is_end_stream()
            && let Source::Line(lease) = std::mem::replace(&mut self.source, Source::Ended)
        {
            lease.finish();
        }
    }
}

impl Pause {
    /// Waits until a pause has lasted for too long: for at most twice its limit.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = Duration::from_millis(self.limit_ms.into());
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        while timer.as_mut().poll(cx).is_ready() {
            if !std::mem::take(&mut self.has_moved) {
                return Poll::Ready(());
            }
            timer.as_mut().reset(Instant::now() + limit);
        }
        Poll::Pending
    }
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        if let Source::Failed(_) = this.source
            && let Source::Failed(error) = std::mem::replace(&mut this.source, Source::Ended)
        {
            return Poll::Ready(Some(Err(error)));
        }
        ready!(poll_turn(cx));
        let polled = match &mut this.source {
            Source::Line(lease) => lease.line.poll_data(cx),
            Source::Stream(incoming) => poll_stream(incoming, cx),
            Source::Switched(_) | Source::Failed(_) | Source::Ended => Poll::Ready(None),
        };
        let data = match polled {
            Poll::Ready(data) => data,
            Poll::Pending => {
                ready!(this.pause.poll_over(cx));
                tracing::debug!(
                    limit_ms = this.pause.limit_ms,
                    "no more of an answer came in time"
                );
                Some(Err(Broken::Stalled))
            }
        };
        this.pause.has_moved = true;
        let Some(data) = data else {
            this.finish_if_done();
            return Poll::Ready(None);
        };
        match data {
            // hyper throws away what it has not written yet when a body fails: let it write.
            Err(error) => {
                this.source = Source::Failed(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Ok(data) => {
                spend(cx, data.len());
                this.finish_if_done();
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Line(lease) => lease.line.rest() == Rest::Nothing,
            Source::Stream(incoming) => incoming.is_end_stream(),
            Source::Failed(_) => false,
            Source::Switched(_) | Source::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Line(lease) => match lease.line.rest() {
                Rest::Nothing => SizeHint::with_exact(0),
                Rest::Length(length) => SizeHint::with_exact(length),
                Rest::Chunks(_) | Rest::UntilTheEnd => SizeHint::new(),
            },
            Source::Stream(incoming) => incoming.size_hint(),
            Source::Switched(_) | Source::Failed(_) | Source::Ended => SizeHint::with_exact(0),
        }
    }
}

/// Takes the next data off a stream, without its trailers.
fn poll_stream(
    incoming: &mut Incoming,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, Broken>>> {
    loop {
        match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Poll::Ready(Some(Ok(data)));
                }
            }
        }
    }
}

impl fmt::Debug for Relayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Relayed")
    }
}
