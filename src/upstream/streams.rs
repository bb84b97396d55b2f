//! One HTTP/2 connection that many requests share.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::HOST;
use http::uri::{Parts, Scheme, Uri};
use http::{HeaderValue, Request};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::Payload;
use super::line::Outcome;
use super::secure::Secure;
use crate::config::Origin;

/// A connection; clones share it.
#[derive(Clone)]
pub(super) struct Streams(SendRequest<Payload>);

/// The connection in use, if there is one.
#[derive(Default)]
pub(super) struct Shared {
    current: Mutex<Option<Streams>>,
    turn: tokio::sync::Mutex<()>,
}

impl Streams {
    /// Makes a connection ready for requests; it is asked for a sign of life now and then, for a
    /// suspend or a router can kill it without a word.
    pub(super) async fn open(stream: Secure, origin: &Origin) -> hyper::Result<Self> {
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .keep_alive_while_idle(true)
            .adaptive_window(true)
            .handshake(stream)
            .await?;
        let origin = origin.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%origin, %error, "an HTTP/2 connection ended");
            }
        });
        Ok(Self(sender))
    }

    /// Sends a request and waits for its answer; `None` after `limit` without one.
    pub(super) async fn send(
        &mut self,
        request: Request<Payload>,
        limit: Duration,
    ) -> Option<Outcome> {
        let progress = request.body().progress();
        let mut answer = std::pin::pin!(self.0.try_send_request(request));
        loop {
            let before = progress.as_ref().map_or(0, |progress| progress.pieces());
            if let Ok(outcome) = tokio::time::timeout(limit, answer.as_mut()).await {
                return Some(outcome);
            }
            if progress.as_ref().map_or(0, |progress| progress.pieces()) == before {
                return None;
            }
        }
    }
}

impl Shared {
    /// Returns the connection, if it takes requests.
    pub(super) fn live(&self) -> Option<Streams> {
        self.current().as_ref().filter(|streams| streams.0.is_ready()).cloned()
    }

    /// Makes `streams` the connection that requests use.
    pub(super) fn keep(&self, streams: Streams) {
        *self.current() = Some(streams);
    }

    /// Lets go of it; requests on it go on.
    pub(super) fn forget(&self) {
        *self.current() = None;
    }

    /// Waits until nobody else is dialling.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    fn current(&self) -> MutexGuard<'_, Option<Streams>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a request say where it goes as HTTP/2 does: in its target, not in a `Host`.
pub(super) fn for_stream(request: &mut Request<Payload>, origin: &Origin) {
    request.headers_mut().remove(HOST);
    let mut parts = Parts::default();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = origin.authority().parse().ok();
    parts.path_and_query = request.uri().path_and_query().cloned();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    *request.version_mut() = http::Version::HTTP_2;
}

/// Undoes [`for_stream`]: the request goes over HTTP/1.1 after all.
pub(super) fn for_line(request: &mut Request<Payload>, authority: &HeaderValue) {
    if request.uri().authority().is_none() {
        return;
    }
    let mut parts = Parts::default();
    parts.path_and_query = request.uri().path_and_query().cloned();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request.headers_mut().insert(HOST, authority.clone());
    *request.version_mut() = http::Version::HTTP_11;
}

/// Well below the idle time after which home routers forget a connection (RFC 5382: some after
/// 2 min).
const PING: Duration = Duration::from_secs(30);

/// A server on the other side of the world answers within a second.
const PONG: Duration = Duration::from_secs(10);
