//! The body of a response: empty, a few bytes of ours, or the upstream's stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::in_flight::InFlightRequest;
use crate::upstream::{ConnectionError, ResponseBody, Upgraded};

/// The body of a response. While the body lives, its request is in flight.
#[derive(Debug)]
pub struct ProxyBody {
    content: Content,
    in_flight: Option<InFlightRequest>,
}

#[derive(Debug)]
enum Content {
    Full(Option<Bytes>),
    Upstream(ResponseBody),
}

impl ProxyBody {
    pub(super) fn full(bytes: Bytes) -> Self {
        Self { content: Content::Full((!bytes.is_empty()).then_some(bytes)), in_flight: None }
    }

    pub(super) fn from_upstream(body: ResponseBody) -> Self {
        Self { content: Content::Upstream(body), in_flight: None }
    }

    /// Takes the upgraded connection behind a response with status 101.
    pub(super) fn take_upgraded(&mut self) -> Option<Box<Upgraded>> {
        match &mut self.content {
            Content::Full(_) => None,
            Content::Upstream(body) => body.take_upgraded(),
        }
    }

    /// Keeps `in_flight` until this body has been sent or dropped.
    pub(super) fn with_in_flight(mut self, in_flight: InFlightRequest) -> Self {
        self.in_flight = Some(in_flight);
        self
    }
}

impl http_body::Body for ProxyBody {
    type Data = Bytes;
    type Error = ConnectionError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionError>>> {
        let this = self.get_mut();
        let polled = match &mut this.content {
            Content::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Upstream(body) => Pin::new(body).poll_frame(cx),
        };
        if let (Poll::Ready(Some(Ok(frame))), Some(in_flight)) = (&polled, &mut this.in_flight) {
            in_flight.record_sent(frame.data_ref().map_or(0, Bytes::len));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Full(bytes) => bytes.is_none(),
            Content::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Upstream(body) => body.size_hint(),
        }
    }
}
