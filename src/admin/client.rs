//! The client of `admin.sock`, for our own commands.
//!
//! Each request has a connection of its own: a command sends one or two.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use http::header::HOST;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
#[cfg(not(unix))]
use tokio::net::TcpStream as UnixStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::api::{Event, Problem};
use crate::problem::{self, ProblemDetails, ProblemKind, Report};

/// A running daemon.
#[derive(Clone, Debug)]
pub struct AdminClient {
    socket: PathBuf,
}

/// Why a request to the daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No process listens on the socket.
    #[error("the daemon is not running")]
    NotRunning,
    /// The socket is another user's.
    #[error("the daemon's socket {} belongs to another user", socket.display())]
    Forbidden {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket could not be used.
    #[error("could not reach the daemon on {}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The daemon ended during the request.
    #[error("the daemon has ended")]
    ConnectionClosed(#[source] Option<hyper::Error>),
    /// The daemon refused the request.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// The response is one of another version.
    #[error("the daemon is of another version, and its response is not understood")]
    VersionMismatch,
}

impl problem::Problem for Error {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::NotRunning | Self::ConnectionClosed(_) => ProblemKind::DaemonNotRunning.into(),
            Self::Forbidden { .. } => {
                ProblemKind::CommandFailed.with_hint("Ask as the user who runs it.")
            }
            Self::VersionMismatch => ProblemKind::CommandFailed
                .with_hint("Restart the daemon, so that both are of one version."),
            Self::Unreachable { .. } => ProblemKind::CommandFailed.into(),
            Self::Problem(problem) => {
                let kind = ProblemKind::from_code(&problem.code);
                let details = ProblemDetails::from(kind.unwrap_or(ProblemKind::CommandFailed));
                ProblemDetails { hint: problem.hint.clone().map(Into::into), ..details }
            }
        }
    }

    /// Returns each thing that is wrong, the way out with the last.
    fn parts(&self) -> Vec<Report> {
        let Self::Problem(problem) = self else { return vec![] };
        let mut parts = problem.problems.clone();
        if let Some(last) = parts.last_mut() {
            let hints: Vec<_> = last.hint.take().into_iter().chain(problem.hint.clone()).collect();
            last.hint = (!hints.is_empty()).then(|| hints.join(" "));
        }
        parts
    }
}

impl AdminClient {
    /// Finds the first of these sockets on which a daemon listens.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] when there is none; else why the first socket cannot be used.
    pub async fn find(sockets: &[PathBuf]) -> Result<Self, Error> {
        for socket in sockets {
            match connect(socket).await {
                Ok(_) => return Ok(Self { socket: socket.clone() }),
                Err(Error::NotRunning) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::NotRunning)
    }

    /// Sends a GET request and parses the response.
    ///
    /// # Errors
    ///
    /// [`Error`] when there is no response, or none that is understood.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.request(Method::GET, path).await
    }

    /// Sends a command and waits for its effect.
    ///
    /// # Errors
    ///
    /// [`Error::Problem`] with the reason.
    pub async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.request(Method::POST, path).await
    }

    /// Opens a stream of events of these kinds, such as `ready,session`.
    ///
    /// # Errors
    ///
    /// As [`AdminClient::get`].
    pub async fn events(&self, kinds: &str) -> Result<EventStream, Error> {
        let path = format!("/v1/events?kinds={kinds}");
        let (response, connection) = self.send(Method::GET, &path).await?;
        if !response.status().is_success() {
            return Err(Error::VersionMismatch);
        }
        Ok(EventStream { connection, body: response.into_body(), buf: BytesMut::new() })
    }

    async fn request<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, Error> {
        let (response, mut connection) = self.send(method, path).await?;
        let status = response.status();
        let body = connection.drive(response.into_body().collect()).await;
        let body = body.map_err(|error| Error::ConnectionClosed(Some(error)))?.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|_| Error::VersionMismatch);
        }
        match serde_json::from_slice(&body) {
            Ok(problem) => Err(Error::Problem(Box::new(problem))),
            Err(_) => Err(Error::VersionMismatch),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
    ) -> Result<(Response<Incoming>, ClientConnection), Error> {
        let stream = connect(&self.socket).await?;
        let ended = |error| Error::ConnectionClosed(Some(error));
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(ended)?;
        let mut connection = ClientConnection(Some(Box::pin(connection)));
        let request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        let request = request.body(Empty::new()).expect("the paths are our own");
        let response = connection.drive(sender.send_request(request)).await.map_err(ended)?;
        Ok((response, connection))
    }
}

#[cfg(unix)]
async fn connect(socket: &Path) -> Result<UnixStream, Error> {
    UnixStream::connect(socket).await.map_err(|source| {
        let kind = source.kind();
        let socket = socket.to_owned();
        if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&kind) {
            Error::NotRunning
        } else if kind == io::ErrorKind::PermissionDenied {
            Error::Forbidden { socket }
        } else {
            Error::Unreachable { socket, source }
        }
    })
}

/// Fails: there is no admin socket yet on a system without unix sockets.
#[cfg(not(unix))]
async fn connect(_: &Path) -> Result<UnixStream, Error> {
    Err(Error::NotRunning)
}

/// A connection that is polled together with the request on it.
struct ClientConnection(Option<Pin<Box<HyperConnection>>>);

type HyperConnection = Connection<TokioIo<UnixStream>, Empty<Bytes>>;

impl ClientConnection {
    async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| {
            // When the connection ends, its requests end too.
            if let Some(connection) = &mut self.0
                && connection.as_mut().poll(cx).is_ready()
            {
                self.0 = None;
            }
            work.as_mut().poll(cx)
        })
        .await
    }
}

/// A stream of events.
pub struct EventStream {
    connection: ClientConnection,
    body: Incoming,
    buf: BytesMut,
}

impl EventStream {
    /// Waits for the next event; `None` when the daemon has ended.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(block) = self.take_block() {
                if let Some(event) = parse(&block) {
                    return Some(event);
                }
            }
            let frame = self.connection.drive(self.body.frame()).await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buf.extend_from_slice(&data);
            }
        }
    }

    /// Takes the text before the next empty line.
    fn take_block(&mut self) -> Option<String> {
        let end = self.buf.windows(2).position(|pair| pair == b"\n\n")?;
        let block = self.buf.split_to(end + 2);
        String::from_utf8(block.to_vec()).ok()
    }
}

/// Parses one event; `None` for kinds that this version does not know.
fn parse(block: &str) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let data = field("data: ")?;
    match field("event: ")? {
        "ready" => serde_json::from_str(data).ok().map(Event::Ready),
        "session" => serde_json::from_str(data).ok().map(Event::Session),
        "request" => serde_json::from_str(data).ok().map(Event::Request),
        "lost" => data.parse().ok().map(Event::Lost),
        _ => None,
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_events_are_parsed_and_unknown_ones_are_skipped() {
        let ready = "event: ready\ndata: {\"ready\":true,\"reasons\":[],\"later\":1}\n\n";

        assert!(matches!(parse(ready), Some(Event::Ready(readiness)) if readiness.ready));
        assert_eq!(parse("event: lost\ndata: 3\n\n"), Some(Event::Lost(3)));
        assert_eq!(parse(": alive\n\n"), None);
        assert_eq!(parse("event: later\ndata: {}\n\n"), None);
    }
}
