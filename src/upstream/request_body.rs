//! The body of a request on its way to the host, read within limits and never held whole.
//!
//! Trailers are dropped, as those of responses are: no Nexudus client uses them, and they are a
//! second place in which a header could hide.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::client_body::ClientBody;
use super::coop::{consume_budget, poll_budget};
use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// A request body as it is sent.
#[derive(Debug)]
pub enum Payload {
    /// No body.
    Empty,
    /// A copy of a buffered body, which can be sent again.
    Buffered(Option<Bytes>),
    /// The client's own body, passed on piece by piece. It exists once.
    Streamed(Upload),
}

impl Payload {
    /// Returns the progress of a body that is sent once.
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

/// Why a client's body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The client broke the framing, or left in the middle.
    #[error("the request body ended early or was malformed")]
    Incomplete,
    /// The client paused for too long.
    #[error("the request body stopped arriving")]
    TimedOut,
    /// The client sent more than is allowed.
    #[error("the request body is too large")]
    TooLarge,
}

impl Problem for BodyError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Incomplete => ProblemKind::MalformedBody.into(),
            Self::TimedOut => ProblemKind::RequestTimeout.into(),
            Self::TooLarge => ProblemKind::BodyTooLarge.into(),
        }
    }
}

/// The progress of a streamed request body, shared with the task that waits for the response.
#[derive(Debug, Default)]
pub struct UploadProgress {
    pieces: AtomicU64,
    /// 0 without an error, else the number of the [`BodyError`].
    error: AtomicU8,
}

impl UploadProgress {
    /// Returns how many pieces have been passed on.
    pub(super) fn pieces(&self) -> u64 {
        self.pieces.load(Ordering::Relaxed)
    }

    /// Returns the error of the client's body, if there was one.
    pub fn error(&self) -> Option<BodyError> {
        match self.error.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(BodyError::Incomplete),
            2 => Some(BodyError::TimedOut),
            _ => Some(BodyError::TooLarge),
        }
    }

    fn record_error(&self, error: BodyError) -> BodyError {
        let code = match error {
            BodyError::Incomplete => 1,
            BodyError::TimedOut => 2,
            BodyError::TooLarge => 3,
        };
        self.error.store(code, Ordering::Relaxed);
        error
    }
}

/// A client's body, read with limits on its pauses and its length.
pub struct Upload {
    /// Data that was read already.
    prefix: Option<Bytes>,
    incoming: ClientBody,
    /// How many more bytes may come.
    remaining: u64,
    idle_timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    progress: Arc<UploadProgress>,
    /// Whether a body of this length is usually buffered.
    lacks_memory: bool,
}

impl Upload {
    /// Limits `incoming` to pauses of `idle_timeout` and to `max_length` bytes in all.
    pub fn new(incoming: ClientBody, idle_timeout: Duration, max_length: u64) -> Self {
        let progress = Arc::default();
        Self {
            prefix: None,
            incoming,
            remaining: max_length,
            idle_timeout,
            timer: None,
            progress,
            lacks_memory: false,
        }
    }

    /// Records that this body streams only because there is no memory for it now.
    pub(super) fn without_memory(self) -> Self {
        Self { lacks_memory: true, ..self }
    }

    /// Says whether this body streams only because there was no memory for it.
    pub(super) fn lacks_memory(&self) -> bool {
        self.lacks_memory
    }

    /// Puts back the data that was read from it.
    pub(super) fn with_prefix(mut self, prefix: Bytes) -> Self {
        self.prefix = (!prefix.is_empty()).then_some(prefix);
        self
    }

    /// Returns its progress, which goes on being updated.
    pub fn progress(&self) -> Arc<UploadProgress> {
        self.progress.clone()
    }

    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let timeout = self.idle_timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
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
                Poll::Pending => return this.poll_timeout(cx).map(|error| Some(Err(error))),
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
            let Some(remaining) = this.remaining.checked_sub(data.len() as u64) else {
                return Poll::Ready(Some(Err(this.progress.record_error(BodyError::TooLarge))));
            };
            this.remaining = remaining;
            consume_budget(cx, data.len());
            this.progress.pieces.fetch_add(1, Ordering::Relaxed);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.prefix.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let prefix = self.prefix.as_ref().map_or(0, Bytes::len) as u64;
        let rest = self.incoming.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + prefix);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + prefix);
        }
        hint
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}
