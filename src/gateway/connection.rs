//! One local connection: its requests in order, its patience, its end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, Parts};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::catch_panic::catch_panic;
use super::peer_identity::ConnectionPeer;
use super::websocket::PendingUpgrade;
use super::{Error, Gateway, ProxyBody, error_response};
use crate::clients::loggable_path;
use crate::config::Limits;
use crate::listen::{
    ConnectionLimiter, ConnectionPermit, ConnectionState, DrainSignal, InFlightGuard, Peer,
    PeerAccess, Rejections, ServerIo, Stream, Timeouts,
};
use crate::telemetry::{AccessEntry, RequestTiming, Telemetry};

/// Serves the connections of one or more listeners. Clones share the bounds.
#[derive(Clone, Debug)]
pub struct Server {
    http: http1::Builder,
    timeouts: Timeouts,
    rejections: Arc<Rejections>,
    limiter: ConnectionLimiter,
    draining: DrainSignal,
    record: Arc<Telemetry>,
}

impl Server {
    /// Serves at most `limits.connections` at once, until `draining`.
    pub fn new(limits: &Limits, draining: DrainSignal, record: Arc<Telemetry>) -> Self {
        let mut http = http1::Builder::new();
        // Answers wait in memory for a slow reader up to this size, whatever their length.
        let most = limits.header_bytes.max(WRITE_BUFFER_CAPACITY);
        // The wire sees by itself when a caller leaves.
        http.max_header_size(limits.header_bytes).max_buf_size(most).half_close(true);
        // Asked for by number, its own bound too costs hyper a table that is filled per request.
        if limits.headers != HYPER_MAX_HEADERS {
            http.max_headers(limits.headers);
        }
        Self {
            http,
            timeouts: Timeouts {
                first_byte: limits.keep_alive,
                head: limits.header_timeout,
                idle: limits.keep_alive,
                single_request: None,
            },
            rejections: Arc::new(error_response::prebuilt(limits)),
            limiter: ConnectionLimiter::new(limits.connections),
            draining,
            record,
        }
    }

    /// Returns the same with other bounds for the connections to come; those on how many there
    /// are stay.
    pub fn with_limits(&self, limits: &Limits) -> Self {
        let fresh = Self::new(limits, self.draining.clone(), self.record.clone());
        Self { limiter: self.limiter.clone(), ..fresh }
    }

    /// Logs what happens too often for a line each, for ever.
    pub fn log_repeats(&self) -> impl Future<Output = ()> + use<> {
        let record = self.record.clone();
        async move { record.report_repeats().await }
    }

    /// Finds a place for a connection; without one it is closed. What is returned serves it to its
    /// end.
    ///
    /// Who calls is known before anything is kept for the connection: another user takes no place of
    /// the owner's.
    pub fn accept(
        &self,
        gateway: &Arc<ArcSwap<Gateway>>,
        stream: Stream,
        peer: Peer,
    ) -> Option<impl Future<Output = ()> + use<>> {
        let standing = gateway.load().standing(&peer);
        let permit = self.acquire(&peer, standing)?;
        let (this, gateway) = (self.clone(), gateway.clone());
        Some(async move {
            let (mut permit, mut standing) = (permit, standing);
            if let PeerAccess::Unresolved(uid) = standing {
                standing = gateway.load_full().resolve_standing(uid).await;
                let Some(settled) = this.acquire(&peer, standing) else { return };
                permit = settled;
            }
            if standing == PeerAccess::Guest {
                stream.disable_reset();
            }
            let may_stay = permit.can_keep_alive();
            let visitor = ConnectionPeer::new(peer, standing, this.record.clone());
            let mut serving = pin!(this.serve(gateway, stream, visitor, permit));
            match may_stay {
                true => serving.await,
                // However slowly a refusal is read, or the body that it leaves unread is sent.
                false => {
                    tokio::time::timeout(REJECTION_TIMEOUT, &mut serving).await.ok();
                }
            }
        })
    }

    fn acquire(&self, peer: &Peer, standing: PeerAccess) -> Option<ConnectionPermit> {
        let acquired = self.limiter.acquire(peer, standing);
        if let Err(limit) = &acquired
            && self.record.rejected_connections.is_first(limit)
        {
            // Of the first connection in a minute.
            let uid = peer.uid();
            tracing::warn!(limit, uid, "connections are turned away: too many are open");
        }
        acquired.ok()
    }

    /// Serves one connection to its end.
    ///
    /// Each request is answered by the gateway of its moment: a reload ends no connection.
    async fn serve(
        self,
        gateway: Arc<ArcSwap<Gateway>>,
        stream: Stream,
        visitor: ConnectionPeer,
        permit: ConnectionPermit,
    ) {
        let _open = self.record.metrics.open_connection();
        let phase = Arc::new(ConnectionState::new());
        let (canned, record) = (self.rejections.clone(), self.record.clone());
        let mut http = self.http.clone();
        let patience = match (permit.can_keep_alive(), visitor.standing) {
            (false, _) => {
                http.keep_alive(false);
                REJECTION_TIMEOUTS
            }
            // Whose key nobody has seen yet.
            (true, PeerAccess::Remote) => {
                Timeouts { first_byte: self.timeouts.head, ..self.timeouts }
            }
            (true, _) => self.timeouts,
        };
        // What a stranger does wrong is counted, and not a line each.
        let is_logged = visitor.is_allowed();
        let wire = ServerIo::new(stream, phase.clone(), patience, canned, record);
        let (has_room, draining) = (permit.has_room(), self.draining.clone());
        let met = Arc::new(ConnectionContext { gateway, visitor, phase, draining, has_room });
        let switch = PendingUpgrade::default();
        let answer = service_fn(|request: Request<Incoming>| {
            met.phase.begin_request();
            let who = || met.visitor.identity_to_log();
            let access = AccessEntry::begin(&self.record, &request, loggable_path, who);
            let in_flight = met.draining.track();
            let answering =
                InFlightRequest { connection: met.clone(), access, _in_flight: in_flight };
            let failed = || Ok::<_, Infallible>(error_response::render(&Error::Internal));
            // hyper has room for one per connection, so that none is allocated per request.
            catch_panic(answering.handle(request, &switch), failed)
        });
        let mut connection = http.serve_connection(TokioIo::new(wire), answer);
        let mut draining = self.draining.clone();
        let ended = tokio::select! {
            // What has arrived is read before the end is looked at.
            biased;
            ended = &mut connection => ended,
            () = wait_for_drain(&mut draining, &met.phase) => {
                Pin::new(&mut connection).graceful_shutdown();
                tokio::select! {
                    ended = &mut connection => ended,
                    () = draining.wait_end() => (&mut connection).await,
                }
            }
        };
        match ended {
            Ok(()) if switch.is_set() => {
                let Parts { io, read_buf, .. } = connection.into_parts();
                Box::pin(switch.run(io.into_inner().into_stream(), read_buf, draining)).await;
            }
            Ok(()) => {}
            Err(error) => {
                if is_logged {
                    tracing::debug!(%error, "a local connection ended early");
                }
                let Parts { io, read_buf, .. } = connection.into_parts();
                Box::pin(io.into_inner().send_rejection(&error, &read_buf)).await;
            }
        }
    }
}

/// A connection and whoever is at its other end: what its requests share.
#[derive(Debug)]
struct ConnectionContext {
    gateway: Arc<ArcSwap<Gateway>>,
    visitor: ConnectionPeer,
    phase: Arc<ConnectionState>,
    draining: DrainSignal,
    has_room: bool,
}

/// A request that is being answered: its connection is busy, and it counts as in flight.
#[derive(Debug)]
pub(super) struct InFlightRequest {
    connection: Arc<ConnectionContext>,
    access: AccessEntry,
    _in_flight: InFlightGuard,
}

impl InFlightRequest {
    async fn handle(
        mut self,
        request: Request<Incoming>,
        switch: &PendingUpgrade,
    ) -> Result<Response<ProxyBody>, Infallible> {
        let mut spent = RequestTiming::default();
        let mut response = match self.connection.has_room {
            true => {
                let gateway = self.connection.gateway.load_full();
                let mut client = None;
                let answered = {
                    let ConnectionContext { visitor, draining, .. } = &*self.connection;
                    let answer = pin!(gateway.handle(request, visitor, &mut spent, &mut client));
                    unless_drained(draining, answer).await
                };
                match answered {
                    Some(answered) => gateway.finish_response(answered, client, &spent),
                    None => error_response::render(&Error::Draining),
                }
            }
            false => error_response::render(&Error::Overloaded),
        };
        if self.connection.visitor.must_close(&response) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.access.record_response(&response, &spent);
        if let Some(far) = response.body_mut().take_upgraded() {
            switch.set(far, self, response.extensions_mut().remove());
            return Ok(response);
        }
        Ok(response.map(|body| body.with_in_flight(self)))
    }

    /// Counts a part of the answer's body.
    pub(super) fn record_sent(&mut self, bytes: usize) {
        self.access.add_bytes(bytes);
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        self.connection.phase.end_response();
    }
}

/// Waits until this connection is to end. Whoever has just connected may still ask: only on a
/// connection that was used before does a client expect to find it closed.
async fn wait_for_drain(draining: &mut DrainSignal, phase: &ConnectionState) {
    draining.wait_begin().await;
    // What arrives wakes the connection, and with it this.
    let asked = poll_fn(|_| if phase.is_new() { Poll::Pending } else { Poll::Ready(()) });
    tokio::time::timeout(FIRST_REQUEST_TIMEOUT, asked).await.ok();
}

/// Waits for an answer, but not once the time to finish is over. Costs a read per wake-up, not a
/// wait: the connection that carries this request is woken at that moment.
fn unless_drained<F: Future>(
    draining: &DrainSignal,
    mut answer: Pin<&mut F>,
) -> impl Future<Output = Option<F::Output>> {
    poll_fn(move |cx| match draining.has_ended() {
        true => Poll::Ready(None),
        false => answer.as_mut().poll(cx).map(Some),
    })
}

/// How long a client may take from connecting to asking, when a stop comes in between.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// For whoever only hears that the daemon is not for it: a local caller sends its head at once.
const REJECTION_TIMEOUTS: Timeouts = {
    let seconds = Duration::from_secs(2);
    Timeouts {
        first_byte: seconds,
        head: seconds,
        idle: Duration::ZERO,
        single_request: Some(seconds),
    }
};

/// Longest time from connecting to the end of a refusal.
const REJECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// What hyper takes unless told otherwise.
const HYPER_MAX_HEADERS: usize = 100;

/// What is buffered of one answer before its upstream is asked to wait: a few TLS records.
const WRITE_BUFFER_CAPACITY: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// It is moved once for each request, and wiped when it is given back.
    #[test]
    fn the_future_of_a_request_is_small() {
        fn size<'a, F>(
            _: fn(InFlightRequest, Request<Incoming>, &'a PendingUpgrade) -> F,
        ) -> usize {
            size_of::<F>()
        }

        assert!(size(InFlightRequest::handle) <= 2_800, "{} bytes", size(InFlightRequest::handle));
    }
}
