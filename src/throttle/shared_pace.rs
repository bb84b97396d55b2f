//! The pace that several machines keep together, as one limiter sees it.
//!
//! Beside what this machine has learned, each paced request then takes a slot of what all machines may
//! send. How machines agree is not known here.

use std::fmt::Debug;
use std::time::Duration;

use super::window_inference::Window;

/// The pace that several machines keep together.
pub trait SharedPace: Debug + Send + Sync {
    /// Takes a slot for one of `waiting` requests, if there is one now.
    fn take(&self, now: Duration, waiting: usize) -> Turn;

    /// Tells the other machines how long Nexudus has asked this one to wait, if it has.
    fn pause(&self, until: Option<Duration>);

    /// Tells the other machines what this one has learned; returns the version of that.
    fn learn(&self, pace: &LearnedPace) -> u64;

    /// Returns what all machines know.
    fn known(&self) -> KnownPace;
}

/// Whether a request may be sent by the common pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Now.
    Now,
    /// Not before this time.
    At(Duration),
    /// Once it is known how many slots there are.
    Unknown,
    /// Now, if no other paced request is under way.
    Alone,
}

/// Learned windows, and the requests that they hold for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LearnedPace {
    /// The template of the paths; `None`: all requests of the kind.
    pub template: Option<String>,
    /// The windows; all of them hold at once. Without one, nothing was learned.
    pub windows: Vec<Window>,
}

/// The knowledge of all machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownPace {
    /// Grows whenever a machine learns something.
    pub version: u64,
    /// The newest that was learned.
    pub pace: LearnedPace,
    /// Until when no machine sends a request.
    pub paused_until: Duration,
    /// Whether there are other machines.
    pub has_others: bool,
    /// Whether this machine uses a share of its own because it cannot hear of the others.
    pub is_apart: bool,
}
