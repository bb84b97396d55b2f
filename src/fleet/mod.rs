//! Several machines share one session, through an engine that all of them reach (`[fleet]`).
//!
//! The protocol is the crate `shared-session`. Here a member of it runs: one task performs its
//! actions on the engine, and asks the session to redeem a grant ([`Redeem`]) and to write what must
//! survive a restart ([`MemberStore`]). The session reads a [`View`] of the member.
//!
//! Another task draws from the engine what all members have together: slots of the account's pace
//! ([`Lane`]) and units of clients' limits ([`SharedUnits`]).
//!
//! Without the feature `fleet` the types stay and no value of [`Fleet`] exists.

#[cfg(not(feature = "fleet"))]
mod absent;
#[cfg(feature = "fleet")]
mod client_board;
#[cfg(feature = "fleet")]
mod convert;
#[cfg(feature = "fleet")]
mod draws_board;
#[cfg(feature = "fleet")]
mod draws_state;
mod engine_report;
#[cfg(feature = "fleet")]
mod engine_task;
mod error;
#[cfg(feature = "fleet")]
mod examination;
#[cfg(feature = "fleet")]
mod handle;
#[cfg(feature = "fleet")]
mod lane_state;
#[cfg(feature = "fleet")]
mod member_task;
mod pacing;
mod shared_clients;
mod status;
#[cfg(feature = "fleet")]
mod status_board;
mod view;

#[cfg(not(feature = "fleet"))]
pub use self::absent::{Fleet, Lane, SharedUnits};
#[cfg(feature = "fleet")]
pub use self::draws_board::{Lane, SharedUnits};
pub use self::engine_report::EngineReport;
pub use self::error::FleetError;
#[cfg(feature = "fleet")]
pub use self::handle::Fleet;
pub use self::pacing::{LaneNews, SlotPermit, UnitLimit, UnitRefusal};
pub use self::shared_clients::{SharedClient, SharedClients};
pub use self::status::{EndedChains, FleetMember, FleetRole, FleetStatus, LanePace};
pub use self::view::{
    Chains, Identity, MemberStore, Need, Pair, Redeem, RedeemError, Redeemed, Redemption,
    SharedToken, View,
};
