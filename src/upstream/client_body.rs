//! The body of a client's request, and whether all of it has been read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// The body of a client's request. Its connection learns whether a part of it was left unread, which
/// ends the connection.
///
/// Boxed, because it is moved from step to step in the future of every request, and most have none.
#[derive(Debug)]
pub struct ClientBody(Option<Box<Unread>>);

/// A body that there is.
#[derive(Debug)]
struct Unread {
    incoming: Incoming,
    /// Set while a part of the body is unread; `None` where nobody asks.
    flag: Option<Arc<AtomicBool>>,
}

impl ClientBody {
    /// Takes over a body of which nothing has been read. `flag` belongs to the connection, and says from
    /// now on whether there is more of this body.
    pub fn new(incoming: Incoming, flag: &Arc<AtomicBool>) -> Self {
        let has_body = !incoming.is_end_stream();
        flag.store(has_body, Ordering::Relaxed);
        Self(has_body.then(|| Box::new(Unread { incoming, flag: Some(flag.clone()) })))
    }

    /// Takes over a body of which nobody asks whether it was read.
    pub fn unwatched(incoming: Incoming) -> Self {
        let has_body = !incoming.is_end_stream();
        Self(has_body.then(|| Box::new(Unread { incoming, flag: None })))
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(unread) = &mut self.0 else { return Poll::Ready(None) };
        let polled = Pin::new(&mut unread.incoming).poll_frame(cx);
        let has_ended = match &polled {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => unread.incoming.is_end_stream(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if has_ended && let Some(flag) = unread.flag.take() {
            flag.store(false, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|unread| unread.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), |unread| unread.incoming.size_hint())
    }
}
