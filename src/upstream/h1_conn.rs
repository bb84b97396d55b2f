//! One HTTP/1.1 connection that is driven by whoever uses it.
//!
//! hyper's client is a task beside the request's: every request crosses a channel to it and back,
//! and between two answers it holds out a fresh buffer to see whether the connection ends. Here
//! the request's own task sends, reads and takes the answer apart where it stands. In the pool
//! nobody drives it: that it was closed is seen when it is taken out.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, Response};
use http_body::Body;
use hyper::rt::Write;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep};

use super::h1_codec::{self, BodyDecoder, BodyEncoder, ResponseHead};
use super::tls_stream::TlsStream;
use super::{BodyError, ConnectionError, Payload, ReplayBody, Reuse, UpstreamRequest};

/// A connection and what is known of the exchange on it.
pub(super) struct Http1Connection(Box<Inner>);

struct Inner {
    stream: TlsStream,
    /// What is to be sent next, and how much of it has gone: a head, or a framed piece of a body.
    write_buf: Vec<u8>,
    written: usize,
    /// A piece of a body that goes out as it is, after that.
    body_data: Bytes,
    /// What follows.
    request_body: Option<(Payload, BodyEncoder)>,
    /// Whether some of it has gone since the timer was looked at.
    progressed: bool,
    /// Why the rest of the request cannot be sent.
    send_error: Option<ConnectionError>,
    /// What has come and nobody has taken.
    read_buf: BytesMut,
    /// How many bytes of interim answers have come before the answer.
    interim_bytes: usize,
    /// Asked last.
    method: Method,
    /// An empty map whose memory the next answer uses.
    headers: HeaderMap,
    /// What of the answer is still to come.
    decoder: BodyDecoder,
    /// Whether another request may follow.
    keep_alive: bool,
    /// The client that has sent a body over it: requests of no other may follow.
    client: Option<Box<str>>,
    /// Whether a body has passed that no request at all may follow.
    is_last: bool,
    /// Whether a body has passed for which buffers have grown.
    has_grown: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Why a request got no answer, and whether not a byte of it was sent: then its body is still there.
pub(super) struct SendError {
    pub(super) error: ConnectionError,
    pub(super) is_unsent: bool,
}

impl<E: Into<ConnectionError>> From<E> for SendError {
    fn from(why: E) -> Self {
        Self { error: why.into(), is_unsent: false }
    }
}

impl Http1Connection {
    /// Makes a connection ready for requests.
    pub(super) fn new(stream: TlsStream) -> Self {
        Self(Box::new(Inner {
            stream,
            write_buf: vec![],
            written: 0,
            body_data: Bytes::new(),
            request_body: None,
            progressed: false,
            send_error: None,
            read_buf: BytesMut::new(),
            interim_bytes: 0,
            method: Method::GET,
            headers: HeaderMap::new(),
            decoder: BodyDecoder::Done,
            keep_alive: true,
            client: None,
            is_last: false,
            has_grown: false,
            timer: None,
        }))
    }

    /// Says whether it can take a request: nothing of the last exchange is left, and the other end
    /// has neither closed it nor sent anything unasked for. Forgets who has used it.
    pub(super) fn is_reusable(&mut self) -> bool {
        self.0.shrink();
        self.0.is_idle() && self.0.is_quiet()
    }

    /// Returns the client that alone may use it, if it is not everybody's.
    pub(super) fn client(&self) -> Option<&str> {
        self.0.client.as_deref()
    }

    /// Has the next answer use the memory of these fields.
    pub(super) fn recycle_headers(&mut self, fields: HeaderMap) {
        self.0.headers = fields;
        self.0.headers.clear();
    }

    /// Sends a request and waits for the head of its answer; `None` after `limit` in which neither
    /// was anything of the request sent.
    pub(super) async fn send_request(
        &mut self,
        ask: &mut impl UpstreamRequest,
        limit: Duration,
    ) -> Option<Result<Response<()>, SendError>> {
        let mut ask = Some(ask);
        let mut deadline = Instant::now() + limit;
        poll_fn(|cx| {
            if let Some(ask) = ask.take()
                && let Err(lost) = self.0.start(cx, ask)
            {
                return Poll::Ready(Some(Err(lost)));
            }
            if let Poll::Ready(answer) = self.0.poll_response(cx) {
                return Poll::Ready(Some(answer.map_err(SendError::from)));
            }
            // One timer for the life of the connection; it is looked at again when it fires.
            let timer = &mut self.0.timer;
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            while timer.as_mut().poll(cx).is_ready() {
                let now = Instant::now();
                if deadline <= now {
                    if !std::mem::take(&mut self.0.progressed) {
                        return Poll::Ready(None);
                    }
                    deadline = now + limit;
                }
                timer.as_mut().reset(deadline);
            }
            Poll::Pending
        })
        .await
    }

    /// Takes the next piece of the answer's body; sends what of the request is still to go.
    pub(super) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, ConnectionError>>> {
        self.0.poll_data(cx)
    }

    /// Returns what of the answer's body is still to come.
    pub(super) fn body_decoder(&self) -> BodyDecoder {
        self.0.decoder
    }

    /// Returns what is under it, and what has come over it beyond the last answer's head.
    pub(super) fn into_parts(self) -> (TlsStream, Bytes) {
        (self.0.stream, self.0.read_buf.freeze())
    }
}

impl Inner {
    /// Sends the head of a request, and what of its body fits beside it.
    fn start(
        &mut self,
        cx: &mut Context<'_>,
        ask: &mut impl UpstreamRequest,
    ) -> Result<(), SendError> {
        self.write_buf.clear();
        let length = ask.body().length();
        if length != Some(0) {
            match ask.reuse() {
                Reuse::Shared => {}
                Reuse::Client(client) => self.client = Some(client.into()),
                Reuse::Never => self.is_last = true,
            }
        }
        let sent = h1_codec::encode_head(ask, length, &mut self.write_buf);
        let is_whole = match ask.body() {
            ReplayBody::Empty | ReplayBody::Streamed(None) => true,
            ReplayBody::Buffered(bytes, _) if bytes.len() <= MAX_INLINE_BODY => {
                self.write_buf.extend_from_slice(bytes);
                true
            }
            ReplayBody::Buffered(..) | ReplayBody::Streamed(Some(_)) => false,
        };
        self.written = match Pin::new(&mut self.stream).poll_write(cx, &self.write_buf) {
            Poll::Ready(Ok(gone)) => gone,
            Poll::Pending => 0,
            Poll::Ready(Err(error)) => {
                let is_unsent = self.stream.is_untouched();
                return Err(SendError { error: error.into(), is_unsent });
            }
        };
        self.request_body = (!is_whole).then(|| (ask.body().payload(), sent));
        self.progressed = false;
        self.interim_bytes = 0;
        self.method = ask.method().clone();
        Ok(())
    }

    /// Sends what is left of the request.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        loop {
            let mut stream = Pin::new(&mut self.stream);
            if self.written < self.write_buf.len() {
                self.written +=
                    ready!(stream.as_mut().poll_write(cx, &self.write_buf[self.written..]))?;
                self.progressed = true;
            } else if !self.body_data.is_empty() {
                let gone = ready!(stream.as_mut().poll_write(cx, &self.body_data))?;
                self.body_data.advance(gone);
                self.progressed = true;
            } else if self.request_body.is_none() {
                return stream.poll_flush(cx).map_err(ConnectionError::from);
            } else {
                // The next piece is asked for once the last one has gone.
                ready!(stream.poll_flush(cx))?;
                ready!(self.poll_request_body(cx))?;
            }
        }
    }

    /// Asks the caller for the next piece of its body.
    fn poll_request_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        let Some((body, sent)) = &mut self.request_body else { return Poll::Ready(Ok(())) };
        let (data, has_ended) = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            None => (Bytes::new(), true),
            Some(Ok(frame)) => (frame.into_data().unwrap_or_default(), body.is_end_stream()),
            Some(Err(fault)) => {
                self.request_body = None;
                return Poll::Ready(Err(fault.into()));
            }
        };
        match sent {
            BodyEncoder::Length(left) => {
                let rest = left.checked_sub(data.len() as u64);
                let Some(rest) = rest.filter(|&rest| rest == 0 || !has_ended) else {
                    self.request_body = None;
                    return Poll::Ready(Err(BodyError::Incomplete.into()));
                };
                *left = rest;
                self.body_data = data;
            }
            BodyEncoder::Chunked => {
                self.write_buf.clear();
                self.written = 0;
                h1_codec::encode_chunk(&data, has_ended, &mut self.write_buf);
            }
        }
        if has_ended || *sent == BodyEncoder::Length(0) {
            self.request_body = None;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, ConnectionError>> {
        if self.send_error.is_none()
            && let Poll::Ready(Err(why)) = self.poll_send(cx)
        {
            self.send_error = Some(why);
        }
        loop {
            let Self { read_buf: plain, interim_bytes: passed, method, headers: fields, .. } = self;
            if let Some(head) = h1_codec::parse_head(plain, passed, method, fields)? {
                let ResponseHead { response: answer, decoder: rest, keep_alive: persists } = head;
                self.decoder = rest;
                self.keep_alive = persists && self.send_error.is_none();
                return Poll::Ready(Ok(answer));
            }
            // What the host said before it closed its end is the answer; else what failed first.
            let end = match self.stream.poll_read_buf(cx, &mut self.read_buf) {
                Poll::Ready(Ok(1..)) => continue,
                Poll::Ready(Ok(0)) => ConnectionError::Closed,
                Poll::Ready(Err(error)) => error.into(),
                // It may stand in the socket already: the end of a broken connection is not far.
                Poll::Pending
                    if !matches!(self.send_error, Some(ConnectionError::RequestBody(_))) =>
                {
                    return Poll::Pending;
                }
                Poll::Pending => ConnectionError::Closed,
            };
            return Poll::Ready(Err(self.send_error.take().unwrap_or(end)));
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ConnectionError>>> {
        if self.is_sending() && matches!(self.poll_send(cx), Poll::Ready(Err(_))) {
            // The answer goes on; the connection does not.
            self.keep_alive = false;
        }
        loop {
            let piece = self.decoder.take_data(&mut self.read_buf).map_err(ConnectionError::from);
            self.decoder.skip_framing(&mut self.read_buf);
            match piece.transpose() {
                Some(piece) => return Poll::Ready(Some(piece)),
                None if self.decoder == BodyDecoder::Done => return Poll::Ready(None),
                None => {}
            }
            match ready!(self.stream.poll_read_buf(cx, &mut self.read_buf)) {
                Ok(0) if self.decoder == BodyDecoder::UntilClose => {
                    self.decoder = BodyDecoder::Done
                }
                Ok(0) => return Poll::Ready(Some(Err(ConnectionError::Truncated))),
                Ok(read) => self.has_grown |= read > MAX_INLINE_BODY,
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    fn is_sending(&self) -> bool {
        self.written < self.write_buf.len()
            || !self.body_data.is_empty()
            || self.request_body.is_some()
            || !self.stream.is_flushed()
    }

    /// Gives back what small answers do not need.
    fn shrink(&mut self) {
        if std::mem::take(&mut self.has_grown) && self.read_buf.is_empty() {
            self.read_buf = BytesMut::new();
        }
        if self.write_buf.capacity() > 2 * MAX_INLINE_BODY && self.written == self.write_buf.len() {
            (self.write_buf, self.written) = (vec![], 0);
        }
    }

    fn is_idle(&self) -> bool {
        self.keep_alive
            && !self.is_last
            && self.decoder == BodyDecoder::Done
            && self.read_buf.is_empty()
            && !self.is_sending()
    }

    fn is_quiet(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        // However much of its turn this task has used: a socket that may not be read is silent too.
        let look = unconstrained(poll_fn(|cx| self.stream.poll_read_buf(cx, &mut self.read_buf)));
        pin!(look).poll(&mut nobody).is_pending()
    }
}

/// A body that goes out together with its head.
const MAX_INLINE_BODY: usize = 16 << 10;

#[cfg(test)]
mod tests;
