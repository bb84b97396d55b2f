//! The words in which the fleet speaks of slots and units, with and without the feature `fleet`.

use std::time::Duration;

/// Whether a request may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotPermit {
    /// Now.
    Now,
    /// Not before this reading of the boot clock.
    At(Duration),
    /// After the next answer of the engine.
    Ask,
    /// Now, if no other request of this machine is under way.
    Alone,
}

/// The part of a lane's state that the throttle follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneNews {
    /// Grows whenever a member learns something.
    pub version: u64,
    /// The requests that are paced; empty for all of the lane.
    pub scope: String,
    /// The windows: so many requests in any period of this length.
    pub windows: Vec<(u32, Duration)>,
    /// Until when no member sends a request.
    pub paused_until: Duration,
    /// Whether there are other members.
    pub has_others: bool,
    /// Whether this machine uses its share because it is cut off.
    pub is_apart: bool,
}

/// How much of a counter may be used by all members together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitLimit {
    /// So much in all.
    Total(u64),
    /// So much in a span that begins with its first use.
    Span(u64, Duration),
    /// So much at once, coming back evenly.
    Rate(u64, Duration),
}

/// Why units are not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitRefusal {
    /// The engine is asked; the number of the call that does it.
    Asked(u64),
    /// Used up, until then by the boot clock; `None`: for good.
    Spent(Option<Duration>),
    /// The engine is away, and nothing is left of what was taken ahead.
    Uncounted,
}
