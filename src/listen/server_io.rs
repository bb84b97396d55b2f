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
use crate::telemetry::Telemetry;

/// How long a caller may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the first byte.
    pub first_byte: Duration,
    /// For a request head, from its first byte to its last.
    pub head: Duration,
    /// Without any request.
    pub idle: Duration,
    /// For the only request head, from connecting to its last byte.
    pub single_request: Option<Duration>,
}

/// Complete answers to what never becomes a request.
#[derive(Clone, Debug)]
pub struct Rejections {
    /// Not HTTP, or not as RFC 9112 wants it.
    pub malformed: Rejection,
    /// HTTP, but for what it asks for.
    pub malformed_target: Rejection,
    /// HTTP/2 without having asked.
    pub http2: Rejection,
    /// More or larger header fields than allowed.
    pub headers_too_large: Rejection,
    /// A longer target than allowed.
    pub target_too_long: Rejection,
    /// A head that did not arrive in time.
    pub head_timeout: Rejection,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// Its stable code.
    pub code: &'static str,
    /// The whole answer.
    pub response: Bytes,
}

/// What a connection is doing, shared between its wire and its requests.
#[derive(Debug)]
pub struct ConnectionState {
    epoch: Instant,
    /// Milliseconds since `epoch` at which the current wait began, times two, plus one while a
    /// head is arriving. Before the wait has really begun, one of the values below.
    state: AtomicU64,
}

/// A request is being answered; the clock stands still.
const ACTIVE: u64 = u64::MAX;

/// Bytes of a head have come. Most heads come whole, and nobody looks at the clock.
const READING_HEAD: u64 = u64::MAX - 2;

/// An answer has ended.
const IDLE: u64 = u64::MAX - 1;

impl ConnectionState {
    /// Starts idle.
    pub fn new() -> Self {
        Self { epoch: Instant::now(), state: AtomicU64::new(0) }
    }

    /// A request head is complete.
    pub fn begin_request(&self) {
        self.state.store(ACTIVE, Ordering::Relaxed);
    }

    /// The answer is over.
    pub fn end_response(&self) {
        self.state.store(IDLE, Ordering::Relaxed);
    }

    /// Says whether not a byte has come yet.
    pub fn is_new(&self) -> bool {
        self.state.load(Ordering::Relaxed) == 0
    }

    fn begin_head(&self) {
        if self.state.load(Ordering::Relaxed) & 1 == 0 {
            self.state.store(READING_HEAD, Ordering::Relaxed);
        }
    }

    /// There is nothing to read: a wait begins, unless it has begun already.
    fn begin_wait(&self) {
        let state = self.state.load(Ordering::Relaxed);
        if state == READING_HEAD || state == IDLE {
            self.state.store(self.elapsed_ms().max(1) << 1 | state & 1, Ordering::Relaxed);
        }
    }

    /// Returns when patience ends, and whether a head is arriving.
    fn deadline(&self, patience: Timeouts) -> Option<(Instant, bool)> {
        let state = self.state.load(Ordering::Relaxed);
        if matches!(state, ACTIVE | READING_HEAD | IDLE) {
            return None;
        }
        let in_head = state & 1 == 1;
        let limit = match state {
            0 => patience.first_byte,
            _ if in_head => patience.head,
            _ => patience.idle,
        };
        let deadline = self.epoch + Duration::from_millis(state >> 1) + limit;
        let whole = patience.single_request.map(|whole| self.epoch + whole);
        Some((whole.map_or(deadline, |whole| whole.min(deadline)), in_head))
    }

    fn is_active(&self) -> bool {
        self.state.load(Ordering::Relaxed) == ACTIVE
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX >> 2)
    }
}

impl Default for ConnectionState {
    fn default() -> Self {
        Self::new()
    }
}

/// Head and body of an answer that go out together as one piece.
const COALESCE_THRESHOLD: usize = 4 << 10;

/// A local connection with patience.
pub struct ServerIo {
    stream: Stream,
    state: Arc<ConnectionState>,
    timeouts: Timeouts,
    rejections: Arc<Rejections>,
    record: Arc<Telemetry>,
    timer: Pin<Box<Sleep>>,
    /// What hyper has refused, and would have said so itself.
    rejected: Option<Rejection>,
}

impl ServerIo {
    /// Wraps `stream`; `state` is told by its requests when they begin and end.
    pub fn new(
        stream: Stream,
        state: Arc<ConnectionState>,
        timeouts: Timeouts,
        rejections: Arc<Rejections>,
        record: Arc<Telemetry>,
    ) -> Self {
        let timer = Box::pin(tokio::time::sleep(timeouts.head.min(timeouts.first_byte)));
        Self { stream, state, timeouts, rejections, record, timer, rejected: None }
    }

    /// Returns what is under it, for what is no longer HTTP.
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// Tells a caller why hyper has ended the connection with `error`, if it has refused what the
    /// caller sent; `left` is what it had read of it and not taken in.
    pub async fn send_rejection(mut self, error: &hyper::Error, left: &[u8]) {
        let refusal = match self.rejected.take() {
            Some(_) if is_about_target(error, left) => self.rejections.malformed_target.clone(),
            Some(refusal) => refusal,
            None if error.is_parse_version_h2() => self.rejections.http2.clone(),
            None => return,
        };
        self.record_rejection(refusal.code);
        let telling = async {
            self.stream.write_all(&refusal.response).await?;
            self.stream.shutdown().await
        };
        if let Ok(Err(error)) = tokio::time::timeout(self.timeouts.head, telling).await {
            self.log_gone_peer(refusal.code, &error);
        }
    }

    /// Counts a caller who was gone before a refusal could be written, which costs the caller nothing:
    /// one line of each kind in a second.
    fn log_gone_peer(&self, code: &'static str, error: &io::Error) {
        if self.record.disconnects.is_first(code) {
            tracing::debug!(code, %error, "a refused caller was gone already");
        }
    }

    /// Counts a refusal. One line for each of a stranger's would be too many.
    fn record_rejection(&self, code: &'static str) {
        match self.timeouts.single_request {
            Some(_) => self.record.metrics.count_problem(code),
            None => self.record.log_unparsed(code),
        }
    }

    /// Ends the wait for bytes when patience is over.
    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            match self.state.deadline(self.timeouts) {
                Some((deadline, in_head)) if deadline <= now => {
                    if in_head {
                        self.write_head_timeout(cx);
                    }
                    // Idle: the end of the stream, which ends the connection without an error.
                    return Poll::Ready(Ok(()));
                }
                Some((deadline, _)) => {
                    self.timer.as_mut().reset(deadline.min(now + self.timeouts.head))
                }
                None => self.timer.as_mut().reset(now + self.timeouts.head),
            }
        }
    }

    /// Writes the answer to a late head if the caller has room for it. Nothing else is being
    /// written while a head arrives.
    fn write_head_timeout(&mut self, cx: &mut Context<'_>) {
        let Rejection { code, response: answer } = &self.rejections.head_timeout;
        self.record_rejection(code);
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_write(cx, answer) {
            self.log_gone_peer(code, &error);
        }
    }

    /// Recognises hyper's refusal: one write between requests, without the header that every
    /// answer of ours carries.
    fn match_rejection(&self, bytes: &[u8]) -> Option<&Rejection> {
        let is_bare = !self.state.is_active()
            && bytes.len() < 200
            && bytes.starts_with(b"HTTP/1.1 4")
            && bytes.ends_with(b"\r\n\r\n")
            && !contains(bytes, b"x-content-type-options");
        match bytes.get(9..12) {
            Some(b"400") if is_bare => Some(&self.rejections.malformed),
            Some(b"414") if is_bare => Some(&self.rejections.target_too_long),
            Some(b"431") if is_bare => Some(&self.rejections.headers_too_large),
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

impl AsyncRead for ServerIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Pending => {
                this.state.begin_wait();
                this.poll_timeout(cx)
            }
            Poll::Ready(Ok(())) => {
                // An empty line before a request is none of it (RFC 9112 §2.2).
                if !buffer.filled()[before..].iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                    this.state.begin_head();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for ServerIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // In its place goes what `send_rejection` finds to say.
        if let Some(refusal) = this.match_rejection(bytes) {
            this.rejected = Some(refusal.clone());
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.state.is_active() && slices.iter().filter(|slice| !slice.is_empty()).count() == 1 {
            let only = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(cx, only.map_or(&[], |slice| &**slice));
        }
        let stream = Pin::new(&mut self.get_mut().stream);
        if slices.iter().map(|slice| slice.len()).sum::<usize>() > COALESCE_THRESHOLD {
            return stream.poll_write_vectored(cx, slices);
        }
        // The kernel takes longer to gather a few small pieces than we to copy them.
        let mut space = [MaybeUninit::uninit(); COALESCE_THRESHOLD];
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
        if this.state.is_active() && this.stream.is_peer_closed(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.rejected {
            Some(_) => Poll::Ready(Ok(())),
            None => Pin::new(&mut this.stream).poll_shutdown(cx),
        }
    }
}
