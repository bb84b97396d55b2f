//! A checker over a recorded history: what the issuer saw, and what the members did.
//!
//! The recorder writes down facts with one clock. [`check()`] returns every promise that they break.

mod check;

use std::fmt;
use std::time::Duration;

pub use self::check::check;
use crate::fence::Fence;

/// The number of a member; its restarts have the same one.
pub type MemberId = u32;

/// A fact and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// When, by the recorder's clock.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The member runs and reaches the engine and the issuer, from now on.
    Connected(MemberId),
    /// It does not, from now on.
    Apart(MemberId),
    /// A request to the issuer left.
    Posted {
        /// The request.
        request: u64,
        /// By whom.
        member: MemberId,
        /// The refresh token; none with a password.
        token: Option<String>,
        /// The fence of the intent; none for a chain of the member's own.
        intent: Option<Fence>,
        /// The epoch that the member knew.
        epoch: Fence,
    },
    /// The request has an outcome at the member.
    Ended {
        /// The request.
        request: u64,
        /// Whether the issuer refused it; `None` without an answer, or after one: the member's run
        /// has ended.
        is_refused: Option<bool>,
    },
    /// The member wrote an intent.
    Intended {
        /// By whom.
        member: MemberId,
        /// Its fence.
        fence: Fence,
        /// Whether another open intent on the same was known, and waited for.
        is_over_another: bool,
        /// Whether it was durable.
        is_durable: bool,
    },
    /// The intent ended with its outcome written down.
    Resolved(Fence),
    /// The engine was emptied or restored: what members did not keep is gone.
    EngineLost,
    /// The member learned of an epoch.
    SawEpoch(MemberId, Fence),
    /// The member sent a token of this epoch or generation.
    Used(MemberId, Fence),
    /// The member gave an error to a client, although it had a valid token.
    Failed(MemberId),
    /// A client was revoked, and the engine said so.
    Revoked {
        /// The client.
        client: String,
        /// Whether the engine made it durable.
        is_durable: bool,
    },
    /// A failover has lost the revocation of this client: the new primary does not have it.
    RevocationLost(String),
    /// The member has the revocation of this client on its disk.
    Knows(MemberId, String),
    /// The member served a request of this client.
    Served(MemberId, String),
    /// All faults are over.
    Healed,
    /// What the member holds after that: the access token, and whether the issuer accepts it.
    Holds {
        /// The member.
        member: MemberId,
        /// The token.
        access: Option<String>,
        /// Whether it works.
        is_live: bool,
    },
    /// A request left for the upstream, under the common rate.
    Sent(MemberId),
}

/// What the checker must know.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a member may serve a revoked client.
    pub clients_stale: Duration,
    /// The common rate, if one is shared: requests in a period.
    pub rate: Option<(u32, Duration)>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one: 1 to 7.
    pub promise: u8,
    /// When.
    pub at: Duration,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I{} at {:?}: {}", self.promise, self.at, self.what)
    }
}
