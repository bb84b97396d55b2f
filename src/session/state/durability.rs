//! Whether the newest token pair is on disk, and the next work of the disk.

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

    fn is_erasing(self) -> bool {
        matches!(self, Self::ErasePending | Self::EraseNext | Self::Erasing)
    }

    /// Returns how many writes have failed in a row.
    fn failures(self) -> u32 {
        match self {
            Self::Writing { failures } | Self::Failed { failures, .. } => failures,
            Self::Durable | Self::ErasePending | Self::EraseNext | Self::Erasing => 0,
        }
    }

    /// Returns when a failed write is tried again.
    pub(super) fn retry_at(self) -> Option<Duration> {
        if let Self::Failed { retry_at, .. } = self { Some(retry_at) } else { None }
    }

    /// Tries a failed write again at once.
    pub(super) fn hurry(&mut self, now: Duration) {
        if let Self::Failed { retry_at, .. } = self {
            *retry_at = now;
        }
    }

    /// A new pair goes to the disk. A pair that an attempt from before a logout brings is erased
    /// with the old one.
    pub(super) fn write(&mut self) -> Action {
        let failures = self.failures();
        *self = if self.is_erasing() { Self::EraseNext } else { Self::Writing { failures } };
        Action::Store
    }

    /// A write has succeeded.
    pub(super) fn written(&mut self) {
        self.end_write(Self::Durable);
    }

    /// A write has failed.
    pub(super) fn failed(&mut self, now: Duration, jitter: Jitter) {
        let failures = self.failures().saturating_add(1);
        self.end_write(Self::Failed { failures, retry_at: now + backoff(failures, jitter) });
    }

    /// A write has ended, perhaps one that was given up before: that does not end an erasure.
    fn end_write(&mut self, end: Self) {
        if !self.is_erasing() {
            *self = end;
        } else if *self == Self::EraseNext {
            *self = Self::ErasePending;
        }
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
        if let Self::Failed { failures, retry_at } = *self
            && retry_at <= now
        {
            *self = Self::Writing { failures };
            return Some(Action::Store);
        }
        if *self == Self::ErasePending && !is_fetching {
            *self = Self::Erasing;
            return Some(Action::Erase);
        }
        None
    }
}
