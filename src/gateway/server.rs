//! The server side of local connections: limits, timeouts, requests in their order, the end.

mod connection;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use hyper::server::conn::http1;

pub(super) use self::connection::ConnectionContext;
use self::connection::log_early_end;
use super::in_flight::InFlightRequest;
use super::peer_identity::ConnectionPeer;
use super::response_body::ProxyBody;
use super::websocket::PendingUpgrade;
use super::{Gateway, error_response};
use crate::config::Limits;
use crate::listen::{
    ConnectionLimiter, ConnectionPermit, ConnectionState, DrainSignal, Rejections, ServerIo,
    Stream, Timeouts,
};
use crate::peer::{Peer, PeerAccess};
use crate::telemetry::{Telemetry, ThreadConnection};
use crate::upstream::ClientBody;

/// Serves the connections of one or more listeners. Clones share the limits.
#[derive(Clone, Debug)]
pub struct Server {
    http: http1::Builder,
    timeouts: Timeouts,
    rejections: Arc<Rejections>,
    limiter: ConnectionLimiter,
    drain: DrainSignal,
    pub(super) telemetry: Arc<Telemetry>,
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

    /// Returns how many connections a server with these limits serves at once.
    pub fn max_connections_of(limits: &Limits) -> usize {
        ConnectionLimiter::new(limits.connections).max()
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

    /// Counts a connection against the limit of its class.
    pub(super) fn acquire(&self, peer: &Peer, access: PeerAccess) -> Option<ConnectionPermit> {
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
    /// Each request loads the current gateway, so that a reload ends no connection. `prepare` changes
    /// the request first.
    pub(super) async fn serve(
        self,
        context: ConnectionContext,
        stream: Stream,
        permit: ConnectionPermit,
        prepare: impl Fn(&mut Request<ClientBody>),
    ) {
        let upgrade = PendingUpgrade::default();
        let respond = |mut request, in_flight| {
            prepare(&mut request);
            context.respond(&context.gateway, request, in_flight, &upgrade)
        };
        let served = self.serve_requests(&context, stream, &permit, respond).await;
        if let Some((stream, unread)) = served
            && upgrade.is_set()
        {
            let upgraded = upgrade.run(stream, unread, self.drain);
            Box::pin(context.unless_revoked(upgraded)).await;
        }
    }

    /// Serves requests until the connection ends or a response hands it over. Returns it then, with
    /// the bytes that the client has sent ahead.
    pub(super) async fn serve_requests<F>(
        &self,
        context: &ConnectionContext,
        stream: Stream,
        permit: &ConnectionPermit,
        respond: impl Fn(Request<ClientBody>, InFlightRequest) -> F,
    ) -> Option<(Stream, Bytes)>
    where
        F: Future<Output = Result<Response<ProxyBody>, Infallible>>,
    {
        let mut http = self.http.clone();
        http.keep_alive(permit.can_keep_alive());
        let timeouts = self.timeouts(permit, &context.sender);
        let (rejections, telemetry) = (self.rejections.clone(), self.telemetry.clone());
        let mut io = ServerIo::new(stream, context.state(), timeouts, rejections, telemetry);
        loop {
            let (ended, returned, unread) = context.serve_requests(&http, io, &respond).await;
            io = returned;
            match ended {
                Ok(()) => return Some((io.into_stream(), unread)),
                Err(_) if io.reread_encoded(&unread) => {}
                Err(error) => {
                    log_early_end(&context.sender, &error);
                    Box::pin(io.send_rejection(&error, &unread)).await;
                    return None;
                }
            }
        }
    }

    /// Makes the state of a new connection.
    pub(super) fn context(
        &self,
        gateway: &Arc<ArcSwap<Gateway>>,
        sender: ConnectionPeer,
        permit: &ConnectionPermit,
        thread: ThreadConnection,
    ) -> ConnectionContext {
        let (state, drain) = (Arc::new(ConnectionState::new()), self.drain.clone());
        let (gateway, has_room) = (gateway.clone(), permit.has_room());
        ConnectionContext { gateway, sender, state, drain, has_room, thread }
    }

    /// Returns how long a client may take for what it sends at once: a head, a handshake.
    pub(super) fn head_timeout(&self) -> Duration {
        self.timeouts.head
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

/// The default of hyper.
const HYPER_MAX_HEADERS: usize = 100;

/// How much of a response is buffered before its upstream has to wait: a few TLS records.
const WRITE_BUFFER_CAPACITY: usize = 64 << 10;

#[cfg(test)]
mod tests;
