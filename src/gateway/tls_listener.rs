//! HTTPS on the local side: for tools that insist on it, and for names of Nexudus that lead here.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;

use super::error_response::UnparsedRequest;
use super::forward;
use super::server::ConnectionContext;
use super::{Gateway, Server};
use crate::ca::LocalTls;
use crate::config::Origin;
use crate::listen::{ConnectionPermit, Stream};

/// The state behind the addresses of `listen.tls`.
///
/// Most clients call this machine by one of its names, and the localhost authority signs. A line in
/// `/etc/hosts` can lead the name of an origin here too: then the intercept authority signs, and the
/// requests are that origin's.
#[derive(Debug)]
pub struct TlsListener {
    tls: LocalTls,
    upstream: Arc<ArcSwap<Gateway>>,
    /// The hosts of the origins, and the gateway of each.
    origins: Vec<(Box<str>, Arc<ArcSwap<Gateway>>)>,
}

impl TlsListener {
    /// Serves requests with the gateway of `upstream.origin`, and those for one of `origins` with the
    /// gateway of that.
    pub fn new(
        tls: LocalTls,
        upstream: Arc<ArcSwap<Gateway>>,
        origins: Vec<(Origin, Arc<ArcSwap<Gateway>>)>,
    ) -> Self {
        let origins = origins.into_iter().map(|(origin, gateway)| (origin.host().into(), gateway));
        Self { tls, upstream, origins: origins.collect() }
    }

    /// Returns the gateway of `upstream.origin`.
    pub(super) fn gateway(&self) -> &Arc<ArcSwap<Gateway>> {
        &self.upstream
    }

    /// Returns the gateway of the origin that a handshake has named.
    fn origin(&self, server_name: &str) -> Option<&Arc<ArcSwap<Gateway>>> {
        let named = self.origins.iter().find(|(host, _)| host.eq_ignore_ascii_case(server_name));
        named.map(|(_, gateway)| gateway)
    }
}

impl Server {
    /// Serves a connection over TLS to its end.
    pub(super) async fn serve_tls(
        self,
        listener: &TlsListener,
        context: ConnectionContext,
        stream: Stream,
        permit: ConnectionPermit,
    ) {
        let timeout = self.head_timeout();
        let shaking = tokio::time::timeout(timeout, handshake(listener, stream));
        let (stream, server_name) = match context.unless_idle_drain(shaking).await {
            Some(Ok(Ok(open))) => open,
            Some(Ok(Err(Failed::NotTls(stream)))) => {
                return forward::refuse(stream, UnparsedRequest::NotTls, timeout).await;
            }
            Some(Ok(Err(Failed::Handshake(error)))) => {
                // A client that does not trust the certificate ends the handshake in this way.
                tracing::debug!(%error, "a TLS handshake of a local client failed");
                return;
            }
            Some(Err(_)) | None => return,
        };
        let origin = server_name.as_deref().and_then(|name| listener.origin(name));
        let context = match origin {
            Some(gateway) => context.meaning_origin().again(gateway),
            None => context.over_tls().again(listener.gateway()),
        };
        Box::pin(self.serve(context, stream, permit, |_| {})).await;
    }
}

/// Why there is no TLS.
enum Failed {
    NotTls(Stream),
    Handshake(std::io::Error),
}

/// Takes the handshake of a client, and returns the name that it has asked for.
async fn handshake(
    listener: &TlsListener,
    stream: Stream,
) -> Result<(Stream, Option<String>), Failed> {
    if !stream.begins_with_tls(&[]).await.map_err(Failed::Handshake)? {
        return Err(Failed::NotTls(stream));
    }
    let config = listener.tls.config(stream.local_ip().map(|ip: IpAddr| ip.to_canonical()));
    let mut stream = stream.tls(Bytes::new(), config);
    let name = stream.complete_handshake().await.map_err(Failed::Handshake)?;
    Ok((stream, name))
}
