//! The private listeners of a `run`: every connection to them reaches the process that serves the
//! profile, with the key of one client.
//!
//! The daemon decides about every request. Here is only checked that a peer belongs to this user, and
//! that a `Host` is the listener's: the daemon's unix socket takes any. The daemon refuses every
//! request of a browser. If no process can be connected to, the response is ours (`relay.rs`).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ProfileLeader;
use super::door::Door;
use super::relay::{Relay, Traffic};
use crate::daemon::Error;
use crate::forward_proxy::ForwardProxy;
#[cfg(target_os = "linux")]
use crate::listen::NamespaceListener;
use crate::listen::{self, BoundSocket, Listener, OwnHosts, Stream};
use crate::peer::{Peer, UserAcl};
use crate::secret::Secret;

/// The running listeners. Dropping them closes every connection that is not a WebSocket.
#[derive(Debug)]
pub struct RunProxy {
    relay: Arc<Relay>,
    address: Option<SocketAddr>,
    accepting: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl RunProxy {
    /// Listens on a free port of the loopback, and sends requests with `key` to the leader.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] and [`Error::DataPlane`] if no port can be opened.
    pub fn start(leader: Arc<ProfileLeader>, key: &Secret) -> Result<Self, Error> {
        RunListener::bind()?.serve(leader, key, None)
    }

    /// Makes one without listeners.
    pub(super) fn new(leader: Arc<ProfileLeader>, key: &Secret) -> Result<Self, Error> {
        let relay = Arc::new(Relay::new(leader, key)?);
        let (accepting, tasks) = (watch::Sender::new(true), JoinSet::new());
        Ok(Self { relay, address: None, accepting, tasks })
    }

    /// Serves the connections of these sockets.
    fn serve(&mut self, bound: Vec<BoundSocket>, door: Door) -> Result<(), Error> {
        let door = Arc::new(door);
        for socket in bound {
            let listener = socket.into_listener().map_err(Error::DataPlane)?;
            let (relay, accepting) = (self.relay.clone(), self.accepting.subscribe());
            self.tasks.spawn(accept(Source::Ours(listener), door.clone(), relay, accepting));
        }
        Ok(())
    }

    /// Serves the connections of a listener in a network that only processes of the command are in.
    #[cfg(target_os = "linux")]
    pub(super) fn serve_inside(
        &mut self,
        listener: std::net::TcpListener,
        door: Door,
    ) -> Result<(), Error> {
        let listener = NamespaceListener::new(listener).map_err(Error::DataPlane)?;
        let (relay, accepting) = (self.relay.clone(), self.accepting.subscribe());
        self.tasks.spawn(accept(Source::Inside(listener), Arc::new(door), relay, accepting));
        Ok(())
    }

    /// Returns the address of the first listener.
    ///
    /// # Panics
    ///
    /// For listeners in another network.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("a proxy outside of an isolation has an address")
    }

    /// Returns what has come so far.
    pub(super) fn traffic(&self) -> &Traffic {
        self.relay.traffic()
    }

    /// Accepts no more connections. Those that are open go on until this is dropped.
    pub fn stop_accepting(&self) {
        self.accepting.send_replace(false);
    }
}

/// A free port of the loopback, before anything is known of what is served there.
#[derive(Debug)]
pub(super) struct RunListener {
    bound: Vec<BoundSocket>,
    addresses: Vec<SocketAddr>,
}

impl RunListener {
    /// Opens the port.
    pub(super) fn bind() -> Result<Self, Error> {
        let loopback = [(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()];
        let bound = listen::bind_tcp(&loopback)?;
        let addresses: Vec<_> = bound.iter().filter_map(BoundSocket::address).collect();
        if addresses.is_empty() { Err(Error::NoListeners) } else { Ok(Self { bound, addresses }) }
    }

    /// Returns its addresses, one or two.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns the port.
    pub(super) fn port(&self) -> u16 {
        self.addresses[0].port()
    }

    /// Serves requests with `key`, and those to a proxy as `forward` decides.
    pub(super) fn serve(
        self,
        leader: Arc<ProfileLeader>,
        key: &Secret,
        forward: Option<Arc<ForwardProxy>>,
    ) -> Result<RunProxy, Error> {
        let mut proxy = RunProxy::new(leader, key)?;
        proxy.address = self.addresses.first().copied();
        let users = Some(UserAcl::new(vec![], vec![], false));
        let hosts = OwnHosts::new(&self.addresses, &[]);
        proxy.serve(self.bound, Door::Own { users, hosts, forward })?;
        Ok(proxy)
    }
}

/// A listener of ours.
#[derive(Debug)]
enum Source {
    /// In this network: each connection has a peer.
    Ours(Listener),
    /// In the network of an isolated command.
    #[cfg(target_os = "linux")]
    Inside(NamespaceListener),
}

impl Source {
    async fn accept(&mut self) -> (Stream, Option<Peer>) {
        match self {
            Self::Ours(listener) => {
                let (stream, peer) = listener.accept().await;
                (stream, Some(peer))
            }
            #[cfg(target_os = "linux")]
            Self::Inside(listener) => (listener.accept().await, None),
        }
    }
}

async fn accept(
    mut listener: Source,
    door: Arc<Door>,
    relay: Arc<Relay>,
    mut accepting: watch::Receiver<bool>,
) {
    // Connections end with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, peer) = listener.accept() => {
                let (door, relay) = (door.clone(), relay.clone());
                connections.spawn(async move { door.serve(stream, peer, &relay).await });
            }
            Some(_) = connections.join_next() => {}
            _ = accepting.wait_for(|accepting| !accepting) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
