//! One HTTP/2 connection that many requests share.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use h1_client::{HeadLimits, normalize_content_length};
use http::header::HOST;
use http::uri::{Parts, Scheme, Uri};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::ConnectionError;
use super::h1_conn::SendError;
use super::request::UpstreamRequest;
use super::request_body::Payload;
use super::tls_stream::TlsStream;
use crate::config::Origin;

/// A connection. Clones share it.
#[derive(Clone)]
pub(super) struct Http2Connection(SendRequest<Payload>);

/// The connection in use, if there is one.
#[derive(Default)]
pub(super) struct SharedStreams {
    current: Mutex<Option<Http2Connection>>,
    /// Held while a connection is opened.
    connecting: tokio::sync::Mutex<()>,
}

impl Http2Connection {
    /// Makes a connection ready for requests. The connection is pinged from time to time, because a
    /// suspend or a router can end it without notice.
    pub(super) async fn handshake(
        stream: TlsStream,
        origin: &Origin,
        head_limits: HeadLimits,
    ) -> hyper::Result<Self> {
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .adaptive_window(true)
            .max_header_list_size(u32::try_from(head_limits.bytes).unwrap_or(u32::MAX))
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

    /// Sends a request and waits for the head of its response. Returns `None` once `timeout` has
    /// passed in which no part of the request went out either.
    pub(super) async fn send_request(
        &mut self,
        request: &mut impl UpstreamRequest,
        origin: &Origin,
        timeout: Duration,
    ) -> Option<Result<Response<Incoming>, SendError>> {
        let message = build_request(request, origin);
        let progress = message.body().progress();
        let mut response = std::pin::pin!(self.0.try_send_request(message));
        loop {
            let before = progress.as_ref().map_or(0, |progress| progress.pieces());
            if let Ok(outcome) = tokio::time::timeout(timeout, response.as_mut()).await {
                let outcome = outcome.map_err(|failed| send_error(failed, request));
                return Some(outcome.and_then(|mut response| {
                    normalize_content_length(response.headers_mut())
                        .map_err(ConnectionError::from)?;
                    Ok(response)
                }));
            }
            if progress.as_ref().map_or(0, |progress| progress.pieces()) == before {
                return None;
            }
        }
    }
}

/// Builds a request of HTTP/2, which names the host in its target and not in a `Host` header.
fn build_request(request: &mut impl UpstreamRequest, origin: &Origin) -> Request<Payload> {
    let mut message = Request::new(request.body_mut().payload());
    let mut target = Parts::default();
    target.scheme = Some(Scheme::HTTPS);
    target.authority = origin.authority().parse().ok();
    target.path_and_query = Some(request.target().clone());
    *message.uri_mut() = Uri::from_parts(target).expect("a host and a path are a complete target");
    *message.version_mut() = Version::HTTP_2;
    *message.method_mut() = request.method().clone();
    request.for_each_header(|name, value| {
        if name != HOST {
            message.headers_mut().append(name, value.clone());
        }
    });
    message
}

/// Gives the body back to the request if no byte of it was sent.
fn send_error(
    mut failed: TrySendError<Request<Payload>>,
    request: &mut impl UpstreamRequest,
) -> SendError {
    let unsent = failed.take_message();
    let is_unsent = unsent.is_some();
    unsent.into_iter().for_each(|message| request.body_mut().put_back(message.into_body()));
    SendError { error: failed.into_error().into(), is_unsent }
}

impl SharedStreams {
    /// Returns the connection, if it takes requests.
    pub(super) fn get(&self) -> Option<Http2Connection> {
        self.current().as_ref().filter(|conn| conn.0.is_ready()).cloned()
    }

    /// Makes `conn` the connection that requests use.
    pub(super) fn set(&self, conn: Http2Connection) {
        *self.current() = Some(conn);
    }

    /// Drops the connection. Requests that use it go on.
    pub(super) fn clear(&self) {
        *self.current() = None;
    }

    /// Waits until no other task opens a connection.
    pub(super) async fn lock_connecting(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.connecting.lock().await
    }

    fn current(&self) -> MutexGuard<'_, Option<Http2Connection>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often a connection is pinged: well below the idle time after which home routers forget one
/// (RFC 5382: some after 2 min).
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long a ping may take: a server on the other side of the world responds within a second.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
