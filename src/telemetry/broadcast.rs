//! Every request as it ends, for subscribers. Without any, a request costs one relaxed load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

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

/// Sends requests to subscribers.
#[derive(Debug)]
pub struct RequestBroadcast {
    sender: broadcast::Sender<Arc<RequestRecord>>,
    subscribers: Arc<AtomicUsize>,
}

/// A subscriber's end.
#[derive(Debug)]
pub struct RequestReceiver {
    receiver: broadcast::Receiver<Arc<RequestRecord>>,
    subscribers: Arc<AtomicUsize>,
}

/// An item that a subscriber receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BroadcastItem {
    /// A request has ended.
    Request(Arc<RequestRecord>),
    /// The subscriber was too slow and lost this many requests.
    Lagged(u64),
    /// No more requests will come.
    Closed,
}

impl RequestBroadcast {
    /// Returns whether there is a subscriber.
    pub fn has_subscribers(&self) -> bool {
        self.subscribers.load(Ordering::Relaxed) > 0
    }

    /// Subscribes to the requests from now on.
    pub fn subscribe(&self) -> RequestReceiver {
        self.subscribers.fetch_add(1, Ordering::Relaxed);
        RequestReceiver { receiver: self.sender.subscribe(), subscribers: self.subscribers.clone() }
    }

    pub(super) fn send(&self, request: RequestRecord) {
        // An error means that the last subscriber is gone.
        let _ = self.sender.send(Arc::new(request));
    }
}

impl Default for RequestBroadcast {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(BROADCAST_CAPACITY), subscribers: Arc::default() }
    }
}

impl RequestReceiver {
    /// Waits for the next item.
    pub async fn recv(&mut self) -> BroadcastItem {
        match self.receiver.recv().await {
            Ok(request) => BroadcastItem::Request(request),
            Err(broadcast::error::RecvError::Lagged(count)) => BroadcastItem::Lagged(count),
            Err(broadcast::error::RecvError::Closed) => BroadcastItem::Closed,
        }
    }

    /// Returns the next item, if it is there.
    pub fn try_recv(&mut self) -> Option<BroadcastItem> {
        match self.receiver.try_recv() {
            Ok(request) => Some(BroadcastItem::Request(request)),
            Err(broadcast::error::TryRecvError::Lagged(count)) => {
                Some(BroadcastItem::Lagged(count))
            }
            Err(broadcast::error::TryRecvError::Closed) => Some(BroadcastItem::Closed),
            Err(broadcast::error::TryRecvError::Empty) => None,
        }
    }
}

impl Drop for RequestReceiver {
    fn drop(&mut self) {
        self.subscribers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Most requests that a slow subscriber may be behind.
const BROADCAST_CAPACITY: usize = 1024;
