//! A private listener: every connection to it reaches the process that serves the profile, with the
//! key of one client.
//!
//! The daemon decides about every request. This file only checks that a peer belongs to this user,
//! and adds the key. It refuses a `Host` that is not this listener's: the daemon's unix socket takes
//! any. The daemon refuses every request of a browser. If no process can be connected to, the
//! response is ours.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{self, OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use super::{Error as RunError, ProfileLeader};
use crate::daemon::Error;
use crate::gateway::{self, ProxyBody};
use crate::listen::{self, BoundSocket, Listener, OwnHosts, SandboxIo, Stream};
use crate::peer::{Peer, UserAcl};
use crate::secret::Secret;
use crate::session::endpoint::TOKEN_PATH;

/// A running listener. Dropping it closes every connection that is not a WebSocket.
#[derive(Debug)]
pub struct RunProxy {
    address: SocketAddr,
    accepting: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

/// Where requests go, and the key that is added to them.
#[derive(Debug)]
struct Target {
    leader: Arc<ProfileLeader>,
    key: HeaderValue,
    users: UserAcl,
    /// The values of `Host` that name this listener.
    hosts: OwnHosts,
}

/// A connection to the daemon, opened by the first request of a local connection.
type DaemonConnection = Mutex<Option<SendRequest<Incoming>>>;

impl RunProxy {
    /// Listens on a free port of the loopback, and sends requests with `key` to the leader.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] and [`Error::DataPlane`] if no port can be opened.
    pub fn start(leader: Arc<ProfileLeader>, key: &Secret) -> Result<Self, Error> {
        let loopback = [(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()];
        let bound = listen::bind_tcp(&loopback)?;
        let address = bound.iter().find_map(BoundSocket::address).ok_or(Error::NoListeners)?;
        let mut key = HeaderValue::try_from(key.expose()).map_err(Error::ClientKey)?;
        key.set_sensitive(true);
        let addresses: Vec<_> = bound.iter().filter_map(BoundSocket::address).collect();
        let target = Arc::new(Target {
            leader,
            key,
            users: UserAcl::new(vec![], vec![], false),
            hosts: OwnHosts::new(&addresses, &[]),
        });
        let accepting = watch::Sender::new(true);
        let mut tasks = JoinSet::new();
        for socket in bound {
            let listener = socket.into_listener().map_err(Error::DataPlane)?;
            tasks.spawn(accept(listener, target.clone(), accepting.subscribe()));
        }
        Ok(Self { address, accepting, _tasks: tasks })
    }

    /// Returns the address of the listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more connections. Those that are open go on until this is dropped.
    pub fn stop_accepting(&self) {
        self.accepting.send_replace(false);
    }
}

/// Asks the system's daemon for something small, to learn whether it admits this user: else each
/// request of the command would be refused, and the command would not say why.
///
/// # Errors
///
/// [`RunError::NotAdmitted`] with the daemon's words.
pub(super) async fn require_admission(stream: Stream, key: &Secret) -> Result<(), RunError> {
    let asked = async {
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends with this set.
        let mut driving = JoinSet::new();
        driving.spawn(connection);
        // Answered by the daemon itself, after its guard.
        let request = Request::get(TOKEN_PATH)
            .header(HOST, "localhost")
            .header(CLIENT_KEY_HEADER, key.expose())
            .body(Empty::<Bytes>::new())
            .expect("the parts are our own, and a key is ASCII");
        let response = sender.send_request(request).await?;
        let is_refused = response.status() == StatusCode::FORBIDDEN;
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>(is_refused.then_some(body))
    };
    // A daemon that fails now is told of by the responses to the command.
    let Ok(Some(body)) = asked.await else { return Ok(()) };
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let member = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    Err(RunError::NotAdmitted { detail: member("detail"), hint: member("hint") })
}

async fn accept(mut listener: Listener, target: Arc<Target>, mut accepting: watch::Receiver<bool>) {
    // Connections end with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, peer) = listener.accept() => {
                connections.spawn(serve(stream, peer, target.clone()));
            }
            Some(_) = connections.join_next() => {}
            _ = accepting.wait_for(|accepting| !accepting) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one local connection over a daemon connection of its own.
async fn serve(stream: Stream, peer: Peer, target: Arc<Target>) {
    if !target.users.is_allowed(&peer).await {
        return;
    }
    let daemon = Arc::new(DaemonConnection::default());
    let relay = service_fn(|request| {
        let (daemon, target) = (daemon.clone(), target.clone());
        async move { relay(request, &daemon, &target).await }
    });
    let stream = TokioIo::new(SandboxIo::new(stream));
    let serving = http1::Builder::new().serve_connection(stream, relay);
    if let Err(error) = serving.with_upgrades().await {
        tracing::debug!(%error, "a local connection ended early");
    }
}

async fn relay(
    request: Request<Incoming>,
    daemon: &DaemonConnection,
    target: &Target,
) -> Result<Response<Either<Incoming, ProxyBody>>, hyper::Error> {
    let (head, body) = request.into_parts();
    if let Some(refused) = gateway::reject_host(target.leader.profile(), &head, &target.hosts) {
        return Ok(refused.map(Either::Right));
    }
    let mut request = Request::from_parts(head, body);
    target.prepare(request.headers_mut());
    let client = upgrade::on(&mut request);
    let mut response = match send(request, daemon, target).await {
        Ok(response) => response,
        Err(RelayError::Http(error)) => return Err(error),
        Err(RelayError::NoDaemon(error)) => {
            return Ok(no_daemon_response(target, error).map(Either::Right));
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        tokio::spawn(join_upgrades(client, upgrade::on(&mut response)));
    }
    Ok(response.map(Either::Left))
}

impl Target {
    /// Adds the key, and names the daemon in `Host` instead of this listener.
    fn prepare(&self, headers: &mut HeaderMap) {
        headers.insert(CLIENT_KEY_HEADER, self.key.clone());
        headers.insert(HOST, HeaderValue::from_static("localhost"));
    }

    async fn connect(&self) -> Result<SendRequest<Incoming>, RelayError> {
        let stream = self.leader.connect().await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }
}

/// Sends a request. If the daemon has closed the connection before, sends it on a new one: another
/// process may serve the profile now.
async fn send(
    request: Request<Incoming>,
    daemon: &DaemonConnection,
    target: &Target,
) -> Result<Response<Incoming>, RelayError> {
    let mut daemon = daemon.lock().await;
    let idle = match daemon.take() {
        Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
        None => None,
    };
    let sender = match idle {
        Some(sender) => daemon.insert(sender),
        None => daemon.insert(target.connect().await?),
    };
    let mut error = match sender.try_send_request(request).await {
        Ok(response) => return Ok(response),
        Err(error) => error,
    };
    let Some(unsent) = error.take_message() else { return Err(error.into_error().into()) };
    let sender = daemon.insert(target.connect().await?);
    Ok(sender.send_request(unsent).await?)
}

/// Joins the two ends of a WebSocket until the daemon closes it.
async fn join_upgrades(client: OnUpgrade, daemon: OnUpgrade) -> Result<(), hyper::Error> {
    let (client, daemon) = (client.await?, daemon.await?);
    let (mut client, mut daemon) = (TokioIo::new(client), TokioIo::new(daemon));
    if let Err(error) = copy_bidirectional(&mut client, &mut daemon).await {
        tracing::debug!(%error, "a WebSocket ended early");
    }
    Ok(())
}

fn no_daemon_response(target: &Target, error: Error) -> Response<ProxyBody> {
    // The log has a line about the stop already.
    if !matches!(error, Error::Stopped) {
        tracing::warn!(%error, "no daemon serves this command");
    }
    let hint = hint_for(&error);
    gateway::no_daemon_response(target.leader.profile(), error, hint)
}

/// Returns how a daemon may serve the command again.
fn hint_for(error: &Error) -> &'static str {
    match error {
        Error::OtherUpstream { run: None, .. } => {
            "Stop that daemon, or start this `run` again with another --profile."
        }
        Error::OtherUpstream { run: Some(_), .. } => {
            "Wait until that `run` has ended, or run `nexudus-proxy stop`."
        }
        Error::Unreachable { .. } => "Give that daemon a unix socket, or stop it.",
        Error::AlreadyRunning { .. }
        | Error::Stopped
        | Error::State { .. }
        | Error::Trust(_)
        | Error::Listen(_)
        | Error::ListenAt { .. }
        | Error::NoListeners
        | Error::OwnAddress { .. }
        | Error::UnusedAddress(_)
        | Error::UserAgent(_)
        | Error::ClientKey(_)
        | Error::LocalTls(_)
        | Error::Proxy(_)
        | Error::Client(_)
        | Error::DataPlane(_) => "Run `nexudus-proxy serve`, or start the command of `run` again.",
    }
}

/// Why a request got no response from a daemon.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    NoDaemon(#[from] Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

const CLIENT_KEY_HEADER: HeaderName = HeaderName::from_static("nexudus-proxy-key");
