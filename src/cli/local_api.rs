//! Requests to the API through the daemon that serves, for commands that print what comes.
//!
//! The response streams: a page of five hundred records is larger than a megabyte.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::CliError;
use super::daemon_client::find_daemon;
use super::globals::GlobalArgs;
use crate::admin::api::Problem;
use crate::config::{LoadedConfig, UnixSocket};
use crate::gateway::path_with_api;
use crate::problem::{self, ExitCode, ProblemDetails, ProblemKind};

/// Where the daemon that serves listens, the unix socket first.
#[derive(Debug)]
pub(super) struct LocalApi {
    endpoints: Vec<Endpoint>,
    key: Option<HeaderValue>,
}

#[derive(Debug)]
enum Endpoint {
    #[cfg(unix)]
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// A request to the daemon.
#[derive(Clone, Debug)]
pub(super) struct LocalRequest {
    pub(super) method: Method,
    /// Path and query.
    pub(super) target: String,
    pub(super) accept: &'static str,
    /// JSON, if there is a body.
    pub(super) body: Option<Bytes>,
}

/// A response whose body is still to come.
pub(super) struct LocalResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Incoming,
    connection: Connection,
    /// The path that may be meant, where the beginning of the given one is missing.
    meant: Option<String>,
}

/// Drives the connection of one exchange.
struct Connection(Option<Pin<Box<dyn Future<Output = ()>>>>);

/// Why a request brought no response, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalApiError {
    /// No daemon listens.
    #[error("the daemon is not running")]
    NotRunning,
    /// A daemon listens, and this user may not connect to it.
    #[error("could not connect to the daemon")]
    Refused(#[source] io::Error),
    /// The daemon does not respond.
    #[error("the daemon did not respond")]
    NoResponse(#[source] io::Error),
    /// The response broke off.
    #[error("the response broke off")]
    BrokenOff(#[source] io::Error),
    /// The daemon itself says why.
    #[error("{}", .0.detail)]
    Daemon(Box<Problem>),
    /// `NEXUDUS_PROXY_KEY` cannot be sent.
    #[error("NEXUDUS_PROXY_KEY holds something that is no client key")]
    Key,
    /// The target cannot be sent.
    #[error("`{0}` is no path")]
    Target(String),
    /// The target has no slash in front, and names an area of the API.
    #[error("`{path}` is no path of the API")]
    NoApiPath {
        /// The path that was given.
        path: String,
        /// The path that is meant.
        meant: String,
    },
}

impl problem::Problem for LocalApiError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::NotRunning => ProblemKind::DaemonNotRunning.into(),
            Self::Refused(_) => ProblemKind::CommandFailed
                .with_hint("Ask the person who runs the daemon to name this user in listen.users."),
            Self::NoResponse(_) => ProblemKind::DaemonStuck.into(),
            Self::BrokenOff(_) => ProblemKind::UpstreamClosed
                .with_hint("Ask again, for less at a time: the rest did not come."),
            Self::Daemon(problem) => {
                let kind = ProblemKind::from_code(&problem.code);
                let details = ProblemDetails::from(kind.unwrap_or(ProblemKind::CommandFailed));
                if kind.is_some_and(|kind| kind.code() == ProblemKind::KeyNeeded.code()) {
                    let hint = problem.hint.as_deref().unwrap_or_default();
                    return details.with_hint(key_hint(hint, std::env::var_os(KEY_VARIABLE)));
                }
                ProblemDetails { hint: problem.hint.clone().map(Into::into), ..details }
            }
            Self::Key => ProblemKind::CommandUsage.with_hint(
                "Set it to a key as `nexudus-proxy client add NAME` prints it, or unset it.",
            ),
            Self::Target(_) => ProblemKind::CommandUsage
                .with_hint("Give the path alone, such as /api/spaces/coworkers?size=100."),
            Self::NoApiPath { meant, .. } => {
                ProblemKind::CommandUsage.with_hint(format!("Did you mean {meant}?"))
            }
        }
    }
}

impl LocalApi {
    /// Finds the daemon that serves: the user's own, else the system's. A daemon whose admin socket
    /// is another user's listens where the configuration says.
    pub(super) async fn find(globals: &GlobalArgs) -> Result<Self, CliError> {
        let key = std::env::var_os(KEY_VARIABLE).filter(|key| !key.is_empty());
        let key = key.map(|key| header_value(&key).ok_or(LocalApiError::Key)).transpose()?;
        let endpoints = match find_daemon(globals).await?.serving() {
            Some(daemon) => {
                let listening = daemon.status.listening;
                endpoints(listening.unix, &listening.tcp)
            }
            None => configured_endpoints(globals)?,
        };
        Ok(Self { endpoints, key })
    }

    /// Sends a request; a 4xx or 5xx of the daemon itself is an error, one of Nexudus is not.
    pub(super) async fn send(&self, request: LocalRequest) -> Result<LocalResponse, CliError> {
        let no_response = |error: hyper::Error| LocalApiError::NoResponse(io::Error::other(error));
        let LocalRequest { method, target, accept, body } = request;
        let path = target.split('?').next().unwrap_or_default();
        if path.contains("://") {
            return Err(LocalApiError::Target(target).into());
        }
        let is_whole = path.starts_with('/') || path.starts_with("api/");
        let meant = path_with_api(path);
        if let Some(meant) = meant.clone().filter(|_| !is_whole) {
            return Err(LocalApiError::NoApiPath { path: path.to_owned(), meant }.into());
        }
        let uri = encode_target(&target);
        let mut request = Request::builder()
            .method(method)
            .uri(&uri)
            .header(HOST, "localhost")
            .header(ACCEPT, accept)
            .header(USER_AGENT, concat!("nexudus-proxy/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(key) = &self.key {
            request = request.header(KEY_HEADER, key);
        }
        let request = request.body(Full::new(body.unwrap_or_default()));
        let request = request.map_err(|_| LocalApiError::Target(target))?;
        let stream = self.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(no_response)?;
        let mut connection = Connection(Some(Box::pin(async move {
            // What ends the connection early ends the response too, which tells it.
            let _ = connection.await;
        })));
        let sending = tokio::time::timeout(HEAD_TIMEOUT, sender.send_request(request));
        let timed_out = |_| LocalApiError::NoResponse(io::ErrorKind::TimedOut.into());
        let response = connection.drive(sending).await.map_err(timed_out)?;
        let (head, body) = response.map_err(no_response)?.into_parts();
        let response =
            LocalResponse { status: head.status, headers: head.headers, body, connection, meant };
        response.unless_daemon_refused().await
    }

    async fn connect(&self) -> Result<Box<dyn LocalStream>, LocalApiError> {
        let mut refused = None;
        for endpoint in &self.endpoints {
            let connected = match endpoint {
                #[cfg(unix)]
                Endpoint::Unix(path) => boxed(tokio::net::UnixStream::connect(path).await),
                Endpoint::Tcp(address) => boxed(tokio::net::TcpStream::connect(address).await),
            };
            match connected {
                Ok(stream) => return Ok(stream),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    refused = Some(error);
                }
                // The next one may be open.
                Err(_) => {}
            }
        }
        Err(refused.map_or(LocalApiError::NotRunning, LocalApiError::Refused))
    }
}

impl LocalResponse {
    /// Returns the next bytes of the body, or `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, LocalApiError> {
        loop {
            let Self { body, connection, .. } = self;
            let frame = connection.drive(tokio::time::timeout(IDLE_TIMEOUT, body.frame())).await;
            let frame =
                frame.map_err(|_| LocalApiError::BrokenOff(io::ErrorKind::TimedOut.into()))?;
            match frame
                .transpose()
                .map_err(|error| LocalApiError::BrokenOff(io::Error::other(error)))?
            {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Returns the whole body.
    pub(super) async fn bytes(&mut self) -> Result<Vec<u8>, LocalApiError> {
        let mut bytes = vec![];
        while let Some(chunk) = self.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Returns the error of a response of Nexudus that is none of success.
    pub(super) fn error(&self) -> Option<CliError> {
        let status = self.status.as_u16();
        if status < 400 {
            return None;
        }
        let meant = self.meant.as_ref().map(|meant| format!("Did you mean {meant}?"));
        let (exit_code, hint) = match status {
            _ if meant.is_some() => (ExitCode::Failed, meant.as_deref()),
            401 => (
                ExitCode::Unauthorized,
                Some("`nexudus-proxy whoami` shows the account, which may lack the permission."),
            ),
            403 => (ExitCode::Forbidden, Some("Ask an administrator of your Nexudus account.")),
            _ => (ExitCode::Failed, None),
        };
        let message = format!("Nexudus responded with {}", self.status);
        Some(CliError::message(exit_code, message, hint))
    }

    /// Returns the response, unless the daemon itself has written it to say why there is none.
    async fn unless_daemon_refused(mut self) -> Result<Self, CliError> {
        let is = |name: &str, value: &str| {
            let found = self.headers.get(name).and_then(|found| found.to_str().ok());
            found.is_some_and(|found| found.starts_with(value))
        };
        let is_daemons = is("content-type", "application/problem+json")
            && is("proxy-status", "nexudus-proxy; error=");
        if !is_daemons {
            return Ok(self);
        }
        let body = self.bytes().await?;
        match serde_json::from_slice(&body) {
            Ok(problem) => Err(LocalApiError::Daemon(Box::new(problem)).into()),
            Err(_) => Ok(self),
        }
    }
}

impl Connection {
    /// Waits for `work` while the connection runs. The last bytes may lie ready when it ends.
    async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let Some(connection) = &mut self.0 {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = connection => {}
            }
            self.0 = None;
        }
        work.await
    }
}

/// A connection to the daemon, of either kind.
trait LocalStream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> LocalStream for T {}

fn boxed<T: LocalStream + 'static>(stream: io::Result<T>) -> io::Result<Box<dyn LocalStream>> {
    stream.map(|stream| Box::new(stream) as Box<dyn LocalStream>)
}

fn header_value(key: &OsStr) -> Option<HeaderValue> {
    let mut key = HeaderValue::from_str(key.to_str()?).ok()?;
    key.set_sensitive(true);
    Some(key)
}

/// Returns what to do about a client key: a command shows the one of the environment, and no header
/// can be given.
fn key_hint(hint: &str, shown: Option<std::ffi::OsString>) -> String {
    match shown.filter(|key| !key.is_empty()) {
        Some(_) => format!("{hint} It was shown from {KEY_VARIABLE}."),
        None => format!(
            "Set {KEY_VARIABLE} to a client key; `nexudus-proxy client add NAME` makes one."
        ),
    }
}

/// Returns where the daemon of this configuration would listen.
fn configured_endpoints(globals: &GlobalArgs) -> Result<Vec<Endpoint>, CliError> {
    let LoadedConfig { config, paths, .. } = globals.load(vec![])?;
    let socket = match &config.listen.unix {
        UnixSocket::Auto => Some(paths.proxy_socket()),
        UnixSocket::Path(path) => Some(path.clone()),
        UnixSocket::Off => None,
    };
    let tcp: Vec<_> = config.listen.tcp.into_iter().filter(may_get_a_key).collect();
    Ok(endpoints(socket, &tcp))
}

/// Says whether no other user listens there: what is not our daemon must not get a key, nor answer in
/// its place. The sockets of a system's service are root's.
fn may_get_a_key(address: &SocketAddr) -> bool {
    #[cfg(target_os = "linux")]
    return crate::peer::ProcessInfo::uid_listening_on(*address)
        .is_none_or(|uid| uid == 0 || uid == nix::unistd::geteuid().as_raw());
    #[cfg(not(target_os = "linux"))]
    return address.port() != 0;
}

fn endpoints(socket: Option<PathBuf>, tcp: &[SocketAddr]) -> Vec<Endpoint> {
    let tcp =
        tcp.iter().filter(|address| address.port() != 0).map(|address| Endpoint::Tcp(*address));
    #[cfg(unix)]
    return socket.map(Endpoint::Unix).into_iter().chain(tcp).collect();
    #[cfg(not(unix))]
    {
        let _ = socket;
        tcp.collect()
    }
}

/// Percent-encodes what cannot stand in a target as a person types it, and completes the path.
fn encode_target(target: &str) -> String {
    let slash = if target.starts_with('/') { "" } else { "/" };
    let mut encoded = slash.to_owned();
    for byte in target.bytes() {
        match byte {
            b'!'..=b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Where a program finds its client key, as `run` sets it.
pub(super) const KEY_VARIABLE: &str = "NEXUDUS_PROXY_KEY";

const KEY_HEADER: &str = "nexudus-proxy-key";

/// Longest wait for the head of a response: longer than the daemon lets Nexudus take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(300);

/// Longest pause inside a response: the daemon ends a silent one earlier.
const IDLE_TIMEOUT: Duration = Duration::from_secs(150);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_may_be_typed_as_a_person_reads_it() {
        for (typed, sent) in [
            ("/api/spaces/coworkers?size=1", "/api/spaces/coworkers?size=1"),
            ("api/spaces/coworkers", "/api/spaces/coworkers"),
            ("/x?Coworker_FullName=José Ñ", "/x?Coworker_FullName=Jos%C3%A9%20%C3%91"),
            ("/a%20b", "/a%20b"),
        ] {
            assert_eq!(encode_target(typed), sent);
        }
    }
}
