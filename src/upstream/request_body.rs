//! The body of a request on its way up, read with bounds and never held whole.
//!
//! Trailers are dropped, as they are on the way down: no Nexudus client uses them, and they are a
//! second place in which a header could hide.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::coop::{consume_budget, poll_budget};

/// A request body on its way to the host.
#[derive(Debug)]
pub enum Payload {
    /// None.
    Empty,
    /// A copy of a body that is held elsewhere and can be sent again.
    Buffered(Option<Bytes>),
    /// The caller's own body, passed on piece by piece; it exists once.
    Streamed(Upload),
}

impl Payload {
    pub(super) fn progress(&self) -> Option<Arc<UploadProgress>> {
        match self {
            Self::Empty | Self::Buffered(_) => None,
            Self::Streamed(upload) => Some(upload.progress.clone()),
        }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Buffered(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(upload) => Pin::new(upload).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Buffered(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Streamed(upload) => upload.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Buffered(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Self::Streamed(upload) => upload.size_hint(),
        }
    }
}

/// What the caller did wrong while its body was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It broke the framing, or went away in the middle.
    #[error("the request body ended early or was malformed")]
    Incomplete,
    /// It sent nothing for too long.
    #[error("the request body stopped arriving")]
    TimedOut,
    /// It sent more than is allowed.
    #[error("the request body is too large")]
    TooLarge,
}

/// What is known about a streamed request body, shared with whoever waits for its answer.
#[derive(Debug, Default)]
pub struct UploadProgress {
    pieces: AtomicU64,
    error: AtomicU8,
}

impl UploadProgress {
    /// Returns how many pieces have been passed on.
    pub(super) fn pieces(&self) -> u64 {
        self.pieces.load(Ordering::Relaxed)
    }

    /// Returns what the caller did wrong, if it did.
    pub fn error(&self) -> Option<BodyError> {
        match self.error.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(BodyError::Incomplete),
            2 => Some(BodyError::TimedOut),
            _ => Some(BodyError::TooLarge),
        }
    }

    fn record_error(&self, fault: BodyError) -> BodyError {
        let code = match fault {
            BodyError::Incomplete => 1,
            BodyError::TimedOut => 2,
            BodyError::TooLarge => 3,
        };
        self.error.store(code, Ordering::Relaxed);
        fault
    }
}

/// A caller's body, read with bounds on its pauses and its length.
pub struct Upload {
    prefix: Option<Bytes>,
    incoming: Incoming,
    remaining: u64,
    idle_timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    progress: Arc<UploadProgress>,
}

impl Upload {
    /// Bounds `incoming`: no pause longer than `idle_timeout`, no more than `most` bytes in all.
    pub fn new(incoming: Incoming, idle_timeout: Duration, most: u64) -> Self {
        let progress = Arc::default();
        Self { prefix: None, incoming, remaining: most, idle_timeout, timer: None, progress }
    }

    /// Puts back what was read from it.
    pub(super) fn with_prefix(mut self, read: Bytes) -> Self {
        self.prefix = (!read.is_empty()).then_some(read);
        self
    }

    /// Returns the place where its progress can be watched.
    pub fn progress(&self) -> Arc<UploadProgress> {
        self.progress.clone()
    }

    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let pause = self.idle_timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        timer.as_mut().poll(cx).map(|()| self.progress.record_error(BodyError::TimedOut))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        ready!(poll_budget(cx));
        if let Some(bytes) = this.prefix.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        loop {
            let frame = match Pin::new(&mut this.incoming).poll_frame(cx) {
                Poll::Pending => return this.poll_timeout(cx).map(|fault| Some(Err(fault))),
                Poll::Ready(frame) => frame,
            };
            if let Some(timer) = &mut this.timer {
                timer.as_mut().reset(Instant::now() + this.idle_timeout);
            }
            let Some(frame) = frame else { return Poll::Ready(None) };
            let Ok(frame) = frame else {
                return Poll::Ready(Some(Err(this.progress.record_error(BodyError::Incomplete))));
            };
            let Ok(data) = frame.into_data() else { continue };
            let Some(left) = this.remaining.checked_sub(data.len() as u64) else {
                return Poll::Ready(Some(Err(this.progress.record_error(BodyError::TooLarge))));
            };
            this.remaining = left;
            consume_budget(cx, data.len());
            this.progress.pieces.fetch_add(1, Ordering::Relaxed);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.prefix.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.prefix.as_ref().map_or(0, Bytes::len) as u64;
        let rest = self.incoming.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + read);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + read);
        }
        hint
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("left", &self.remaining).finish_non_exhaustive()
    }
}
