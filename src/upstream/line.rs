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

use super::message::{self, Head, Rest, Sent};
use super::secure::Secure;
use super::{Ask, Broken, Fault, Kept, Payload, Reuse};

/// A connection and what is known of the exchange on it.
pub(super) struct Line(Box<Inner>);

struct Inner {
    stream: Secure,
    /// What is to be sent next, and how much of it has gone: a head, or a framed piece of a body.
    framed: Vec<u8>,
    gone: usize,
    /// A piece of a body that goes out as it is, after that.
    piece: Bytes,
    /// What follows.
    upload: Option<(Payload, Sent)>,
    /// Whether some of it has gone since the timer was looked at.
    moved: bool,
    /// Why the rest of the request cannot be sent.
    failed: Option<Broken>,
    /// What has come and nobody has taken.
    plain: BytesMut,
    /// How many bytes of interim answers have come before the answer.
    passed: usize,
    /// Asked last.
    method: Method,
    /// An empty map whose memory the next answer uses.
    fields: HeaderMap,
    /// What of the answer is still to come.
    rest: Rest,
    /// Whether another request may follow.
    persists: bool,
    /// The client that has sent a body over it: requests of no other may follow.
    client: Option<Box<str>>,
    /// Whether a body has passed that no request at all may follow.
    is_last: bool,
    /// Whether a body has passed for which buffers have grown.
    has_grown: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Why a request got no answer, and whether not a byte of it was sent: then its body is still there.
pub(super) struct Lost {
    pub(super) why: Broken,
    pub(super) is_unsent: bool,
}

impl<E: Into<Broken>> From<E> for Lost {
    fn from(why: E) -> Self {
        Self { why: why.into(), is_unsent: false }
    }
}

impl Line {
    /// Makes a connection ready for requests.
    pub(super) fn new(stream: Secure) -> Self {
        Self(Box::new(Inner {
            stream,
            framed: vec![],
            gone: 0,
            piece: Bytes::new(),
            upload: None,
            moved: false,
            failed: None,
            plain: BytesMut::new(),
            passed: 0,
            method: Method::GET,
            fields: HeaderMap::new(),
            rest: Rest::Nothing,
            persists: true,
            client: None,
            is_last: false,
            has_grown: false,
            timer: None,
        }))
    }

    /// Says whether it can take a request: nothing of the last exchange is left, and the other end
    /// has neither closed it nor sent anything unasked for. Forgets who has used it.
    pub(super) fn lives(&mut self) -> bool {
        self.0.shrink();
        self.0.is_done() && self.0.is_silent()
    }

    /// Returns the client that alone may use it, if it is not everybody's.
    pub(super) fn client(&self) -> Option<&str> {
        self.0.client.as_deref()
    }

    /// Has the next answer use the memory of these fields.
    pub(super) fn leave(&mut self, fields: HeaderMap) {
        self.0.fields = fields;
        self.0.fields.clear();
    }

    /// Sends a request and waits for the head of its answer; `None` after `limit` in which neither
    /// was anything of the request sent.
    pub(super) async fn exchange(
        &mut self,
        ask: &mut impl Ask,
        limit: Duration,
    ) -> Option<Result<Response<()>, Lost>> {
        let mut ask = Some(ask);
        let mut deadline = Instant::now() + limit;
        poll_fn(|cx| {
            if let Some(ask) = ask.take()
                && let Err(lost) = self.0.begin(cx, ask)
            {
                return Poll::Ready(Some(Err(lost)));
            }
            if let Poll::Ready(answer) = self.0.poll_answer(cx) {
                return Poll::Ready(Some(answer.map_err(Lost::from)));
            }
            // One timer for the life of the connection; it is looked at again when it fires.
            let timer = &mut self.0.timer;
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            while timer.as_mut().poll(cx).is_ready() {
                let now = Instant::now();
                if deadline <= now {
                    if !std::mem::take(&mut self.0.moved) {
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
    ) -> Poll<Option<Result<Bytes, Broken>>> {
        self.0.poll_data(cx)
    }

    /// Returns what of the answer's body is still to come.
    pub(super) fn rest(&self) -> Rest {
        self.0.rest
    }

    /// Returns what is under it, and what has come over it beyond the last answer's head.
    pub(super) fn into_parts(self) -> (Secure, Bytes) {
        (self.0.stream, self.0.plain.freeze())
    }
}

impl Inner {
    /// Sends the head of a request, and what of its body fits beside it.
    fn begin(&mut self, cx: &mut Context<'_>, ask: &mut impl Ask) -> Result<(), Lost> {
        self.framed.clear();
        let length = ask.body().length();
        if length != Some(0) {
            match ask.reuse() {
                Reuse::Shared => {}
                Reuse::Client(client) => self.client = Some(client.into()),
                Reuse::Never => self.is_last = true,
            }
        }
        let sent = message::compose(ask, length, &mut self.framed);
        let is_whole = match ask.body() {
            Kept::Empty | Kept::Once(None) => true,
            Kept::Whole(bytes, _) if bytes.len() <= SMALL => {
                self.framed.extend_from_slice(bytes);
                true
            }
            Kept::Whole(..) | Kept::Once(Some(_)) => false,
        };
        self.gone = match Pin::new(&mut self.stream).poll_write(cx, &self.framed) {
            Poll::Ready(Ok(gone)) => gone,
            Poll::Pending => 0,
            Poll::Ready(Err(error)) => {
                let is_unsent = self.stream.is_untouched();
                return Err(Lost { why: error.into(), is_unsent });
            }
        };
        self.upload = (!is_whole).then(|| (ask.body().payload(), sent));
        self.moved = false;
        self.passed = 0;
        self.method = ask.method().clone();
        Ok(())
    }

    /// Sends what is left of the request.
    fn poll_sending(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            let mut stream = Pin::new(&mut self.stream);
            if self.gone < self.framed.len() {
                self.gone += ready!(stream.as_mut().poll_write(cx, &self.framed[self.gone..]))?;
                self.moved = true;
            } else if !self.piece.is_empty() {
                let gone = ready!(stream.as_mut().poll_write(cx, &self.piece))?;
                self.piece.advance(gone);
                self.moved = true;
            } else if self.upload.is_none() {
                return stream.poll_flush(cx).map_err(Broken::from);
            } else {
                // The next piece is asked for once the last one has gone.
                ready!(stream.poll_flush(cx))?;
                ready!(self.poll_upload(cx))?;
            }
        }
    }

    /// Asks the caller for the next piece of its body.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let Some((body, sent)) = &mut self.upload else { return Poll::Ready(Ok(())) };
        let (data, has_ended) = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            None => (Bytes::new(), true),
            Some(Ok(frame)) => (frame.into_data().unwrap_or_default(), body.is_end_stream()),
            Some(Err(fault)) => {
                self.upload = None;
                return Poll::Ready(Err(fault.into()));
            }
        };
        match sent {
            Sent::Length(left) => {
                let rest = left.checked_sub(data.len() as u64);
                let Some(rest) = rest.filter(|&rest| rest == 0 || !has_ended) else {
                    self.upload = None;
                    return Poll::Ready(Err(Fault::Broken.into()));
                };
                *left = rest;
                self.piece = data;
            }
            Sent::Chunked => {
                self.framed.clear();
                self.gone = 0;
                message::chunk(&data, has_ended, &mut self.framed);
            }
        }
        if has_ended || *sent == Sent::Length(0) {
            self.upload = None;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Broken>> {
        if self.failed.is_none()
            && let Poll::Ready(Err(why)) = self.poll_sending(cx)
        {
            self.failed = Some(why);
        }
        loop {
            let Self { plain, passed, method, fields, .. } = self;
            if let Some(head) = message::parse(plain, passed, method, fields)? {
                let Head { answer, rest, persists } = head;
                self.rest = rest;
                self.persists = persists && self.failed.is_none();
                return Poll::Ready(Ok(answer));
            }
            // What the host said before it closed its end is the answer; else what failed first.
            let end = match self.stream.poll_plain(cx, &mut self.plain) {
                Poll::Ready(Ok(1..)) => continue,
                Poll::Ready(Ok(0)) => Broken::Closed,
                Poll::Ready(Err(error)) => error.into(),
                // It may stand in the socket already: the end of a broken connection is not far.
                Poll::Pending if !matches!(self.failed, Some(Broken::Upload(_))) => {
                    return Poll::Pending;
                }
                Poll::Pending => Broken::Closed,
            };
            return Poll::Ready(Err(self.failed.take().unwrap_or(end)));
        }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if self.is_sending() && matches!(self.poll_sending(cx), Poll::Ready(Err(_))) {
            // The answer goes on; the connection does not.
            self.persists = false;
        }
        loop {
            let piece = self.rest.take(&mut self.plain).map_err(Broken::from);
            self.rest.settle(&mut self.plain);
            match piece.transpose() {
                Some(piece) => return Poll::Ready(Some(piece)),
                None if self.rest == Rest::Nothing => return Poll::Ready(None),
                None => {}
            }
            match ready!(self.stream.poll_plain(cx, &mut self.plain)) {
                Ok(0) if self.rest == Rest::UntilTheEnd => self.rest = Rest::Nothing,
                Ok(0) => return Poll::Ready(Some(Err(Broken::Cut))),
                Ok(read) => self.has_grown |= read > SMALL,
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    fn is_sending(&self) -> bool {
        self.gone < self.framed.len()
            || !self.piece.is_empty()
            || self.upload.is_some()
            || !self.stream.is_flushed()
    }

    /// Gives back what small answers do not need.
    fn shrink(&mut self) {
        if std::mem::take(&mut self.has_grown) && self.plain.is_empty() {
            self.plain = BytesMut::new();
        }
        if self.framed.capacity() > 2 * SMALL && self.gone == self.framed.len() {
            (self.framed, self.gone) = (vec![], 0);
        }
    }

    fn is_done(&self) -> bool {
        self.persists
            && !self.is_last
            && self.rest == Rest::Nothing
            && self.plain.is_empty()
            && !self.is_sending()
    }

    fn is_silent(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        // However much of its turn this task has used: a socket that may not be read is silent too.
        let look = unconstrained(poll_fn(|cx| self.stream.poll_plain(cx, &mut self.plain)));
        pin!(look).poll(&mut nobody).is_pending()
    }
}

/// A body that goes out together with its head.
const SMALL: usize = 16 << 10;

#[cfg(test)]
mod tests;
