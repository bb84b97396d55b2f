//! Which process serves the profile of a `run`: a daemon, another `run`, or this process.
//!
//! A `run` connects to the process that serves the profile already. If there is none, it starts a
//! daemon of its own, on a socket that other `run`s connect to as well. The local daemon ends with
//! the command, or earlier: a `serve` takes the profile over (`daemon/takeover.rs`), or a person
//! stops it, after which this process never serves again. A process with another upstream is not
//! used: a command that is meant for one upstream must not be served by another.
//!
//! Every change of the leader is an event: its socket closes, then it releases the profile's lock
//! (`daemon/profile_lock.rs`). Two owners of one refresh token would end the session.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Error as RunError;
use crate::admin::api::{
    Event, Lifecycle, Listening, ReloadResult, Status, StopResult, UpstreamInfo,
};
use crate::admin::client::{self, AdminClient};
use crate::admin::{DaemonCommand, Reply};
use crate::config::{Config, Origin, Paths, UnixSocket};
use crate::daemon::{Daemon, Deps, Error, ProfileLock, StartLock};
use crate::listen::Stream;
use crate::session::SessionState;

/// The process that serves the profile.
#[derive(Debug)]
pub struct ProfileLeader {
    /// The configuration of a daemon in this process.
    config: Config,
    /// The origin of the upstream, and that of each `[[host]]`.
    origins: Vec<Origin>,
    paths: Paths,
    /// Whether the system's daemon serves: this process never does in its place.
    is_system: bool,
    /// The daemon of this process. Locked while a connection waits for a change of the leader.
    local: Mutex<Option<LocalDaemon>>,
    /// Whether a person has stopped the daemon of this process.
    is_stopped: Arc<AtomicBool>,
    /// The leader of the last connection.
    address: ArcSwapOption<LeaderAddress>,
}

/// Where a process with our upstream accepts connections.
#[derive(Debug)]
struct LeaderAddress {
    socket: PathBuf,
    /// The process that listens. `None`: the service manager listens, for a daemon that may change.
    pid: Option<u32>,
}

#[derive(Debug)]
struct LocalDaemon {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl ProfileLeader {
    /// Takes the configuration of a local daemon from `config`, but for this user alone and without
    /// TCP. Connects to nothing yet.
    pub fn new(config: &Config, paths: &Paths) -> Self {
        let mut config = config.clone();
        config.listen.tcp.clear();
        config.listen.tls.clear();
        config.forward_proxy.listen = None;
        config.listen.users.clear();
        config.listen.groups.clear();
        config.listen.unix = UnixSocket::Path(paths.run_socket());
        config.listen.expose = false;
        let hosts = config.hosts.iter().map(|host| &host.origin);
        let origins = [&config.upstream.origin].into_iter().chain(hosts).cloned().collect();
        // The configured ports may be a daemon's.
        config
            .hosts
            .iter_mut()
            .for_each(|host| host.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()]);
        Self {
            config,
            origins,
            paths: paths.clone(),
            is_system: false,
            local: Mutex::new(None),
            is_stopped: Arc::default(),
            address: ArcSwapOption::empty(),
        }
    }

    /// Connects to the system's daemon, whose sockets `paths` names, and to no other process.
    pub fn of_system(config: &Config, paths: &Paths) -> Self {
        Self { is_system: true, ..Self::new(config, paths) }
    }

    /// Returns the profile.
    pub fn profile(&self) -> &str {
        &self.paths.profile
    }

    /// Connects to the process that serves the profile. Waits while the leader changes.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] if the process that holds the profile cannot be connected to,
    /// [`Error::OtherUpstream`] if it has another upstream, [`Error::Stopped`] if a person has
    /// stopped the daemon of this process, and as [`Daemon::start`].
    pub async fn connect(&self) -> Result<Stream, Error> {
        let connect = async {
            match self.reconnect().await {
                Some(stream) => Ok(stream),
                None => self.find_or_start().await,
            }
        };
        let connected = timeout(self.config.daemon.drain + CONNECT_TIMEOUT, connect).await;
        connected.unwrap_or_else(|_| Err(self.unreachable(NO_RESPONSE)))
    }

    /// Returns the origins whose requests the process that serves the profile takes.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// Connects to where the process that serves the profile takes requests for the origin of this
    /// number, a `[[host]]`.
    ///
    /// # Errors
    ///
    /// As [`ProfileLeader::connect`], and [`Error::Unreachable`] if that process does not know the
    /// host.
    pub async fn connect_host(&self, number: usize) -> Result<TcpStream, Error> {
        // Starts a daemon where none runs.
        drop(self.connect().await?);
        let status = self.get::<Status>("/v1/status").await?;
        let hosts = status.into_iter().flat_map(|status| status.listening.hosts);
        let wanted = self.origins.get(number);
        let mut hosts = hosts.filter(|host| Origin::parse(&host.upstream).as_ref() == wanted);
        let address = hosts.next().and_then(|host| host.tcp.first().copied());
        let address = address.ok_or_else(|| self.unreachable(NO_HOST))?;
        TcpStream::connect(address).await.map_err(|_| self.unreachable(NO_RESPONSE))
    }

    /// Returns the e-mail address of the account, if the process that serves the profile knows it.
    pub async fn account(&self) -> Option<String> {
        self.get::<Status>("/v1/status").await.ok()??.session.status.account
    }

    /// Connects where the last connection went, if the same process listens there.
    async fn reconnect(&self) -> Option<Stream> {
        let address = self.address.load_full()?;
        let stream = UnixStream::connect(&address.socket).await.ok()?;
        self.is_current(&address, &stream).await.then_some(Stream::Unix(stream))
    }

    async fn find_or_start(&self) -> Result<Stream, Error> {
        if let Some(stream) = self.find().await? {
            return Ok(stream);
        }
        if self.is_system {
            return Err(self.unreachable(NOT_REACHED));
        }
        if self.is_stopped.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        let mut local = self.local.lock().await;
        let _starting = StartLock::wait(&self.paths).await?;
        // No other process starts to serve from here on. One may have done so while we waited; else
        // the process that holds the profile, if any, is ending.
        if let Some(stream) = self.find().await? {
            return Ok(stream);
        }
        let lock = ProfileLock::wait(&self.paths).await?;
        if self.is_stopped.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        *local = Some(self.start(lock).await?);
        self.find().await?.ok_or_else(|| self.unreachable(NO_RESPONSE))
    }

    /// Connects to the process that serves the profile now, if there is one and it is not ending.
    async fn find(&self) -> Result<Option<Stream>, Error> {
        let Some(status) = self.get::<Status>("/v1/status").await? else { return Ok(None) };
        if status.phase == Lifecycle::Draining {
            return Ok(None);
        }
        self.check_upstream(&status)?;
        if self.is_system {
            return Ok(connect_to_system(status.listening).await);
        }
        let pid = Some(status.pid);
        let socket = status.listening.unix.ok_or_else(|| self.unreachable(NO_SOCKET))?;
        let Ok(stream) = UnixStream::connect(&socket).await else { return Ok(None) };
        let address = LeaderAddress { socket, pid: pid.filter(|_| listener_pid(&stream) == pid) };
        if !self.is_current(&address, &stream).await {
            return Ok(None);
        }
        self.address.store(Some(Arc::new(address)));
        Ok(Some(Stream::Unix(stream)))
    }

    /// Says whether a process with our upstream has this connection.
    async fn is_current(&self, address: &LeaderAddress, stream: &UnixStream) -> bool {
        if address.pid.is_some() {
            return listener_pid(stream) == address.pid;
        }
        let info = self.get::<UpstreamInfo>("/v1/upstream").await;
        info.is_ok_and(|info| info.is_some_and(|info| self.is_ours(&info.upstream)))
    }

    /// Sends a GET request to the process that serves the profile, if there is one: a socket that the
    /// service manager holds starts the daemon, which then responds.
    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        let response =
            async { AdminClient::find(&[self.paths.admin_socket()]).await?.get(path).await };
        match response.await {
            Ok(response) => Ok(Some(response)),
            Err(client::Error::Unresponsive { .. } | client::Error::Unfinished { .. }) => {
                Err(self.unreachable(NO_RESPONSE))
            }
            Err(
                client::Error::NotRunning
                | client::Error::Forbidden { .. }
                | client::Error::Unreachable { .. }
                | client::Error::ConnectionClosed(_)
                | client::Error::Problem(_)
                | client::Error::VersionMismatch,
            ) => Ok(None),
        }
    }

    /// Waits until it is known whether the process that serves has a login.
    ///
    /// # Errors
    ///
    /// [`RunError::NotLoggedIn`]. Everything else passes by itself, or is told with each request.
    pub async fn require_login(&self) -> Result<(), RunError> {
        let first = async {
            let daemon = AdminClient::find(&[self.paths.admin_socket()]).await.ok()?;
            let mut events = daemon.events("session").await.ok()?;
            while let Some(event) = events.next().await {
                let Event::Session(report) = event else { continue };
                if report.status.state != SessionState::Starting {
                    return Some(report.status);
                }
            }
            None
        };
        let Ok(Some(status)) = timeout(LOGIN_TIMEOUT, first).await else { return Ok(()) };
        if status.state != SessionState::NotLoggedIn {
            return Ok(());
        }
        let hint = status.error.map(|error| error.hint).or(status.advice);
        Err(RunError::NotLoggedIn { hint: hint.unwrap_or_default() })
    }

    fn is_ours(&self, upstream: &str) -> bool {
        Origin::parse(upstream).as_ref() == Some(&self.config.upstream.origin)
    }

    fn check_upstream(&self, status: &Status) -> Result<(), Error> {
        if self.is_ours(&status.upstream) {
            return Ok(());
        }
        Err(Error::OtherUpstream {
            profile: self.paths.profile.clone(),
            serving: status.upstream.clone(),
            wanted: self.config.upstream.origin.to_string(),
            run: status.run_pid(&self.paths.run_socket()),
        })
    }

    async fn start(&self, lock: ProfileLock) -> Result<LocalDaemon, Error> {
        let deps = Deps::from_config(&self.config, &self.paths);
        let daemon = Daemon::start_with_lock(lock, &self.config, &self.paths, deps).await?;
        let (stop, stopped) = oneshot::channel();
        let serve = serve_until_handover(
            daemon,
            stopped,
            self.is_stopped.clone(),
            self.config.daemon.drain,
        );
        Ok(LocalDaemon { stop, task: tokio::spawn(serve) })
    }

    fn unreachable(&self, why: &'static str) -> Error {
        Error::Unreachable { profile: self.paths.profile.clone(), why }
    }

    /// Stops the daemon of this process, if it has one.
    pub async fn stop(&self) {
        if let Some(LocalDaemon { stop, task }) = self.local.lock().await.take() {
            // The daemon may have ended already.
            let _ = stop.send(());
            let _ = task.await;
        }
    }
}

/// Connects to the system's daemon: to its unix socket where this user may open that, else by TCP. The
/// daemon itself has named the addresses, on a socket that the system's directory holds.
async fn connect_to_system(listening: Listening) -> Option<Stream> {
    if let Some(socket) = listening.unix
        && let Ok(stream) = UnixStream::connect(socket).await
    {
        return Some(Stream::Unix(stream));
    }
    for address in listening.tcp {
        if let Ok(stream) = TcpStream::connect(address).await {
            return Some(Stream::Tcp(stream));
        }
    }
    None
}

/// Serves until the command has ended, a person stops the daemon, or another daemon requests the
/// profile.
async fn serve_until_handover(
    mut daemon: Daemon,
    mut command_ended: oneshot::Receiver<()>,
    is_stopped: Arc<AtomicBool>,
    drain: Duration,
) {
    loop {
        let command = tokio::select! {
            _ = &mut command_ended => break,
            command = daemon.next_command() => command,
        };
        match command {
            DaemonCommand::Reload(reply) => drop(reply.send(Ok(ReloadResult::default()))),
            DaemonCommand::Stop(reply) => {
                is_stopped.store(true, Ordering::Relaxed);
                tracing::warn!(
                    "stopped: requests get 503 until another process serves the profile"
                );
                acknowledge(&daemon, reply);
                break;
            }
            DaemonCommand::HandOver(reply) => {
                acknowledge(&daemon, reply);
                break;
            }
        }
    }
    daemon.stop(drain).await;
}

fn acknowledge(daemon: &Daemon, reply: Reply<StopResult>) {
    let in_flight = daemon.in_flight() as u64;
    drop(reply.send(Ok(StopResult { in_flight, run: true })));
}

/// Returns the process that listens at the other end.
fn listener_pid(stream: &UnixStream) -> Option<u32> {
    u32::try_from(stream.peer_cred().ok()?.pid()?).ok()
}

const NO_SOCKET: &str = "it has no unix socket (listen.unix)";

const NOT_REACHED: &str = "it does not run, or accepts no connection of this user";

const NO_RESPONSE: &str = "it does not answer";

const NO_HOST: &str = "it was started without this [[host]]";

/// Longest wait for a process that serves, beside the time that the requests of the process before
/// it may take to finish.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest wait for the first state of the session: a first login is usually over within a second, and a
/// command that starts earlier waits with its first request.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(5);
