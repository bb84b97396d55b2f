//! One HTTP/2 connection that many requests share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use h1_client::{HeadLimits, normalize_content_length};
use http::header::HOST;
use http::uri::{Parts, Scheme, Uri};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use socket2::{SockRef, Socket};

use super::ConnectionError;
use super::h1_conn::SendError;
use super::request::UpstreamRequest;
use super::request_body::Payload;
use super::socket;
use super::tls_stream::TlsStream;
use crate::config::Origin;

/// A connection. Clones share it.
#[derive(Clone)]
pub(super) struct Http2Connection {
    sender: SendRequest<Payload>,
    /// The socket, as long as the connection lives, unless that ends at a proxy.
    socket: Weak<Socket>,
}

/// The connection in use, if there is one.
#[derive(Default)]
pub(super) struct SharedStreams {
    current: Mutex<Option<Http2Connection>>,
}

impl Http2Connection {
    /// Makes a connection ready for requests; `is_tunnel` if it goes through a proxy. The connection
    /// is pinged from time to time, because a suspend or a router can end it without notice.
    pub(super) async fn handshake(
        stream: TlsStream,
        is_tunnel: bool,
        origin: &Origin,
        head_limits: HeadLimits,
    ) -> hyper::Result<Self> {
        let socket = if is_tunnel { None } else { SockRef::from(stream.tcp()).try_clone().ok() };
        let socket = socket.map(Arc::new);
        let watched = socket.as_ref().map(Arc::downgrade).unwrap_or_default();
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
            // The last descriptor closes the connection.
            drop(socket);
        });
        Ok(Self { sender, socket: watched })
    }

    /// Returns whether the host has acknowledged nothing that was sent `since` ago; `None` if that
    /// is not known.
    pub(super) fn is_unacknowledged(&self, since: Duration) -> Option<bool> {
        socket::is_unacknowledged(&*self.socket.upgrade()?, since)
    }

    /// Sends a request without a body, and waits for the head of its response until the timeout is
    /// over. The request is free meanwhile.
    pub(super) fn send_read<R: UpstreamRequest>(
        &mut self,
        request: &mut R,
        origin: &Origin,
        timeout: Duration,
    ) -> impl Future<Output = Option<Result<Response<Incoming>, SendError>>> + use<R> {
        let sending = self.sender.try_send_request(build_request(request, origin));
        async move {
            let outcome = tokio::time::timeout(timeout, sending).await.ok()?;
            Some(normalized(outcome.map_err(|failed| {
                let is_unsent = failed.message().is_some();
                SendError { error: failed.into_error().into(), is_unsent }
            })))
        }
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
        let mut response = std::pin::pin!(self.sender.try_send_request(message));
        loop {
            let before = progress.as_ref().map_or(0, |progress| progress.pieces());
            if let Ok(outcome) = tokio::time::timeout(timeout, response.as_mut()).await {
                return Some(normalized(outcome.map_err(|failed| send_error(failed, request))));
            }
            if progress.as_ref().map_or(0, |progress| progress.pieces()) == before {
                return None;
            }
        }
    }
}

/// Checks the lengths that a response announces.
fn normalized(
    outcome: Result<Response<Incoming>, SendError>,
) -> Result<Response<Incoming>, SendError> {
    let mut response = outcome?;
    normalize_content_length(response.headers_mut()).map_err(ConnectionError::from)?;
    Ok(response)
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
        self.current().as_ref().filter(|conn| conn.sender.is_ready()).cloned()
    }

    /// Returns the connection, also if it takes no requests any more.
    pub(super) fn latest(&self) -> Option<Http2Connection> {
        self.current().clone()
    }

    /// Makes `conn` the connection that requests use.
    pub(super) fn set(&self, conn: Http2Connection) {
        *self.current() = Some(conn);
    }

    /// Drops the connection. Requests that use it go on.
    pub(super) fn clear(&self) {
        *self.current() = None;
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
