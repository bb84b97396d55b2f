//! Whether the newest token pair is on disk, and what the disk has to do next.

use std::time::Duration;

use super::event::Action;
use super::schedule::{Jitter, backoff};

/// Whether the newest token pair is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// The newest pair is on disk, or there is none.
    Durable,
    /// The newest pair is being written, after so many failures in a row.
    Writing {
        /// Failures in a row.
        failures: u32,
    },
    /// The newest pair could not be written.
    Failed {
        /// Failures in a row.
        failures: u32,
        /// When the write is tried again.
        retry_at: Duration,
    },
    /// The saved session is to be erased as soon as the attempt in flight has ended.
    ErasePending,
    /// The saved session is to be erased as soon as the write or the erasure in progress has ended.
    EraseNext,
    /// The saved session is being erased.
    Erasing,
}

impl Durability {
    pub(super) fn is_durable(self) -> bool {
        self == Self::Durable
    }

    /// Says whether the disk is at work.
    pub(super) fn is_writing(self) -> bool {
        matches!(self, Self::Writing { .. } | Self::EraseNext | Self::Erasing)
    }

    /// Returns when a failed write is tried again.
    pub(super) fn retry_at(self) -> Option<Duration> {
        match self {
            Self::Failed { retry_at, .. } => Some(retry_at),
            Self::Durable
            | Self::Writing { .. }
            | Self::ErasePending
            | Self::EraseNext
            | Self::Erasing => None,
        }
    }

    /// Tries a failed write again at once.
    pub(super) fn hurry(&mut self, now: Duration) {
        if let Self::Failed { retry_at, .. } = self {
            *retry_at = now;
        }
    }

    /// A new pair goes to the disk.
    pub(super) fn write(&mut self) -> Action {
        *self = match *self {
            Self::Durable => Self::Writing { failures: 0 },
            Self::Writing { failures } | Self::Failed { failures, .. } => {
                Self::Writing { failures }
            }
            // The attempt that brought this pair began before the logout.
            Self::ErasePending | Self::EraseNext | Self::Erasing => Self::EraseNext,
        };
        Action::Store
    }

    /// A write has succeeded.
    pub(super) fn written(&mut self) {
        *self = match *self {
            Self::Durable | Self::Writing { .. } | Self::Failed { .. } => Self::Durable,
            Self::EraseNext | Self::ErasePending => Self::ErasePending,
            // Of a write that was given up before the erasure began.
            Self::Erasing => Self::Erasing,
        };
    }

    /// A write has failed.
    pub(super) fn failed(&mut self, now: Duration, jitter: Jitter) {
        *self = match *self {
            Self::Durable => Self::failed_after(0, now, jitter),
            Self::Writing { failures } | Self::Failed { failures, .. } => {
                Self::failed_after(failures, now, jitter)
            }
            Self::EraseNext | Self::ErasePending => Self::ErasePending,
            Self::Erasing => Self::Erasing,
        };
    }

    fn failed_after(failures: u32, now: Duration, jitter: Jitter) -> Self {
        let failures = failures.saturating_add(1);
        Self::Failed { failures, retry_at: now + backoff(failures, jitter) }
    }

    /// The user has logged out.
    pub(super) fn erase(&mut self) {
        *self = if self.is_writing() { Self::EraseNext } else { Self::ErasePending };
    }

    /// An erasure has ended.
    pub(super) fn erased(&mut self) {
        *self = if *self == Self::EraseNext { Self::ErasePending } else { Self::Durable };
    }

    /// Starts what is due on the disk.
    pub(super) fn start(&mut self, now: Duration, is_fetching: bool) -> Option<Action> {
        match *self {
            Self::Failed { failures, retry_at } if retry_at <= now => {
                *self = Self::Writing { failures };
                Some(Action::Store)
            }
            Self::ErasePending if !is_fetching => {
                *self = Self::Erasing;
                Some(Action::Erase)
            }
            Self::Durable
            | Self::Writing { .. }
            | Self::Failed { .. }
            | Self::ErasePending
            | Self::EraseNext
            | Self::Erasing => None,
        }
    }
}
