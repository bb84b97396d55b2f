//! What subscribers are told of a request.

use serde::{Deserialize, Serialize};

/// A request that has ended: never its query, its headers or its bodies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// When it ended, as RFC 3339 writes it.
    pub time: String,
    /// The request's number since the start of the daemon, as in the log.
    pub request_id: u64,
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The status; `None`: the client left before the response.
    pub status: Option<u16>,
    /// The code, if the response is the daemon's own.
    pub code: Option<String>,
    /// Why, as the client was told: one sentence, with the rule where a rule decided.
    #[serde(default)]
    pub detail: Option<String>,
    /// The way out that the client was told.
    #[serde(default)]
    pub hint: Option<String>,
    /// `unsuccessful` or `action-failed`: what the body says of the action, whatever the status.
    #[serde(default)]
    pub failure: Option<String>,
    /// From the head of the request to the last byte of the response.
    pub elapsed_ms: u64,
    /// The part of it that the request waited for a token.
    #[serde(default)]
    pub token_ms: u64,
    /// The part that it waited in the queue, while Nexudus throttles.
    #[serde(default)]
    pub queue_ms: u64,
    /// The part that Nexudus took, to the head of the response.
    #[serde(default)]
    pub upstream_ms: u64,
    /// Where the time went, in microseconds.
    #[serde(default)]
    pub times_us: RequestTimes,
    /// Values that were replaced in the response of a redacted client; `None` for any other client.
    #[serde(default)]
    pub redacted: Option<u64>,
    /// How often it was sent to Nexudus: 0 if it was refused before, 2 and more if it was sent again.
    #[serde(default)]
    pub sends: u8,
    /// Bytes of the response body.
    pub bytes: u64,
    /// The named client whose key was presented.
    pub client: Option<String>,
    /// The peer: an address, or the user and the process.
    pub peer: String,
    /// The peer's user, where the kernel vouches for it.
    pub uid: Option<u32>,
    /// The peer's process, where it is known.
    pub pid: Option<u32>,
    /// The name that the process has given itself.
    pub program: Option<String>,
    /// The client's trace.
    pub trace_id: Option<String>,
}

/// The parts of a request's time in microseconds, in the order in which a request passes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestTimes {
    /// From accepting the connection to the head, for the first request of a connection; not a part
    /// of `total`.
    #[serde(default)]
    pub accept: Option<u64>,
    /// From the head until the request was admitted.
    pub guard: u64,
    /// From there until the rules allowed it.
    pub policy: u64,
    /// Reading the client's body before anything is sent.
    pub body: u64,
    /// Waiting in the queue, while Nexudus throttles.
    pub queue: u64,
    /// Waiting for a token.
    pub token: u64,
    /// The part of `upstream` that the request waited for a new connection: name, TCP and TLS.
    #[serde(default)]
    pub connect: u64,
    /// Nexudus, connecting included: to the head of the response.
    pub upstream: u64,
    /// From the head of the request to the head of the response; `None` without a response.
    pub first_byte: Option<u64>,
    /// From the head of the request to the last byte of the response.
    pub total: u64,
}
