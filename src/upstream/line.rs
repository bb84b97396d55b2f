//! One HTTP/1.1 connection that is driven by whoever uses it.
//!
//! hyper's connection is a future of its own, usually a task beside the caller's: every request
//! then costs several switches between the two, and an answer's head leaves before its body is
//! looked at. Here the request's own task drives it, and one wake-up carries a request all the
//! way. In the pool nobody drives it: that it was closed is seen when it is taken out.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use tokio::time::{Instant, Sleep};

use super::Payload;
use super::secure::Secure;

/// A connection and what drives it.
pub(super) struct Line(Box<Inner>);

struct Inner {
    sender: SendRequest<Payload>,
    driver: Driver,
    relay: Arc<Relay>,
    waker: Waker,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What drives a connection.
struct Driver {
    /// `None` once it has ended.
    running: Option<Connection<Secure, Payload>>,
    /// What it ran on, and what came for whoever goes on with it.
    left: Option<Box<(Secure, Bytes)>>,
}

/// What became of a request.
pub(super) type Outcome = Result<Response<Incoming>, TrySendError<Request<Payload>>>;

impl Line {
    /// Makes a connection ready for requests.
    pub(super) async fn open(stream: Secure) -> hyper::Result<Self> {
        let (sender, driver) = Builder::new().max_buf_size(MOST_BUFFERED).handshake(stream).await?;
        let relay = Arc::new(Relay::default());
        let waker = Waker::from(relay.clone());
        let driver = Driver { running: Some(driver), left: None };
        let inner = Inner { sender, driver, relay, waker, timer: None };
        Ok(Self(Box::new(inner)))
    }

    /// Says whether the other end has neither closed it nor sent anything unasked for.
    pub(super) fn lives(&mut self) -> bool {
        let waker = self.0.waker.clone();
        // The end of an answer takes hyper more than one look.
        for _ in 0..LOOKS {
            self.0.driver.drive(&mut Context::from_waker(&waker));
            if self.is_free() {
                return true;
            }
        }
        false
    }

    /// Takes a request; the result is waited for with [`Line::answer`].
    pub(super) fn begin(
        &mut self,
        request: Request<Payload>,
    ) -> impl Future<Output = Outcome> + use<> {
        // The driver is asked right after: it need not be woken.
        let _quiet = self.0.relay.quiet();
        self.0.sender.try_send_request(request)
    }

    /// Waits for the answer to a request; `None` after `limit` without one. `extended` tells
    /// whether something has been sent since it was asked last.
    pub(super) async fn answer(
        &mut self,
        mut begun: Pin<&mut impl Future<Output = Outcome>>,
        limit: Duration,
        mut extended: impl FnMut() -> bool,
    ) -> Option<Outcome> {
        let Inner { driver, relay, waker, timer, .. } = &mut *self.0;
        let mut deadline = Instant::now() + limit;
        std::future::poll_fn(|cx| {
            let polled = poll_inside(driver, relay, waker, cx, |cx| begun.as_mut().poll(cx));
            if let Poll::Ready(outcome) = polled {
                return Poll::Ready(Some(outcome));
            }
            // One timer for the life of the connection; it is looked at again when it fires.
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            while timer.as_mut().poll(cx).is_ready() {
                let now = Instant::now();
                if deadline <= now {
                    if !extended() {
                        return Poll::Ready(None);
                    }
                    deadline = now + limit;
                }
                timer.as_mut().reset(deadline);
            }
            Poll::Pending
        })
        .await
    }

    /// Polls what depends on this connection, and the connection itself as far as that needs it.
    pub(super) fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Inner { driver, relay, waker, .. } = &mut *self.0;
        poll_inside(driver, relay, waker, cx, poll)
    }

    /// Says whether it can take another request at once.
    pub(super) fn is_free(&self) -> bool {
        self.0.driver.running.is_some() && self.0.sender.is_ready()
    }

    /// Returns what is under it, and what has come over it beyond the last answer's head.
    pub(super) fn into_parts(self) -> Option<(Secure, Bytes)> {
        let Driver { running, left } = self.0.driver;
        let parts = running.map(Connection::into_parts).map(|parts| (parts.io, parts.read_buf));
        parts.or(left.map(|left| *left))
    }

    /// Forgets who has used it.
    pub(super) fn rest(&mut self) {
        self.0.relay.forget();
    }
}

/// Looks at a connection before it is given up: one for what came, one for what follows from it.
const LOOKS: usize = 3;

impl Driver {
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.running
            && let Poll::Ready(ended) = Pin::new(connection).poll(cx)
        {
            // The request in flight, if any, has got the reason.
            tracing::trace!(?ended, "a connection to the upstream ended");
            let parts = self.running.take().map(Connection::into_parts);
            self.left = parts.map(|parts| Box::new((parts.io, parts.read_buf)));
        }
    }
}

fn poll_inside<T>(
    driver: &mut Driver,
    relay: &Relay,
    waker: &Waker,
    cx: &mut Context<'_>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    relay.serve(cx.waker());
    let _quiet = relay.quiet();
    let inside = &mut Context::from_waker(waker);
    for _ in 0..2 {
        if let Poll::Ready(done) = poll(inside) {
            return Poll::Ready(done);
        }
        relay.woken.store(false, Ordering::Relaxed);
        driver.drive(inside);
        if let Poll::Ready(done) = poll(inside) {
            return Poll::Ready(done);
        }
        if !relay.woken.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
    }
    // It has more to do, and others want their turn.
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// The waker of a connection: wakes the task that uses it now. Silent while that task is at work
/// on the connection, for then it looks by itself.
#[derive(Default)]
struct Relay {
    quiet: AtomicBool,
    woken: AtomicBool,
    task: Mutex<Option<Waker>>,
}

/// Ends the silence when dropped.
struct Quiet<'a>(&'a Relay);

impl Relay {
    fn serve(&self, waker: &Waker) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *task {
            Some(known) => known.clone_from(waker),
            None => *task = Some(waker.clone()),
        }
    }

    fn forget(&self) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn quiet(&self) -> Quiet<'_> {
        self.quiet.store(true, Ordering::Relaxed);
        Quiet(self)
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        self.0.quiet.store(false, Ordering::Relaxed);
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        if self.quiet.load(Ordering::Relaxed) {
            return;
        }
        if let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner) {
            task.wake_by_ref();
        }
    }
}

/// Bounds an answer's head, and what is read of a body before it is passed on.
const MOST_BUFFERED: usize = 64 << 10;
