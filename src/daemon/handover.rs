//! Whose turn it is to serve a profile: one process at a time, and a `run` gives way to a daemon.
//!
//! A `run` calls whoever serves already: a daemon, or another `run`. Where nobody does it serves
//! itself, on a socket that other `run`s call too, until its command ends or a daemon asks for its
//! place. One that a person stops serves never again. A process that asks another upstream is not
//! called: a command that is meant for one must not be served by another. The profile's lock
//! (`profile_lock.rs`) decides; two owners of one refresh token would end the session.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{Daemon, DaemonCommand, Deps, Error};
use crate::admin::Reply;
use crate::admin::api::{self, Lifecycle, ReloadResult, Status, StopResult};
use crate::admin::client::AdminClient;
use crate::config::{Config, Origin, Paths, UnixSocket};

/// Starts a daemon; a `run` that serves the profile is asked for its place.
///
/// # Errors
///
/// As [`Daemon::start`]: [`Error::AlreadyRunning`] where another daemon serves.
pub async fn start(config: &Config, paths: &Paths) -> Result<Daemon, Error> {
    let patience = Instant::now() + config.daemon.drain + PATIENCE;
    loop {
        match Daemon::start(config, paths, Deps::from_config(config, paths)).await {
            Err(Error::AlreadyRunning { .. }) if Instant::now() < patience => {}
            ended => return ended,
        }
        match status(paths).await {
            Some(serving) if serving.listening.unix != Some(paths.run_socket()) => {
                return Err(Error::AlreadyRunning { profile: paths.profile.clone() });
            }
            Some(serving) if serving.phase != Lifecycle::Draining => {
                tracing::info!(pid = serving.pid, "taking the profile over from a run");
                request_handover(paths).await;
            }
            Some(_) | None => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// How a `run` reaches whoever serves the profile.
#[derive(Debug)]
pub struct ProfileLeader {
    config: Config,
    paths: Paths,
    own: Mutex<Option<LocalDaemon>>,
    /// Whether a person has stopped what this process serves.
    stopped: Arc<AtomicBool>,
    /// The process that answered last, and asks the same upstream.
    known: Mutex<Option<LeaderAddress>>,
}

/// A process that may be called.
#[derive(Clone, Debug)]
struct LeaderAddress {
    socket: PathBuf,
    /// The process that listens; `None`: the service manager does, for a process that may change.
    pid: Option<u32>,
}

/// The daemon in this process.
#[derive(Debug)]
struct LocalDaemon {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl ProfileLeader {
    /// Serves as `config` says, where nobody else does, but for its own user alone.
    pub fn new(config: &Config, paths: &Paths) -> Self {
        let mut config = config.clone();
        config.listen.tcp.clear();
        config.listen.users.clear();
        config.listen.groups.clear();
        config.listen.unix = UnixSocket::Path(paths.run_socket());
        config.listen.expose = false;
        config.hosts.clear();
        Self {
            config,
            paths: paths.clone(),
            own: Mutex::new(None),
            stopped: Arc::default(),
            known: Mutex::default(),
        }
    }

    /// Returns the profile.
    pub fn profile(&self) -> &str {
        &self.paths.profile
    }

    /// Connects to whoever serves the profile, and waits while that changes.
    ///
    /// # Errors
    ///
    /// [`Error::UnreachableReason`] when whoever holds the profile cannot be called, [`Error::OtherUpstream`]
    /// when it asks another upstream, [`Error::Stopped`] when a person has stopped this one, and as
    /// [`Daemon::start`].
    pub async fn connect(&self) -> Result<UnixStream, Error> {
        let known = self.known.lock().await.clone();
        if let Some(known) = known
            && let Ok(stream) = UnixStream::connect(&known.socket).await
            && self.is_same(&stream, &known).await?
        {
            return Ok(stream);
        }
        let unheard = |why| Error::Unreachable { profile: self.paths.profile.clone(), why };
        let patience = Instant::now() + self.config.daemon.drain + PATIENCE;
        while Instant::now() < patience {
            match status(&self.paths).await {
                Some(Status { phase: Lifecycle::Draining, .. }) => {}
                Some(serving) => {
                    self.check(&serving.upstream, serving.run_pid(&self.paths.run_socket()))?;
                    let socket = serving.listening.unix.ok_or_else(|| unheard(NO_SOCKET))?;
                    let Ok(stream) = UnixStream::connect(&socket).await else {
                        tokio::time::sleep(AGAIN).await;
                        continue;
                    };
                    let pid = Some(serving.pid).filter(|pid| is_of(&stream, *pid));
                    let known = LeaderAddress { socket, pid };
                    if self.is_same(&stream, &known).await? {
                        *self.known.lock().await = Some(known);
                        return Ok(stream);
                    }
                }
                None => match self.serve().await {
                    Ok(()) | Err(Error::AlreadyRunning { .. }) => {}
                    Err(error) => return Err(error),
                },
            }
            tokio::time::sleep(AGAIN).await;
        }
        Err(unheard("it does not answer"))
    }

    /// Says whether a process that asks our upstream has this connection.
    async fn is_same(&self, stream: &UnixStream, known: &LeaderAddress) -> Result<bool, Error> {
        if let Some(pid) = known.pid {
            return Ok(is_of(stream, pid));
        }
        match upstream(&self.paths).await {
            // The service manager holds sockets of a daemon alone.
            Some(upstream) => self.check(&upstream, None).map(|()| true),
            None => Ok(false),
        }
    }

    /// Checks that this is the upstream that is configured here.
    fn check(&self, serving: &str, run: Option<u32>) -> Result<(), Error> {
        let wanted = &self.config.upstream.origin;
        if Origin::parse(serving).as_ref() == Some(wanted) {
            return Ok(());
        }
        Err(Error::OtherUpstream {
            profile: self.paths.profile.clone(),
            serving: serving.to_owned(),
            wanted: wanted.to_string(),
            run,
        })
    }

    /// Begins to serve, unless this process does, or has just given way.
    async fn serve(&self) -> Result<(), Error> {
        let mut own = self.own.lock().await;
        if own.as_ref().is_some_and(|own| !own.task.is_finished()) {
            return Ok(());
        }
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        let setting = Deps::from_config(&self.config, &self.paths);
        let daemon = Daemon::start(&self.config, &self.paths, setting).await?;
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(serve_until_handover(
            daemon,
            ended,
            self.stopped.clone(),
            self.config.daemon.drain,
        ));
        *own = Some(LocalDaemon { end, task });
        Ok(())
    }

    /// Ends what this process serves.
    pub async fn end(&self) {
        if let Some(LocalDaemon { end, task }) = self.own.lock().await.take() {
            // Gone already where it gave way.
            let _ = end.send(());
            let _ = task.await;
        }
    }
}

/// Serves until the command has ended, a person stops it, or a daemon asks for the place.
async fn serve_until_handover(
    mut daemon: Daemon,
    mut ended: oneshot::Receiver<()>,
    stopped: Arc<AtomicBool>,
    drain: Duration,
) {
    loop {
        tokio::select! {
            _ = &mut ended => return daemon.stop(drain).await,
            Some(order) = daemon.commands.recv() => match order {
                DaemonCommand::Reload(reply) => drop(reply.send(Ok(ReloadResult::default()))),
                DaemonCommand::Stop(reply) => {
                    stopped.store(true, Ordering::Relaxed);
                    tracing::warn!("stopped: what the command asks for is refused until somebody else serves");
                    leave(&daemon, reply);
                    return daemon.stop(drain).await;
                }
                DaemonCommand::HandOver(reply) => {
                    leave(&daemon, reply);
                    break;
                }
            },
        }
    }
    daemon.stop(drain).await;
    tokio::select! {
        _ = ended => {}
        () = tokio::time::sleep(HEAD_START) => {}
    }
}

fn leave(daemon: &Daemon, reply: Reply<StopResult>) {
    let in_flight = daemon.in_flight() as u64;
    drop(reply.send(Ok(StopResult { in_flight, run: true })));
}

/// Says whether this process listens at the other end.
fn is_of(stream: &UnixStream, pid: u32) -> bool {
    let listener = stream.peer_cred().ok().and_then(|peer| peer.pid());
    listener.and_then(|listener| u32::try_from(listener).ok()) == Some(pid)
}

/// Asks which upstream the serving process asks; an earlier version says so in its status alone.
async fn upstream(paths: &Paths) -> Option<String> {
    let asked = async {
        let daemon = AdminClient::find(&[paths.admin_socket()]).await.ok()?;
        daemon.get("/v1/upstream").await.ok()
    };
    match timeout(ANSWERED, asked).await.ok().flatten() {
        Some(api::UpstreamInfo { upstream }) => Some(upstream),
        None => status(paths).await.map(|serving| serving.upstream),
    }
}

async fn status(paths: &Paths) -> Option<Status> {
    let asked = async {
        AdminClient::find(&[paths.admin_socket()]).await.ok()?.get("/v1/status").await.ok()
    };
    // A socket that the service manager holds for us is answered by nobody yet.
    timeout(ANSWERED, asked).await.ok().flatten()
}

/// Whether it was heard is seen by the lock.
async fn request_handover(paths: &Paths) {
    if let Ok(run) = AdminClient::find(&[paths.admin_socket()]).await {
        let _ = timeout(ANSWERED, run.post::<StopResult>("/v1/handover")).await;
    }
}

const NO_SOCKET: &str = "it has no unix socket (listen.unix)";

/// Longest wait for whoever holds the profile, beside the time that its requests may take to end.
const PATIENCE: Duration = Duration::from_secs(15);

/// How soon whoever serves answers over the control socket.
const ANSWERED: Duration = Duration::from_secs(2);

/// How often it is looked again whose turn it is: nobody tells.
const AGAIN: Duration = Duration::from_millis(20);

/// How long a `run` that was asked for its place leaves it to whoever asked.
const HEAD_START: Duration = Duration::from_secs(2);
