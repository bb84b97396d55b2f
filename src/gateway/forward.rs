//! The forward proxy's connections: `CONNECT`, targets in absolute form, and what comes after.
//!
//! A request for a configured origin takes the ordinary path of that origin's gateway, whether it
//! comes in absolute form or through an intercepted `CONNECT`. A request for another host is admitted
//! here: the same users, the same keys.

mod answer;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CONNECTION, PROXY_AUTHORIZATION};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, Uri};

pub(super) use self::answer::refuse;
pub use self::answer::{intercept, open_connect, send_plain};
use super::call_record::CallRecord;
use super::client_auth::ClientIdentity;
use super::error::Error;
use super::guard::{self, check_framing};
use super::headers::has_too_many_options;
use super::in_flight::InFlightRequest;
use super::policy;
use super::response_body::ProxyBody;
use super::server::ConnectionContext;
use super::websocket::PendingUpgrade;
use super::{Gateway, Server, error_response};
use crate::clients::{ClientUse, loggable_path};
use crate::forward_proxy::{ForwardProxy, HostPort, OpenConnect, RequestRoute, Tunnel};
use crate::listen::{ConnectionPermit, Stream};
use crate::telemetry::RequestTiming;
use crate::upstream::ClientBody;

/// The state behind the listener of the forward proxy.
#[derive(Debug)]
pub struct ForwardListener {
    proxy: ForwardProxy,
    upstream: Arc<ArcSwap<Gateway>>,
    hosts: Vec<Arc<ArcSwap<Gateway>>>,
}

/// Where the response to a `CONNECT` leaves what its connection continues with.
#[derive(Debug, Default)]
struct PendingConnect(Mutex<Option<AcceptedConnect>>);

/// A `CONNECT` that was accepted.
#[derive(Debug)]
struct AcceptedConnect {
    open: OpenConnect,
    in_flight: InFlightRequest,
    client: ClientIdentity,
    /// The credentials of each request that comes through.
    credentials: Option<HeaderValue>,
}

impl PendingConnect {
    fn set(&self, accepted: AcceptedConnect) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(accepted);
    }

    fn take(&self) -> Option<AcceptedConnect> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ForwardListener {
    /// Sends requests for the origins of `proxy` through these gateways: that of `upstream.origin`,
    /// and those of each `[[host]]`.
    pub fn new(
        proxy: ForwardProxy,
        upstream: Arc<ArcSwap<Gateway>>,
        hosts: Vec<Arc<ArcSwap<Gateway>>>,
    ) -> Self {
        Self { proxy, upstream, hosts }
    }

    /// Returns the gateway of `upstream.origin`.
    pub(super) fn gateway(&self) -> &Arc<ArcSwap<Gateway>> {
        &self.upstream
    }

    /// Returns the gateway of the origin of this number.
    fn gateway_of(&self, origin: usize) -> &Arc<ArcSwap<Gateway>> {
        let host = origin.checked_sub(1).and_then(|host| self.hosts.get(host));
        host.unwrap_or(&self.upstream)
    }

    /// Responds to one request.
    async fn respond(
        &self,
        context: &ConnectionContext,
        mut request: Request<ClientBody>,
        in_flight: InFlightRequest,
        (upgrade, connect): (&PendingUpgrade, &PendingConnect),
    ) -> Result<Response<ProxyBody>, Infallible> {
        if request.method() == Method::CONNECT {
            return Ok(self.respond_connect(context, request, in_flight, connect).await);
        }
        match self.proxy.route_request(request.uri(), request.headers()) {
            Ok(RequestRoute::Origin(origin)) => {
                // The target names this origin: its gateway compares `Host` with it.
                drop_authority(request.uri_mut());
                let gateway = self.gateway_of(origin);
                context.respond(gateway, request, in_flight, upgrade).await
            }
            Ok(RequestRoute::Plain(to)) => {
                let mut record = self.begin_record(context, &request);
                let handling = self.handle_plain(context, &to, request, &mut record);
                let handled = self.limited(context, handling).await;
                Ok(self.finish(context, in_flight, handled, record))
            }
            Err(error) => {
                let mut record = self.begin_record(context, &request);
                let (head, _) = request.into_parts();
                let handling = async {
                    self.admit(context, &head, &mut record).await?;
                    Err(Error::Forward(error))
                };
                let handled = self.limited(context, handling).await;
                Ok(self.finish(context, in_flight, handled, record))
            }
        }
    }

    async fn respond_connect(
        &self,
        context: &ConnectionContext,
        request: Request<ClientBody>,
        mut in_flight: InFlightRequest,
        connect: &PendingConnect,
    ) -> Response<ProxyBody> {
        let mut record = self.begin_record(context, &request);
        let (head, _) = request.into_parts();
        let opening = async {
            let client = self.admit(context, &head, &mut record).await?;
            let is_owner = context.sender.is_owner();
            let open = self.proxy.open_connect(&head.uri, &head.headers, is_owner).await?;
            if matches!(open, OpenConnect::Tunnel(_)) {
                count_elsewhere(&client, &mut record).await?;
            }
            Ok((open, client))
        };
        match self.limited(context, opening).await {
            Ok((open, client)) => {
                let response = answer::connected();
                if matches!(open, OpenConnect::Tunnel(_)) {
                    in_flight.set_oversight(record.oversight.take());
                }
                in_flight.record_response(&response, &RequestTiming::default());
                let credentials = head.headers.get(PROXY_AUTHORIZATION).cloned();
                connect.set(AcceptedConnect { open, in_flight, client, credentials });
                response
            }
            Err(error) => {
                let mut response = self.finish(context, in_flight, Err(error), record);
                // A client may have sent what was meant for the tunnel already: no request of its own.
                context.expect_more();
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                response
            }
        }
    }

    /// Begins the record of a request that no gateway sees: by its host alone.
    fn begin_record<B>(&self, context: &ConnectionContext, request: &Request<B>) -> CallRecord {
        let mut record = CallRecord::default();
        let host = request.uri().authority().map_or("", |authority| authority.as_str());
        let target = (|| loggable_path(host).to_owned(), "");
        let gateway = self.upstream.load();
        gateway.begin_audit(request.method(), target, &context.sender, &mut record);
        record
    }

    /// Admits a request that no gateway sees: its form, its user, its key.
    async fn admit(
        &self,
        context: &ConnectionContext,
        head: &Parts,
        record: &mut CallRecord,
    ) -> Result<ClientIdentity, Error> {
        check_framing(head.version, &head.headers)?;
        if has_too_many_options(&head.headers) {
            return Err(guard::Error::TooManyOptions.into());
        }
        let gateway = self.upstream.load_full();
        context.recheck(&gateway).await;
        if !context.sender.is_allowed() {
            return Err(guard::Error::User(context.sender.peer.uid()).into());
        }
        let auth = gateway.guard.client_auth();
        let mut identified = auth.identify(head);
        if identified.as_ref().is_err_and(guard::is_outdated_key) {
            auth.reload().await;
            identified = auth.identify(head);
        }
        let client = identified.map_err(guard::Error::from)?;
        auth.require_key(&client).map_err(guard::Error::from)?;
        record.set_client(&client);
        Ok(client)
    }

    async fn handle_plain(
        &self,
        context: &ConnectionContext,
        to: &HostPort,
        request: Request<ClientBody>,
        record: &mut CallRecord,
    ) -> Result<Response<ProxyBody>, Error> {
        let (head, body) = request.into_parts();
        let client = self.admit(context, &head, record).await?;
        count_elsewhere(&client, record).await?;
        let request = Request::from_parts(head, body);
        answer::plain_response(&self.proxy, to, request, context.sender.is_owner()).await
    }

    /// Waits for something, unless the connection is beyond the limits or the drain ends first.
    async fn limited<T>(
        &self,
        context: &ConnectionContext,
        handling: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if !context.has_room() {
            return Err(Error::Overloaded);
        }
        context.unless_drained(handling).await.unwrap_or(Err(Error::Draining))
    }

    /// Finishes the response to a request that no gateway has handled.
    fn finish(
        &self,
        context: &ConnectionContext,
        mut in_flight: InFlightRequest,
        handled: Result<Response<ProxyBody>, Error>,
        mut record: CallRecord,
    ) -> Response<ProxyBody> {
        let is_refused = handled.is_err();
        let profile = self.upstream.load().profile.clone();
        let client = record.client.as_deref();
        let mut response = handled
            .unwrap_or_else(|error| error_response::render_for_profile(&profile, client, &error));
        context.close_if_due(&mut response, is_refused);
        error_response::record_client(&mut response, record.client.take());
        in_flight.set_oversight(record.oversight.take());
        in_flight.record_response(&response, &RequestTiming::default());
        response.map(|body| body.with_in_flight(in_flight))
    }
}

impl Server {
    /// Serves a connection to the forward proxy to its end.
    pub(super) async fn serve_forward(
        self,
        listener: &ForwardListener,
        context: ConnectionContext,
        stream: Stream,
        permit: ConnectionPermit,
    ) {
        let context = context.meaning_origin();
        let (upgrade, connect) = (PendingUpgrade::default(), PendingConnect::default());
        let respond = |request, in_flight| {
            listener.respond(&context, request, in_flight, (&upgrade, &connect))
        };
        let served = self.serve_requests(&context, stream, &permit, respond).await;
        let Some((stream, unread)) = served else { return };
        if upgrade.is_set() {
            let upgraded = upgrade.run(stream, unread, context.drain());
            return Box::pin(context.unless_revoked(upgraded)).await;
        }
        let Some(AcceptedConnect { open, in_flight, client, credentials }) = connect.take() else {
            return;
        };
        match open {
            OpenConnect::Tunnel(tunnel) => {
                let auth = listener.gateway().load().guard.client_auth().clone();
                let tunnelled = run_tunnel(&context, tunnel, (stream, unread), in_flight);
                let mut tunnelled = Box::pin(tunnelled);
                tokio::select! {
                    () = &mut tunnelled => {}
                    () = auth.revoked(&client) => {}
                }
            }
            OpenConnect::Interception(interception) => {
                drop(in_flight);
                let gateway = listener.gateway_of(interception.origin());
                let shaking = intercept(interception, stream, unread, self.head_timeout());
                let Some(stream) = context.unless_idle_drain(shaking).await.flatten() else {
                    return;
                };
                let context = context.again(gateway);
                // Each request is judged by the key of the `CONNECT`, as if it had brought it.
                let prepare = move |request: &mut Request<ClientBody>| {
                    credentials.iter().for_each(|credentials| {
                        request.headers_mut().append(PROXY_AUTHORIZATION, credentials.clone());
                    });
                };
                Box::pin(self.serve(context, stream, permit, prepare)).await;
            }
        }
    }
}

/// Counts a request to another host against the rate and the number of its client's requests, and
/// records it. No rule is about other hosts.
async fn count_elsewhere(client: &ClientIdentity, record: &mut CallRecord) -> Result<(), Error> {
    let pending = policy::count(client, ClientUse::default())?;
    policy::wait_counted(pending).await?;
    record.begin_elsewhere().await
}

/// Copies bytes until the tunnel ends, the access of its user does, or a stop waits no longer.
async fn run_tunnel(
    context: &ConnectionContext,
    tunnel: Tunnel,
    (stream, unread): (Stream, Bytes),
    mut in_flight: InFlightRequest,
) {
    let (mut begun, mut ended) = (context.drain(), context.drain());
    let running = async {
        let copied = pin!(tunnel.run(stream, unread, async move { begun.wait_begin().await }));
        let (received, result) = copied.await;
        in_flight.record_sent(usize::try_from(received).unwrap_or(usize::MAX));
        if let Err(error) = result {
            tracing::debug!(%error, "a tunnel ended early");
        }
    };
    tokio::select! {
        () = context.unless_revoked(running) => {}
        () = ended.wait_end() => {}
    }
}

/// Leaves the path of a target in absolute form.
fn drop_authority(uri: &mut Uri) {
    if let Some(target) = uri.path_and_query() {
        *uri = Uri::from(target.clone());
    }
}
