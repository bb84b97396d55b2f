//! Sends a request on a pooled connection, a shared one or a new one, and names the error.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response};
use hyper::body::Incoming;

use super::acquire::Acquired;
use super::attempt::FailedAttempt;
use super::h1_conn::Http1Connection;
use super::h2_conn::{Http2Connection, SharedStreams};
use super::pool::{PooledConnection, Wanted};
use super::request::{Reuse, UpstreamRequest};
use super::response_body::ResponseBody;
use super::silence::{SilentRead, Winner};
use super::upgrade::{Upgraded, is_websocket_upgrade};
use super::{Error, Retry, Upstream};

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
        // Rare cases are boxed, because they would make the future of every request larger.
        let attempt = match self.0.h2.as_ref().and_then(SharedStreams::get) {
            Some(conn) => Box::pin(self.send_h2(conn, (retry, false), request)).await,
            None => match self.0.pool.take(retry, client_of(request)) {
                Some((conn, epoch)) => self.send_h1(conn, epoch, retry, request).await,
                None => Box::pin(self.send_after_wait(retry, request)).await,
            },
        };
        match attempt {
            Ok(response) => Ok(response),
            Err(FailedAttempt { error, is_new: true, .. }) => Err(error),
            Err(FailedAttempt { error, is_unsent: false, .. })
                if retry == Retry::Never || !matches!(error, Error::Closed { .. }) =>
            {
                Err(error)
            }
            Err(_) => Box::pin(self.send_on_new_connection(retry, request)).await,
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
        let started = Instant::now();
        let conn = self.0.connector.connect_h1().await;
        request.note_connect(started.elapsed());
        let mut conn = conn?;
        match conn.send_request(request, self.0.header_timeout).await {
            Some(Ok(response)) if is_websocket_upgrade(response.status(), response.headers()) => {
                let (stream, buffered) = conn.into_parts();
                let upgraded = Upgraded::new(stream, buffered, close_signal);
                Ok(response.map(|()| ResponseBody::from_upgraded(upgraded)))
            }
            outcome => {
                let response = self.check_response(outcome).map_err(|failed| failed.error)?;
                let conn = PooledConnection::single_use(Arc::clone(&self.0.pool), conn);
                let limit = self.body_idle(response.headers());
                Ok(response.map(|()| ResponseBody::from_h1(conn, limit)))
            }
        }
    }

    /// Sends a request on the first connection that another request gives back or that is opened.
    async fn send_after_wait(
        &self,
        retry: Retry,
        request: &mut impl UpstreamRequest,
    ) -> Result<Response<ResponseBody>, FailedAttempt> {
        let acquired = self.acquire_for(request, retry, Wanted::Any).await;
        self.send_on(acquired, retry, request).await
    }

    /// Sends a request on a connection that no request has used.
    pub(super) async fn send_on_new_connection(
        &self,
        retry: Retry,
        request: &mut impl UpstreamRequest,
    ) -> Result<Response<ResponseBody>, Error> {
        let acquired = self.acquire_for(request, retry, Wanted::New).await;
        let sent = Box::pin(self.send_on(acquired, retry, request)).await;
        sent.map_err(|failed| failed.error)
    }

    /// Waits for a connection, and tells the request for how long.
    async fn acquire_for(
        &self,
        request: &impl UpstreamRequest,
        retry: Retry,
        wanted: Wanted,
    ) -> Result<Acquired, Error> {
        let started = Instant::now();
        let acquired = self.acquire((retry, client_of(request)), wanted).await;
        request.note_connect(started.elapsed());
        acquired
    }

    async fn send_on(
        &self,
        acquired: Result<Acquired, Error>,
        retry: Retry,
        request: &mut impl UpstreamRequest,
    ) -> Result<Response<ResponseBody>, FailedAttempt> {
        match acquired {
            Ok(Acquired::Http1(conn, epoch)) => self.send_h1(conn, epoch, retry, request).await,
            Ok(Acquired::Http2(conn)) => self.send_h2(conn, (retry, true), request).await,
            Err(error) => Err(FailedAttempt::on_new(error)),
        }
    }

    async fn send_h1(
        &self,
        mut conn: Http1Connection,
        epoch: u64,
        retry: Retry,
        request: &mut impl UpstreamRequest,
    ) -> Result<Response<ResponseBody>, FailedAttempt> {
        let is_new = !conn.is_used();
        let timeout = self.0.header_timeout;
        let first_wait = match retry {
            Retry::Safe if !is_new => self.silence_bound().min(timeout),
            Retry::Safe | Retry::Never => timeout,
        };
        let outcome = conn.send_request(request, first_wait).await;
        if outcome.is_none() && first_wait < timeout {
            return Box::pin(self.wait_for_silent((conn, epoch), request, first_wait)).await;
        }
        let response =
            self.check_response(outcome).map_err(|failed| FailedAttempt { is_new, ..failed })?;
        Ok(self.pooled_response(conn, epoch, response))
    }

    /// Goes on waiting on a used connection that was silent for `waited`.
    async fn wait_for_silent(
        &self,
        (mut conn, epoch): (Http1Connection, u64),
        request: &mut impl UpstreamRequest,
        waited: Duration,
    ) -> Result<Response<ResponseBody>, FailedAttempt> {
        let is_dead = conn.is_unacknowledged(waited);
        let response = conn.wait_response(self.0.header_timeout.saturating_sub(waited));
        let read = SilentRead { response, is_dead, waited };
        match self.wait_or_race(read, request).await? {
            Winner::Silent(response) => Ok(self.pooled_response(conn, epoch, response)),
            Winner::New(response) => Ok(response),
        }
    }

    /// Returns a response whose body gives its connection back.
    fn pooled_response(
        &self,
        conn: Http1Connection,
        epoch: u64,
        response: Response<()>,
    ) -> Response<ResponseBody> {
        let conn = PooledConnection::new(self.0.pool.clone(), conn, epoch);
        let limit = self.body_idle(response.headers());
        response.map(|()| ResponseBody::from_h1(conn, limit))
    }

    /// Sends a request on the connection that all share; `is_new` if this is its first one.
    async fn send_h2(
        &self,
        mut conn: Http2Connection,
        (retry, is_new): (Retry, bool),
        request: &mut impl UpstreamRequest,
    ) -> Result<Response<ResponseBody>, FailedAttempt> {
        let (origin, timeout) = (&self.0.origin, self.0.header_timeout);
        let outcome = if retry == Retry::Safe && !is_new {
            let waited = self.silence_bound().min(timeout);
            let mut response = Box::pin(conn.send_read(request, origin, timeout));
            match tokio::time::timeout(waited, &mut response).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    let is_dead = conn.is_unacknowledged(waited);
                    if is_dead == Some(true) {
                        self.0.h2.iter().for_each(SharedStreams::clear);
                    }
                    let read = SilentRead { response, is_dead, waited };
                    return match self.wait_or_race(read, request).await? {
                        Winner::Silent(response) => Ok(self.h2_response(response)),
                        Winner::New(response) => Ok(response),
                    };
                }
            }
        } else {
            conn.send_request(request, origin, timeout).await
        };
        let response =
            self.check_response(outcome).map_err(|failed| FailedAttempt { is_new, ..failed })?;
        Ok(self.h2_response(response))
    }

    fn h2_response(&self, response: Response<Incoming>) -> Response<ResponseBody> {
        let limit = self.body_idle(response.headers());
        response.map(|body| ResponseBody::from_h2(body, limit))
    }

    /// Returns the longest pause in the body of this response. A stream of events pauses for as long
    /// as nothing happens.
    fn body_idle(&self, headers: &HeaderMap) -> Option<Duration> {
        let is_event_stream = headers.get(CONTENT_TYPE).is_some_and(|value| {
            let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
            essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
        });
        let limit = Duration::from_millis(self.0.body_idle_ms.load(Ordering::Relaxed));
        (!is_event_stream).then_some(limit)
    }
}

/// The client whose own connection a request may use.
fn client_of(request: &impl UpstreamRequest) -> Option<&str> {
    match request.reuse() {
        Reuse::Client(client) => Some(client),
        Reuse::Shared | Reuse::Never => None,
    }
}
