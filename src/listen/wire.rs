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

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Stream;
use crate::telemetry::Record;

/// How long a caller may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the first byte.
    pub first: Duration,
    /// For a request head, from its first byte to its last.
    pub head: Duration,
    /// Without any request.
    pub idle: Duration,
    /// For the only request head, from connecting to its last byte.
    pub whole: Option<Duration>,
}

/// Complete answers to what never becomes a request.
#[derive(Clone, Debug)]
pub struct Canned {
    /// Not HTTP, or not as RFC 9112 wants it.
    pub malformed: Refusal,
    /// HTTP, but for what it asks for.
    pub malformed_target: Refusal,
    /// HTTP/2 without having asked.
    pub http2: Refusal,
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
        let limit = match state {
            0 => patience.first,
            _ if in_head => patience.head,
            _ => patience.idle,
        };
        let deadline = self.epoch + Duration::from_millis(state >> 1) + limit;
        let whole = patience.whole.map(|whole| self.epoch + whole);
        Some((whole.map_or(deadline, |whole| whole.min(deadline)), in_head))
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
    /// What hyper has refused, and would have said so itself.
    refused: Option<Refusal>,
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
        let timer = Box::pin(tokio::time::sleep(patience.head.min(patience.first)));
        Self { stream, phase, patience, canned, record, timer, refused: None }
    }

    /// Returns what is under it, for what is no longer HTTP.
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// Tells a caller why hyper has ended the connection with `error`, if it has refused what the
    /// caller sent; `left` is what it had read of it and not taken in.
    pub async fn explain(mut self, error: &hyper::Error, left: &[u8]) {
        let refusal = match self.refused.take() {
            Some(_) if is_about_target(error, left) => self.canned.malformed_target.clone(),
            Some(refusal) => refusal,
            None if error.is_parse_version_h2() => self.canned.http2.clone(),
            None => return,
        };
        self.note(refusal.code);
        let telling = async {
            self.stream.write_all(&refusal.answer).await?;
            self.stream.shutdown().await
        };
        if let Ok(Err(error)) = tokio::time::timeout(self.patience.head, telling).await {
            self.note_gone(refusal.code, &error);
        }
    }

    /// Counts a caller who was gone before a refusal could be written, which costs the caller nothing:
    /// one line of each kind in a second.
    fn note_gone(&self, code: &'static str, error: &io::Error) {
        if self.record.gone.is_first(code) {
            tracing::debug!(code, %error, "a refused caller was gone already");
        }
    }

    /// Counts a refusal. One line for each of a stranger's would be too many.
    fn note(&self, code: &'static str) {
        match self.patience.whole {
            Some(_) => self.record.tally.answer(code),
            None => self.record.unread(code),
        }
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
        self.note(code);
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_write(cx, answer) {
            self.note_gone(code, &error);
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
}

/// Says whether hyper has refused the target, which it tells only in words. A space ends a target,
/// so that what follows it is taken for a version.
fn is_about_target(error: &hyper::Error, left: &[u8]) -> bool {
    let line = left.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    match error.to_string().as_str() {
        "invalid URI" => true,
        "invalid HTTP version parsed" => {
            line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")
        }
        _ => false,
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
                // An empty line before a request is none of it (RFC 9112 §2.2).
                if !buffer.filled()[before..].iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
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
        // In its place goes what `explain` finds to say.
        if let Some(refusal) = this.refusal(bytes) {
            this.refused = Some(refusal.clone());
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut this.stream).poll_write(cx, bytes)
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
        let this = self.get_mut();
        match this.refused {
            Some(_) => Poll::Ready(Ok(())),
            None => Pin::new(&mut this.stream).poll_shutdown(cx),
        }
    }
}
