//! The listeners of a `run`: the purpose of each, and how its connections are served.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{self, OnUpgrade};
use hyper_util::rt::TokioIo;

use super::relay::{DaemonConnections, Relay, RelayedResponse};
use crate::ca::LeafIssuer;
use crate::config::Origin;
use crate::forward_proxy::{ForwardProxy, HostPort, OpenConnect, RequestRoute};
use crate::gateway;
use crate::listen::{OwnHosts, SandboxIo, Stream};
use crate::peer::{Peer, UserAcl};
use crate::upstream::ClientBody;

/// The purpose of a listener.
#[derive(Debug)]
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "hosts by their own names are those of an isolated run")
)]
pub(super) enum Door {
    /// This program, which a client names in its base URL or as its proxy.
    Own {
        /// The users who are let in; `None` where no other user's process can connect.
        users: Option<UserAcl>,
        /// The values of `Host` that name the listener.
        hosts: OwnHosts,
        /// The proxy's routing; `None` for a listener that is no proxy.
        forward: Option<Arc<ForwardProxy>>,
    },
    /// A configured origin, by its own name.
    Origin {
        /// The number of the origin.
        number: usize,
        /// The values of `Host` that name it.
        hosts: OwnHosts,
        /// The certificates for clients that speak TLS, and the name; `None` for plain HTTP.
        tls: Option<(Arc<LeafIssuer>, Box<str>)>,
    },
    /// Another host, by its own name.
    Other {
        /// The proxy that connects to the host.
        forward: Arc<ForwardProxy>,
        /// The host.
        host: HostPort,
    },
}

/// Whom the requests of a connection may name.
struct Addressee<'a> {
    number: usize,
    hosts: &'a OwnHosts,
    forward: Option<&'a ForwardProxy>,
    /// Whether a request has come.
    is_used: AtomicBool,
}

impl<'a> Addressee<'a> {
    fn new(number: usize, hosts: &'a OwnHosts, forward: Option<&'a ForwardProxy>) -> Self {
        Self { number, hosts, forward, is_used: AtomicBool::new(false) }
    }
}

/// The connection's continuation behind the response to its `CONNECT`.
type PendingConnect = Mutex<Option<(OpenConnect, OnUpgrade)>>;

impl Door {
    /// Stands for an origin, proved by `issuer` where the client speaks TLS.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "an isolated run alone"))]
    pub(super) fn origin(number: usize, origin: &Origin, issuer: Option<Arc<LeafIssuer>>) -> Self {
        let tls = issuer.map(|issuer| (issuer, origin.host().into()));
        Self::Origin { number, hosts: OwnHosts::of_origin(origin), tls }
    }

    /// Serves a connection.
    pub(super) async fn serve(&self, stream: Stream, peer: Option<Peer>, relay: &Relay) {
        match self {
            Self::Own { users, hosts, forward } => {
                if let Some(users) = users {
                    let Some(peer) = peer else { return };
                    if !users.is_allowed(&peer).await {
                        return;
                    }
                }
                serve_own(stream, &Addressee::new(0, hosts, forward.as_deref()), relay).await;
            }
            Self::Origin { number, hosts, tls } => {
                let mut stream = match tls {
                    Some((issuer, name)) => {
                        let Some(config) = issuer.server_config(name) else { return };
                        stream.tls(Bytes::new(), config)
                    }
                    None => stream,
                };
                let handshake =
                    tokio::time::timeout(HANDSHAKE_TIMEOUT, stream.complete_handshake());
                if !matches!(handshake.await, Ok(Ok(_))) {
                    relay.traffic().record_failed_handshake();
                    return;
                }
                serve_origin(stream, *number, hosts, relay).await;
            }
            Self::Other { forward, host } => tunnel(stream, forward, host, relay).await,
        }
    }
}

async fn serve_origin(stream: Stream, number: usize, hosts: &OwnHosts, relay: &Relay) {
    let addressee = Addressee::new(number, hosts, None);
    let is_tls = stream.is_tls();
    serve_http(stream, &addressee, relay, &PendingConnect::default()).await;
    // With TLS 1.3 a client that does not trust the certificate says so when the handshake is over
    // here, by closing the connection.
    if is_tls && !addressee.is_used.load(Ordering::Relaxed) {
        relay.traffic().record_failed_handshake();
    }
}

/// Serves a connection on which a client may open a tunnel.
async fn serve_own(stream: Stream, addressee: &Addressee<'_>, relay: &Relay) {
    let connect = PendingConnect::default();
    serve_http(stream, addressee, relay, &connect).await;
    let open = connect.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (Some((open, upgrade)), Some(forward)) = (open, addressee.forward) else { return };
    let Some((stream, received)) = below(upgrade).await else { return };
    match open {
        OpenConnect::Interception(interception) => {
            let number = interception.origin();
            let hosts = OwnHosts::of_origin(&forward.origins()[number]);
            let opened = gateway::intercept(interception, stream, received, HANDSHAKE_TIMEOUT);
            match opened.await {
                Some(stream) => serve_origin(stream, number, &hosts, relay).await,
                None => relay.traffic().record_failed_handshake(),
            }
        }
        OpenConnect::Tunnel(tunnel) => {
            relay.traffic().record_other();
            let (_, ended) = tunnel.run(stream, received, pending()).await;
            if let Err(error) = ended {
                tracing::debug!(%error, "a tunnel ended early");
            }
        }
    }
}

/// Returns the connection below HTTP, and what was read of it already.
async fn below(upgrade: OnUpgrade) -> Option<(Stream, Bytes)> {
    let upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<SandboxIo<Stream>>>().ok()?;
    Some((parts.io.into_inner().into_inner(), parts.read_buf))
}

/// Leads a connection to another host.
async fn tunnel(stream: Stream, forward: &ForwardProxy, host: &HostPort, relay: &Relay) {
    relay.traffic().record_other();
    let Ok(uri) = Uri::try_from(host.to_string()) else { return };
    let connected = forward.open_connect(&uri, &HeaderMap::new(), true).await;
    let ended = match connected {
        Ok(OpenConnect::Tunnel(tunnel)) => tunnel.run(stream, Bytes::new(), pending()).await.1,
        // A configured origin has a listener of its own.
        Ok(OpenConnect::Interception(_)) => return,
        Err(error) => {
            tracing::warn!(%error, %host, "a host of --also was not reached");
            return;
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a tunnel ended early");
    }
}

/// Serves the requests of a connection over daemon connections of its own.
async fn serve_http(
    stream: Stream,
    addressee: &Addressee<'_>,
    relay: &Relay,
    connect: &PendingConnect,
) {
    let connections = relay.connections();
    let service = service_fn(|request| respond(request, addressee, relay, &connections, connect));
    let stream = TokioIo::new(SandboxIo::new(stream));
    let serving = http1::Builder::new().serve_connection(stream, service);
    if let Err(error) = serving.with_upgrades().await {
        tracing::debug!(%error, "a local connection ended early");
    }
}

async fn respond(
    mut request: Request<Incoming>,
    addressee: &Addressee<'_>,
    relay: &Relay,
    connections: &DaemonConnections,
    connect: &PendingConnect,
) -> Result<RelayedResponse, hyper::Error> {
    addressee.is_used.store(true, Ordering::Relaxed);
    let Some(forward) = addressee.forward else {
        return respond_as(addressee.number, addressee.hosts, request, relay, connections).await;
    };
    if request.method() == Method::CONNECT {
        let (response, open) = gateway::open_connect(relay.profile(), forward, &request).await;
        let upgrade = upgrade::on(&mut request);
        *connect.lock().unwrap_or_else(PoisonError::into_inner) = open.map(|it| (it, upgrade));
        return Ok(response.map(Either::Right));
    }
    // In absolute form some clients name this listener too.
    let is_other = request
        .uri()
        .authority()
        .is_some_and(|authority| !addressee.hosts.contains(authority.as_str().as_bytes()));
    if !is_other {
        return respond_as(addressee.number, addressee.hosts, request, relay, connections).await;
    }
    match forward.route_request(request.uri(), request.headers()) {
        Ok(RequestRoute::Origin(number)) => {
            let hosts = OwnHosts::of_origin(&forward.origins()[number]);
            respond_as(number, &hosts, request, relay, connections).await
        }
        Ok(RequestRoute::Plain(host)) => {
            relay.traffic().record_other();
            let response = gateway::send_plain(
                relay.profile(),
                forward,
                &host,
                request.map(ClientBody::unwatched),
            )
            .await;
            Ok(response.map(Either::Right))
        }
        Err(error) => Ok(gateway::reject_forward(relay.profile(), error).map(Either::Right)),
    }
}

/// Sends a request for the origin of this number, if it names one of `hosts`.
async fn respond_as(
    number: usize,
    hosts: &OwnHosts,
    request: Request<Incoming>,
    relay: &Relay,
    connections: &DaemonConnections,
) -> Result<RelayedResponse, hyper::Error> {
    relay.traffic().record_request();
    let (head, body) = request.into_parts();
    if let Some(refused) = gateway::reject_host(relay.profile(), &head, hosts) {
        return Ok(refused.map(Either::Right));
    }
    let mut request = Request::from_parts(head, body);
    drop_authority(request.uri_mut());
    relay.forward(number, request, connections).await
}

/// Leaves of a target in absolute form what the daemon is asked for.
fn drop_authority(uri: &mut Uri) {
    if uri.authority().is_some()
        && let Some(target) = uri.path_and_query().cloned()
    {
        *uri = Uri::from(target);
    }
}

/// Longest wait for a TLS handshake: the client is on this machine.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
