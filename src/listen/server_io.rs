//! A local connection as hyper's server sees it: timeouts between requests, an early end when the
//! peer leaves, and our responses in place of hyper's own refusals.
//!
//! hyper's own header timeout also ends idle connections and costs a timer per request, and its
//! refusals are bare. [`ServerIo`] keeps one timer per connection, which is checked again only when
//! it fires, and gives each refusal the body that all our other responses have.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::connection_state::{ConnectionState, Timeouts};
use super::discard::Discard;
use super::hyper_rejection::{is_about_target, rejection_status};
use super::stream::Stream;
use super::target_encoding::encode_head;
use crate::telemetry::Telemetry;

/// Complete responses to what never becomes a request.
#[derive(Clone, Debug)]
pub struct Rejections {
    /// No HTTP request as RFC 9112 defines it.
    pub malformed: Rejection,
    /// HTTP, but for its target.
    pub malformed_target: Rejection,
    /// HTTP/2 without an upgrade.
    pub http2: Rejection,
    /// More or larger headers than allowed.
    pub headers_too_large: Rejection,
    /// A longer target than allowed.
    pub target_too_long: Rejection,
    /// A head that did not arrive in time.
    pub head_timeout: Rejection,
}

/// One complete response.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// The stable code of the error.
    pub code: &'static str,
    /// Head and body.
    pub response: Bytes,
}

/// A local connection with timeouts.
pub struct ServerIo {
    stream: Stream,
    state: Arc<ConnectionState>,
    timeouts: Timeouts,
    rejections: Arc<Rejections>,
    telemetry: Arc<Telemetry>,
    timer: Pin<Box<Sleep>>,
    /// Our words for the refusal that hyper has tried to write.
    rejected: Option<Rejection>,
    /// Bytes that are read again, before the stream.
    reread: Bytes,
    is_shut_down: bool,
    discard: Discard,
}

impl ServerIo {
    /// Wraps `stream`. The connection's requests report to `state` when they begin and end.
    pub fn new(
        stream: Stream,
        state: Arc<ConnectionState>,
        timeouts: Timeouts,
        rejections: Arc<Rejections>,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let timer = Box::pin(tokio::time::sleep(timeouts.head.min(timeouts.first_byte)));
        Self {
            stream,
            state,
            timeouts,
            rejections,
            telemetry,
            timer,
            rejected: None,
            reread: Bytes::new(),
            is_shut_down: false,
            discard: Discard::default(),
        }
    }

    /// Returns the connection, for a protocol other than HTTP.
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// Prepares another attempt to read the next request, with its target encoded, if hyper has
    /// refused a target beyond ASCII; says whether it did. `unread` holds the bytes that hyper had
    /// received and not processed.
    pub fn reread_encoded(&mut self, unread: &[u8]) -> bool {
        let encoded = self.rejected.as_ref().and_then(|_| encode_head(unread));
        let Some(encoded) = encoded else { return false };
        self.rejected = None;
        // What was not handed to hyper yet comes behind.
        self.reread = match self.reread.is_empty() {
            true => encoded,
            false => [&*encoded, &*self.reread].concat().into(),
        };
        true
    }

    /// Sends the peer the reason why hyper has ended the connection with `error`, if hyper has
    /// refused a request. `unread` holds the bytes that hyper had received and not processed.
    pub async fn send_rejection(mut self, error: &hyper::Error, unread: &[u8]) {
        let rejection = match self.rejected.take() {
            Some(_) if is_about_target(error, unread) => self.rejections.malformed_target.clone(),
            Some(rejection) => rejection,
            None if error.is_parse_version_h2() => self.rejections.http2.clone(),
            None => return,
        };
        self.record_rejection(rejection.code);
        let sent = async {
            self.stream.write_all(&rejection.response).await?;
            self.stream.shutdown().await
        };
        match tokio::time::timeout(self.timeouts.head, sent).await {
            Ok(Err(error)) => self.log_gone_peer(rejection.code, &error),
            Ok(Ok(())) => {
                self.state.set_unread_body(true);
                poll_fn(|cx| self.poll_discard(cx)).await;
            }
            Err(_) => {}
        }
    }

    /// Logs a peer that had gone before the rejection was written. Leaving costs a client nothing,
    /// so there is one line of each code in a second.
    fn log_gone_peer(&self, code: &'static str, error: &io::Error) {
        if self.telemetry.disconnects.is_first(code) {
            tracing::debug!(code, %error, "a rejected peer was gone already");
        }
    }

    /// Counts a rejection. Those of denied users would be too many for a log line each.
    fn record_rejection(&self, code: &'static str) {
        match self.timeouts.single_request {
            Some(_) => self.telemetry.metrics.count_problem(code),
            None => self.telemetry.log_unparsed(code),
        }
    }

    /// Ends the wait for bytes when a timeout has passed.
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

    /// Waits for the end of what the peer may still be sending. A peer that only gets a rejection is not
    /// waited for: it would keep others from theirs.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.timeouts.single_request.is_some() || !self.state.has_unread_body() {
            return Poll::Ready(());
        }
        self.discard.poll(cx, Pin::new(&mut self.stream))
    }

    /// Writes the response to a late head if the peer has room for it. Nothing else is being
    /// written while a head arrives.
    fn write_head_timeout(&mut self, cx: &mut Context<'_>) {
        let Rejection { code, response } = &self.rejections.head_timeout;
        self.record_rejection(code);
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_write(cx, response) {
            self.log_gone_peer(code, &error);
        }
    }

    /// Returns our response in place of a refusal of hyper's, which is written between requests.
    fn match_rejection(&self, bytes: &[u8]) -> Option<&Rejection> {
        if self.state.is_active() {
            return None;
        }
        Some(match rejection_status(bytes)? {
            StatusCode::URI_TOO_LONG => &self.rejections.target_too_long,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => &self.rejections.headers_too_large,
            _ => &self.rejections.malformed,
        })
    }
}

/// Head and body of a response up to this size are copied together and written as one piece.
const COALESCE_THRESHOLD: usize = 4 << 10;

impl AsyncRead for ServerIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.reread.is_empty() {
            let count = buffer.remaining().min(this.reread.len());
            buffer.put_slice(&this.reread.split_to(count));
            this.state.begin_head();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Pending => {
                this.state.begin_wait();
                this.poll_timeout(cx)
            }
            Poll::Ready(Ok(())) => {
                // An empty line before a request is not part of it (RFC 9112 §2.2).
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
        // Skipped: `send_rejection` writes our own response instead.
        if let Some(rejection) = this.match_rejection(bytes) {
            this.rejected = Some(rejection.clone());
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
        // Gathering a few small pieces takes the kernel longer than copying them takes us.
        let mut space = [MaybeUninit::uninit(); COALESCE_THRESHOLD];
        let mut joined = ReadBuf::uninit(&mut space);
        slices.iter().for_each(|slice| joined.put_slice(slice));
        stream.poll_write(cx, joined.filled())
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper would look for a peer's end by reading ahead, which takes a buffer per request.
        if this.state.is_active() && this.stream.is_peer_closed(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.rejected.is_some() {
            return Poll::Ready(Ok(()));
        }
        if !this.is_shut_down {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.is_shut_down = true;
        }
        this.poll_discard(cx).map(Ok)
    }
}
