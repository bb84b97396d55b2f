//! The sending half of a connection: the head of a request, the body behind it, and how much of
//! both has gone.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::Body;

use crate::body_codec::{BodyEncoder, encode_chunk};
use crate::error::{Error, SendError};
use crate::head::encode_head;
use crate::limits::MAX_INLINE_BODY;
use crate::request::Request;
use crate::transport::Transport;

/// A request on its way out.
pub(crate) struct Sender<B> {
    /// A head or a framed piece of a body, which goes next.
    write_buf: Vec<u8>,
    /// How much of `write_buf` has gone.
    written: usize,
    /// A piece of a body that goes out as it is, after `write_buf`.
    body_data: Bytes,
    /// The rest of the body.
    request_body: Option<(B, BodyEncoder)>,
    is_flushed: bool,
    /// Whether bytes have gone since [`Sender::take_progress`] was called.
    has_progressed: bool,
}

impl<B> Sender<B> {
    pub(crate) fn new() -> Self {
        Self {
            write_buf: vec![],
            written: 0,
            body_data: Bytes::new(),
            request_body: None,
            is_flushed: true,
            has_progressed: false,
        }
    }

    /// Returns whether a part of the request is still to be sent.
    pub(crate) fn is_sending(&self) -> bool {
        self.written < self.write_buf.len()
            || !self.body_data.is_empty()
            || self.request_body.is_some()
            || !self.is_flushed
    }

    /// Returns whether bytes have gone since the last call.
    pub(crate) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.has_progressed)
    }

    /// Frees memory that small requests do not need.
    pub(crate) fn shrink(&mut self) {
        if self.write_buf.capacity() > 2 * MAX_INLINE_BODY && self.written == self.write_buf.len() {
            (self.write_buf, self.written) = (vec![], 0);
        }
    }
}

impl<B: Body<Data = Bytes, Error: std::error::Error + 'static> + Unpin> Sender<B> {
    /// Writes the head of a request, together with a small body that is in memory.
    pub(crate) fn start(
        &mut self,
        cx: &mut Context<'_>,
        transport: &mut impl Transport,
        request: &mut impl Request<Body = B>,
    ) -> Result<(), SendError<B::Error>> {
        self.write_buf.clear();
        let length = request.body_length();
        let encoder = encode_head(request, length, &mut self.write_buf);
        let is_whole = match request.buffered_body() {
            _ if length == Some(0) => true,
            Some(body) if body.len() <= MAX_INLINE_BODY => {
                self.write_buf.extend_from_slice(body);
                true
            }
            Some(_) | None => false,
        };
        self.written = match transport.poll_write(cx, &self.write_buf) {
            Poll::Ready(Ok(written)) => written,
            Poll::Pending => 0,
            Poll::Ready(Err(error)) => {
                let is_unsent = transport.is_unsent();
                return Err(SendError { error: error.into(), is_unsent });
            }
        };
        self.is_flushed = false;
        self.has_progressed = false;
        self.request_body = (!is_whole).then(|| (request.take_body(), encoder));
        Ok(())
    }

    /// Sends what is left of the request.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        transport: &mut impl Transport,
    ) -> Poll<Result<(), Error<B::Error>>> {
        loop {
            if self.written < self.write_buf.len() {
                let rest = &self.write_buf[self.written..];
                self.written += ready!(transport.poll_write(cx, rest))?;
                (self.is_flushed, self.has_progressed) = (false, true);
            } else if !self.body_data.is_empty() {
                let written = ready!(transport.poll_write(cx, &self.body_data))?;
                self.body_data.advance(written);
                (self.is_flushed, self.has_progressed) = (false, true);
            } else if !self.is_flushed {
                ready!(transport.poll_flush(cx))?;
                self.is_flushed = true;
            } else if self.request_body.is_some() {
                // The next piece is requested once the last one has been sent.
                ready!(self.poll_body(cx))?;
            } else {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Takes the next piece from the request's body.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error<B::Error>>> {
        let Some((body, encoder)) = &mut self.request_body else { return Poll::Ready(Ok(())) };
        let (data, has_ended) = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            None => (Bytes::new(), true),
            Some(Ok(frame)) => (frame.into_data().unwrap_or_default(), body.is_end_stream()),
            Some(Err(error)) => {
                self.request_body = None;
                return Poll::Ready(Err(Error::Body(error)));
            }
        };
        match encoder {
            BodyEncoder::Length(left) => {
                let rest = left.checked_sub(data.len() as u64);
                let Some(rest) = rest.filter(|&rest| rest == 0 || !has_ended) else {
                    self.request_body = None;
                    return Poll::Ready(Err(Error::BodyLength));
                };
                *left = rest;
                self.body_data = data;
            }
            BodyEncoder::Chunked => {
                self.write_buf.clear();
                self.written = 0;
                encode_chunk(&data, has_ended, &mut self.write_buf);
            }
        }
        if has_ended || *encoder == BodyEncoder::Length(0) {
            self.request_body = None;
        }
        Poll::Ready(Ok(()))
    }
}
