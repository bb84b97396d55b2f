//! What a listener of a `run` stands for, and how its connections are served.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::relay::{DaemonConnections, Relay, RelayedResponse};
use crate::ca::LeafIssuer;
use crate::config::Origin;
use crate::gateway;
use crate::listen::{OwnHosts, SandboxIo, Stream};
use crate::peer::{Peer, UserAcl};

/// What a listener stands for.
#[derive(Debug)]
pub(super) enum Door {
    /// This program, which a client names in its base URL.
    Own {
        /// The users who are let in; `None` where no other user's process can connect.
        users: Option<UserAcl>,
        /// The values of `Host` that name the listener.
        hosts: OwnHosts,
    },
    /// A configured origin, by its own name.
    Origin {
        /// The number of the origin.
        number: usize,
        /// The values of `Host` that name it.
        hosts: OwnHosts,
        /// What proves it to a client that speaks TLS; `None` for plain HTTP.
        tls: Option<(Arc<LeafIssuer>, Box<str>)>,
    },
}

/// Whom the requests of a connection may name.
struct Addressee<'a> {
    number: usize,
    hosts: &'a OwnHosts,
}

impl Door {
    /// Stands for an origin, proved by `issuer` where the client speaks TLS.
    pub(super) fn origin(number: usize, origin: &Origin, issuer: Option<Arc<LeafIssuer>>) -> Self {
        let hosts = OwnHosts::new(&[], &[origin.host().to_owned()]);
        Self::Origin { number, hosts, tls: issuer.map(|issuer| (issuer, origin.host().into())) }
    }

    /// Serves a connection.
    pub(super) async fn serve(&self, stream: Stream, peer: Option<Peer>, relay: &Relay) {
        match self {
            Self::Own { users, hosts } => {
                if let Some(users) = users {
                    let Some(peer) = peer else { return };
                    if !users.is_allowed(&peer).await {
                        return;
                    }
                }
                serve_http(stream, &Addressee { number: 0, hosts }, relay).await;
            }
            Self::Origin { number, hosts, tls } => {
                let stream = match tls {
                    Some((issuer, name)) => {
                        let Some(config) = issuer.server_config(name) else { return };
                        stream.tls(Bytes::new(), config)
                    }
                    None => stream,
                };
                serve_http(stream, &Addressee { number: *number, hosts }, relay).await;
            }
        }
    }
}

/// Serves the requests of a connection over daemon connections of its own.
async fn serve_http(stream: Stream, addressee: &Addressee<'_>, relay: &Relay) {
    let connections = relay.connections();
    let service = service_fn(|request| respond(request, addressee, relay, &connections));
    let stream = TokioIo::new(SandboxIo::new(stream));
    let serving = http1::Builder::new().serve_connection(stream, service);
    if let Err(error) = serving.with_upgrades().await {
        tracing::debug!(%error, "a local connection ended early");
    }
}

async fn respond(
    request: Request<Incoming>,
    addressee: &Addressee<'_>,
    relay: &Relay,
    connections: &DaemonConnections,
) -> Result<RelayedResponse, hyper::Error> {
    relay.traffic().record_request();
    let (head, body) = request.into_parts();
    if let Some(refused) = gateway::reject_host(relay.profile(), &head, addressee.hosts) {
        return Ok(refused.map(Either::Right));
    }
    let mut request = Request::from_parts(head, body);
    drop_authority(request.uri_mut());
    relay.forward(addressee.number, request, connections).await
}

/// Leaves of a target in absolute form what the daemon is asked for.
fn drop_authority(uri: &mut Uri) {
    if uri.authority().is_some()
        && let Some(target) = uri.path_and_query().cloned()
    {
        *uri = Uri::from(target);
    }
}
