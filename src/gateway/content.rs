//! The content of a response: ours, or that of the upstream, of which the beginning may have been
//! read already.
//!
//! Some errors of Nexudus say in a sentence of their body what the head leaves out: how long to
//! wait, or that an action failed for a reason that may pass. Only such bodies are read before the
//! client gets them: at most [`MAX_TEXT`] bytes, for at most [`PEEK_TIMEOUT`]. The client gets every
//! byte all the same.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::redacted_body::RedactedBody;
use crate::forward_proxy::PlainBody;
use crate::throttle::ResponseHead;
use crate::upstream::{ConnectionError, ResponseBody, Upgraded};

/// The content of a response.
#[derive(Debug)]
pub(super) enum Content {
    /// Bytes of ours, until they are taken.
    Own(Option<Bytes>),
    /// The content of another host, which the forward proxy passes on.
    Plain(Box<PlainBody>),
    /// The upstream's, of which nothing has been read.
    Unread(ResponseBody),
    /// The upstream's, of which the beginning has been read.
    Peeked(Box<PeekedBody>),
    /// The upstream's, without personal values.
    Redacted(Box<RedactedBody<Self>>),
}

/// A body whose beginning is passed on before the rest is read.
#[derive(Debug)]
pub(super) struct PeekedBody {
    text: Vec<u8>,
    read: VecDeque<Bytes>,
    /// How reading ended, to be told once `read` has been passed on.
    error: Option<ConnectionError>,
    /// Whether the reader had time to write what it got before the error.
    is_error_due: bool,
    rest: ResponseBody,
}

/// Says whether the beginning of the body must be read before this response can be judged.
pub(super) fn needs_text(response: &Response<ResponseBody>) -> bool {
    let status = response.status();
    if status.is_success() {
        return false;
    }
    let (headers, is_end_of_stream) = (response.headers(), response.body().is_end_stream());
    let head = ResponseHead { status, headers, is_end_of_stream, text: b"" };
    let is_error = status == StatusCode::INTERNAL_SERVER_ERROR && !head.is_end_of_stream;
    (is_error || head.needs_text()) && is_plain(response.headers())
}

/// Reads the beginning of the body.
pub(super) async fn peek(response: Response<ResponseBody>) -> Response<Content> {
    let (head, rest) = response.into_parts();
    let mut body = PeekedBody {
        text: Vec::new(),
        read: VecDeque::new(),
        error: None,
        is_error_due: false,
        rest,
    };
    // What has been read stays where it is if the time is over.
    tokio::time::timeout(PEEK_TIMEOUT, body.read_text()).await.ok();
    Response::from_parts(head, Content::Peeked(Box::new(body)))
}

/// Says whether a body is sent as it is, without a coding that would have to be undone.
pub(super) fn is_plain(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().all(|coding| coding == "identity")
}

impl Content {
    /// Returns the beginning of the body, if it has been read.
    pub(super) fn text(&self) -> &[u8] {
        match self {
            Self::Own(_) | Self::Plain(_) | Self::Unread(_) | Self::Redacted(_) => &[],
            Self::Peeked(body) => &body.text,
        }
    }

    /// Says whether the body is Nexudus's sentence about an action that failed.
    ///
    /// The sentence was seen where an action cannot succeed, and also in bursts that passed by
    /// themselves.
    pub(super) fn says_action_failed(&self, status: StatusCode) -> bool {
        let text = self.text();
        status == StatusCode::INTERNAL_SERVER_ERROR
            && text.windows(ACTION_FAILED.len()).any(|it| it.eq_ignore_ascii_case(ACTION_FAILED))
    }

    /// Reads at most `limit` bytes and throws them away, as [`ResponseBody::discard`].
    pub(super) async fn discard(self, limit: usize) {
        match self {
            Self::Own(_) | Self::Redacted(_) => {}
            Self::Plain(body) => body.discard(limit).await,
            Self::Unread(body) => body.discard(limit).await,
            Self::Peeked(body) => body.rest.discard(limit).await,
        }
    }

    /// Lets the next response on the connection use the memory of these headers.
    pub(super) fn recycle_headers(&mut self, headers: HeaderMap) {
        match self {
            Self::Own(_) | Self::Plain(_) | Self::Redacted(_) => {}
            Self::Unread(body) => body.recycle_headers(headers),
            Self::Peeked(body) => body.rest.recycle_headers(headers),
        }
    }

    /// Takes the upgraded connection, if the response has switched protocols.
    pub(super) fn take_upgraded(&mut self) -> Option<Box<Upgraded>> {
        match self {
            Self::Unread(body) => body.take_upgraded(),
            Self::Own(_) | Self::Plain(_) | Self::Peeked(_) | Self::Redacted(_) => None,
        }
    }
}

impl PeekedBody {
    async fn read_text(&mut self) {
        while self.text.len() < MAX_TEXT {
            match poll_fn(|cx| Pin::new(&mut self.rest).poll_frame(cx)).await {
                None => return,
                Some(Err(error)) => {
                    self.error = Some(error);
                    return;
                }
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let left = MAX_TEXT - self.text.len();
                    self.text.extend_from_slice(&data[..data.len().min(left)]);
                    self.read.push_back(data);
                }
            }
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = ConnectionError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionError>>> {
        let body = match self.get_mut() {
            Self::Own(bytes) => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            Self::Plain(body) => return Pin::new(&mut **body).poll_frame(cx),
            Self::Unread(body) => return Pin::new(body).poll_frame(cx),
            Self::Redacted(body) => return Pin::new(&mut **body).poll_frame(cx),
            Self::Peeked(body) => body,
        };
        if let Some(data) = body.read.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if body.error.is_some() && !std::mem::replace(&mut body.is_error_due, true) {
            // When a body fails, hyper throws away what it has not written: first it may write.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match body.error.take() {
            Some(error) => Poll::Ready(Some(Err(error))),
            None => Pin::new(&mut body.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Plain(body) => body.is_end_stream(),
            Self::Unread(body) => body.is_end_stream(),
            Self::Redacted(body) => body.is_end_stream(),
            Self::Peeked(body) => {
                body.read.is_empty() && body.error.is_none() && body.rest.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let body = match self {
            Self::Own(bytes) => {
                return SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64));
            }
            Self::Plain(body) => return body.size_hint(),
            Self::Unread(body) => return body.size_hint(),
            Self::Redacted(body) => return body.size_hint(),
            Self::Peeked(body) => body,
        };
        let (read, rest) =
            (body.read.iter().map(|data| data.len() as u64).sum(), body.rest.size_hint());
        // A body that broke off has no length that could be announced.
        let is_broken = body.error.is_some();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper().filter(|_| !is_broken) {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}

/// The sentence is `Ooops! There was a problem while running this action`; its exclamation is not
/// part of what is compared.
const ACTION_FAILED: &[u8] = b"There was a problem while running this action";

/// Most bytes of a body that are looked at.
const MAX_TEXT: usize = 2 << 10;

/// Longest time for the beginning of an error's body: it comes together with its head.
const PEEK_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns what the throttle learns from.
pub(super) fn head_of(response: &Response<Content>) -> ResponseHead<'_> {
    let (headers, body) = (response.headers(), response.body());
    // What has been read of a body is not passed on yet, so that such a body has not ended.
    let is_end_of_stream = body.is_end_stream();
    ResponseHead { status: response.status(), headers, is_end_of_stream, text: body.text() }
}
