//! A request in flight: from the arrival of its head until the last byte of its response is sent.

use std::sync::Arc;
use std::time::Instant;

use http::Response;

use crate::listen::{ConnectionState, InFlightGuard};
use crate::telemetry::{AccessEntry, ActionFailure, RequestTiming};

/// Until dropped, keeps a connection active, and a request counted and recorded.
#[derive(Debug)]
pub(super) struct InFlightRequest {
    state: Arc<ConnectionState>,
    access: AccessEntry,
    _guard: InFlightGuard,
}

impl InFlightRequest {
    /// Takes over a request whose connection is active already.
    pub(super) fn new(
        state: Arc<ConnectionState>,
        access: AccessEntry,
        guard: InFlightGuard,
    ) -> Self {
        Self { state, access, _guard: guard }
    }

    /// Returns when the head of the request had arrived.
    pub(super) fn started(&self) -> Instant {
        self.access.started()
    }

    /// Records the head of the response.
    pub(super) fn record_response<B>(&mut self, response: &Response<B>, timing: &RequestTiming) {
        self.access.record_response(response, timing);
    }

    /// Records what the response body has told so far of the action: whether it failed.
    pub(super) fn set_failure(&mut self, failure: Option<ActionFailure>) {
        self.access.set_failure(failure);
    }

    /// Counts bytes of the response body, or of a WebSocket.
    pub(super) fn record_sent(&mut self, bytes: usize) {
        self.access.add_bytes(bytes);
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        self.state.end_response();
    }
}
