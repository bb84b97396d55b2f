//! A private listener in front of the daemon that serves the profile: whoever calls there calls as
//! one client of it.
//!
//! Everything is judged by that daemon. Here is only checked whose process calls, and put the key
//! beside what was sent. A `Host` that names this listener becomes `localhost`; any other is left
//! for the daemon to refuse, as is whatever a browser sends. Where no daemon can be called the
//! answer is ours.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{HOST, HeaderName};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{self, OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::sync::Mutex;

use super::{Error, ProfileLeader};
use crate::gateway::{self, ProxyBody};
use crate::listen::{self, BoundSocket, Listener, Peer, SandboxIo, Stream, UserAcl};
use crate::secret::Secret;

/// A running relay; dropping it ends it.
#[derive(Debug)]
pub struct RunProxy {
    address: SocketAddr,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// Where calls go, and as whom.
#[derive(Debug)]
struct Target {
    turn: Arc<ProfileLeader>,
    /// Whose commands a hint names.
    profile: String,
    key: HeaderValue,
    users: UserAcl,
    names: Vec<String>,
}

impl RunProxy {
    /// Listens on a port of its own and calls with `key` whoever's `turn` it is.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] and [`Error::DataPlane`] when there is no port to be had.
    pub async fn start(turn: Arc<ProfileLeader>, key: &Secret) -> Result<Self, Error> {
        let both = [
            SocketAddr::from(([127, 0, 0, 1], 0)),
            SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0)),
        ];
        let bound = listen::bind_tcp(&both)?;
        let address = bound.iter().find_map(BoundSocket::address).ok_or(Error::NoListeners)?;
        let names = ["localhost", "127.0.0.1", "[::1]"];
        let mut key = HeaderValue::try_from(key.expose()).map_err(Error::UserAgent)?;
        key.set_sensitive(true);
        let towards = Arc::new(Target {
            profile: turn.profile().to_owned(),
            turn,
            key,
            users: UserAcl::new(&[], &[], false)?,
            names: names.map(|name| format!("{name}:{}", address.port())).to_vec(),
        });
        let mut tasks = vec![];
        for place in bound {
            let listener = place.into_listener().map_err(Error::DataPlane)?;
            tasks.push(tokio::spawn(accept(listener, towards.clone())));
        }
        Ok(Self { address, tasks })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RunProxy {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

async fn accept(mut listener: Listener, towards: Arc<Target>) {
    loop {
        let (stream, peer) = listener.accept().await;
        tokio::spawn(serve(stream, peer, towards.clone()));
    }
}

/// Relays one connection over one of its own, which ends with it.
async fn serve(stream: Stream, peer: Peer, towards: Arc<Target>) {
    if !towards.users.is_allowed(&peer).await {
        return;
    }
    // Called by the first request, which is told if nobody answers.
    let daemon = Arc::new(Mutex::new(None));
    let relay = service_fn(|request| {
        let (daemon, towards) = (daemon.clone(), towards.clone());
        async move { relay(request, &daemon, &towards).await }
    });
    let stream = TokioIo::new(SandboxIo::new(stream));
    let serving = http1::Builder::new().serve_connection(stream, relay);
    if let Err(error) = serving.with_upgrades().await {
        tracing::debug!(%error, "a local connection ended early");
    }
}

async fn call(towards: &Target) -> Result<SendRequest<Incoming>, RelayError> {
    let stream = towards.turn.connect().await?;
    let (daemon, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    Ok(daemon)
}

async fn relay(
    mut request: Request<Incoming>,
    daemon: &Mutex<Option<SendRequest<Incoming>>>,
    towards: &Target,
) -> Result<Response<Either<Incoming, ProxyBody>>, hyper::Error> {
    let headers = request.headers_mut();
    headers.insert(CLIENT_KEY_HEADER, towards.key.clone());
    let mut hosts = headers.get_all(HOST).iter();
    if let (Some(host), None) = (hosts.next(), hosts.next())
        && towards.names.iter().any(|name| host.as_bytes().eq_ignore_ascii_case(name.as_bytes()))
    {
        headers.insert(HOST, HeaderValue::from_static("localhost"));
    }
    let caller = upgrade::on(&mut request);
    let mut answer = match send(request, daemon, towards).await {
        Ok(answer) => answer,
        Err(RelayError::Http(error)) => return Err(error),
        Err(RelayError::Turn(error)) => {
            // That it was stopped has been said.
            if !matches!(error, Error::Stopped) {
                tracing::warn!(%error, "no daemon serves");
            }
            let hint = hint_for(&error);
            return Ok(
                gateway::no_daemon_response(&towards.profile, error, hint).map(Either::Right)
            );
        }
    };
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        tokio::spawn(join_upgrades(caller, upgrade::on(&mut answer)));
    }
    Ok(answer.map(Either::Left))
}

/// Says how the command may be served again.
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
        | Error::UserAgent(_)
        | Error::Proxy(_)
        | Error::Client(_)
        | Error::DataPlane(_) => "Run `nexudus-proxy serve`, or start the command of `run` again.",
    }
}

/// Joins the two ends of a WebSocket; the daemon says when it is over.
async fn join_upgrades(caller: OnUpgrade, daemon: OnUpgrade) -> Result<(), hyper::Error> {
    let (caller, daemon) = (caller.await?, daemon.await?);
    let (mut caller, mut daemon) = (TokioIo::new(caller), TokioIo::new(daemon));
    if let Err(error) = copy_bidirectional(&mut caller, &mut daemon).await {
        tracing::debug!(%error, "a WebSocket broke off");
    }
    Ok(())
}

/// Sends a request; where the daemon has closed the connection first, on a new one: another process
/// may have its place.
async fn send(
    request: Request<Incoming>,
    daemon: &Mutex<Option<SendRequest<Incoming>>>,
    towards: &Target,
) -> Result<Response<Incoming>, RelayError> {
    let mut daemon = daemon.lock().await;
    let ready = match daemon.take() {
        Some(mut known) => known.ready().await.is_ok().then_some(known),
        None => None,
    };
    let called = match ready {
        Some(known) => daemon.insert(known),
        None => daemon.insert(call(towards).await?),
    };
    let mut lost = match called.try_send_request(request).await {
        Ok(answer) => return Ok(answer),
        Err(lost) => lost,
    };
    let Some(unsent) = lost.take_message() else { return Err(lost.into_error().into()) };
    let called = daemon.insert(call(towards).await?);
    Ok(called.send_request(unsent).await?)
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    Turn(#[from] Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

const CLIENT_KEY_HEADER: HeaderName = HeaderName::from_static("nexudus-proxy-key");
