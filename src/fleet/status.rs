//! The state of a fleet as one member knows it: `GET /v1/fleet` and `fleet status`.

use serde::{Deserialize, Serialize};

/// The state of a fleet as one member knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetStatus {
    /// Whether this machine shares its session at all.
    pub configured: bool,
    /// The name of this member.
    pub name: String,
    /// The server that the engine's address leads to now.
    pub engine: Option<String>,
    /// Whether the engine answers.
    pub connected: bool,
    /// Why not.
    pub trouble: Option<String>,
    /// Time since its last answer.
    pub silent_s: Option<u64>,
    /// Time of the last round trip.
    pub round_trip_ms: Option<u64>,
    /// Whether the engine is behind what its members know: nothing is spent meanwhile.
    pub behind: bool,
    /// The highest fence that this member has seen.
    pub fence: u64,
    /// The fence of the last login or logout.
    pub epoch: u64,
    /// The fence under which the shared pair was asked for.
    pub generation: u64,
    /// Whether the pair is known to be in the engine.
    pub committed: bool,
    /// Whether this member is renewing the session right now.
    pub holds_lease: bool,
    /// The part that this member has: `holder` of the lease, or `member`.
    #[serde(default)]
    pub role: FleetRole,
    /// The name of the member that held the lease at the last poll, if one did.
    #[serde(default)]
    pub lease: Option<String>,
    /// Whether this member serves a session of its own.
    pub apart: bool,
    /// Whether the fleet is locked.
    pub locked: bool,
    /// Whether the fleet has logged out.
    pub logged_out: bool,
    /// Whether this machine has left the fleet.
    pub left: bool,
    /// Which durability the last write reached: `none`, `file`, `replicas`, `file and replicas`, or
    /// `not reached`; `None` before the first write.
    pub durability: Option<String>,
    /// The members, this one first.
    pub members: Vec<FleetMember>,
    /// Whether the members share their named clients.
    #[serde(default)]
    pub clients_shared: bool,
    /// The named clients of the fleet.
    #[serde(default)]
    pub clients: u64,
    /// Revocations that are remembered.
    #[serde(default)]
    pub clients_revoked: u64,
    /// Named clients that are refused here, because their records do not open or cannot be read.
    #[serde(default)]
    pub clients_unopened: u64,
    /// Whether callers with keys are refused, because a revocation could be unheard.
    #[serde(default)]
    pub clients_stale: bool,
    /// Sessions that members had of their own, to be revoked at Nexudus.
    pub strays: u64,
    /// Token pairs of logins that another login overtook.
    #[serde(default)]
    pub spares: u64,
    /// The common pace of reads and of writes; empty where it is not shared.
    #[serde(default)]
    pub paces: Vec<LanePace>,
}

/// The part that a member has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FleetRole {
    /// The member holds the lease: it alone may renew the session now.
    Holder,
    /// The member serves, and renews when it is its turn.
    #[default]
    Member,
}

/// How many chains of refresh tokens a logout has ended at Nexudus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedChains {
    /// The session that the members shared, and those of this machine from before.
    pub shared: usize,
    /// Spares: pairs of logins that another login overtook.
    pub spares: usize,
    /// Sessions of members that were cut off.
    pub strays: usize,
}

/// The common pace of reads or of writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LanePace {
    /// `reads` or `writes`.
    pub lane: String,
    /// Which machine decides when a request is sent: `machine` while none was throttled, `fleet`, or
    /// `share` while this machine is cut off.
    pub paced_by: String,
    /// The windows, such as `10/100ms`; all of them hold at once.
    pub windows: Vec<String>,
    /// The path template that they hold for, unless for all.
    pub path: Option<String>,
    /// Time until which no member sends a request.
    pub paused_ms: Option<u64>,
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetMember {
    /// The name; `None`: another key, or a damaged record.
    pub name: Option<String>,
    /// The version of the program.
    pub version: Option<String>,
    /// Time since the engine last heard of the member.
    pub seen_s: u64,
    /// Whether this is the member that was asked.
    pub here: bool,
    /// Whether the member held the lease at the last poll.
    #[serde(default)]
    pub holds_lease: bool,
}

impl FleetMember {
    /// Says whether the engine has heard of the member lately: three polls.
    pub fn is_present(&self) -> bool {
        self.seen_s <= 15
    }
}
