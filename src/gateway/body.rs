//! What an answer carries: nothing, a few bytes of ours, or the upstream's own stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::connection::Answering;
use crate::upstream::{Broken, Far, Relayed};

/// The body of an answer. While it lives, its request is in flight.
#[derive(Debug)]
pub struct Body {
    content: Content,
    answering: Option<Answering>,
}

#[derive(Debug)]
enum Content {
    Full(Option<Bytes>),
    Relayed(Relayed),
}

impl Body {
    pub(super) fn full(bytes: Bytes) -> Self {
        Self { content: Content::Full((!bytes.is_empty()).then_some(bytes)), answering: None }
    }

    pub(super) fn relayed(body: Relayed) -> Self {
        Self { content: Content::Relayed(body), answering: None }
    }

    /// Takes the connection that an answer with this body has switched, if it has.
    pub(super) fn take_far(&mut self) -> Option<Box<Far>> {
        match &mut self.content {
            Content::Full(_) => None,
            Content::Relayed(body) => body.take_far(),
        }
    }

    /// Keeps `answering` until this body has been sent or thrown away.
    pub(super) fn during(mut self, answering: Answering) -> Self {
        self.answering = Some(answering);
        self
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        let polled = match &mut this.content {
            Content::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Relayed(body) => Pin::new(body).poll_frame(cx),
        };
        if let (Poll::Ready(Some(Ok(frame))), Some(answering)) = (&polled, &mut this.answering) {
            answering.sent(frame.data_ref().map_or(0, Bytes::len));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Full(bytes) => bytes.is_none(),
            Content::Relayed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Relayed(body) => body.size_hint(),
        }
    }
}
