//! Bodies on their way: up from the caller, down from the host. Neither is ever held whole here.
//!
//! Trailers are dropped both ways: no Nexudus client uses them, and they are a second place in
//! which a header could hide.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::coop::poll_proceed;
use tokio::time::{Instant, Sleep};

use super::Broken;
use super::message::Rest;
use super::pool::Lease;
use super::switch::Far;

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

/// Waits until it is this task's turn again, if it has used up the one it has.
fn poll_turn(cx: &mut Context<'_>) -> Poll<()> {
    poll_proceed(cx).map(drop)
}

/// Takes what so many bytes cost from the turn of this task. tokio counts operations, and an
/// operation on a large body can be a thousand times as long as one on a small one.
fn spend(cx: &mut Context<'_>, bytes: usize) {
    for _ in 0..=bytes / PIECE {
        match poll_proceed(cx) {
            Poll::Ready(progress) => progress.made_progress(),
            Poll::Pending => return,
        }
    }
}

/// What counts as one of the 128 operations of a turn: 256 KiB, or 0.3 ms of decryption and
/// copying, and others are looked at.
const PIECE: usize = 2 << 10;

/// An answer's body on its way to the caller. Read to its end, it gives its connection back.
pub struct Relayed {
    source: Source,
    failed: Option<Broken>,
}

/// Where a body comes from.
enum Source {
    /// A connection of its own, which this task drives.
    Line(Lease),
    /// A connection that others share.
    Stream(Incoming),
    /// There is no body: what the connection has become is here instead.
    Switched(Box<Far>),
    /// There is no more.
    Ended,
}

impl Relayed {
    /// What comes over `lease`.
    pub(super) fn over(lease: Lease) -> Self {
        let mut relayed = Self { source: Source::Line(lease), failed: None };
        relayed.finish_if_done();
        relayed
    }

    /// There is no body: what its connection has become is `far`.
    pub(super) fn switched(far: Far) -> Self {
        Self { source: Source::Switched(Box::new(far)), failed: None }
    }

    /// Takes what the connection has become, if the answer was that it switches.
    pub fn take_far(&mut self) -> Option<Box<Far>> {
        match std::mem::replace(&mut self.source, Source::Ended) {
            Source::Switched(far) => Some(far),
            other @ (Source::Line(_) | Source::Stream(_) | Source::Ended) => {
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

    /// Reads at most `most` bytes and throws them away, so that the connection can be used again.
    pub async fn discard(mut self, most: usize) {
        let mut left = most;
        while let Some(Ok(frame)) =
            std::future::poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await
        {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
                return;
            };
            left = rest;
        }
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

impl From<Incoming> for Relayed {
    fn from(incoming: Incoming) -> Self {
        Self { source: Source::Stream(incoming), failed: None }
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
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        ready!(poll_turn(cx));
        let data = match &mut this.source {
            Source::Line(lease) => ready!(lease.line.poll_data(cx)),
            Source::Stream(incoming) => ready!(poll_stream(incoming, cx)),
            Source::Switched(_) | Source::Ended => None,
        };
        let Some(data) = data else {
            this.finish_if_done();
            return Poll::Ready(None);
        };
        match data {
            // hyper throws away what it has not written yet when a body fails: let it write.
            Err(error) => {
                this.source = Source::Ended;
                this.failed = Some(error);
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
        self.failed.is_none()
            && match &self.source {
                Source::Line(lease) => lease.line.rest() == Rest::Nothing,
                Source::Stream(incoming) => incoming.is_end_stream(),
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
            Source::Switched(_) | Source::Ended => SizeHint::with_exact(0),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_large_body_gives_way_after_a_quarter_of_a_mebibyte() {
        let turns = async || {
            let mut passed = 0;
            std::future::poll_fn(|cx| {
                while poll_turn(cx).is_ready() && passed < 1 << 30 {
                    spend(cx, 64 << 10);
                    passed += 64 << 10;
                }
                Poll::Ready(passed)
            })
            .await
        };

        let passed = tokio::spawn(turns()).await.unwrap();

        assert_eq!(passed, 256 << 10);
    }
}
