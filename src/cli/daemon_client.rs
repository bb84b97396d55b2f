//! The client of the running daemon, over its sockets.
//!
//! The API is called as any tool would call it; commands go to the admin socket.

mod effective_config;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{ACCEPT, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use zeroize::Zeroizing;

pub(super) use self::effective_config::{
    OtherOrigin, RESTART_HINT, effective_config, load_effective_config,
};
use super::globals::GlobalArgs;
use super::{CliError, serve};
use crate::admin::api::{self, Status, UPSTREAM_PARAM};
use crate::admin::client::{self as admin, AdminClient};
use crate::config::{Config, Origin, Paths, UnixSocket};
use crate::daemon;
use crate::session::SessionStatus;

/// The sockets of the daemon of one profile.
#[derive(Clone, Debug)]
pub(super) struct DaemonClient {
    api: ApiEndpoint,
    admin_socket: PathBuf,
}

#[derive(Clone, Debug)]
enum ApiEndpoint {
    #[cfg(unix)]
    Socket(PathBuf),
    Tcp(SocketAddr),
    Unavailable,
}

/// A response of the API.
#[derive(Debug)]
pub(super) struct ApiResponse {
    pub(super) status: StatusCode,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// No process listens.
    #[error("the daemon is not running")]
    NotRunning,
    /// A process listens, and does not respond.
    #[error("the daemon did not respond")]
    NoResponse(#[source] io::Error),
}

impl DaemonClient {
    /// Finds the sockets on which the daemon of this configuration would listen; connects to
    /// nothing yet.
    pub(super) fn new(config: &Config, paths: &Paths) -> Self {
        let tcp = || {
            let known = config.listen.tcp.iter().find(|address| address.port() != 0);
            known.map_or(ApiEndpoint::Unavailable, |address| ApiEndpoint::Tcp(*address))
        };
        let api = match &config.listen.unix {
            #[cfg(unix)]
            UnixSocket::Auto => ApiEndpoint::Socket(paths.proxy_socket()),
            #[cfg(unix)]
            UnixSocket::Path(path) => ApiEndpoint::Socket(path.clone()),
            #[cfg(not(unix))]
            UnixSocket::Auto | UnixSocket::Path(_) => tcp(),
            UnixSocket::Off => tcp(),
        };
        let admin_socket = paths.admin_socket();
        Self { api, admin_socket }
    }

    /// Requests a path of the API through the daemon.
    pub(super) async fn get(&self, path: &str) -> Result<ApiResponse, ClientError> {
        request(&self.api, path).await
    }

    /// Returns the process of this profile that serves another origin than `own`, if one does.
    pub(super) async fn other_origin(&self, own: &Origin, paths: &Paths) -> Option<OtherOrigin> {
        OtherOrigin::detect(&self.status().await?, own, paths)
    }

    /// Notifies the daemon that the login stored for `origin` has changed, and waits for the
    /// effect. Returns the status of its session, or `None` where no daemon runs.
    ///
    /// # Errors
    ///
    /// Why a running daemon does not know of the change.
    pub(super) async fn notify_login(
        &self,
        origin: &Origin,
    ) -> Result<Option<SessionStatus>, admin::Error> {
        let notified = async {
            let daemon = AdminClient::find(std::slice::from_ref(&self.admin_socket)).await?;
            daemon.post(&format!("/v1/login?{UPSTREAM_PARAM}={origin}")).await
        };
        match notified.await {
            Ok(session) => Ok(Some(session)),
            Err(admin::Error::NotRunning) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the status of the daemon, if one runs.
    pub(super) async fn status(&self) -> Option<Status> {
        AdminClient::find(std::slice::from_ref(&self.admin_socket))
            .await
            .ok()?
            .get("/v1/status")
            .await
            .ok()
    }

    /// Returns whether a process listens for this profile.
    pub(super) async fn is_listening(&self) -> bool {
        match &self.api {
            #[cfg(unix)]
            ApiEndpoint::Socket(path) => tokio::net::UnixStream::connect(path).await.is_ok(),
            ApiEndpoint::Tcp(address) => tokio::net::TcpStream::connect(address).await.is_ok(),
            ApiEndpoint::Unavailable => false,
        }
    }
}

/// Finds the daemon that serves, and calls `action` with it.
pub(super) fn with_daemon<T>(
    globals: &GlobalArgs,
    action: impl AsyncFnOnce(AdminClient) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let sockets = admin_sockets(globals)?;
    serve::control_runtime()?.block_on(async { action(AdminClient::find(&sockets).await?).await })
}

/// The reply to a command that also works without a daemon.
pub(super) enum DaemonReply<T> {
    /// The daemon replied.
    Daemon(T),
    /// No daemon runs, and none starts to serve the profile while the lock is held; `None` where
    /// the lock could not be had.
    NotRunning(Option<daemon::ProfileLock>),
    /// No daemon runs, and the profile has no state.
    NoProfile,
}

/// Sends an idempotent command, retrying across a hand-over. A daemon that starts to serve
/// meanwhile is not missed.
pub(super) async fn post_or_lock<T: DeserializeOwned>(
    sockets: &[PathBuf],
    paths: &Paths,
    path: &str,
) -> Result<DaemonReply<T>, admin::Error> {
    let deadline = Instant::now() + SOCKET_OPEN_TIMEOUT;
    loop {
        let posted = async { AdminClient::find(sockets).await?.post(path).await };
        match posted.await {
            Err(admin::Error::NotRunning | admin::Error::ConnectionClosed(_)) => {}
            replied => return replied.map(DaemonReply::Daemon),
        }
        if !paths.profile_state().is_dir() {
            return Ok(DaemonReply::NoProfile);
        }
        match daemon::lock_profile(paths) {
            Err(daemon::Error::AlreadyRunning { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(LOCK_POLL_INTERVAL).await;
            }
            Err(daemon::Error::AlreadyRunning { .. }) => {
                let source = io::ErrorKind::TimedOut.into();
                return Err(admin::Error::Unreachable { socket: paths.admin_socket(), source });
            }
            held @ (Ok(_) | Err(_)) => return Ok(DaemonReply::NotRunning(held.ok())),
        }
    }
}

/// Returns where a daemon may listen: the user's own first, then the system's.
pub(super) fn admin_sockets(globals: &GlobalArgs) -> Result<Vec<PathBuf>, CliError> {
    let own = globals.sources(vec![]).paths()?.admin_socket();
    let system = own.file_name().map(|name| PathBuf::from(SYSTEM_RUNTIME_DIR).join(name));
    Ok(std::iter::once(own).chain(system).collect())
}

impl ApiResponse {
    /// Returns the problem of the daemon itself, if this is not a response of Nexudus.
    pub(super) fn problem(&self) -> Option<api::Problem> {
        if self.status.is_success() {
            return None;
        }
        serde_json::from_slice(&self.body).ok()
    }
}

async fn request(endpoint: &ApiEndpoint, path: &str) -> Result<ApiResponse, ClientError> {
    let response = async {
        match endpoint {
            #[cfg(unix)]
            ApiEndpoint::Socket(socket) => {
                let stream =
                    tokio::net::UnixStream::connect(socket).await.map_err(connect_error)?;
                send_request(stream, path).await
            }
            ApiEndpoint::Tcp(address) => {
                let stream =
                    tokio::net::TcpStream::connect(address).await.map_err(connect_error)?;
                send_request(stream, path).await
            }
            ApiEndpoint::Unavailable => Err(ClientError::NotRunning),
        }
    };
    let timed_out = |_| ClientError::NoResponse(io::ErrorKind::TimedOut.into());
    tokio::time::timeout(RESPONSE_TIMEOUT, response).await.map_err(timed_out)?
}

async fn send_request(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
) -> Result<ApiResponse, ClientError> {
    let no_response = |error: hyper::Error| ClientError::NoResponse(io::Error::other(error));
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(no_response)?;
    let request = Request::builder()
        .uri(path)
        .header(HOST, "localhost")
        .header(ACCEPT, "application/json")
        .body(Empty::<bytes::Bytes>::new())
        .expect("the paths are our own");
    let exchange = async {
        let response = sender.send_request(request).await.map_err(no_response)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_RESPONSE_BYTES).collect().await;
        let body = body.map_err(|error| ClientError::NoResponse(io::Error::other(error)))?;
        Ok(ApiResponse { status, body: Zeroizing::new(body.to_bytes().to_vec()) })
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        response = &mut exchange => response,
        // The last bytes may lie ready when the other side closes.
        _ = &mut connection => exchange.await,
    }
}

fn connect_error(error: io::Error) -> ClientError {
    let absent = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
    if absent.contains(&error.kind()) {
        ClientError::NotRunning
    } else {
        ClientError::NoResponse(error)
    }
}

/// Longest wait for a response: longer than the daemon itself makes a client wait.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Largest response that is read, in bytes: a user object has 2 KiB.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// The runtime directory of the system unit.
const SYSTEM_RUNTIME_DIR: &str = "/run/nexudus-proxy";

/// Longest wait for the process that serves the profile to open its socket.
const SOCKET_OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the profile is tried again until then.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(20);
