//! Writes of the pair, one at a time and in order.
//!
//! A write that does not end is reported as failed after [`STALLED`], so that the session can go
//! on without it; but no second one is started beside it, or the older could end last.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::flight::Step;
use super::keeper::{apart_blocking, join};
use super::record::Record;
use super::saved::Saved;
use crate::clock::Clock;

/// The one writer.
#[derive(Debug, Default)]
pub(super) struct Writer {
    running: Option<JoinHandle<Result<(), String>>>,
    next: Option<(Arc<Saved>, Record)>,
    seen: Option<fn(Step)>,
    deadline: Option<Duration>,
    nothing_to_do: bool,
    trouble: Option<String>,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    /// The newest pair is at rest.
    Durable,
    /// It is not; see [`Writer::trouble`].
    Failed,
}

impl Writer {
    /// Writes `what`, after the write that is running if there is one. Nothing to write is
    /// durable at once.
    pub(super) fn write(
        &mut self,
        what: Option<(Arc<Saved>, Record)>,
        seen: fn(Step),
        now: Duration,
    ) {
        self.seen = Some(seen);
        self.nothing_to_do = what.is_none();
        self.next = what;
        self.deadline = Some(now + STALLED);
        self.start();
    }

    /// Returns why the last write failed.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Waits for the end of the newest write. Giving up the wait changes nothing.
    pub(super) async fn ended(&mut self, clock: &Clock) -> Wrote {
        loop {
            if std::mem::take(&mut self.nothing_to_do) {
                self.deadline = None;
                self.trouble = None;
                return Wrote::Durable;
            }
            let deadline = self.deadline;
            let stalled = async {
                match deadline {
                    Some(time) => clock.reaches(time).await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                ended = join(&mut self.running) => ended,
                () = stalled => {
                    self.deadline = None;
                    self.trouble = Some("the write has not ended for 30 s".into());
                    return Wrote::Failed;
                }
            };
            if self.next.is_some() {
                self.start();
                continue;
            }
            self.deadline = None;
            self.trouble = match ended {
                Some(Ok(())) => None,
                Some(Err(reason)) => Some(reason),
                None => Some("the write ended in a panic".into()),
            };
            return if self.trouble.is_none() { Wrote::Durable } else { Wrote::Failed };
        }
    }

    fn start(&mut self) {
        if self.running.is_none()
            && let Some((saved, record)) = self.next.take()
        {
            let seen = self.seen;
            let write = move || {
                if let Some(seen) = seen {
                    seen(Step::Writing);
                }
                saved.write(&record).map_err(|error| error.to_string())
            };
            self.running = Some(apart_blocking(write));
        }
    }
}

/// After this time a write counts as failed.
const STALLED: Duration = Duration::from_secs(30);
