//! The body of a response on its way to the client: counted, and looked through for a failure.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::content::Content;
use super::envelope::EnvelopeScan;
use super::in_flight::InFlightRequest;
use crate::telemetry::ActionFailure;
use crate::upstream::{ConnectionError, Upgraded};

/// The body of a response. While the body lives, its request is in flight.
#[derive(Debug)]
pub struct ProxyBody {
    content: Content,
    /// Whether the body is looked through for a failure that only the body tells.
    can_be_envelope: bool,
    /// The state between two pieces. Most bodies come in one, and need none.
    scan: Option<Box<EnvelopeScan>>,
    in_flight: Option<InFlightRequest>,
}

impl ProxyBody {
    pub(super) fn full(bytes: Bytes) -> Self {
        let content = Content::Own((!bytes.is_empty()).then_some(bytes));
        Self { content, can_be_envelope: false, scan: None, in_flight: None }
    }

    /// Makes the body of an upstream response, which is looked through if it `can_be_envelope`.
    pub(super) fn from_upstream(content: Content, can_be_envelope: bool) -> Self {
        Self { content, can_be_envelope, scan: None, in_flight: None }
    }

    /// Puts other content in the place of this; `None` where there is none.
    pub(super) async fn try_map_content<F: Future<Output = Option<Content>>>(
        self,
        map: impl FnOnce(Content) -> F,
    ) -> Option<Self> {
        let content = map(self.content).await?;
        Some(Self { content, ..self })
    }

    /// Takes the upgraded connection behind a response with status 101.
    pub(super) fn take_upgraded(&mut self) -> Option<Box<Upgraded>> {
        self.content.take_upgraded()
    }

    /// Keeps `in_flight` until this body has been sent or dropped.
    pub(super) fn with_in_flight(mut self, in_flight: InFlightRequest) -> Self {
        self.in_flight = Some(in_flight);
        self
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = ConnectionError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.content).poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some(in_flight)) = (&polled, &mut this.in_flight)
            && let Some(data) = frame.data_ref()
        {
            if !in_flight.record_sent(data.len()) {
                // The client sees a response that broke off, and its next request says why.
                return Poll::Ready(Some(Err(ConnectionError::Truncated)));
            }
            in_flight.capture(data);
            if this.can_be_envelope {
                let is_end = this.content.is_end_stream();
                let is_failure = read_envelope(&mut this.scan, data, is_end);
                in_flight.set_failure(is_failure.then_some(ActionFailure::Unsuccessful));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

/// Looks through a piece of a body. Returns whether the body so far tells a failure.
fn read_envelope(scan: &mut Option<Box<EnvelopeScan>>, data: &[u8], is_end: bool) -> bool {
    if let Some(scan) = scan {
        return scan.read(data);
    }
    let mut first = EnvelopeScan::new();
    let is_failure = first.read(data);
    if !is_end {
        *scan = Some(Box::new(first));
    }
    is_failure
}
