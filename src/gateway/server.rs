//! The server side of local connections: limits, timeouts, requests in their order, the end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, Parts};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tracing::Instrument as _;

use super::catch_panic::catch_panic;
use super::error::Error;
use super::guard::encode_target;
use super::in_flight::InFlightRequest;
use super::peer_identity::ConnectionPeer;
use super::response_body::ProxyBody;
use super::web_page::NamedOrigin;
use super::websocket::PendingUpgrade;
use super::{Gateway, error_response, preflight};
use crate::clients::loggable_path;
use crate::config::Limits;
use crate::listen::{
    ConnectionLimiter, ConnectionPermit, ConnectionState, DrainSignal, Rejections, ServerIo,
    Stream, Timeouts,
};
use crate::peer::{Peer, PeerAccess};
use crate::telemetry::{AccessEntry, RequestTiming, Telemetry, ThreadConnection};

/// Serves the connections of one or more listeners. Clones share the limits.
#[derive(Clone, Debug)]
pub struct Server {
    http: http1::Builder,
    timeouts: Timeouts,
    rejections: Arc<Rejections>,
    limiter: ConnectionLimiter,
    drain: DrainSignal,
    telemetry: Arc<Telemetry>,
}

impl Server {
    /// Serves at most `limits.connections` at once, and as many as there are files for, until `drain`
    /// says stop.
    pub fn new(limits: &Limits, drain: DrainSignal, telemetry: Arc<Telemetry>) -> Self {
        let mut http = http1::Builder::new();
        // Up to this size a response waits in memory for a slow reader, whatever its length.
        let max_buffer = limits.header_bytes.max(WRITE_BUFFER_CAPACITY);
        // `ServerIo` notices by itself when a peer leaves.
        http.max_header_size(limits.header_bytes).max_buf_size(max_buffer).half_close(true);
        // With any number set, even its default, hyper allocates a table for every request.
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
            drain,
            telemetry,
        }
    }

    /// Returns the same server with other limits for new connections. The limits on how many there
    /// are stay.
    pub fn with_limits(&self, limits: &Limits) -> Self {
        let fresh = Self::new(limits, self.drain.clone(), self.telemetry.clone());
        Self { limiter: self.limiter.clone(), ..fresh }
    }

    /// Returns how many connections are served at once.
    pub fn max_connections(&self) -> usize {
        self.limiter.max()
    }

    /// Sums up in the log, for ever, the events that are too frequent for one line each.
    pub fn log_repeats(&self) -> impl Future<Output = ()> + use<> {
        let telemetry = self.telemetry.clone();
        async move { telemetry.report_repeats().await }
    }

    /// Counts a connection of this peer against its limit. Beyond the limit the connection is
    /// closed.
    ///
    /// The peer is identified before anything is stored for its connection, so that another user
    /// takes none of the owner's connections.
    pub fn accept(&self, gateway: &Arc<ArcSwap<Gateway>>, peer: Peer) -> Option<PendingConnection> {
        let access = gateway.load().users().classify(&peer);
        let permit = self.acquire(&peer, access)?;
        let (server, gateway) = (self.clone(), gateway.clone());
        Some(PendingConnection { server, gateway, peer, access, permit })
    }

    fn acquire(&self, peer: &Peer, access: PeerAccess) -> Option<ConnectionPermit> {
        let acquired = self.limiter.acquire(peer, access);
        if let Err(limit) = &acquired
            && self.telemetry.rejected_connections.is_first(limit)
        {
            // One line a minute for each limit, with the user of the first connection.
            let uid = peer.uid();
            tracing::warn!(limit, uid, "connections rejected: too many are open");
        }
        acquired.ok()
    }

    /// Serves one connection to its end.
    ///
    /// Each request loads the current gateway, so that a reload ends no connection.
    async fn serve(
        self,
        gateway: Arc<ArcSwap<Gateway>>,
        stream: Stream,
        sender: ConnectionPeer,
        (permit, thread): (ConnectionPermit, ThreadConnection),
    ) {
        let _open = self.telemetry.metrics.open_connection();
        let (state, upgrade) = (Arc::new(ConnectionState::new()), PendingUpgrade::default());
        let mut http = self.http.clone();
        http.keep_alive(permit.can_keep_alive());
        let timeouts = self.timeouts(&permit, &sender);
        let (rejections, telemetry) = (self.rejections.clone(), self.telemetry.clone());
        let mut io = ServerIo::new(stream, state.clone(), timeouts, rejections, telemetry);
        let (drain, has_room) = (self.drain.clone(), permit.has_room());
        let context = ConnectionContext { gateway, sender, state, drain, has_room, thread };
        loop {
            let (ended, returned, unread) = context.serve_requests(&http, io, &upgrade).await;
            io = returned;
            match ended {
                Ok(()) if upgrade.is_set() => {
                    let upgraded = upgrade.run(io.into_stream(), unread, self.drain);
                    return Box::pin(context.unless_revoked(upgraded)).await;
                }
                Ok(()) => return,
                Err(_) if io.reread_encoded(&unread) => {}
                Err(error) => {
                    log_early_end(&context.sender, &error);
                    return Box::pin(io.send_rejection(&error, &unread)).await;
                }
            }
        }
    }

    fn timeouts(&self, permit: &ConnectionPermit, sender: &ConnectionPeer) -> Timeouts {
        if !permit.can_keep_alive() {
            return REJECTION_TIMEOUTS;
        }
        // The key of another machine is not known before its first request.
        let first_byte = match sender.access {
            PeerAccess::Remote => self.timeouts.head,
            PeerAccess::Owner
            | PeerAccess::Guest
            | PeerAccess::Denied(_)
            | PeerAccess::Unresolved(_) => self.timeouts.first_byte,
        };
        Timeouts { first_byte, ..self.timeouts }
    }
}

/// A connection that has its place and is not served yet: any thread can serve it.
#[derive(Debug)]
pub struct PendingConnection {
    server: Server,
    gateway: Arc<ArcSwap<Gateway>>,
    peer: Peer,
    access: PeerAccess,
    permit: ConnectionPermit,
}

impl PendingConnection {
    /// Serves the connection to its end, on the thread whose load it counts for.
    pub async fn serve(self, stream: Stream, thread: ThreadConnection) {
        let Self { server, gateway, peer, mut access, mut permit } = self;
        if let PeerAccess::Unresolved(uid) = access {
            access = gateway.load_full().users().resolve(uid).await;
            let Some(resolved) = server.acquire(&peer, access) else { return };
            permit = resolved;
        }
        if access == PeerAccess::Guest {
            stream.disable_reset();
        }
        let can_keep_alive = permit.can_keep_alive();
        let span = tracing::debug_span!("connection", uid = peer.uid());
        let sender = ConnectionPeer::new(peer, access, server.telemetry.clone());
        let serving = server.serve(gateway, stream, sender, (permit, thread)).instrument(span);
        let mut serving = pin!(serving);
        if can_keep_alive {
            serving.await;
        } else {
            // The timeout holds however slowly the peer reads the rejection, or sends the body that
            // is not read.
            tokio::time::timeout(REJECTION_TIMEOUT, &mut serving).await.ok();
        }
    }
}

/// The state that the requests of one connection share.
#[derive(Debug)]
struct ConnectionContext {
    gateway: Arc<ArcSwap<Gateway>>,
    sender: ConnectionPeer,
    state: Arc<ConnectionState>,
    drain: DrainSignal,
    has_room: bool,
    thread: ThreadConnection,
}

impl ConnectionContext {
    /// Serves requests until the connection ends. Returns it, with the bytes that hyper has received
    /// and not processed.
    async fn serve_requests(
        &self,
        http: &http1::Builder,
        io: ServerIo,
        upgrade: &PendingUpgrade,
    ) -> (hyper::Result<()>, ServerIo, Bytes) {
        let service = service_fn(|mut request: Request<Incoming>| {
            encode_target(request.uri_mut());
            let (in_flight, span) = self.begin(&request);
            let on_panic = || Ok::<_, Infallible>(error_response::render(&Error::Internal));
            // hyper keeps this future inside its connection: no allocation per request.
            catch_panic(self.respond(request, in_flight, upgrade).instrument(span), on_panic)
        });
        let mut connection = http.serve_connection(TokioIo::new(io), service);
        let mut drain = self.drain.clone();
        let ended = tokio::select! {
            // Bytes that have arrived are read before the end is considered.
            biased;
            ended = &mut connection => ended,
            () = wait_for_drain(&mut drain, &self.state) => {
                Pin::new(&mut connection).graceful_shutdown();
                tokio::select! {
                    ended = &mut connection => ended,
                    () = drain.wait_end() => (&mut connection).await,
                }
            }
        };
        let Parts { io, read_buf, .. } = connection.into_parts();
        (ended, io.into_inner(), read_buf)
    }

    fn begin(&self, request: &Request<Incoming>) -> (InFlightRequest, tracing::Span) {
        self.state.begin_request();
        self.thread.count_request();
        let identity = || self.sender.identity_to_log();
        let telemetry = &self.sender.telemetry;
        let access = AccessEntry::begin(telemetry, request, loggable_path, identity);
        let span = access.span();
        (InFlightRequest::new(self.state.clone(), access, self.drain.track(), request.body()), span)
    }

    /// Relays a WebSocket until a reload takes the access away from its peer: no further request
    /// would notice.
    async fn unless_revoked(&self, upgraded: impl Future<Output = ()>) {
        tokio::select! {
            () = upgraded => {}
            () = self.wait_revoked() => {}
        }
    }

    async fn wait_revoked(&self) {
        while self.sender.is_allowed() {
            tokio::time::sleep(REVOCATION_POLL_INTERVAL).await;
            let gateway = self.gateway.load_full();
            if let Some(uid) = self.sender.recheck(gateway.users()) {
                self.sender.resolve(gateway.users(), uid).await;
            }
        }
    }

    /// Responds to one request; `upgrade` receives the connection that a WebSocket continues with.
    async fn respond(
        &self,
        request: Request<Incoming>,
        mut in_flight: InFlightRequest,
        upgrade: &PendingUpgrade,
    ) -> Result<Response<ProxyBody>, Infallible> {
        let (mut timing, mut page) = (RequestTiming::default(), None::<NamedOrigin>);
        let (mut response, is_refused) = if self.has_room {
            let gateway = self.gateway.load_full();
            timing = gateway.begin_timing(in_flight.started());
            let mut client = None;
            if let Some(uid) = self.sender.recheck(gateway.users()) {
                // Boxed, because few requests need it: those right after a reload.
                Box::pin(self.sender.resolve(gateway.users(), uid)).await;
            }
            if let Some(finding) = preflight::page_of(request.headers(), &gateway.guard) {
                page = finding.await;
            }
            let handled = if page.is_some() && preflight::is_preflight(&request) {
                Some(preflight::answer(request, &self.sender, &gateway.guard))
            } else {
                let handling = gateway.handle(request, &self.sender, &mut timing, &mut client);
                unless_drained(&self.drain, pin!(handling)).await
            };
            match handled {
                Some(handled) => {
                    let is_refused = handled.is_err();
                    (gateway.finish_response(handled, client, &timing), is_refused)
                }
                None => (error_response::render(&Error::Draining), true),
            }
        } else {
            (error_response::render(&Error::Overloaded), true)
        };
        page.into_iter().for_each(|page| page.allow(&mut response));
        self.close_where_due(&mut response, is_refused && in_flight.has_long_body());
        in_flight.record_response(&response, &timing);
        if let Some(upgraded) = response.body_mut().take_upgraded() {
            upgrade.set(upgraded, in_flight, response.extensions_mut().remove());
            return Ok(response);
        }
        Ok(response.map(|body| body.with_in_flight(in_flight)))
    }

    /// Ends the connection with this response, if there is a reason to.
    fn close_where_due(&self, response: &mut Response<ProxyBody>, is_cut: bool) {
        if is_cut || self.sender.must_close(response) || self.should_move(response) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// Says whether the client should connect again after this response, to be served by another
    /// thread. A WebSocket stays where it is.
    fn should_move(&self, response: &Response<ProxyBody>) -> bool {
        self.thread.is_retired() && !response.status().is_informational()
    }
}

fn log_early_end(sender: &ConnectionPeer, error: &hyper::Error) {
    // Errors of users who are not allowed are counted, not logged one by one.
    if sender.is_allowed() {
        tracing::debug!(%error, "a local connection ended early");
    }
}

/// Waits until this connection is to end. A client that has just connected may still send its first
/// request: only on a connection that was used before does a client expect to find it closed.
async fn wait_for_drain(drain: &mut DrainSignal, state: &ConnectionState) {
    drain.wait_begin().await;
    // Arriving bytes wake the connection, and this future with it.
    let used = poll_fn(|_| if state.is_new() { Poll::Pending } else { Poll::Ready(()) });
    tokio::time::timeout(FIRST_REQUEST_TIMEOUT, used).await.ok();
}

/// Polls a future as long as the drain has not ended. Costs a read per wake-up, not a wait: the
/// connection that carries this request is woken when the drain ends.
fn unless_drained<F: Future>(
    drain: &DrainSignal,
    mut future: Pin<&mut F>,
) -> impl Future<Output = Option<F::Output>> {
    poll_fn(
        move |cx| {
            if drain.has_ended() { Poll::Ready(None) } else { future.as_mut().poll(cx).map(Some) }
        },
    )
}

/// How long a WebSocket may outlive the access of its user.
const REVOCATION_POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Longest time from connecting to the first request, when a stop comes in between.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// For peers that only get a rejection: a local one sends its head at once.
const REJECTION_TIMEOUTS: Timeouts = {
    let seconds = Duration::from_secs(2);
    Timeouts {
        first_byte: seconds,
        head: seconds,
        idle: Duration::ZERO,
        single_request: Some(seconds),
    }
};

/// Longest time from connecting to the end of a rejection.
const REJECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// The default of hyper.
const HYPER_MAX_HEADERS: usize = 100;

/// How much of a response is buffered before its upstream has to wait: a few TLS records.
const WRITE_BUFFER_CAPACITY: usize = 64 << 10;

#[cfg(test)]
mod tests;
