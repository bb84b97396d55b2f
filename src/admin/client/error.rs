//! Why a request to the daemon failed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::admin::api::Problem;
use crate::problem::{self, ProblemDetails, ProblemKind, Report};

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
    /// The daemon accepts connections and answers none: it is stopped or stuck.
    #[error("{} does not answer", name(*.pid))]
    Unresponsive {
        /// The process, where it listens itself.
        pid: Option<u32>,
    },
    /// The daemon answers other requests, and has not finished this one.
    #[error("{} has not finished within {}", name(*.pid), humantime::format_duration(*.limit))]
    Unfinished {
        /// The process, where it listens itself.
        pid: Option<u32>,
        /// How long it was waited for.
        limit: Duration,
    },
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
            Self::Forbidden { .. } => ProblemKind::CommandFailed.with_hint(
                "Ask as the user who runs it, or as a user of its admin.users; the system's also \
                     takes commands from root.",
            ),
            Self::VersionMismatch => ProblemKind::CommandFailed
                .with_hint("Restart the daemon, so that both are of one version."),
            Self::Unreachable { .. } => ProblemKind::CommandFailed.into(),
            Self::Unresponsive { pid: Some(_) } => ProblemKind::CommandFailed.with_hint(
                "Continue it with `kill -CONT` if it is stopped; else end it with `kill -KILL` and \
                 start it again.",
            ),
            Self::Unresponsive { pid: None } => ProblemKind::CommandFailed
                .with_hint("`nexudus-proxy service status` says what the service manager knows."),
            Self::Unfinished { .. } => ProblemKind::CommandFailed
                .with_hint("Ask again: `nexudus-proxy status` shows what it does meanwhile."),
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

/// Names the daemon in a sentence.
fn name(pid: Option<u32>) -> String {
    pid.map_or_else(|| "the daemon".to_owned(), |pid| format!("the daemon (process {pid})"))
}
