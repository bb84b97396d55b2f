//! Every request as it ends, for whoever watches. Costs a load when nobody does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// A request that has ended: never its query, its headers or its bodies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// When it ended, as RFC 3339 writes it.
    pub time: String,
    /// Its number since the start of the daemon, as in the log.
    pub request_id: u64,
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The status; `None`: the caller left before it was answered.
    pub status: Option<u16>,
    /// The code, if the answer is the daemon's own.
    pub code: Option<String>,
    /// From the head of the request to the last byte of the answer.
    pub elapsed_ms: u64,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// The named client whose key was presented.
    pub client: Option<String>,
    /// Who called: an address, or the user and the process.
    pub peer: String,
    /// The caller's user, where the kernel vouches for it.
    pub uid: Option<u32>,
    /// The caller's process, where it is known.
    pub pid: Option<u32>,
    /// What that process calls itself.
    pub program: Option<String>,
    /// The caller's trace.
    pub trace_id: Option<String>,
}

/// Where requests are told of.
#[derive(Debug)]
pub struct Feed {
    sender: broadcast::Sender<Arc<Request>>,
    listeners: Arc<AtomicUsize>,
}

/// One who watches.
#[derive(Debug)]
pub struct Listener {
    receiver: broadcast::Receiver<Arc<Request>>,
    listeners: Arc<AtomicUsize>,
}

/// What a listener gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A request has ended.
    Request(Arc<Request>),
    /// The listener was too slow for this many.
    Lost(u64),
    /// There will be no more.
    End,
}

impl Feed {
    /// Says whether anybody watches.
    pub fn is_wanted(&self) -> bool {
        self.listeners.load(Ordering::Relaxed) > 0
    }

    /// Starts to watch.
    pub fn listen(&self) -> Listener {
        self.listeners.fetch_add(1, Ordering::Relaxed);
        Listener { receiver: self.sender.subscribe(), listeners: self.listeners.clone() }
    }

    pub(super) fn tell(&self, request: Request) {
        // An error means that nobody watches any more.
        let _ = self.sender.send(Arc::new(request));
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(HELD), listeners: Arc::default() }
    }
}

impl Listener {
    /// Waits for the next one.
    pub async fn next(&mut self) -> News {
        match self.receiver.recv().await {
            Ok(request) => News::Request(request),
            Err(broadcast::error::RecvError::Lagged(count)) => News::Lost(count),
            Err(broadcast::error::RecvError::Closed) => News::End,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Most requests that a slow listener may be behind.
const HELD: usize = 1024;
