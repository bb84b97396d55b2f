//! The body of a response on its way to the client, never held whole. Trailers are dropped.

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
use super::pool::PooledConnection;
use super::upgrade::Upgraded;

/// The body of a response. Read to its end, the body gives its connection back.
pub struct ResponseBody {
    source: BodySource,
    stall_timer: StallTimer,
}

/// Limits how long no data may come. There is a timer only once no data came. The struct is small,
/// because it is part of every request's future.
struct StallTimer {
    timer: Option<Pin<Box<Sleep>>>,
    limit_ms: u32,
    /// Whether data has come since the timer was set.
    has_progressed: bool,
}

/// Where a body comes from.
enum BodySource {
    /// A connection that only this task uses.
    Http1(PooledConnection),
    /// A stream of a shared connection.
    Http2(Incoming),
    /// The upgraded connection; there is no body.
    Upgraded(Box<Upgraded>),
    /// An error that is still to be returned.
    Failed(ConnectionError),
    /// Nowhere: the body has ended.
    Ended,
}

impl ResponseBody {
    /// Makes the body that comes over `conn`, without a pause that is longer than `limit`.
    pub(super) fn from_h1(conn: PooledConnection, limit: Option<Duration>) -> Self {
        let mut body = Self::new(BodySource::Http1(conn), limit);
        body.release_if_done();
        body
    }

    /// Makes the body of an HTTP/2 stream, without a pause that is longer than `limit`.
    pub(super) fn from_h2(incoming: Incoming, limit: Option<Duration>) -> Self {
        Self::new(BodySource::Http2(incoming), limit)
    }

    fn new(source: BodySource, limit: Option<Duration>) -> Self {
        // Seven weeks are no limit.
        let limit_ms =
            limit.and_then(|limit| u32::try_from(limit.as_millis()).ok()).unwrap_or(u32::MAX);
        Self { source, stall_timer: StallTimer { timer: None, limit_ms, has_progressed: false } }
    }

    /// Makes an empty body that holds the upgraded connection.
    pub(super) fn from_upgraded(upgraded: Upgraded) -> Self {
        Self::new(BodySource::Upgraded(Box::new(upgraded)), None)
    }

    /// Takes the upgraded connection, if the response has switched protocols.
    pub fn take_upgraded(&mut self) -> Option<Box<Upgraded>> {
        match std::mem::replace(&mut self.source, BodySource::Ended) {
            BodySource::Upgraded(upgraded) => Some(upgraded),
            other @ (BodySource::Http1(_)
            | BodySource::Http2(_)
            | BodySource::Failed(_)
            | BodySource::Ended) => {
                self.source = other;
                None
            }
        }
    }

    /// Lets the next response on the connection use the memory of these headers.
    pub fn recycle_headers(&mut self, headers: HeaderMap) {
        if let BodySource::Http1(pooled) = &mut self.source {
            pooled.conn.recycle_headers(headers);
        }
    }

    /// Reads at most `limit` bytes and throws them away, so that the connection can be used again.
    /// Takes `DISCARD_TIMEOUT` at most.
    pub async fn discard(mut self, limit: usize) {
        let reading = async {
            let mut left = limit;
            while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await
                && let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len))
            {
                left = rest;
            }
        };
        tokio::time::timeout(DISCARD_TIMEOUT, reading).await.ok();
    }

    /// Gives the connection back as soon as the body has ended: hyper does not poll again once it
    /// has every byte of a known length.
    fn release_if_done(&mut self) {
        if self.is_end_stream()
            && let BodySource::Http1(pooled) =
                std::mem::replace(&mut self.source, BodySource::Ended)
        {
            pooled.release();
        }
    }
}

impl StallTimer {
    /// Becomes ready once a pause has lasted too long: after twice the limit at most.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = Duration::from_millis(self.limit_ms.into());
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        while timer.as_mut().poll(cx).is_ready() {
            // A body that is polled long after its timer has woken its task waited for the client,
            // which took nothing more: that time is not the host's.
            let has_waited_for_client = timer.deadline().elapsed() > limit.min(MAX_WAKE_DELAY);
            if !std::mem::take(&mut self.has_progressed) && !has_waited_for_client {
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
            BodySource::Http1(pooled) => pooled.conn.poll_data(cx),
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
                    "no more of a response came in time"
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
            // When a body fails, hyper throws away what it has not written: first it may write.
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
            BodySource::Http1(pooled) => pooled.conn.is_end_stream(),
            BodySource::Http2(incoming) => incoming.is_end_stream(),
            BodySource::Failed(_) => false,
            BodySource::Upgraded(_) | BodySource::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            BodySource::Http1(pooled) => pooled.conn.size_hint(),
            BodySource::Http2(incoming) => incoming.size_hint(),
            BodySource::Upgraded(_) | BodySource::Failed(_) | BodySource::Ended => {
                SizeHint::with_exact(0)
            }
        }
    }
}

/// Takes the next data of an HTTP/2 stream, without its trailers.
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
        f.write_str("ResponseBody")
    }
}

/// Longest time between a timer's end and the poll of its task on a loaded machine.
const MAX_WAKE_DELAY: Duration = Duration::from_secs(1);

/// Longest time for reading a body that is thrown away: a slow handshake would take as long.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_the_host_ends_a_body_and_one_of_the_client_does_not() {
        let limit_ms = u32::try_from(LIMIT.as_millis()).unwrap();
        let mut stall = StallTimer { timer: None, limit_ms, has_progressed: false };
        let mut is_expired =
            || poll_fn(|cx| Poll::Ready(stall.poll_expired(cx).is_ready())).now_or_never().unwrap();
        assert!(!is_expired());

        // The client takes nothing for an hour, so that the body is not polled.
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert!(!is_expired());

        tokio::time::advance(LIMIT - Duration::from_millis(1)).await;
        assert!(!is_expired());
        tokio::time::advance(Duration::from_millis(2)).await;
        assert!(is_expired());
    }
}
