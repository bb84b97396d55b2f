//! One HTTP/1.1 connection: a request goes out, its response comes in, and then the next.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response};
use http_body::{Body, SizeHint};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::body_codec::BodyDecoder;
use crate::error::{Error, SendError};
use crate::head::{ResponseHead, parse_head};
use crate::limits::{HeadLimits, MAX_INLINE_BODY, MAX_READ, MIN_READ};
use crate::request::Request;
use crate::request_writer::Sender;
use crate::transport::Transport;

/// A connection over a transport `T` for requests whose bodies are `B`.
///
/// A connection carries one request at a time. Half a response may be left on the wire, if it was
/// not read to its end: [`Connection::is_reusable`] says whether another request may follow.
pub struct Connection<T, B: Body> {
    transport: T,
    sender: Sender<B>,
    /// Why the rest of the request cannot be sent.
    send_error: Option<Error<B::Error>>,
    /// Bytes that have come and were not handed out.
    read_buf: BytesMut,
    /// Room for the next read, in bytes.
    read_size: usize,
    /// How many bytes of interim responses have come before the response.
    interim_bytes: usize,
    head_limits: HeadLimits,
    /// The method of the last request.
    method: Method,
    /// An empty map whose memory the next response uses.
    headers: HeaderMap,
    /// The part of the response that is still to come.
    decoder: BodyDecoder,
    /// Whether another request may follow, as far as both sides have said.
    keep_alive: bool,
    /// Whether a large read has grown the buffers.
    has_grown: bool,
    /// One timer for the life of the connection.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<T, B: Body> Connection<T, B> {
    /// Makes a connection of an open transport.
    pub fn new(transport: T) -> Self {
        Self {
            transport,
            sender: Sender::new(),
            send_error: None,
            read_buf: BytesMut::new(),
            read_size: MIN_READ,
            interim_bytes: 0,
            head_limits: HeadLimits::default(),
            method: Method::GET,
            headers: HeaderMap::new(),
            decoder: BodyDecoder::Done,
            keep_alive: true,
            has_grown: false,
            timer: None,
        }
    }

    /// Takes responses whose heads keep to these limits.
    #[must_use]
    pub fn with_head_limits(self, head_limits: HeadLimits) -> Self {
        Self { head_limits, ..self }
    }

    /// Lets the next response use the memory of these headers.
    pub fn recycle_headers(&mut self, headers: HeaderMap) {
        self.headers = headers;
        self.headers.clear();
    }

    /// Returns whether the response's body has ended.
    pub fn is_end_stream(&self) -> bool {
        self.decoder == BodyDecoder::Done
    }

    /// Returns what is known of the length of the response's body from here on.
    pub fn size_hint(&self) -> SizeHint {
        match self.decoder {
            BodyDecoder::Done => SizeHint::with_exact(0),
            BodyDecoder::Length(length) => SizeHint::with_exact(length),
            BodyDecoder::Chunked(_) | BodyDecoder::UntilClose => SizeHint::new(),
        }
    }

    /// Returns the transport.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Returns the transport of a connection that goes on in another runtime. The timer stays
    /// behind, because it belongs to the old one.
    pub fn transport_to_move(&mut self) -> &mut T {
        self.timer = None;
        &mut self.transport
    }

    /// Takes the connection apart after a response that switched protocols or opened a tunnel:
    /// returns the transport, and what has come over it beyond the response's head.
    pub fn into_parts(self) -> (T, Bytes) {
        (self.transport, self.read_buf.freeze())
    }
}

impl<T, B> Connection<T, B>
where
    T: Transport,
    B: Body<Data = Bytes, Error: std::error::Error + 'static> + Unpin,
{
    /// Returns whether the connection can take a request: nothing of the last exchange is left, and
    /// the server has neither closed it nor sent a byte that no request asked for.
    ///
    /// Frees the memory that only large messages need.
    pub fn is_reusable(&mut self) -> bool {
        self.shrink();
        self.is_idle() && self.is_quiet()
    }

    /// Sends a request and returns the head of its response as soon as that has come. The rest of
    /// the request, if the server did not wait for it, goes out while the response is read.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] once `timeout` has passed without a response and without any of the
    /// request going out; otherwise what ended the exchange. If the server had responded before
    /// that happened, its response is returned all the same.
    pub async fn send_request(
        &mut self,
        request: &mut impl Request<Body = B>,
        timeout: Duration,
    ) -> Result<Response<()>, SendError<B::Error>> {
        let mut request = Some(request);
        let mut deadline = Instant::now() + timeout;
        poll_fn(|cx| {
            if let Some(request) = request.take() {
                // Until a response says otherwise.
                self.keep_alive = false;
                self.interim_bytes = 0;
                self.method.clone_from(request.method());
                self.sender.start(cx, &mut self.transport, request)?;
            }
            self.poll_response_until(cx, &mut deadline, timeout)
        })
        .await
    }

    /// Goes on waiting for the response to a request for which [`Connection::send_request`] has
    /// returned [`Error::TimedOut`].
    ///
    /// # Errors
    ///
    /// As [`Connection::send_request`].
    pub async fn wait_response(
        &mut self,
        timeout: Duration,
    ) -> Result<Response<()>, SendError<B::Error>> {
        let mut deadline = Instant::now() + timeout;
        if let Some(timer) = &mut self.timer {
            timer.as_mut().reset(deadline);
        }
        poll_fn(|cx| self.poll_response_until(cx, &mut deadline, timeout)).await
    }

    fn poll_response_until(
        &mut self,
        cx: &mut Context<'_>,
        deadline: &mut Instant,
        timeout: Duration,
    ) -> Poll<Result<Response<()>, SendError<B::Error>>> {
        if let Poll::Ready(response) = self.poll_response(cx) {
            return Poll::Ready(response.map_err(SendError::after_sending));
        }
        // A deadline that is later than the last one costs nothing: the timer is looked at again
        // when it fires.
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(*deadline)));
        if *deadline < timer.deadline() {
            timer.as_mut().reset(*deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if *deadline <= now {
                if !self.sender.take_progress() {
                    return Poll::Ready(Err(SendError::after_sending(Error::TimedOut)));
                }
                *deadline = now + timeout;
            }
            timer.as_mut().reset(*deadline);
        }
        Poll::Pending
    }

    /// Takes the next data of the response's body, and sends what of the request is still to go.
    /// Returns `None` once the body has ended.
    pub fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Error<B::Error>>>> {
        if self.sender.is_sending()
            && matches!(self.sender.poll_send(cx, &mut self.transport), Poll::Ready(Err(_)))
        {
            // The response goes on; the connection does not.
            self.keep_alive = false;
        }
        loop {
            let data = self.decoder.take_data(&mut self.read_buf).map_err(Error::from);
            self.decoder.skip_framing(&mut self.read_buf);
            match data.transpose() {
                Some(data) => return Poll::Ready(Some(data)),
                None if self.decoder == BodyDecoder::Done => return Poll::Ready(None),
                None => {}
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) if self.decoder == BodyDecoder::UntilClose => {
                    self.decoder = BodyDecoder::Done;
                }
                Ok(0) => return Poll::Ready(Some(Err(Error::Truncated))),
                Ok(read) => self.has_grown |= read > MAX_INLINE_BODY,
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// Takes the next data of the response's body, as [`Connection::poll_data`].
    pub async fn data(&mut self) -> Option<Result<Bytes, Error<B::Error>>> {
        poll_fn(|cx| self.poll_data(cx)).await
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, Error<B::Error>>> {
        if self.send_error.is_none()
            && let Poll::Ready(Err(error)) = self.sender.poll_send(cx, &mut self.transport)
        {
            self.send_error = Some(error);
        }
        loop {
            let Self { read_buf, interim_bytes, head_limits, method, headers, .. } = self;
            let parsed = parse_head(read_buf, interim_bytes, *head_limits, method, headers)?;
            if let Some(head) = parsed {
                let ResponseHead { response, decoder, keep_alive } = head;
                self.decoder = decoder;
                self.keep_alive = keep_alive && self.send_error.is_none();
                return Poll::Ready(Ok(response));
            }
            // A response that came before the server closed its end is the outcome; without one,
            // the first error is.
            let end = match self.poll_read(cx) {
                Poll::Ready(Ok(1..)) => continue,
                Poll::Ready(Ok(0)) => Error::Closed,
                Poll::Ready(Err(error)) => error.into(),
                Poll::Pending => match self.send_error {
                    // The request will never be complete, so that no response may ever come.
                    Some(Error::Body(_) | Error::BodyLength) => Error::Closed,
                    // The transport failed: its end, or a response, stands in the socket already.
                    Some(_) | None => return Poll::Pending,
                },
            };
            return Poll::Ready(Err(self.send_error.take().unwrap_or(end)));
        }
    }

    /// Reads once, with more room as long as the reads fill it.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let read = ready!(self.transport.poll_read_buf(cx, &mut self.read_buf, self.read_size))?;
        if read >= self.read_size {
            self.read_size = (self.read_size * 4).min(MAX_READ);
        } else if read < MIN_READ {
            self.read_size = MIN_READ;
        }
        Poll::Ready(Ok(read))
    }

    fn shrink(&mut self) {
        if std::mem::take(&mut self.has_grown) && self.read_buf.is_empty() {
            (self.read_buf, self.read_size) = (BytesMut::new(), MIN_READ);
        }
        self.sender.shrink();
    }

    fn is_idle(&self) -> bool {
        self.keep_alive
            && self.decoder == BodyDecoder::Done
            && self.read_buf.is_empty()
            && !self.sender.is_sending()
    }

    fn is_quiet(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        // Outside of the task's budget: without any left, a closed socket would look quiet too.
        let read = unconstrained(poll_fn(|cx| self.poll_read(cx)));
        pin!(read).poll(&mut context).is_pending()
    }
}

impl<T, B: Body> std::fmt::Debug for Connection<T, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("decoder", &self.decoder)
            .field("keep_alive", &self.keep_alive)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
