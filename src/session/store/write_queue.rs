//! Writes of one file, one at a time and in order.
//!
//! A write that does not end is reported as failed after [`WRITE_TIMEOUT`], so that the session can
//! go on without it. No second write is started beside it, or the older could end last.

use std::fmt;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::session::spawn::{join_slot, spawn_blocking};

/// The one writer of a file.
#[derive(Default)]
pub(crate) struct WriteQueue {
    running: Option<JoinHandle<Result<(), String>>>,
    next: Option<WriteJob>,
    deadline: Option<Duration>,
    nothing_to_do: bool,
    last_error: Option<String>,
}

/// Writes the file, or says why it could not.
pub(crate) type WriteJob = Box<dyn FnOnce() -> Result<(), String> + Send>;

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteResult {
    /// The newest content is on disk.
    Durable,
    /// The newest content could not be written; see [`WriteQueue::last_error`].
    Failed,
}

impl WriteQueue {
    /// Queues a write: after the one that is running, and in place of one that waits. `None` counts
    /// as durable at once.
    pub(crate) fn push(&mut self, job: Option<WriteJob>, now: Duration) {
        self.nothing_to_do = job.is_none();
        self.next = job;
        self.deadline = Some(now + WRITE_TIMEOUT);
        self.start();
    }

    /// Says whether the newest write has neither ended nor been given up.
    pub(crate) fn is_writing(&self) -> bool {
        self.deadline.is_some()
    }

    /// Returns why the last write failed.
    pub(crate) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Waits for the end of the newest write. Giving up the wait changes nothing.
    pub(crate) async fn wait_result(&mut self, clock: &Clock) -> WriteResult {
        loop {
            if std::mem::take(&mut self.nothing_to_do) {
                self.deadline = None;
                self.last_error = None;
                return WriteResult::Durable;
            }
            let deadline = self.deadline;
            let stalled = async {
                match deadline {
                    Some(time) => clock.wait_until(time).await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                ended = join_slot(&mut self.running) => ended,
                () = stalled => {
                    self.deadline = None;
                    self.last_error = Some("the write has not ended for 30 s".into());
                    return WriteResult::Failed;
                }
            };
            if self.next.is_some() {
                self.start();
                continue;
            }
            self.deadline = None;
            self.last_error = match ended {
                Some(Ok(())) => None,
                Some(Err(reason)) => Some(reason),
                None => Some("the write ended in a panic".into()),
            };
            return if self.last_error.is_none() {
                WriteResult::Durable
            } else {
                WriteResult::Failed
            };
        }
    }

    fn start(&mut self) {
        if self.running.is_none()
            && let Some(write) = self.next.take()
        {
            self.running = Some(spawn_blocking(write));
        }
    }
}

impl fmt::Debug for WriteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (running, next) = (self.running.is_some(), self.next.is_some());
        let mut debug = f.debug_struct("WriteQueue");
        debug.field("running", &running).field("next", &next);
        debug.field("last_error", &self.last_error).finish_non_exhaustive()
    }
}

/// After this time a write counts as failed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
