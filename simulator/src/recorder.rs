//! The record of what the simulator did: every request, every token call, every write it carried out.

use std::collections::VecDeque;

use serde::Serialize;

/// One request, in the order of arrival.
#[derive(Clone, Debug, Serialize)]
pub struct RecordedRequest {
    /// Counts from 1.
    pub id: u64,
    /// Number of the connection it came on, from 1.
    pub connection: u64,
    /// The method as sent.
    pub method: String,
    /// The request target exactly as sent (HTTP/2: `:path`).
    pub target: String,
    /// `HTTP/1.1`, `HTTP/1.0` or `HTTP/2.0`.
    pub version: String,
    /// HTTP/2's `:authority`.
    pub authority: Option<String>,
    /// The headers as sent, in order and with their case (HTTP/2: lower case).
    pub headers: Vec<(String, String)>,
    /// The first part of the body, at most 1 MiB.
    #[serde(serialize_with = "as_text")]
    pub body: Vec<u8>,
    /// Length of the whole body.
    pub body_length: u64,
    /// Whether the whole request has arrived.
    pub complete: bool,
    /// The bearer token presented.
    pub bearer: Option<String>,
    /// E-mail of the account the request was made as.
    pub account: Option<String>,
    /// Status it was answered with; `None` while unanswered, or when it never was.
    pub status: Option<u16>,
    /// Whether all of the answer has been written.
    pub answered: bool,
    /// Whether the client closed the connection (HTTP/2: the stream) before it had an answer. The
    /// request is carried out all the same.
    pub client_left: bool,
    /// Simulated milliseconds since the start, at arrival.
    pub arrived_ms: u64,
    /// Why the simulator refused or spoiled it, in words.
    pub note: Option<String>,
}

impl RecordedRequest {
    /// Returns the first header of this name, without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Returns the path without the query, as sent.
    pub fn path(&self) -> &str {
        crate::path::split(&self.target).0
    }

    /// Returns the kept body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One call of `/api/token`.
#[derive(Clone, Debug, Serialize)]
pub struct TokenCall {
    /// [`RecordedRequest::id`] of the request.
    pub id: u64,
    /// `grant_type` of the form.
    pub grant: Option<String>,
    /// The `client_id` header.
    pub client_id: Option<String>,
    /// `username` of the form.
    pub username: Option<String>,
    /// `totp` of the form.
    pub totp: Option<String>,
    /// The refresh token presented.
    pub refresh_token: Option<String>,
    /// The access token issued, whether or not the reply arrived.
    pub issued: Option<String>,
    /// The refresh token issued, whether or not the reply arrived.
    pub issued_refresh: Option<String>,
    /// Token calls in flight when this one arrived, itself included.
    pub concurrent: u32,
    /// Status it was answered with.
    pub status: Option<u16>,
}

/// One request that changed something, or would have on the real service.
#[derive(Clone, Debug, Serialize)]
pub struct ExecutedWrite {
    /// [`RecordedRequest::id`] of the request.
    pub id: u64,
    /// The method.
    pub method: String,
    /// The target as sent.
    pub target: String,
    /// The kept body.
    #[serde(serialize_with = "as_text")]
    pub body: Vec<u8>,
    /// E-mail of the account.
    pub account: String,
}

impl ExecutedWrite {
    /// Returns the kept body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The connections so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConnectionCounts {
    /// TCP connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections whose TLS handshake failed, for instance because the client refused the
    /// certificate.
    pub tls_failures: u64,
}

/// Everything recorded, for [`Simulator::wait_until`](crate::Simulator::wait_until).
#[derive(Clone, Debug, Default)]
pub struct Recording {
    pub(crate) requests: VecDeque<RecordedRequest>,
    pub(crate) token_calls: Vec<TokenCall>,
    pub(crate) writes: Vec<ExecutedWrite>,
    pub(crate) connections: ConnectionCounts,
    pub(crate) held: usize,
    pub(crate) token_calls_in_flight: u32,
    pub(crate) max_concurrent_token_calls: u32,
}

impl Recording {
    /// Returns every request, oldest first.
    pub fn requests(&self) -> impl DoubleEndedIterator<Item = &RecordedRequest> {
        self.requests.iter()
    }

    /// Returns how many requests came for a path prefix, without case.
    pub fn count(&self, prefix: &str) -> usize {
        self.requests.iter().filter(|seen| crate::path::starts_with(seen.path(), prefix)).count()
    }

    /// Returns every call of `/api/token`.
    pub fn token_calls(&self) -> &[TokenCall] {
        &self.token_calls
    }

    /// Returns every write that was carried out.
    pub fn executed_writes(&self) -> &[ExecutedWrite] {
        &self.writes
    }

    /// Returns the connections so far.
    pub fn connections(&self) -> ConnectionCounts {
        self.connections
    }

    /// Returns how many requests wait at a hold now.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Returns how many requests have been answered in full.
    pub fn answered(&self) -> usize {
        self.requests.iter().filter(|seen| seen.answered).count()
    }

    /// Returns the most token calls that were ever in flight together.
    pub fn max_concurrent_token_calls(&self) -> u32 {
        self.max_concurrent_token_calls
    }

    /// Forgets what happened; what is going on (held, open, in flight) stays counted.
    pub(crate) fn clear(&mut self) {
        self.requests.clear();
        self.token_calls.clear();
        self.writes.clear();
        self.max_concurrent_token_calls = self.token_calls_in_flight;
    }

    pub(crate) fn find(&mut self, id: u64) -> Option<&mut RecordedRequest> {
        self.requests.iter_mut().rev().find(|seen| seen.id == id)
    }

    pub(crate) fn find_token_call(&mut self, id: u64) -> Option<&mut TokenCall> {
        self.token_calls.iter_mut().rev().find(|call| call.id == id)
    }
}

fn as_text<S: serde::Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&String::from_utf8_lossy(bytes))
}
