//! The requests of one connection, each with the steps that come before and after its gateway.

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

use crate::clients::loggable_path;
use crate::gateway::call_record::CallRecord;
use crate::gateway::catch_panic::catch_panic;
use crate::gateway::error::Error;
use crate::gateway::guard::encode_target;
use crate::gateway::in_flight::InFlightRequest;
use crate::gateway::peer_identity::ConnectionPeer;
use crate::gateway::response_body::ProxyBody;
use crate::gateway::web_page::NamedOrigin;
use crate::gateway::websocket::PendingUpgrade;
use crate::gateway::{Gateway, error_response, preflight};
use crate::listen::{ConnectionState, DrainSignal, ServerIo};
use crate::telemetry::{AccessEntry, RequestTiming, ThreadConnection};
use crate::upstream::ClientBody;

/// The state that the requests of one connection share.
#[derive(Debug)]
pub(in crate::gateway) struct ConnectionContext {
    /// The gateway whose lists of users and clients count for the connection.
    pub(super) gateway: Arc<ArcSwap<Gateway>>,
    pub(in crate::gateway) sender: ConnectionPeer,
    pub(super) state: Arc<ConnectionState>,
    pub(super) drain: DrainSignal,
    pub(super) has_room: bool,
    pub(super) thread: ThreadConnection,
}

impl ConnectionContext {
    /// Serves requests with `respond` until the connection ends. Returns it, with the bytes that hyper
    /// has received and not processed.
    pub(super) async fn serve_requests<F>(
        &self,
        http: &http1::Builder,
        io: ServerIo,
        respond: &impl Fn(Request<ClientBody>, InFlightRequest) -> F,
    ) -> (hyper::Result<()>, ServerIo, Bytes)
    where
        F: Future<Output = Result<Response<ProxyBody>, Infallible>>,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let mut request = request.map(|body| ClientBody::new(body, self.state.unread_body()));
            encode_target(request.uri_mut());
            let (in_flight, span) = self.begin(&request);
            let on_panic = || Ok::<_, Infallible>(error_response::render(&Error::Internal));
            // hyper keeps this future inside its connection: no allocation per request.
            catch_panic(respond(request, in_flight).instrument(span), on_panic)
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
                    () = drain.wait_end() => {
                        self.state.set_unread_body(false);
                        (&mut connection).await
                    }
                }
            }
        };
        let Parts { io, read_buf, .. } = connection.into_parts();
        (ended, io.into_inner(), read_buf)
    }

    fn begin(&self, request: &Request<ClientBody>) -> (InFlightRequest, tracing::Span) {
        let is_first = self.state.begin_request();
        self.thread.count_request();
        let identity = || self.sender.identity_to_log();
        let telemetry = &self.sender.telemetry;
        let mut access = AccessEntry::begin(telemetry, request, loggable_path, identity);
        access.set_accept(|| is_first.then(|| self.state.age()));
        let span = access.span();
        (InFlightRequest::new(self.state.clone(), access, self.drain.track()), span)
    }

    /// Relays a WebSocket or a tunnel until a reload takes the access away from its peer: no further
    /// request would notice.
    pub(in crate::gateway) async fn unless_revoked(&self, upgraded: impl Future<Output = ()>) {
        tokio::select! {
            () = upgraded => {}
            () = self.wait_revoked() => {}
        }
    }

    async fn wait_revoked(&self) {
        while self.sender.is_allowed() {
            tokio::time::sleep(REVOCATION_POLL_INTERVAL).await;
            self.recheck(&self.gateway.load_full()).await;
        }
    }

    /// Checks the peer against the users of this gateway, which a reload may have changed.
    pub(in crate::gateway) async fn recheck(&self, gateway: &Gateway) {
        if let Some(uid) = self.sender.recheck(gateway.users()) {
            // Boxed, because few requests need it: those right after a reload.
            Box::pin(self.sender.resolve(gateway.users(), uid)).await;
        }
    }

    /// Notes that the client may be sending more behind the request that ends the connection.
    pub(in crate::gateway) fn expect_more(&self) {
        self.state.set_unread_body(true);
    }

    /// Says whether the connection is within the limits: beyond, each request is refused.
    pub(in crate::gateway) fn has_room(&self) -> bool {
        self.has_room
    }

    /// Polls a future as long as the drain has not ended.
    pub(in crate::gateway) async fn unless_drained<F: Future>(
        &self,
        future: F,
    ) -> Option<F::Output> {
        unless_drained(&self.drain, pin!(future)).await
    }

    /// Marks a connection whose client means the upstream itself.
    pub(in crate::gateway) fn meaning_origin(self) -> Self {
        Self { sender: self.sender.meaning_origin(), ..self }
    }

    /// Marks a connection that speaks TLS under a name of this machine.
    pub(in crate::gateway) fn over_tls(self) -> Self {
        Self { sender: self.sender.over_tls(), ..self }
    }

    /// Begins the connection again, now that it speaks TLS, with this gateway.
    pub(in crate::gateway) fn again(self, gateway: &Arc<ArcSwap<Gateway>>) -> Self {
        let (gateway, state) = (gateway.clone(), Arc::new(ConnectionState::new()));
        Self { gateway, state, ..self }
    }

    /// Polls a handshake, which a stop cuts off only if it takes longer than a local one does.
    pub(in crate::gateway) async fn unless_idle_drain<F: Future>(
        &self,
        future: F,
    ) -> Option<F::Output> {
        let mut drain = self.drain.clone();
        tokio::select! {
            biased;
            output = future => Some(output),
            () = async {
                drain.wait_begin().await;
                tokio::time::sleep(FIRST_REQUEST_TIMEOUT).await;
            } => None,
        }
    }

    /// Returns the state that the connection's I/O shares.
    pub(super) fn state(&self) -> Arc<ConnectionState> {
        self.state.clone()
    }

    /// Returns the signal of the drain.
    pub(in crate::gateway) fn drain(&self) -> DrainSignal {
        self.drain.clone()
    }

    /// Responds to one request through a gateway; `upgrade` receives the connection that a WebSocket
    /// continues with. Not an `async fn`: that would hold its arguments twice in the future of every
    /// request.
    #[expect(clippy::manual_async_fn, reason = "the future would be larger")]
    pub(in crate::gateway) fn respond<'a>(
        &'a self,
        gateway: &'a ArcSwap<Gateway>,
        request: Request<ClientBody>,
        mut in_flight: InFlightRequest,
        upgrade: &'a PendingUpgrade,
    ) -> impl Future<Output = Result<Response<ProxyBody>, Infallible>> + 'a {
        async move {
            let (mut timing, mut page) = (RequestTiming::default(), None::<NamedOrigin>);
            let (mut response, is_refused) = if self.has_room {
                let gateway = gateway.load_full();
                timing = gateway.begin_timing(in_flight.started(), in_flight.is_read());
                let mut record = CallRecord::default();
                self.recheck(&gateway).await;
                if let Some(finding) = preflight::page_of(request.headers(), &gateway.guard) {
                    page = finding.await;
                }
                let handled = if page.is_some() && preflight::is_preflight(&request) {
                    Some(preflight::answer(request, &self.sender, &gateway.guard))
                } else {
                    let handling = gateway.handle(request, &self.sender, &mut timing, &mut record);
                    unless_drained(&self.drain, pin!(handling)).await
                };
                in_flight.set_oversight(record.take_oversight(handled.as_ref()));
                match handled {
                    Some(handled) => {
                        let is_refused = handled.is_err();
                        (gateway.finish_response(handled, record.client, &timing), is_refused)
                    }
                    None => (error_response::render(&Error::Draining), true),
                }
            } else {
                (error_response::render(&Error::Overloaded), true)
            };
            page.into_iter().for_each(|page| page.allow(&mut response));
            self.close_if_due(&mut response, is_refused);
            in_flight.record_response(&response, &timing);
            if let Some(upgraded) = response.body_mut().take_upgraded() {
                upgrade.set(upgraded, in_flight, response.extensions_mut().remove());
                return Ok(response);
            }
            Ok(response.map(|body| body.with_in_flight(in_flight)))
        }
    }

    /// Announces the end of the connection, where it ends with this response.
    pub(in crate::gateway) fn close_if_due(
        &self,
        response: &mut Response<ProxyBody>,
        is_refused: bool,
    ) {
        // hyper closes a connection on which a part of a body is unread. A client that is not told sends
        // its next request there, and gets no response.
        let is_cut = is_refused && self.state.has_unread_body();
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

pub(super) fn log_early_end(sender: &ConnectionPeer, error: &hyper::Error) {
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
