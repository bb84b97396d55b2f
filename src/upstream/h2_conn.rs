//! One HTTP/2 connection that many requests share.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::HOST;
use http::uri::{Parts, Scheme, Uri};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::framing::normalize_content_length;
use super::h1_conn::SendError;
use super::tls_stream::TlsStream;
use super::{ConnectionError, Payload, UpstreamRequest};
use crate::config::Origin;

/// A connection; clones share it.
#[derive(Clone)]
pub(super) struct Http2Connection(SendRequest<Payload>);

/// The connection in use, if there is one.
#[derive(Default)]
pub(super) struct SharedStreams {
    current: Mutex<Option<Http2Connection>>,
    lock_connecting: tokio::sync::Mutex<()>,
}

impl Http2Connection {
    /// Makes a connection ready for requests; it is asked for a sign of life now and then, for a
    /// suspend or a router can kill it without a word.
    pub(super) async fn handshake(stream: TlsStream, origin: &Origin) -> hyper::Result<Self> {
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
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
        ask: &mut impl UpstreamRequest,
        origin: &Origin,
        limit: Duration,
    ) -> Option<Result<Response<Incoming>, SendError>> {
        let request = build_request(ask, origin);
        let progress = request.body().progress();
        let mut answer = std::pin::pin!(self.0.try_send_request(request));
        loop {
            let before = progress.as_ref().map_or(0, |progress| progress.pieces());
            if let Ok(outcome) = tokio::time::timeout(limit, answer.as_mut()).await {
                let outcome = outcome.map_err(|failed| send_error(failed, ask));
                return Some(outcome.and_then(|mut answer| {
                    normalize_content_length(answer.headers_mut())
                        .map_err(ConnectionError::from)?;
                    Ok(answer)
                }));
            }
            if progress.as_ref().map_or(0, |progress| progress.pieces()) == before {
                return None;
            }
        }
    }
}

/// Makes a request say where it goes as HTTP/2 does: in its target, not in a `Host`.
fn build_request(ask: &mut impl UpstreamRequest, origin: &Origin) -> Request<Payload> {
    let mut request = Request::new(ask.body().payload());
    let mut target = Parts::default();
    target.scheme = Some(Scheme::HTTPS);
    target.authority = origin.authority().parse().ok();
    target.path_and_query = Some(ask.target().clone());
    *request.uri_mut() = Uri::from_parts(target).expect("a host and a path are a complete target");
    *request.version_mut() = Version::HTTP_2;
    *request.method_mut() = ask.method().clone();
    ask.for_each_header(|name, value| {
        if name != HOST {
            request.headers_mut().append(name, value.clone());
        }
    });
    request
}

/// Gives the body back if not a byte was sent.
fn send_error(
    mut failed: TrySendError<Request<Payload>>,
    ask: &mut impl UpstreamRequest,
) -> SendError {
    let unsent = failed.take_message();
    let is_unsent = unsent.is_some();
    unsent.into_iter().for_each(|request| ask.body().put_back(request.into_body()));
    SendError { error: failed.into_error().into(), is_unsent }
}

impl SharedStreams {
    /// Returns the connection, if it takes requests.
    pub(super) fn get(&self) -> Option<Http2Connection> {
        self.current().as_ref().filter(|streams| streams.0.is_ready()).cloned()
    }

    /// Makes `streams` the connection that requests use.
    pub(super) fn set(&self, streams: Http2Connection) {
        *self.current() = Some(streams);
    }

    /// Lets go of it; requests on it go on.
    pub(super) fn clear(&self) {
        *self.current() = None;
    }

    /// Waits until nobody else is dialling.
    pub(super) async fn lock_connecting(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.lock_connecting.lock().await
    }

    fn current(&self) -> MutexGuard<'_, Option<Http2Connection>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Well below the idle time after which home routers forget a connection (RFC 5382: some after
/// 2 min).
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// A server on the other side of the world answers within a second.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
