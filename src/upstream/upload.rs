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

use super::turn::{poll_turn, spend};

/// A request body on its way to the host.
#[derive(Debug)]
pub enum Payload {
    /// None.
    Empty,
    /// A copy of a body that is held elsewhere and can be sent again.
    Kept(Option<Bytes>),
    /// The caller's own body, passed on piece by piece; it exists once.
    Streamed(Upload),
}

impl Payload {
    pub(super) fn progress(&self) -> Option<Arc<Progress>> {
        match self {
            Self::Empty | Self::Kept(_) => None,
            Self::Streamed(upload) => Some(upload.progress.clone()),
        }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Kept(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(upload) => Pin::new(upload).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Kept(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Streamed(upload) => upload.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Kept(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Streamed(upload) => upload.size_hint(),
        }
    }
}

/// What the caller did wrong while its body was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It broke the framing, or went away in the middle.
    #[error("the request body ended early or was malformed")]
    Broken,
    /// It sent nothing for too long.
    #[error("the request body stopped arriving")]
    Slow,
    /// It sent more than is allowed.
    #[error("the request body is too large")]
    TooLarge,
}

/// What is known about a streamed request body, shared with whoever waits for its answer.
#[derive(Debug, Default)]
pub struct Progress {
    pieces: AtomicU64,
    fault: AtomicU8,
}

impl Progress {
    /// Returns how many pieces have been passed on.
    pub(super) fn pieces(&self) -> u64 {
        self.pieces.load(Ordering::Relaxed)
    }

    /// Returns what the caller did wrong, if it did.
    pub fn fault(&self) -> Option<Fault> {
        match self.fault.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Fault::Broken),
            2 => Some(Fault::Slow),
            _ => Some(Fault::TooLarge),
        }
    }

    fn fail(&self, fault: Fault) -> Fault {
        let code = match fault {
            Fault::Broken => 1,
            Fault::Slow => 2,
            Fault::TooLarge => 3,
        };
        self.fault.store(code, Ordering::Relaxed);
        fault
    }
}

/// A caller's body, read with bounds on its pauses and its length.
pub struct Upload {
    read: Option<Bytes>,
    incoming: Incoming,
    left: u64,
    pause: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    progress: Arc<Progress>,
}

impl Upload {
    /// Bounds `incoming`: no pause longer than `pause`, no more than `most` bytes in all.
    pub fn new(incoming: Incoming, pause: Duration, most: u64) -> Self {
        let progress = Arc::default();
        Self { read: None, incoming, left: most, pause, timer: None, progress }
    }

    /// Puts back what was read from it.
    pub(super) fn rewound(mut self, read: Bytes) -> Self {
        self.read = (!read.is_empty()).then_some(read);
        self
    }

    /// Returns the place where its progress can be watched.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    fn poll_slow(&mut self, cx: &mut Context<'_>) -> Poll<Fault> {
        let pause = self.pause;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        timer.as_mut().poll(cx).map(|()| self.progress.fail(Fault::Slow))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = self.get_mut();
        ready!(poll_turn(cx));
        if let Some(bytes) = this.read.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        loop {
            let frame = match Pin::new(&mut this.incoming).poll_frame(cx) {
                Poll::Pending => return this.poll_slow(cx).map(|fault| Some(Err(fault))),
                Poll::Ready(frame) => frame,
            };
            if let Some(timer) = &mut this.timer {
                timer.as_mut().reset(Instant::now() + this.pause);
            }
            let Some(frame) = frame else { return Poll::Ready(None) };
            let Ok(frame) = frame else {
                return Poll::Ready(Some(Err(this.progress.fail(Fault::Broken))));
            };
            let Ok(data) = frame.into_data() else { continue };
            let Some(left) = this.left.checked_sub(data.len() as u64) else {
                return Poll::Ready(Some(Err(this.progress.fail(Fault::TooLarge))));
            };
            this.left = left;
            spend(cx, data.len());
            this.progress.pieces.fetch_add(1, Ordering::Relaxed);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.read.as_ref().map_or(0, Bytes::len) as u64;
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
        f.debug_struct("Upload").field("left", &self.left).finish_non_exhaustive()
    }
}
