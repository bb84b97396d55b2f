//! The client of `admin.sock`, or of the named pipe of Windows, for our own commands.
//!
//! Each request has a connection of its own: a command sends one or two. While a response is awaited,
//! a second connection asks whether the daemon still answers at all: a stopped process (SIGSTOP,
//! Ctrl-Z) accepts connections, because the kernel does, and answers none.

mod error;
mod event_stream;
mod relay;

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
#[cfg(unix)]
use tokio::net::UnixStream;
#[cfg(windows)]
use tokio::net::windows::named_pipe::NamedPipeClient as UnixStream;
use tokio::time::{Instant, sleep, timeout};

pub use self::error::Error;
pub use self::event_stream::EventStream;
pub use self::relay::RelayedBody;

/// A running daemon.
#[derive(Clone, Debug)]
pub struct AdminClient {
    socket: PathBuf,
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

    /// Returns the socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends a GET request and parses the response.
    ///
    /// # Errors
    ///
    /// [`Error`] when there is no response, or none that is understood.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.request(Method::GET, path, None).await
    }

    /// Sends a command and waits for its effect.
    ///
    /// # Errors
    ///
    /// [`Error::Problem`] with the reason.
    pub async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.request(Method::POST, path, None).await
    }

    /// Sends a command that says more than its path, and waits for its effect.
    ///
    /// # Errors
    ///
    /// As [`AdminClient::post`].
    pub async fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        content: &impl Serialize,
    ) -> Result<T, Error> {
        // A struct of strings and numbers always is JSON.
        let content = serde_json::to_vec(content).unwrap_or_default();
        self.request(Method::POST, path, Some(content.into())).await
    }

    /// Opens a stream of events of these kinds, such as `ready,session`; `content=…` behind them has the
    /// content of requests captured meanwhile.
    ///
    /// # Errors
    ///
    /// As [`AdminClient::get`].
    pub async fn events(&self, kinds: &str) -> Result<EventStream, Error> {
        let path = format!("/v1/events?kinds={kinds}");
        let (response, mut connection) = self.send(Method::GET, &path, None).await?;
        if !response.status().is_success() {
            let body = connection.drive(response.into_body().collect()).await;
            let body = body.map_err(|error| Error::ConnectionClosed(Some(error)))?.to_bytes();
            return Err(problem_in(&body));
        }
        Ok(EventStream::new(self.clone(), connection, response.into_body()))
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content: Option<Bytes>,
    ) -> Result<T, Error> {
        let (response, mut connection) = self.send(method, path, content).await?;
        let status = response.status();
        let body = connection.drive(response.into_body().collect());
        let body = self.while_alive(body, COMMAND_TIMEOUT, PATIENCE).await?;
        let body = body.map_err(|error| Error::ConnectionClosed(Some(error)))?.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|_| Error::VersionMismatch);
        }
        Err(problem_in(&body))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content: Option<Bytes>,
    ) -> Result<(Response<Incoming>, ClientConnection), Error> {
        if method == Method::POST {
            // A stopped process would find the command when it is continued, and execute it long after
            // the person was told that it failed.
            self.check_alive().await?;
        }
        self.while_alive(self.exchange(method, path, content), COMMAND_TIMEOUT, PATIENCE).await?
    }

    /// Sends one request, and waits for the head of the response without a limit.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        content: Option<Bytes>,
    ) -> Result<(Response<Incoming>, ClientConnection), Error> {
        let stream = connect(&self.socket).await?;
        let ended = |error| Error::ConnectionClosed(Some(error));
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(ended)?;
        let mut connection = ClientConnection(Some(Box::pin(connection)));
        let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        if content.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(content.unwrap_or_default()));
        let request = request.expect("the paths are our own");
        let response = connection.drive(sender.send_request(request)).await.map_err(ended)?;
        Ok((response, connection))
    }

    /// Waits for `work` while the daemon answers at all, and for `limit` at most. The first check
    /// comes after `patience`.
    async fn while_alive<T>(
        &self,
        work: impl Future<Output = T>,
        limit: Duration,
        patience: Duration,
    ) -> Result<T, Error> {
        let end = Instant::now().checked_add(limit);
        let watch = async {
            loop {
                sleep(patience).await;
                let Some(pid) = self.check_alive().await? else { continue };
                if end.is_some_and(|end| Instant::now() >= end) {
                    break Err::<T, _>(Error::Unfinished { pid, limit });
                }
            }
        };
        tokio::select! {
            biased;
            done = work => Ok(done),
            error = watch => error,
        }
    }

    /// Asks for something small on a connection of its own. Returns the process, where it listens
    /// itself; `None` where the socket is gone, which the connection under way will notice.
    async fn check_alive(&self) -> Result<Option<Option<u32>>, Error> {
        let Ok(stream) = connect(&self.socket).await else { return Ok(None) };
        let pid = listener_pid(&stream);
        drop(stream);
        // The service manager may be starting the daemon; its own limit for that is 90 s.
        let limit = if pid.is_some() { ANSWER_TIMEOUT } else { START_TIMEOUT };
        match timeout(limit, self.exchange(Method::GET, "/v1/upstream", None)).await {
            Ok(_) => Ok(Some(pid)),
            Err(_) => Err(Error::Unresponsive { pid }),
        }
    }
}

/// Reads the body of an error response.
fn problem_in(body: &[u8]) -> Error {
    match serde_json::from_slice(body) {
        Ok(problem) => Error::Problem(Box::new(problem)),
        Err(_) => Error::VersionMismatch,
    }
}

/// Returns the process that listens, unless the service manager does.
fn listener_pid(stream: &UnixStream) -> Option<u32> {
    #[cfg(unix)]
    {
        let pid = stream.peer_cred().ok()?.pid()?;
        u32::try_from(pid).ok().filter(|pid| !is_service_manager(*pid))
    }
    #[cfg(not(unix))]
    {
        let _ = stream;
        None
    }
}

/// Says whether a process is the first one, or a person's own systemd.
#[cfg(unix)]
fn is_service_manager(pid: u32) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    pid == 1 || name.trim_end() == "systemd"
}

/// How long a response may take before the daemon is checked.
const PATIENCE: Duration = Duration::from_secs(1);

/// Longest wait for the answer to that check: with [`PATIENCE`], a command says within five seconds
/// that the daemon does not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);

/// The same where the service manager holds the socket, and may have to start the daemon first.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest time for a command: one renewal has a ceiling of 30 s, and may follow another's.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(90);

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

/// Opens the named pipe whose name stands in the file `socket`.
#[cfg(windows)]
async fn connect(socket: &Path) -> Result<UnixStream, Error> {
    use tokio::net::windows::named_pipe::ClientOptions;

    let failed = |source: io::Error| {
        let socket = socket.to_owned();
        // A file that was left over names a pipe that is gone.
        if source.kind() == io::ErrorKind::NotFound {
            Error::NotRunning
        } else if source.kind() == io::ErrorKind::PermissionDenied {
            Error::Forbidden { socket }
        } else {
            Error::Unreachable { socket, source }
        }
    };
    let name = std::fs::read_to_string(socket).map_err(failed)?;
    let deadline = Instant::now() + PIPE_TIMEOUT;
    loop {
        match ClientOptions::new().open(&name) {
            Ok(pipe) => return Ok(pipe),
            // Another client has the end that waited, and the daemon makes the next one.
            Err(error) if error.raw_os_error() == Some(PIPE_BUSY) && Instant::now() < deadline => {
                sleep(PIPE_POLL_INTERVAL).await;
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// `ERROR_PIPE_BUSY` of winerror.h.
#[cfg(windows)]
const PIPE_BUSY: i32 = 231;

/// Longest wait for a free end of the pipe; the daemon makes one as soon as it runs.
#[cfg(windows)]
const PIPE_TIMEOUT: Duration = Duration::from_secs(4);

#[cfg(windows)]
const PIPE_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A connection that is polled together with the request on it.
struct ClientConnection(Option<Pin<Box<HyperConnection>>>);

type HyperConnection = Connection<TokioIo<UnixStream>, Full<Bytes>>;

impl ClientConnection {
    /// Lets the connection work. When it ends, its requests end too.
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.0
            && connection.as_mut().poll(cx).is_ready()
        {
            self.0 = None;
        }
    }

    async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| {
            self.poll(cx);
            work.as_mut().poll(cx)
        })
        .await
    }
}
