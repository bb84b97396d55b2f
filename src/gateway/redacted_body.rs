//! A body that is rewritten as it streams, a little at a time, so that others use the thread too.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::redact::{JsonError, ResponseRules, Rewriter};
use crate::upstream::ConnectionError;

/// A body that is rewritten as it streams.
#[derive(Debug)]
pub(super) struct RedactedBody<B> {
    inner: B,
    rewriter: Rewriter<ResponseRules>,
    /// Counts the values that are hidden, for the record.
    redactions: Arc<AtomicU64>,
    /// The bytes that have come and are not rewritten yet.
    waiting: Bytes,
    /// The bytes that are rewritten and not sent yet.
    ready: Vec<u8>,
    /// Pieces since the thread was given to others.
    steps: u8,
    is_done: bool,
    /// The error that ended the body before its first piece was sent.
    error: Option<ConnectionError>,
}

/// A body of which the first piece was rewritten.
pub(super) enum Begun<B> {
    /// The body is no JSON.
    NotJson,
    /// The body has ended.
    Whole(Bytes),
    /// More of it follows, or an error.
    Rest(Box<RedactedBody<B>>),
}

impl<B: Body<Data = Bytes, Error = ConnectionError> + Unpin> RedactedBody<B> {
    /// Rewrites the first piece.
    pub(super) async fn begin(
        inner: B,
        rewriter: Rewriter<ResponseRules>,
        redactions: Arc<AtomicU64>,
    ) -> Begun<B> {
        let mut body = Self {
            inner,
            rewriter,
            redactions,
            waiting: Bytes::new(),
            ready: Vec::new(),
            steps: 0,
            is_done: false,
            error: None,
        };
        match poll_fn(|cx| body.poll_ready(cx)).await {
            Err(error) if is_not_json(&error) => return Begun::NotJson,
            Err(error) => body.error = Some(error),
            Ok(()) if body.is_done => return Begun::Whole(body.ready.into()),
            Ok(()) => {}
        }
        Begun::Rest(Box::new(body))
    }

    /// Rewrites until something is ready or the body has ended.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        while !self.is_done {
            if !self.waiting.is_empty() {
                if self.steps == MAX_STEPS {
                    self.steps = 0;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                self.steps += 1;
                let piece = self.waiting.split_to(self.waiting.len().min(STEP));
                let written = self.rewriter.write(&piece, &mut self.ready);
                self.check(written)?;
                if self.waiting.is_empty() && self.inner.is_end_stream() {
                    self.end()?;
                }
            } else if !self.ready.is_empty() {
                break;
            } else {
                match ready!(Pin::new(&mut self.inner).poll_frame(cx)).transpose() {
                    Ok(Some(frame)) => self.waiting = frame.into_data().unwrap_or_default(),
                    Ok(None) => self.end()?,
                    Err(error) => {
                        self.is_done = true;
                        return Poll::Ready(Err(error));
                    }
                }
            }
            if self.ready.len() >= STEP {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn end(&mut self) -> Result<(), ConnectionError> {
        self.is_done = true;
        let written = self.rewriter.finish(&mut self.ready);
        self.check(written)
    }

    fn check(&mut self, written: Result<(), JsonError>) -> Result<(), ConnectionError> {
        self.redactions.store(self.rewriter.rules().replaced(), Ordering::Relaxed);
        written.map_err(|error| {
            self.is_done = true;
            tracing::warn!(%error, "a response to a redacted client was cut off: it is not understood");
            ConnectionError::Io(io::Error::new(io::ErrorKind::InvalidData, error))
        })
    }
}

fn is_not_json(error: &ConnectionError) -> bool {
    let ConnectionError::Io(error) = error else { return false };
    error.get_ref().is_some_and(|cause| cause.is::<JsonError>())
}

impl<B: Body<Data = Bytes, Error = ConnectionError> + Unpin> Body for RedactedBody<B> {
    type Data = Bytes;
    type Error = ConnectionError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionError>>> {
        let this = self.get_mut();
        if this.ready.is_empty() {
            if let Some(error) = this.error.take() {
                return Poll::Ready(Some(Err(error)));
            }
            ready!(this.poll_ready(cx))?;
        }
        if this.ready.is_empty() {
            return Poll::Ready(None);
        }
        let data = Bytes::from(std::mem::take(&mut this.ready));
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_done && self.ready.is_empty() && self.error.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// How much is rewritten at a time, in bytes.
const STEP: usize = 16 << 10;

/// How many pieces are rewritten before others use the thread: 0.3 ms at 5 ns a byte.
const MAX_STEPS: u8 = 3;
