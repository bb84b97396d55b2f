//! An accepted connection, on its way to the thread and the listener that serve it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::Instrument as _;

use super::forward::ForwardListener;
use super::peer_identity::ConnectionPeer;
use super::tls_listener::TlsListener;
use super::{Gateway, Server};
use crate::listen::{ConnectionPermit, Stream};
use crate::peer::{Peer, PeerAccess};
use crate::telemetry::ThreadConnection;

/// The service behind the connections of a listener.
#[derive(Clone, Debug)]
pub enum ListenerKind {
    /// The gateway that is in effect at the moment.
    Http(Arc<ArcSwap<Gateway>>),
    /// The same, over TLS.
    Https(Arc<TlsListener>),
    /// The forward proxy.
    Forward(Arc<ForwardListener>),
}

impl ListenerKind {
    /// Returns the gateway whose users may connect.
    fn gateway(&self) -> &Arc<ArcSwap<Gateway>> {
        match self {
            Self::Http(gateway) => gateway,
            Self::Https(listener) => listener.gateway(),
            Self::Forward(listener) => listener.gateway(),
        }
    }
}

impl Server {
    /// Counts a connection of this peer against its limit. Beyond the limit the connection is
    /// closed.
    ///
    /// The peer is identified before anything is stored for its connection, so that another user
    /// takes none of the owner's connections.
    pub fn accept(&self, listener: &ListenerKind, peer: Peer) -> Option<PendingConnection> {
        let access = listener.gateway().load().users().classify(&peer);
        let permit = self.acquire(&peer, access)?;
        let (server, listener) = (self.clone(), listener.clone());
        Some(PendingConnection { server, listener, peer, access, permit })
    }
}

/// A connection that has its place and is not served yet: any thread can serve it.
#[derive(Debug)]
pub struct PendingConnection {
    server: Server,
    listener: ListenerKind,
    peer: Peer,
    access: PeerAccess,
    permit: ConnectionPermit,
}

impl PendingConnection {
    /// Serves the connection to its end, on the thread whose load it counts for.
    pub async fn serve(self, stream: Stream, thread: ThreadConnection) {
        let Self { server, listener, peer, mut access, mut permit } = self;
        if let PeerAccess::Unresolved(uid) = access {
            access = listener.gateway().load_full().users().resolve(uid).await;
            let Some(resolved) = server.acquire(&peer, access) else { return };
            permit = resolved;
        }
        if access == PeerAccess::Guest {
            stream.disable_reset();
        }
        let can_keep_alive = permit.can_keep_alive();
        let span = tracing::debug_span!("connection", uid = peer.uid());
        let sender = ConnectionPeer::new(peer, access, server.telemetry.clone());
        let telemetry = server.telemetry.clone();
        let _open = telemetry.metrics.open_connection();
        let context = server.context(listener.gateway(), sender, &permit, thread);
        let serving = async {
            match listener {
                ListenerKind::Http(_) => server.serve(context, stream, permit, |_| {}).await,
                // Boxed, because they would make the future of every connection larger.
                ListenerKind::Https(listener) => {
                    Box::pin(server.serve_tls(&listener, context, stream, permit)).await;
                }
                ListenerKind::Forward(listener) => {
                    Box::pin(server.serve_forward(&listener, context, stream, permit)).await;
                }
            }
        };
        let mut serving = pin!(serving.instrument(span));
        if can_keep_alive {
            serving.await;
        } else {
            // The timeout holds however slowly the peer reads the rejection, or sends the body that
            // is not read.
            tokio::time::timeout(REJECTION_TIMEOUT, &mut serving).await.ok();
        }
    }
}

/// Longest time from connecting to the end of a rejection.
const REJECTION_TIMEOUT: Duration = Duration::from_secs(5);
