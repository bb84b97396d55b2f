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

use super::ConnectionError;
use super::coop::{consume_budget, poll_budget};
use super::h1_codec::BodyDecoder;
use super::pool::PooledConnection;
use super::upgrade::Upgraded;

/// An answer's body on its way to the caller. Read to its end, it gives its connection back.
pub struct ResponseBody {
    source: BodySource,
    stall_timer: StallTimer,
}

/// How long there may be nothing to read. Costs a timer only where there is nothing. Small, for it
/// stands in the future of every request.
struct StallTimer {
    timer: Option<Pin<Box<Sleep>>>,
    limit_ms: u32,
    /// Something has come since the timer was set.
    has_progressed: bool,
}

/// Where a body comes from.
enum BodySource {
    /// A connection of its own, which this task drives.
    Http1(PooledConnection),
    /// A connection that others share.
    Http2(Incoming),
    /// There is no body: what the connection has become is here instead.
    Upgraded(Box<Upgraded>),
    /// There is no more, but for this.
    Failed(ConnectionError),
    /// There is no more.
    Ended,
}

impl ResponseBody {
    /// What comes over `lease`, without a pause that is longer than `limit`.
    pub(super) fn from_h1(lease: PooledConnection, limit: Duration) -> Self {
        let mut relayed = Self::new(BodySource::Http1(lease), limit);
        relayed.release_if_done();
        relayed
    }

    /// The same on a connection that others share.
    pub(super) fn from_h2(incoming: Incoming, limit: Duration) -> Self {
        Self::new(BodySource::Http2(incoming), limit)
    }

    fn new(source: BodySource, limit: Duration) -> Self {
        let limit_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        Self { source, stall_timer: StallTimer { timer: None, limit_ms, has_progressed: false } }
    }

    /// There is no body: what its connection has become is `far`.
    pub(super) fn from_upgraded(far: Upgraded) -> Self {
        Self::new(BodySource::Upgraded(Box::new(far)), Duration::ZERO)
    }

    /// Takes what the connection has become, if the answer was that it switches.
    pub fn take_upgraded(&mut self) -> Option<Box<Upgraded>> {
        match std::mem::replace(&mut self.source, BodySource::Ended) {
            BodySource::Upgraded(far) => Some(far),
            other @ (BodySource::Http1(_)
            | BodySource::Http2(_)
            | BodySource::Failed(_)
            | BodySource::Ended) => {
                self.source = other;
                None
            }
        }
    }

    /// Leaves the memory of fields that nobody needs to the next answer on its connection.
    pub fn recycle_headers(&mut self, fields: HeaderMap) {
        if let BodySource::Http1(lease) = &mut self.source {
            lease.conn.recycle_headers(fields);
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
    fn release_if_done(&mut self) {
        if self.is_end_stream()
            && let BodySource::Http1(lease) = std::mem::replace(&mut self.source, BodySource::Ended)
        {
            lease.release();
        }
    }
}

impl StallTimer {
    /// Waits until a pause has lasted for too long: for at most twice its limit.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = Duration::from_millis(self.limit_ms.into());
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        while timer.as_mut().poll(cx).is_ready() {
            if !std::mem::take(&mut self.has_progressed) {
                return Poll::Ready(());
            }
            timer.as_mut().reset(Instant::now() + limit);
        }
        Poll::Pending
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ConnectionError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionError>>> {
        let this = self.get_mut();
        if let BodySource::Failed(_) = this.source
            && let BodySource::Failed(error) =
                std::mem::replace(&mut this.source, BodySource::Ended)
        {
            return Poll::Ready(Some(Err(error)));
        }
        ready!(poll_budget(cx));
        let polled = match &mut this.source {
            BodySource::Http1(lease) => lease.conn.poll_data(cx),
            BodySource::Http2(incoming) => poll_h2_data(incoming, cx),
            BodySource::Upgraded(_) | BodySource::Failed(_) | BodySource::Ended => {
                Poll::Ready(None)
            }
        };
        let data = match polled {
            Poll::Ready(data) => data,
            Poll::Pending => {
                ready!(this.stall_timer.poll_expired(cx));
                tracing::debug!(
                    limit_ms = this.stall_timer.limit_ms,
                    "no more of an answer came in time"
                );
                Some(Err(ConnectionError::Stalled))
            }
        };
        this.stall_timer.has_progressed = true;
        let Some(data) = data else {
            this.release_if_done();
            return Poll::Ready(None);
        };
        match data {
            // hyper throws away what it has not written yet when a body fails: let it write.
            Err(error) => {
                this.source = BodySource::Failed(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Ok(data) => {
                consume_budget(cx, data.len());
                this.release_if_done();
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            BodySource::Http1(lease) => lease.conn.body_decoder() == BodyDecoder::Done,
            BodySource::Http2(incoming) => incoming.is_end_stream(),
            BodySource::Failed(_) => false,
            BodySource::Upgraded(_) | BodySource::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            BodySource::Http1(lease) => match lease.conn.body_decoder() {
                BodyDecoder::Done => SizeHint::with_exact(0),
                BodyDecoder::Length(length) => SizeHint::with_exact(length),
                BodyDecoder::Chunked(_) | BodyDecoder::UntilClose => SizeHint::new(),
            },
            BodySource::Http2(incoming) => incoming.size_hint(),
            BodySource::Upgraded(_) | BodySource::Failed(_) | BodySource::Ended => {
                SizeHint::with_exact(0)
            }
        }
    }
}

/// Takes the next data off a stream, without its trailers.
fn poll_h2_data(
    incoming: &mut Incoming,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, ConnectionError>>> {
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

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Relayed")
    }
}
