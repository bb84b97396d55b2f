//! A request in flight: from the arrival of its head until the last byte of its response is sent.

use std::sync::Arc;
use std::time::Instant;

use http::Response;

use super::call_record::Oversight;
use crate::listen::{ConnectionState, InFlightGuard};
use crate::telemetry::{AccessEntry, ActionFailure, RequestTiming, ResponseInfo};

/// Until dropped, keeps a connection active, and a request counted and recorded.
#[derive(Debug)]
pub(super) struct InFlightRequest {
    state: Arc<ConnectionState>,
    access: AccessEntry,
    /// The line of the audit and the budget of bytes, where there is one of them.
    oversight: Option<Box<Oversight>>,
    _guard: InFlightGuard,
}

impl InFlightRequest {
    /// Takes over a request whose connection is active already.
    pub(super) fn new(
        state: Arc<ConnectionState>,
        access: AccessEntry,
        guard: InFlightGuard,
    ) -> Self {
        Self { state, access, oversight: None, _guard: guard }
    }

    /// Returns when the head of the request had arrived.
    pub(super) fn started(&self) -> Instant {
        self.access.started()
    }

    /// Says whether anyone reads of this request.
    pub(super) fn is_read(&self) -> bool {
        self.access.is_read()
    }

    /// Records the head of the response.
    pub(super) fn record_response<B>(&mut self, response: &Response<B>, timing: &RequestTiming) {
        self.access.record_response(response, timing);
        if let Some(oversight) = &mut self.oversight {
            oversight.code = response.extensions().get::<ResponseInfo>().and_then(|it| it.code);
        }
    }

    /// Takes over what watches the request to its end.
    pub(super) fn set_oversight(&mut self, mut oversight: Option<Box<Oversight>>) {
        if let Some(captured) = oversight.as_mut().and_then(|it| it.captured.take()) {
            self.access.capture_bodies(captured.request.as_deref());
        }
        self.oversight = oversight;
    }

    /// Captures a piece of the response's body, where a reader asks for it.
    pub(super) fn capture(&mut self, piece: &[u8]) {
        self.access.capture(piece);
    }

    /// Records what the response body has told so far of the action: whether it failed.
    pub(super) fn set_failure(&mut self, failure: Option<ActionFailure>) {
        self.access.set_failure(failure);
    }

    /// Counts bytes of the response body, or of a WebSocket. Returns whether they may be sent.
    pub(super) fn record_sent(&mut self, bytes: usize) -> bool {
        self.access.add_bytes(bytes);
        self.oversight.as_ref().is_none_or(|oversight| oversight.has_room(bytes))
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        self.state.end_response();
        if let Some(oversight) = self.oversight.take() {
            let access = &self.access;
            oversight.end(access.status(), access.has_failed(), access.bytes());
        }
    }
}
