//! The messages between the process of a `run` and the two stages of its isolation.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How the inside is to look.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct IsolationPlan {
    /// Where our listeners are, inside.
    pub(super) listen: Vec<SocketAddr>,
    /// Files of ours, each with the file in whose place it is seen.
    pub(super) replaced: Vec<(PathBuf, PathBuf)>,
    /// Directories that are empty inside, and files that are.
    pub(super) hidden: Vec<PathBuf>,
    /// The user and the group of the command.
    pub(super) uid: u32,
    pub(super) gid: u32,
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
