//! A daemon that runs already, asked over its sockets.
//!
//! The API is asked as any tool would; what it must be told goes to its control socket.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{ACCEPT, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use super::{CliError, serve};
use crate::admin::api::{SessionStatus, Status, UPSTREAM_PARAM};
use crate::admin::client::{self as admin, AdminClient};
use crate::config::{Config, LoadedConfig, Origin, Paths, Proxy, UnixSocket};

/// Where a daemon of this profile would answer.
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

/// What was answered.
#[derive(Debug)]
pub(super) struct ApiResponse {
    pub(super) status: StatusCode,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// What the daemon itself has to say, in the place of Nexudus.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ReceivedProblem {
    pub(super) code: String,
    pub(super) detail: String,
    #[serde(default)]
    pub(super) hint: Option<String>,
}

/// A process that serves another origin than the one that is configured here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherOrigin {
    /// The one that it serves.
    pub(super) serving: String,
    /// The process, if it is a `run_pid` and no daemon.
    pub(super) run_pid: Option<u32>,
}

impl OtherOrigin {
    pub(super) fn detect(status: &Status, own: &Origin, paths: &Paths) -> Option<Self> {
        let serving = status.upstream.clone();
        let run = status.run_pid(&paths.run_socket());
        (Origin::parse(&serving).as_ref() != Some(own)).then_some(Self { serving, run_pid: run })
    }

    /// Says what to do about it, in a command that takes the flags of `serve`.
    pub(super) fn hint(&self) -> String {
        match self.run_pid {
            Some(_) => "Wait until it has ended, or end what it serves with `nexudus-proxy stop`."
                .to_owned(),
            None => format!("{RESTART_HINT}; or give this command --upstream {}.", self.serving),
        }
    }
}

/// Says who serves what.
impl fmt::Display for OtherOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.run_pid {
            Some(pid) => write!(f, "a `run` (pid {pid}) serves {}", self.serving),
            None => write!(f, "the running daemon serves {}", self.serving),
        }
    }
}

/// The way out where a daemon was started before the origin changed.
pub(super) const RESTART_HINT: &str =
    "Restart the daemon, so that it serves the upstream.origin that is configured now";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Nobody listens.
    #[error("the daemon is not running")]
    NotRunning,
    /// Somebody listens, and does not answer.
    #[error("the daemon did not answer")]
    NoResponse(#[source] io::Error),
}

impl DaemonClient {
    /// Knows where to look; asks nothing yet.
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

    /// Asks the API through the daemon.
    pub(super) async fn get(&self, path: &str) -> Result<ApiResponse, ClientError> {
        request(&self.api, path).await
    }

    /// Returns the process of this profile that serves another origin than `own`, if one does.
    pub(super) async fn other_origin(&self, own: &Origin, paths: &Paths) -> Option<OtherOrigin> {
        OtherOrigin::detect(&self.status().await?, own, paths)
    }

    /// Tells the daemon that the login stored for `origin` has changed and waits for the effect, which is what is
    /// so of the session then; `None`: there is nobody to tell.
    ///
    /// # Errors
    ///
    /// Why a daemon that runs does not know of it.
    pub(super) async fn notify_login(
        &self,
        origin: &Origin,
    ) -> Result<Option<SessionStatus>, admin::Error> {
        let told = async {
            let daemon = AdminClient::find(std::slice::from_ref(&self.admin_socket)).await?;
            daemon.post(&format!("/v1/login?{UPSTREAM_PARAM}={origin}")).await
        };
        match told.await {
            Ok(session) => Ok(Some(session)),
            Err(admin::Error::NotRunning) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns what the daemon says of itself, if one runs and tells.
    pub(super) async fn status(&self) -> Option<Status> {
        AdminClient::find(std::slice::from_ref(&self.admin_socket))
            .await
            .ok()?
            .get("/v1/status")
            .await
            .ok()
    }

    /// Says whether somebody answers for this profile.
    pub(super) async fn is_listening(&self) -> bool {
        match &self.api {
            #[cfg(unix)]
            ApiEndpoint::Socket(path) => tokio::net::UnixStream::connect(path).await.is_ok(),
            ApiEndpoint::Tcp(address) => tokio::net::TcpStream::connect(address).await.is_ok(),
            ApiEndpoint::Unavailable => false,
        }
    }
}

/// Returns what a daemon was started with where it is not what is `configured` here, its keys by
/// name: its flags and its environment are known to nobody else.
pub(super) fn effective_config(
    configured: &Config,
    paths: &Paths,
    daemon: &Status,
) -> (Config, Vec<&'static str>) {
    let mut config = configured.clone();
    let mut keys = vec![];
    let origin = Origin::parse(&daemon.upstream);
    if let Some(origin) = origin.filter(|origin| *origin != configured.upstream.origin) {
        config.upstream.origin = origin;
        keys.push("upstream.origin");
    }
    // One of another version does not tell.
    if let Some(proxy) = &daemon.proxy {
        if *proxy != configured.upstream.proxy.redacted() {
            config.upstream.proxy = Proxy::from_redacted(proxy);
            keys.push("upstream.proxy");
        }
        if daemon.ca_file != configured.upstream.ca_file {
            config.upstream.ca_file.clone_from(&daemon.ca_file);
            keys.push("upstream.ca_file");
        }
    }
    if !matches_bound(&configured.listen.tcp, &daemon.listening.tcp) {
        keys.push("listen.tcp");
    }
    config.listen.tcp.clone_from(&daemon.listening.tcp);
    let unix = match &configured.listen.unix {
        UnixSocket::Auto => Some(paths.proxy_socket()),
        UnixSocket::Path(path) => Some(path.clone()),
        UnixSocket::Off => None,
    };
    if cfg!(unix) && daemon.listening.unix != unix {
        config.listen.unix =
            daemon.listening.unix.clone().map_or(UnixSocket::Off, UnixSocket::Path);
        keys.push("listen.unix");
    }
    keys.extend(config.import(&daemon.settings));
    (config, keys)
}

/// Returns what the profile's daemon goes by; where none runs, what is configured, and `false`.
pub(super) fn load_effective_config(loaded: &LoadedConfig) -> Result<(Config, bool), CliError> {
    let LoadedConfig { config, paths, .. } = loaded;
    let daemon = serve::control_runtime()?.block_on(DaemonClient::new(config, paths).status());
    Ok(match daemon {
        Some(daemon) => (effective_config(config, paths, &daemon).0, true),
        None => (config.clone(), false),
    })
}

/// Says whether these addresses are what was asked for; port 0 asks for any.
fn matches_bound(asked: &[SocketAddr], bound: &[SocketAddr]) -> bool {
    let fits = |(asked, bound): (&SocketAddr, &SocketAddr)| {
        asked.ip() == bound.ip() && [0, bound.port()].contains(&asked.port())
    };
    asked.len() == bound.len() && asked.iter().zip(bound).all(fits)
}

impl ApiResponse {
    /// Returns what the daemon itself says, if this is not an answer of Nexudus.
    pub(super) fn problem(&self) -> Option<ReceivedProblem> {
        if self.status.is_success() {
            return None;
        }
        serde_json::from_slice(&self.body).ok()
    }
}

async fn request(place: &ApiEndpoint, path: &str) -> Result<ApiResponse, ClientError> {
    let asked = async {
        match place {
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
    let slow = |_| ClientError::NoResponse(io::ErrorKind::TimedOut.into());
    tokio::time::timeout(RESPONSE_TIMEOUT, asked).await.map_err(slow)?
}

async fn send_request(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
) -> Result<ApiResponse, ClientError> {
    let mute = |error: hyper::Error| ClientError::NoResponse(io::Error::other(error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(mute)?;
    let request = Request::builder()
        .uri(path)
        .header(HOST, "localhost")
        .header(ACCEPT, "application/json")
        .body(Empty::<bytes::Bytes>::new())
        .expect("the paths are our own");
    let answered = async {
        let response = sender.send_request(request).await.map_err(mute)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_RESPONSE_BYTES).collect().await;
        let body = body.map_err(|error| ClientError::NoResponse(io::Error::other(error)))?;
        Ok(ApiResponse { status, body: Zeroizing::new(body.to_bytes().to_vec()) })
    };
    let mut connection = std::pin::pin!(connection);
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        // The last bytes may lie ready when the other side closes.
        _ = &mut connection => answered.await,
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

/// Longer than the daemon makes anybody wait by itself.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Largest answer read, in bytes: a user object has 2 KiB.
const MAX_RESPONSE_BYTES: usize = 1 << 20;
