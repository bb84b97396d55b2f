//! An HTTP/1.1 connection, and the clients whose requests it may carry after the last one.
//!
//! The connection itself is the crate `h1-client`, which knows no clients.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h1_client::{Connection, Error, HeadLimits};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use http_body::SizeHint;
use hyper::ext::ReasonPhrase;
use tokio::runtime::{Handle, Id};

use super::request::{Reuse, UpstreamRequest};
use super::request_body::{BodyError, Payload};
use super::tls_stream::TlsStream;
use super::{ConnectionError, ReplayBody, socket};

/// A connection for one request at a time.
pub(super) struct Http1Connection(Box<Http1State>);

struct Http1State {
    conn: Connection<TlsStream, Payload>,
    /// The client that has sent a body: requests of no other client may follow.
    client: Option<Box<str>>,
    /// Whether a body was sent after which no request at all may follow.
    is_last: bool,
    /// Whether a request was sent before.
    is_used: bool,
    /// Whether the socket ends at a proxy, which acknowledges what the host never gets.
    is_tunnel: bool,
    /// The runtime that watches the socket.
    runtime: Id,
}

/// A request that got no response.
pub(super) struct SendError {
    pub(super) error: ConnectionError,
    /// Whether no byte of the request was sent: then its body is still there.
    pub(super) is_unsent: bool,
}

impl<E: Into<ConnectionError>> From<E> for SendError {
    fn from(error: E) -> Self {
        Self { error: error.into(), is_unsent: false }
    }
}

impl Http1Connection {
    /// Makes a connection of a TLS stream; `is_tunnel` if that goes through a proxy.
    pub(super) fn new(stream: TlsStream, is_tunnel: bool, head_limits: HeadLimits) -> Self {
        Self(Box::new(Http1State {
            conn: Connection::new(stream).with_head_limits(head_limits),
            client: None,
            is_last: false,
            is_used: false,
            is_tunnel,
            runtime: Handle::current().id(),
        }))
    }

    /// Returns the runtime that watches the socket.
    pub(super) fn runtime(&self) -> Id {
        self.0.runtime
    }

    /// Lets the runtime of this thread watch the socket.
    pub(super) fn move_here(&mut self) {
        match self.0.conn.transport_to_move().move_here() {
            Ok(()) => self.0.runtime = Handle::current().id(),
            // The old runtime wakes this thread too, only later.
            Err(error) => tracing::debug!(%error, "a connection stays with its runtime"),
        }
    }

    /// Returns whether a request was sent on it before.
    pub(super) fn is_used(&self) -> bool {
        self.0.is_used
    }

    /// Returns whether the host has not even acknowledged what was sent `since` ago; `None` if that
    /// is not known.
    pub(super) fn is_unacknowledged(&self, since: Duration) -> Option<bool> {
        let tcp = self.0.conn.transport().tcp();
        if self.0.is_tunnel { None } else { socket::is_unacknowledged(tcp, since) }
    }

    /// Returns whether the connection can take a request, of its client at least.
    pub(super) fn is_reusable(&mut self) -> bool {
        !self.0.is_last && self.0.conn.is_reusable()
    }

    /// Returns the client whose requests alone may follow, if there is one.
    pub(super) fn reserved_client(&self) -> Option<&str> {
        self.0.client.as_deref()
    }

    /// Lets the next response use the memory of these headers.
    pub(super) fn recycle_headers(&mut self, headers: HeaderMap) {
        self.0.conn.recycle_headers(headers);
    }

    /// Sends a request and waits for the head of its response. Returns `None` once `timeout` has
    /// passed in which no part of the request went out either.
    pub(super) async fn send_request(
        &mut self,
        request: &mut impl UpstreamRequest,
        timeout: Duration,
    ) -> Option<Result<Response<()>, SendError>> {
        let Http1State { conn, client, is_last, is_used, .. } = &mut *self.0;
        *is_used = true;
        if request.body().length() != Some(0) {
            match request.reuse() {
                Reuse::Shared => {}
                Reuse::Client(sender) => *client = Some(sender.into()),
                Reuse::Never => *is_last = true,
            }
        }
        outcome(conn.send_request(&mut Parts(request), timeout).await)
    }

    /// Goes on waiting for the head of the response, after `None`.
    pub(super) async fn wait_response(
        &mut self,
        timeout: Duration,
    ) -> Option<Result<Response<()>, SendError>> {
        outcome(self.0.conn.wait_response(timeout).await)
    }

    /// Takes the next data of the response's body, and sends the rest of the request.
    pub(super) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, ConnectionError>>> {
        self.0.conn.poll_data(cx).map_err(ConnectionError::from)
    }

    /// Returns whether the response's body has ended.
    pub(super) fn is_end_stream(&self) -> bool {
        self.0.conn.is_end_stream()
    }

    /// Returns what is known of the length of the response's body from here on.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.0.conn.size_hint()
    }

    /// Returns the TLS stream, and what has come over it beyond the last response's head.
    pub(super) fn into_parts(self) -> (TlsStream, Bytes) {
        self.0.conn.into_parts()
    }
}

/// Translates the outcome of `h1-client`; `None` is a timeout.
fn outcome(
    outcome: Result<Response<()>, h1_client::SendError<BodyError>>,
) -> Option<Result<Response<()>, SendError>> {
    match outcome {
        Ok(mut response) => {
            let extensions = response.extensions_mut();
            if let Some(h1_client::ReasonPhrase(reason)) = extensions.remove()
                && let Ok(reason) = ReasonPhrase::try_from(reason)
            {
                // hyper's server writes the reason phrase from this extension.
                extensions.insert(reason);
            }
            Some(Ok(response))
        }
        Err(h1_client::SendError { error: Error::TimedOut, .. }) => None,
        Err(h1_client::SendError { error, is_unsent }) => {
            Some(Err(SendError { error: error.into(), is_unsent }))
        }
    }
}

/// A request in the terms of `h1-client`.
struct Parts<'a, R>(&'a mut R);

impl<R: UpstreamRequest> h1_client::Request for Parts<'_, R> {
    type Body = Payload;

    fn method(&self) -> &Method {
        self.0.method()
    }

    fn target(&self) -> &str {
        self.0.target().as_str()
    }

    fn for_each_header(&self, each: impl FnMut(&HeaderName, &HeaderValue)) {
        self.0.for_each_header(each);
    }

    fn body_length(&self) -> Option<u64> {
        self.0.body().length()
    }

    fn buffered_body(&self) -> Option<&[u8]> {
        match self.0.body() {
            ReplayBody::Buffered(bytes, _) => Some(bytes),
            ReplayBody::Empty | ReplayBody::Streamed(_) => None,
        }
    }

    fn take_body(&mut self) -> Payload {
        self.0.body_mut().payload()
    }
}

impl From<Error<BodyError>> for ConnectionError {
    fn from(error: Error<BodyError>) -> Self {
        match error {
            Error::Closed => Self::Closed,
            Error::Truncated => Self::Truncated,
            Error::TimedOut => Self::Stalled,
            Error::Io(error) => Self::Io(error),
            Error::Malformed(error) => Self::Malformed(error),
            Error::BodyLength => Self::RequestBody(BodyError::Incomplete),
            Error::Body(error) => Self::RequestBody(error),
        }
    }
}

#[cfg(test)]
mod tests;
