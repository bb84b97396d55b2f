//! Why there is no service, or why it cannot be changed.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// Why the service could not be changed, or only in part.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine has neither systemd nor launchd nor the scheduler of Windows.
    #[error("this machine has no service manager that nexudus-proxy supports")]
    NoManager,
    /// systemd runs, but not for this user.
    #[error("systemd runs no services for this user here")]
    NoUserManager,
    /// On macOS and Windows a service of the machine has no keychain.
    #[error("on this system the service belongs to a user: there is no --system")]
    NoSystem,
    /// The system unit has one login, so it has one profile.
    #[error("the system service serves only the default profile")]
    SystemProfile,
    /// The service is not installed.
    #[error("the service is not installed")]
    NotInstalled {
        /// Whether the machine's service was asked for.
        is_system: bool,
    },
    /// Everything is in place, and the service does not start.
    #[error("the service does not start: {cause}")]
    NotStarted {
        /// The last error in its log.
        cause: String,
    },
    /// A service needs a fixed port.
    #[error("{address} names no port: a service needs a fixed one")]
    NoPort {
        /// The address.
        address: SocketAddr,
    },
    /// The path of the program cannot be used in a unit.
    #[error("the path {} cannot be used in a unit: {why}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// A word of the configuration cannot be used in a unit.
    #[error("{word} cannot be used in a unit: it has characters that are special to systemd")]
    Word {
        /// The word.
        word: String,
    },
    /// A file could not be written or removed.
    #[error("could not change {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A command could not be run.
    #[error("could not run `{line}`")]
    Command {
        /// The command.
        line: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A command failed, and printed the reason itself.
    #[error("`{line}` failed ({status})")]
    Failed {
        /// The command.
        line: String,
        /// The exit status.
        status: ExitStatus,
    },
}

impl Problem for Error {
    fn details(&self) -> ProblemDetails {
        let failed = |hint| ProblemKind::CommandFailed.with_hint(hint);
        let wrong = |hint| ProblemKind::CommandUsage.with_hint(hint);
        match self {
            Self::NoManager => {
                failed("Have whatever starts programs here run `nexudus-proxy serve`.")
            }
            Self::NoUserManager => failed(
                "Log in as this user (not by su or sudo), or set XDG_RUNTIME_DIR=/run/user/UID; \
                 --system is for the whole machine.",
            ),
            Self::NoSystem => {
                wrong("Leave --system out, and install it as the person who uses it.")
            }
            Self::SystemProfile => wrong(
                "Leave --system or --profile out: each person may have services for profiles of \
                 theirs.",
            ),
            Self::NotInstalled { is_system: false } => {
                ProblemKind::DaemonNotRunning.with_hint("Run `nexudus-proxy service install`.")
            }
            Self::NotInstalled { is_system: true } => ProblemKind::DaemonNotRunning
                .with_hint("Run `nexudus-proxy service install --system` as root."),
            Self::NotStarted { .. } => failed(
                "Repair that, and run the same command again; `nexudus-proxy service logs` has the \
                 lines before it.",
            ),
            Self::NoPort { .. } => wrong("Give listen.tcp a port of its own."),
            Self::Path { .. } => {
                failed("Copy the program to /usr/local/bin, and install the service with that one.")
            }
            Self::Word { .. } => wrong(
                "Give the configuration or the socket a path of ASCII letters, digits and \
                 `/._+-@:,=~`.",
            ),
            Self::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                failed(
                    "Run it as root for --system; else make the directory writable for this user.",
                )
            }
            Self::Failed { .. } => failed("`nexudus-proxy service logs` may tell more."),
            Self::File { .. } | Self::Command { .. } => ProblemKind::CommandFailed.into(),
        }
    }
}
