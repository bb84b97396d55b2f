//! A command that reaches nothing but our listener, whatever it tries (Linux).
//!
//! The command runs in namespaces of its own. The configured names lead to loopback addresses there,
//! on which this process listens; nothing else answers on that network. `stages.rs` makes the inside.

mod channel;
mod descriptors;
mod devices;
mod hidden;
mod inside;
mod loopback;
mod mount_list;
mod mounts;
mod pinned;
mod plan;
mod read_only;
mod stages;
mod syscalls;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use nix::unistd::{getegid, geteuid};
use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use self::channel::RunChannel;
use self::plan::{IsolationPlan, Refusal, StageReport};

pub(super) use self::channel::MAX_LISTENERS;
pub(super) use self::descriptors::check_descriptors;
pub(super) use self::hidden::protected_paths;
pub(super) use self::inside::{Names, base_url_port};
pub(super) use self::plan::Protected;
pub(super) use self::stages::run_stage;

/// The differences that the command finds inside of its isolation.
#[derive(Clone, Debug, Default)]
pub(super) struct Inside {
    /// Where our listeners are.
    pub(super) listen: Vec<SocketAddr>,
    /// Files of ours, each with the file in whose place it is seen.
    pub(super) replaced: Vec<(PathBuf, PathBuf)>,
    /// Directories and files that are empty, or that cannot be written.
    pub(super) protected: Protected,
}

/// Why the command was not started.
#[derive(Debug)]
pub(super) enum IsolationError {
    /// The kernel has refused a step.
    Refused {
        /// The step that failed.
        step: String,
        /// Why not.
        source: io::Error,
    },
    /// The command itself could not be started.
    Command(io::Error),
}

/// A set-up that has come as far as the listeners.
#[derive(Debug)]
pub(super) struct Isolation {
    child: Child,
    stages: UnixListener,
    plan: IsolationPlan,
}

impl Isolation {
    /// Makes the namespaces. Returns the listeners in the order of `inside.listen`. `directory` is
    /// one of this run alone; `prepare` sets the environment of the command.
    pub(super) async fn begin(
        inside: Inside,
        directory: &Path,
        argv: &[std::ffi::OsString],
        prepare: impl FnOnce(&mut std::process::Command),
    ) -> Result<(Self, Vec<TcpListener>), IsolationError> {
        let Inside { listen, replaced, protected } = inside;
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let plan = IsolationPlan { listen, replaced, protected, uid, gid };
        let socket = directory.join("stages.sock");
        let stages = UnixListener::bind(&socket).map_err(unprepared)?;
        let mut command = stages::first(&socket, argv);
        prepare(&mut command);
        let child = Command::from(command).kill_on_drop(true).spawn().map_err(unprepared)?;
        let mut isolation = Self { child, stages, plan };
        let (report, listeners) = isolation.next_report().await?;
        match report {
            StageReport::Listening if listeners.len() == isolation.plan.listen.len() => {
                Ok((isolation, listeners))
            }
            StageReport::Refused(refusal) => Err(refusal.into()),
            StageReport::Listening | StageReport::Started | StageReport::NotStarted { .. } => {
                Err(unprepared(io::ErrorKind::InvalidData.into()))
            }
        }
    }

    /// Arranges the inside and starts the command. The process that is returned ends as it does.
    pub(super) async fn start(mut self) -> Result<Child, IsolationError> {
        let (report, _) = self.next_report().await?;
        match report {
            StageReport::Started => Ok(self.child),
            StageReport::NotStarted { errno } => {
                Err(IsolationError::Command(io::Error::from_raw_os_error(errno)))
            }
            StageReport::Refused(refusal) => Err(refusal.into()),
            StageReport::Listening => Err(unprepared(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Waits for the report of the next stage, or for the end of the stages without one.
    async fn next_report(&mut self) -> Result<(StageReport, Vec<TcpListener>), IsolationError> {
        let report = async {
            let (stream, _) = self.stages.accept().await?;
            RunChannel::open(stream, &self.plan).await?.receive().await
        };
        let mut report = pin!(timeout(STAGE_TIMEOUT, report));
        let status = tokio::select! {
            report = &mut report => return received(report).map_err(unprepared),
            status = self.child.wait() => status.map_err(unprepared)?,
        };
        // A stage reports why it ends before it does.
        let last = timeout(LAST_REPORT_TIMEOUT, report).await.map(received);
        let ended = || io::Error::other(format!("the process that does it ended: {status}"));
        last.ok().and_then(Result::ok).ok_or_else(|| unprepared(ended()))
    }
}

fn received<T>(report: Result<io::Result<T>, Elapsed>) -> io::Result<T> {
    report.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl From<Refusal> for IsolationError {
    fn from(refusal: Refusal) -> Self {
        let source = io::Error::from_raw_os_error(refusal.errno);
        Self::Refused { step: refusal.step, source }
    }
}

fn unprepared(source: io::Error) -> IsolationError {
    IsolationError::Refused { step: "prepare the isolation".to_owned(), source }
}

/// Longest wait for a stage: each makes a few calls of the kernel.
const STAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for a report that was sent before its process ended.
const LAST_REPORT_TIMEOUT: Duration = Duration::from_secs(1);
