//! The attempt to get a token: in flight, planned, or neither.

use std::time::Duration;

/// The attempt in flight, or when the next one starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// No attempt is planned: the user is needed.
    Unplanned,
    /// The next attempt starts at this time, or as soon as nothing stands in its way.
    Planned(Duration),
    /// An attempt is in flight since this time.
    Running(Duration),
    /// The last attempt is in flight: the daemon is about to stop.
    Last,
    /// No attempt starts any more.
    Stopped,
}

impl Attempt {
    pub(super) fn is_running(self) -> bool {
        matches!(self, Self::Running(_) | Self::Last)
    }

    /// Returns when the next attempt is planned, or when the one in flight began.
    pub(super) fn time(self) -> Option<Duration> {
        match self {
            Self::Planned(at) | Self::Running(at) => Some(at),
            Self::Unplanned | Self::Last | Self::Stopped => None,
        }
    }

    /// Plans the next attempt, unless one is in flight or none may start any more.
    pub(super) fn plan(&mut self, at: Duration) {
        if matches!(self, Self::Unplanned | Self::Planned(_)) {
            *self = Self::Planned(at);
        }
    }

    /// The attempt in flight has ended.
    pub(super) fn end(&mut self) {
        if self.is_running() {
            *self = if *self == Self::Last { Self::Stopped } else { Self::Unplanned };
        }
    }

    /// No attempt starts any more.
    pub(super) fn stop(&mut self) {
        *self = if self.is_running() { Self::Last } else { Self::Stopped };
    }
}
