//! Sends a request on a pooled connection, a shared one or a new one, and names the error.

use std::sync::Arc;

use http::{Response, StatusCode};

use super::connector::Connected;
use super::h1_conn::{Http1Connection, SendError};
use super::h2_conn::{Http2Connection, SharedStreams};
use super::pool::PooledConnection;
use super::request::{Reuse, UpstreamRequest};
use super::response_body::ResponseBody;
use super::upgrade::{Upgraded, is_websocket_upgrade};
use super::{ConnectionError, Error, Malformed, Retry, Upstream};

impl Upstream {
    /// Sends a request and returns the head of its response as soon as that arrives.
    ///
    /// The request is sent once. It is sent a second time only if it certainly was not executed, or
    /// safely may be twice.
    ///
    /// # Errors
    ///
    /// One variant per way in which a host can fail to respond.
    pub async fn send(
        &self,
        retry: Retry,
        request: &mut impl UpstreamRequest,
    ) -> Result<Response<ResponseBody>, Error> {
        // Read before a connection is taken: a connection that is to be closed meanwhile is not put
        // back.
        let epoch = self.0.pool.epoch();
        // Rare cases are boxed, because they would make the future of every request larger.
        let attempt = match self.0.h2.as_ref().and_then(SharedStreams::get) {
            Some(conn) => Some(Box::pin(self.send_h2(conn, request)).await),
            None => {
                let client = match request.reuse() {
                    Reuse::Client(client) => Some(client),
                    Reuse::Shared | Reuse::Never => None,
                };
                match self.0.pool.take(retry, client) {
                    Some(conn) => Some(self.send_h1(conn, epoch, request).await),
                    None => None,
                }
            }
        };
        match attempt {
            Some(Ok(response)) => Ok(response),
            Some(Err(FailedAttempt { error, is_unsent: false }))
                if retry == Retry::Never || !matches!(error, Error::Closed { .. }) =>
            {
                Err(error)
            }
            Some(Err(_)) | None => Box::pin(self.send_on_new_connection(request)).await,
        }
    }

    /// Sends a request to switch to WebSocket and returns the head of the response. If the host
    /// agrees, the body holds the connection; if not, the response is like any other.
    ///
    /// The connection is a new one and is never put back, whatever the response: what was agreed on
    /// it concerns one client. HTTP/1.1 and HTTP/2 differ here, so that it always speaks HTTP/1.1.
    ///
    /// # Errors
    ///
    /// As [`Upstream::send`].
    pub async fn upgrade(
        &self,
        request: &mut impl UpstreamRequest,
    ) -> Result<Response<ResponseBody>, Error> {
        // Before anything is sent: a signal that comes meanwhile is seen afterwards.
        let close_signal = self.0.close_signal.subscribe();
        let mut conn = self.0.connector.connect_h1().await?;
        match conn.send_request(request, self.0.header_timeout).await {
            Some(Ok(response)) if is_websocket_upgrade(response.status(), response.headers()) => {
                let (stream, buffered) = conn.into_parts();
                let upgraded = Upgraded::new(stream, buffered, close_signal);
                Ok(response.map(|()| ResponseBody::from_upgraded(upgraded)))
            }
            outcome => {
                let response = self.check_response(outcome).map_err(|failed| failed.error)?;
                let conn = PooledConnection::single_use(Arc::clone(&self.0.pool), conn);
                Ok(response.map(|()| ResponseBody::from_h1(conn, self.0.header_timeout)))
            }
        }
    }

    async fn send_on_new_connection(
        &self,
        request: &mut impl UpstreamRequest,
    ) -> Result<Response<ResponseBody>, Error> {
        let epoch = self.0.pool.epoch();
        let response = match self.connect_once().await? {
            Connected::Http1(conn) => self.send_h1(conn, epoch, request).await,
            Connected::Http2(conn) => self.send_h2(conn, request).await,
        };
        response.map_err(|failed| failed.error)
    }

    /// Opens a connection. Requests that come meanwhile share it, if it speaks HTTP/2.
    async fn connect_once(&self) -> Result<Connected, Error> {
        let Some(shared) = &self.0.h2 else { return self.0.connector.connect().await };
        let _lock = shared.lock_connecting().await;
        if let Some(conn) = shared.get() {
            return Ok(Connected::Http2(conn));
        }
        let connected = self.0.connector.connect().await?;
        if let Connected::Http2(conn) = &connected {
            shared.set(conn.clone());
        }
        Ok(connected)
    }

    async fn send_h1(
        &self,
        mut conn: Http1Connection,
        epoch: u64,
        request: &mut impl UpstreamRequest,
    ) -> Result<Response<ResponseBody>, FailedAttempt> {
        let timeout = self.0.header_timeout;
        let response = self.check_response(conn.send_request(request, timeout).await)?;
        let conn = PooledConnection::new(self.0.pool.clone(), conn, epoch);
        Ok(response.map(|()| ResponseBody::from_h1(conn, timeout)))
    }

    async fn send_h2(
        &self,
        mut conn: Http2Connection,
        request: &mut impl UpstreamRequest,
    ) -> Result<Response<ResponseBody>, FailedAttempt> {
        let timeout = self.0.header_timeout;
        let response =
            self.check_response(conn.send_request(request, &self.0.origin, timeout).await)?;
        Ok(response.map(|body| ResponseBody::from_h2(body, timeout)))
    }

    /// Names the error of an exchange, if there was one; `None` is a timeout.
    fn check_response<T>(
        &self,
        outcome: Option<Result<Response<T>, SendError>>,
    ) -> Result<Response<T>, FailedAttempt> {
        let origin = || self.0.origin.clone();
        match outcome {
            None => {
                let limit = self.0.header_timeout;
                Err(FailedAttempt::after_sending(Error::Timeout { origin: origin(), limit }))
            }
            // The request asked for no other protocol: if it were passed on, the response would
            // desynchronise the client.
            Some(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let source = Malformed::UnexpectedUpgrade.into();
                Err(FailedAttempt::after_sending(Error::Malformed { origin: origin(), source }))
            }
            Some(Ok(response)) => Ok(response),
            Some(Err(SendError { error: source, is_unsent })) => {
                let is_malformed = match &source {
                    ConnectionError::Malformed(_) => true,
                    ConnectionError::Http2(error) => error.is_parse(),
                    ConnectionError::Closed
                    | ConnectionError::Truncated
                    | ConnectionError::Stalled
                    | ConnectionError::Io(_)
                    | ConnectionError::RequestBody(_) => false,
                };
                let origin = origin();
                let error = if is_malformed {
                    Error::Malformed { origin, source }
                } else {
                    Error::Closed { origin, source }
                };
                Err(FailedAttempt { error, is_unsent })
            }
        }
    }
}

/// An attempt without a response.
struct FailedAttempt {
    error: Error,
    /// Whether no byte of the request was sent.
    is_unsent: bool,
}

impl FailedAttempt {
    fn after_sending(error: Error) -> Self {
        Self { error, is_unsent: false }
    }
}
