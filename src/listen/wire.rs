//! What hyper's server leaves open: patience between requests, an eye on whoever waits for an
//! answer, and words for its refusals.
//!
//! hyper's own header timeout also ends idle connections and costs a timer per request, and its
//! refusals are bare. This wrapper keeps one timer per connection, which is looked at again only
//! when it fires, and gives each refusal the body that every other answer of ours has.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Stream;
use crate::telemetry::Record;

/// How long a caller may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a request head, from its first byte to its last.
    pub head: Duration,
    /// Without any request.
    pub idle: Duration,
}

/// Complete answers to what never becomes a request.
#[derive(Clone, Debug)]
pub struct Canned {
    /// Not HTTP, or not as RFC 9112 wants it.
    pub malformed: Refusal,
    /// More or larger header fields than allowed.
    pub fields_too_large: Refusal,
    /// A longer target than allowed.
    pub target_too_long: Refusal,
    /// A head that did not arrive in time.
    pub head_timeout: Refusal,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Its stable code.
    pub code: &'static str,
    /// The whole answer.
    pub answer: Bytes,
}

/// What a connection is doing, shared between its wire and its requests.
#[derive(Debug)]
pub struct Phase {
    epoch: Instant,
    /// Milliseconds since `epoch` at which the current wait began, times two, plus one while a
    /// head is arriving. Before the wait has really begun, one of the values below.
    state: AtomicU64,
}

/// A request is being answered; the clock stands still.
const BUSY: u64 = u64::MAX;

/// Bytes of a head have come. Most heads come whole, and nobody looks at the clock.
const ARRIVING: u64 = u64::MAX - 2;

/// An answer has ended.
const RESTING: u64 = u64::MAX - 1;

impl Phase {
    /// Starts idle.
    pub fn new() -> Self {
        Self { epoch: Instant::now(), state: AtomicU64::new(0) }
    }

    /// A request head is complete.
    pub fn busy(&self) {
        self.state.store(BUSY, Ordering::Relaxed);
    }

    /// The answer is over.
    pub fn idle(&self) {
        self.state.store(RESTING, Ordering::Relaxed);
    }

    /// Says whether not a byte has come yet.
    pub fn is_new(&self) -> bool {
        self.state.load(Ordering::Relaxed) == 0
    }

    fn head_begins(&self) {
        if self.state.load(Ordering::Relaxed) & 1 == 0 {
            self.state.store(ARRIVING, Ordering::Relaxed);
        }
    }

    /// There is nothing to read: a wait begins, unless it has begun already.
    fn waits(&self) {
        let state = self.state.load(Ordering::Relaxed);
        if state == ARRIVING || state == RESTING {
            self.state.store(self.elapsed().max(1) << 1 | state & 1, Ordering::Relaxed);
        }
    }

    /// Returns when patience ends, and whether a head is arriving.
    fn deadline(&self, patience: Patience) -> Option<(Instant, bool)> {
        let state = self.state.load(Ordering::Relaxed);
        if matches!(state, BUSY | ARRIVING | RESTING) {
            return None;
        }
        let in_head = state & 1 == 1;
        let limit = if in_head { patience.head } else { patience.idle };
        Some((self.epoch + Duration::from_millis(state >> 1) + limit, in_head))
    }

    fn is_busy(&self) -> bool {
        self.state.load(Ordering::Relaxed) == BUSY
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX >> 2)
    }
}

impl Default for Phase {
    fn default() -> Self {
        Self::new()
    }
}

/// Head and body of an answer that go out together as one piece.
const SMALL: usize = 4 << 10;

/// A local connection with patience.
pub struct Wire {
    stream: Stream,
    phase: Arc<Phase>,
    patience: Patience,
    canned: Arc<Canned>,
    record: Arc<Record>,
    timer: Pin<Box<Sleep>>,
    /// What goes out in place of hyper's own refusal, and how long that was.
    instead: Option<(Bytes, usize)>,
}

impl Wire {
    /// Wraps `stream`; `phase` is told by its requests when they begin and end.
    pub fn new(
        stream: Stream,
        phase: Arc<Phase>,
        patience: Patience,
        canned: Arc<Canned>,
        record: Arc<Record>,
    ) -> Self {
        let timer = Box::pin(tokio::time::sleep(patience.head.min(patience.idle)));
        Self { stream, phase, patience, canned, record, timer, instead: None }
    }

    /// Returns what is under it, for what is no longer HTTP.
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// Ends the wait for bytes when patience is over.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            match self.phase.deadline(self.patience) {
                Some((deadline, in_head)) if deadline <= now => {
                    if in_head {
                        self.say_late(cx);
                    }
                    // Idle: the end of the stream, which ends the connection without an error.
                    return Poll::Ready(Ok(()));
                }
                Some((deadline, _)) => {
                    self.timer.as_mut().reset(deadline.min(now + self.patience.head))
                }
                None => self.timer.as_mut().reset(now + self.patience.head),
            }
        }
    }

    /// Writes the answer to a late head if the caller has room for it. Nothing else is being
    /// written while a head arrives.
    fn say_late(&mut self, cx: &mut Context<'_>) {
        let Refusal { code, answer } = &self.canned.head_timeout;
        self.record.unread(code);
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_write(cx, answer) {
            tracing::debug!(error = %error, "a late caller was gone already");
        }
    }

    /// Recognises hyper's refusal: one write between requests, without the header that every
    /// answer of ours carries.
    fn refusal(&self, bytes: &[u8]) -> Option<&Refusal> {
        let is_bare = !self.phase.is_busy()
            && bytes.len() < 200
            && bytes.starts_with(b"HTTP/1.1 4")
            && bytes.ends_with(b"\r\n\r\n")
            && !contains(bytes, b"x-content-type-options");
        match bytes.get(9..12) {
            Some(b"400") if is_bare => Some(&self.canned.malformed),
            Some(b"414") if is_bare => Some(&self.canned.target_too_long),
            Some(b"431") if is_bare => Some(&self.canned.fields_too_large),
            Some(_) | None => None,
        }
    }

    /// Writes what stands in for hyper's refusal, then reports the length that hyper expects.
    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some((answer, length)) = &mut self.instead {
            if answer.is_empty() {
                let length = *length;
                self.instead = None;
                return Poll::Ready(Ok(length));
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, answer))?;
            answer.advance(written);
        }
        Poll::Ready(Ok(0))
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Pending => {
                this.phase.waits();
                this.poll_patience(cx)
            }
            Poll::Ready(Ok(())) => {
                if buffer.filled().len() > before {
                    this.phase.head_begins();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.instead.is_none()
            && let Some(Refusal { code, answer }) = this.refusal(bytes)
        {
            this.record.unread(code);
            this.instead = Some((answer.clone(), bytes.len()));
        }
        match this.instead {
            Some(_) => this.poll_instead(cx),
            None => Pin::new(&mut this.stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.phase.is_busy() && slices.iter().filter(|slice| !slice.is_empty()).count() == 1 {
            let only = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(cx, only.map_or(&[], |slice| &**slice));
        }
        let stream = Pin::new(&mut self.get_mut().stream);
        if slices.iter().map(|slice| slice.len()).sum::<usize>() > SMALL {
            return stream.poll_write_vectored(cx, slices);
        }
        // The kernel takes longer to gather a few small pieces than we to copy them.
        let mut space = [MaybeUninit::uninit(); SMALL];
        let mut whole = ReadBuf::uninit(&mut space);
        slices.iter().for_each(|slice| whole.put_slice(slice));
        stream.poll_write(cx, whole.filled())
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper would look for a caller's end by reading ahead, which takes a buffer per request.
        if this.phase.is_busy() && this.stream.has_left(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
