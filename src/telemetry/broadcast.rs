//! Every request as it ends, for subscribers. Without any, a request costs one relaxed load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::broadcast;

use super::ended_request::EndedRequest;
use super::request_record::RequestRecord;

/// Sends requests to subscribers.
#[derive(Debug)]
pub struct RequestBroadcast {
    sender: broadcast::Sender<Arc<EndedRequest>>,
    subscribers: Arc<AtomicUsize>,
}

/// A subscriber's end.
#[derive(Debug)]
pub struct RequestReceiver {
    receiver: broadcast::Receiver<Arc<EndedRequest>>,
    subscribers: Arc<AtomicUsize>,
}

/// An item that a subscriber receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BroadcastItem {
    /// A request has ended.
    Request(Box<RequestRecord>),
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

    pub(super) fn send(&self, request: EndedRequest) {
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
            Ok(request) => BroadcastItem::Request(request.record().into()),
            Err(broadcast::error::RecvError::Lagged(count)) => BroadcastItem::Lagged(count),
            Err(broadcast::error::RecvError::Closed) => BroadcastItem::Closed,
        }
    }

    /// Returns the next item, if it is there.
    pub fn try_recv(&mut self) -> Option<BroadcastItem> {
        match self.receiver.try_recv() {
            Ok(request) => Some(BroadcastItem::Request(request.record().into())),
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
