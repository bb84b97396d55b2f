//! Which daemon a command talks to: the one place that decides.
//!
//! The user's own daemon comes first, then the system's; `--user` and `--system` choose. A socket that
//! is there and does not answer is an error, and never a reason to act on files behind the daemon's
//! back.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::admin::api::{Status, StopResult};
use crate::admin::client::{AdminClient, Error};
use crate::cli::globals::{DaemonScope, GlobalArgs};
use crate::cli::waiting::{DAEMON, MAX_SILENCE, say_waiting};
use crate::cli::{CliError, Printer, serve};
use crate::config::Paths;
use crate::daemon;
use crate::problem::{ExitCode, ProblemKind};

/// The daemon that serves.
#[derive(Debug)]
pub(in crate::cli) struct ServingDaemon {
    pub(in crate::cli) admin: AdminClient,
    /// The daemon's status.
    pub(in crate::cli) status: Status,
    /// Whether the files of this user are the daemon's: it is the user's own daemon.
    pub(in crate::cli) is_own: bool,
}

/// The result of a search for the daemon that serves this user.
#[derive(Debug)]
pub(in crate::cli) enum FoundDaemon {
    /// A daemon serves, and answers.
    Serving(Box<ServingDaemon>),
    /// None does, so that a command may act on files.
    None(FilesReason),
}

/// Why a command acts on this user's files, and asks no daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum FilesReason {
    /// No daemon runs.
    NoDaemon,
    /// The system's runs, and refuses this user.
    Refused {
        /// Its socket.
        socket: PathBuf,
    },
}

impl FoundDaemon {
    /// Returns the daemon that serves, if one does.
    pub(in crate::cli) fn serving(self) -> Option<ServingDaemon> {
        match self {
            Self::Serving(daemon) => Some(*daemon),
            Self::None(_) => None,
        }
    }

    /// Returns the daemon that serves, or why none does.
    pub(in crate::cli) fn required(self) -> Result<ServingDaemon, Error> {
        match self {
            Self::Serving(daemon) => Ok(*daemon),
            Self::None(reason) => Err(reason.into()),
        }
    }
}

impl From<FilesReason> for Error {
    fn from(reason: FilesReason) -> Self {
        match reason {
            FilesReason::NoDaemon => Self::NotRunning,
            FilesReason::Refused { socket } => Self::Forbidden { socket },
        }
    }
}

impl fmt::Display for FilesReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDaemon => "no daemon runs",
            Self::Refused { .. } => {
                "the system's daemon takes commands only from root and from its admin.users"
            }
        })
    }
}

/// Finds the daemon that serves, and calls `action` with it. Says so where the wait is long.
pub(in crate::cli) fn with_daemon<T>(
    globals: &GlobalArgs,
    action: impl AsyncFnOnce(AdminClient) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let sockets = admin_sockets(globals)?;
    serve::control_runtime()?.block_on(async {
        let daemon = AdminClient::find(&sockets).await?;
        say_waiting(globals.printer(), DAEMON, action(daemon)).await
    })
}

/// Ends the daemon, and returns what it was doing.
pub(in crate::cli) fn end_daemon(globals: &GlobalArgs) -> Result<StopResult, CliError> {
    with_daemon(globals, async |daemon| {
        // A listener from before the stop sees when it is over.
        let mut events = daemon.events("ready").await?.expecting_an_event();
        let stopping = daemon.post("/v1/stop").await?;
        while events.try_next().await?.is_some() {}
        Ok(stopping)
    })
}

/// Finds the daemon that serves.
pub(in crate::cli) async fn connect(globals: &GlobalArgs) -> Result<AdminClient, CliError> {
    Ok(AdminClient::find(&admin_sockets(globals)?).await?)
}

/// Finds the daemon that serves this user, and asks for its status. A system's daemon that refuses this
/// user does not serve this user, unless `--system` asks for that one.
pub(in crate::cli) async fn find_daemon(globals: &GlobalArgs) -> Result<FoundDaemon, CliError> {
    let sockets = admin_sockets(globals)?;
    let mut reason = FilesReason::NoDaemon;
    for (at, socket) in sockets.iter().enumerate() {
        let is_own = at == 0 && globals.scope() != DaemonScope::System;
        let found = async {
            let admin = AdminClient::find(std::slice::from_ref(socket)).await?;
            let status = admin.get("/v1/status").await?;
            Ok(ServingDaemon { admin, status, is_own })
        };
        match say_waiting(globals.printer(), DAEMON, found).await {
            Ok(daemon) => return Ok(FoundDaemon::Serving(Box::new(daemon))),
            Err(Error::NotRunning | Error::ConnectionClosed(_)) => {}
            Err(error) if at > 0 && is_refusal(&error) => {
                reason = FilesReason::Refused { socket: socket.clone() };
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(FoundDaemon::None(reason))
}

/// Says whether a daemon answers, and not to this user.
fn is_refusal(error: &Error) -> bool {
    match error {
        Error::Forbidden { .. } => true,
        Error::Problem(problem) => problem.code == ProblemKind::ForeignUser.code(),
        Error::NotRunning
        | Error::Unreachable { .. }
        | Error::ConnectionClosed(_)
        | Error::Unresponsive { .. }
        | Error::Unfinished { .. }
        | Error::VersionMismatch => false,
    }
}

/// Returns where a daemon may listen: the user's own first, then the system's.
pub(in crate::cli) fn admin_sockets(globals: &GlobalArgs) -> Result<Vec<PathBuf>, CliError> {
    // With `--system` these are the paths of the system's daemon.
    let own = globals.sources(vec![]).paths()?.admin_socket();
    if globals.scope() != DaemonScope::Any {
        return Ok(vec![own]);
    }
    let system = own.file_name().map(|name| Path::new(SYSTEM_RUNTIME_DIR).join(name));
    let system = system.filter(|system| *system != own);
    Ok(std::iter::once(own).chain(system).collect())
}

/// Refuses to act on the system's files: they belong to a user who exists only while the daemon runs.
pub(in crate::cli) fn require_own_files(globals: &GlobalArgs) -> Result<(), CliError> {
    if globals.scope() != DaemonScope::System {
        return Ok(());
    }
    Err(CliError::message(
        ExitCode::NotRunning,
        "the system's daemon is not running, and only it may use its files",
        ProblemKind::DaemonNotRunning.hint(),
    ))
}

/// Says whose files a command has used, and why.
pub(in crate::cli) fn announce_files(
    globals: &GlobalArgs,
    paths: &Paths,
    reason: &FilesReason,
    print: Printer,
) {
    if !globals.quiet && !globals.json {
        let files = paths.profile_state();
        let files = files.display();
        print.note(&format!("{reason}: this is about the files in {files}"));
    }
}

/// The reply to a command that also works without a daemon.
pub(in crate::cli) enum DaemonReply<T> {
    /// The daemon replied, on this socket.
    Daemon(T, PathBuf),
    /// No daemon serves, and none starts to serve the profile while the lock is held; `None` where
    /// the lock could not be had.
    NotRunning(Option<daemon::ProfileLock>, FilesReason),
    /// No daemon serves, and the profile has no state.
    NoProfile(FilesReason),
}

/// Sends an idempotent command. A daemon that starts to serve meanwhile is not missed: who holds the
/// start lock knows that the profile's daemon answers, or is ending and will release the profile.
pub(in crate::cli) async fn post_or_lock<T: DeserializeOwned>(
    sockets: &[PathBuf],
    paths: &Paths,
    path: &str,
) -> Result<DaemonReply<T>, Error> {
    let reason = match post(sockets, path).await? {
        Ok(reply) => return Ok(reply),
        Err(reason) => reason,
    };
    if !paths.profile_state().is_dir() {
        return Ok(DaemonReply::NoProfile(reason));
    }
    let locked = async {
        let Ok(_starting) = daemon::StartLock::wait(paths).await else {
            return Ok(DaemonReply::NotRunning(None, reason));
        };
        match post(sockets, path).await? {
            Ok(reply) => Ok(reply),
            Err(reason) => {
                Ok(DaemonReply::NotRunning(daemon::ProfileLock::wait(paths).await.ok(), reason))
            }
        }
    };
    let late = |_| {
        let source = std::io::ErrorKind::TimedOut.into();
        Error::Unreachable { socket: paths.admin_socket(), source }
    };
    timeout(LOCK_TIMEOUT, locked).await.map_err(late)?
}

/// Sends a command to the daemon that this user may command, or says why there is none.
async fn post<T: DeserializeOwned>(
    sockets: &[PathBuf],
    path: &str,
) -> Result<Result<DaemonReply<T>, FilesReason>, Error> {
    let mut reason = FilesReason::NoDaemon;
    for (at, socket) in sockets.iter().enumerate() {
        let posted =
            async { AdminClient::find(std::slice::from_ref(socket)).await?.post(path).await };
        match posted.await {
            Ok(reply) => return Ok(Ok(DaemonReply::Daemon(reply, socket.clone()))),
            Err(Error::NotRunning | Error::ConnectionClosed(_)) => {}
            Err(error) if at > 0 && is_refusal(&error) => {
                reason = FilesReason::Refused { socket: socket.clone() };
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Err(reason))
}

/// The runtime directory of the system unit.
const SYSTEM_RUNTIME_DIR: &str = "/run/nexudus-proxy";

/// Longest wait for a process that starts or stops to serve: what [`say_waiting`] allows in silence.
const LOCK_TIMEOUT: Duration = MAX_SILENCE;
