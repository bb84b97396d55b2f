//! The messages between the process of a `run` and the two stages of its isolation.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How the inside is to look.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct IsolationPlan {
    /// Where our listeners are, inside.
    pub(super) listen: Vec<SocketAddr>,
    /// Files of ours, each with the file in whose place it is seen.
    pub(super) replaced: Vec<(PathBuf, PathBuf)>,
    /// The files that lead back to this program or to the person.
    pub(super) protected: Protected,
    /// The user and the group of the command.
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The files that lead back to this program or to the person. The name of each, and of each directory
/// on the way to it, stays what it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::run) struct Protected {
    /// Directories of our settings and state, empty inside. A missing one is made: else the command
    /// could make it, and the next daemon would read what the command wrote.
    pub(super) own: Vec<PathBuf>,
    /// Other directories and files, empty inside.
    pub(super) hidden: Vec<PathBuf>,
    /// Files that can be read and not written.
    pub(super) read_only: Vec<PathBuf>,
}

impl Protected {
    /// Says whether the command does not see what is in this directory.
    pub(in crate::run) fn covers(&self, directory: &Path) -> bool {
        let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let directory = resolved(directory);
        self.own.iter().chain(&self.hidden).any(|it| directory.starts_with(resolved(it)))
    }
}

/// The result of a stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum StageReport {
    /// The namespaces exist; the listeners come with this message.
    Listening,
    /// The command runs.
    Started,
    /// The kernel has refused a step.
    Refused(Refusal),
    /// Everything is as it should be, but the command could not be started.
    NotStarted {
        /// Why.
        errno: i32,
    },
}

/// A step that the kernel has refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    /// The step that failed: `make the namespaces`.
    pub(super) step: String,
    /// Why not.
    pub(super) errno: i32,
}

/// Names the step that a call of the kernel belongs to.
pub(super) trait Step<T> {
    /// Says what was to be done.
    fn step(self, step: impl Into<String>) -> Result<T, Refusal>;
}

impl<T, E: Into<std::io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl Into<String>) -> Result<T, Refusal> {
        self.map_err(|error| {
            let errno = error.into().raw_os_error().unwrap_or_default();
            Refusal { step: step.into(), errno }
        })
    }
}
