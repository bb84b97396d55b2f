//! What a member asks the engine, and what the engine answers. One script performs one call.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::behind::Behind;
use crate::fence::Fence;
use crate::pace::{LaneAsk, Paced, Windows};
use crate::quota::{Ask, Counted};
use crate::record::Incarnation;
use crate::register::Stored;

/// A call to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Reads what is new, and notes the caller as alive.
    Poll {
        /// The caller.
        me: Incarnation,
        /// The highest fence that the caller has seen.
        seen: Fence,
        /// Whether the caller has written again everything that it has.
        has_reported: bool,
        /// The fences of the registers that the caller has.
        have: BTreeMap<String, Fence>,
        /// What the caller says of itself, sealed.
        info: Stored,
        /// The number of this poll.
        number: u64,
        /// The last number that the engine has answered; 0 if that was long ago.
        answered: u64,
    },
    /// Takes the lease, if it is free or the caller's.
    Acquire {
        /// The caller.
        me: Incarnation,
        /// The highest fence that the caller has seen.
        seen: Fence,
        /// Whether the caller takes it although the engine was found behind.
        is_settled: bool,
        /// The number of the caller's last poll that the engine has answered; 0 if that was long ago.
        answered: u64,
    },
    /// Writes down what is about to be spent.
    Intend {
        /// The caller.
        me: Incarnation,
        /// The fence of its lease.
        lease: Fence,
        /// The generation in the record that the decision rests on.
        known: Fence,
        /// The sealed intent.
        intent: Stored,
        /// The try of the password that it is, sealed.
        attempts: Option<Stored>,
    },
    /// Stores a pair.
    Commit {
        /// The caller.
        me: Incarnation,
        /// The sealed session; its fence is the generation.
        session: Stored,
        /// Spares that are dead now.
        drop: Vec<Fence>,
    },
    /// Keeps a pair that lost its commit.
    Spare {
        /// The sealed spare; its fence is the generation.
        spare: Stored,
    },
    /// Ends the lease, if it is the caller's, and an intent.
    Release {
        /// The caller.
        me: Incarnation,
        /// The fence of the lease.
        lease: Fence,
        /// Whether the lease is kept.
        keeps_lease: bool,
        /// An intent whose outcome is known.
        ends: Option<Fence>,
    },
    /// Stores a register.
    Put {
        /// Where.
        place: Place,
        /// The name of the register.
        name: String,
        /// The sealed record.
        stored: Stored,
        /// The fence of what stands there and does not open: it is replaced.
        unopened: Option<Fence>,
    },
    /// Draws a fence.
    Draw {
        /// The highest fence that the caller has seen.
        seen: Fence,
    },
    /// Reads the whole set.
    ReadSet,
    /// Shares a pause and windows, and asks for slots.
    Pace {
        /// The caller.
        me: Incarnation,
        /// The lanes.
        lanes: Vec<LaneAsk>,
        /// The time until its next call.
        horizon: Duration,
    },
    /// Takes units of what clients may use, and tells what they used.
    Count {
        /// The caller.
        me: Incarnation,
        /// The counters.
        asks: Vec<Ask>,
        /// The time until its next call.
        horizon: Duration,
    },
    /// Takes a member off the list.
    Leave {
        /// The member.
        me: Incarnation,
    },
}

/// The two collections of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Session, epoch, lock, attempts.
    Registers,
    /// Clients and strays.
    Set,
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Call::Poll`].
    Polled(Snapshot),
    /// To [`Call::Acquire`]: the caller holds the lease.
    Acquired {
        /// The fence of the lease.
        fence: Fence,
        /// Everything that a decision rests on.
        snapshot: Snapshot,
    },
    /// To [`Call::Acquire`]: another member holds it for so long.
    Held(Duration),
    /// To [`Call::Acquire`]: the engine was found behind.
    Behind(Behind),
    /// The write was made.
    Done {
        /// Whether it is as durable as the engine can make it.
        is_durable: bool,
    },
    /// The lease is not the caller's any more.
    Lost,
    /// The engine has something newer, or the epoch is.
    Stale,
    /// To [`Call::Draw`].
    Drawn(Fence),
    /// To [`Call::Pace`]: one answer for each lane.
    Paced(Vec<Paced>),
    /// To [`Call::Count`]: one answer for each counter.
    Counted(Vec<Counted>),
    /// To [`Call::ReadSet`].
    Set {
        /// The revision.
        revision: String,
        /// Its records.
        records: Vec<(String, Stored)>,
    },
}

/// What the engine holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The engine's time, in milliseconds since 1970.
    pub now: u64,
    /// Registers; after a poll only those that differ from what the caller has.
    pub registers: BTreeMap<String, Stored>,
    /// Registers that stand there as the caller has them, after a poll.
    pub same: Vec<String>,
    /// Open intents.
    pub intents: Vec<Stored>,
    /// Spares.
    pub spares: Vec<Stored>,
    /// Members, and how long ago each was seen.
    pub members: BTreeMap<Incarnation, (Duration, Stored)>,
    /// The revision of the set.
    pub revision: String,
    /// Whether the engine was found behind.
    pub behind: Option<Behind>,
    /// The member that holds the lease.
    pub lease: Option<Incarnation>,
    /// The rest of the pause and the windows of each lane, after a poll.
    pub paces: BTreeMap<String, (Duration, Windows)>,
}

/// Why a call has no answer. Whether it was performed is unknown, unless the variant says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The engine cannot be reached, or did not answer in time.
    #[error("the engine cannot be reached")]
    Away,
    /// The engine answers, but writes nothing: a replica, loading, full, or short of replicas. Not
    /// performed.
    #[error("the engine accepts no writes now")]
    Unwritable,
    /// The engine refuses the user or the command. Not performed.
    #[error("the engine refuses this user")]
    Denied,
    /// The engine answered something else.
    #[error("the engine gave an answer that the protocol does not have")]
    Malformed,
}
