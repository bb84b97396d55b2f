//! What goes into a member and comes out of it.

use std::sync::Arc;
use std::time::Duration;

use super::{Command, Local};
use crate::call::{Call, CallError, Reply};
use crate::decide::Block;
use crate::fence::Fence;
use crate::record::{Incarnation, MemberInfo, Spend};
use crate::seal::Keyring;
use crate::secret::Secret;
use crate::timing::Timing;

/// What a member is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This run of the member.
    pub me: Incarnation,
    /// The keys of the profile.
    pub keys: Arc<Keyring>,
    /// The times.
    pub timing: Timing,
    /// Name and version, for people.
    pub info: MemberInfo,
    /// The client id of the fleet's first login, if this member makes it.
    pub client_id: String,
    /// The client id of a chain of its own: never that of the fleet.
    pub apart_client_id: String,
    /// The login, if this member has one.
    pub password: Option<Password>,
    /// Whether an account with one-time codes may log in while the member is cut off.
    pub partition_login: bool,
}

/// What is known of a login without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Password {
    /// The account.
    pub account: String,
    /// Whether it takes a one-time code.
    pub needs_code: bool,
}

/// The time at an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The boot clock, which never jumps.
    pub boot: Duration,
    /// Milliseconds since 1970 by the member's wall clock: used only while the engine's is unknown.
    pub wall: u64,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The time passed.
    Tick,
    /// A hint came.
    Hinted,
    /// The call was answered, or will not be.
    Replied(Result<Reply, CallError>),
    /// The issuer answered, or will not.
    Redeemed(Result<Grant, GrantError>),
    /// The save is on disk.
    Saved,
    /// The save failed.
    SaveFailed,
    /// The upstream rejected this access token, and a probe agreed.
    Rejected(Secret),
    /// A person asks for something.
    Asked(Command),
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Perform this call.
    Call(Call),
    /// Ask the issuer.
    Redeem(Redemption),
    /// Write this to disk, fsynced.
    Save(Box<Local>),
    /// Come back then, by the boot clock, with [`Event::Tick`].
    WakeAt(Duration),
    /// Say this in the log.
    Note(Note),
}

/// A request to the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redemption {
    /// The client id to send.
    pub client_id: String,
    /// The refresh token; without one, the password is used.
    pub refresh: Option<Secret>,
    /// Whether this is for a chain of the member's own.
    pub is_apart: bool,
    /// The latest time at which the request may start, by the boot clock.
    pub starts_before: Duration,
}

/// A pair that the issuer gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The access token.
    pub access: Secret,
    /// The refresh token.
    pub refresh: Option<Secret>,
    /// How long the access token works.
    pub lifetime: Duration,
    /// The account, if the issuer or the login says it.
    pub account: Option<String>,
}

/// Why there is no pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantError {
    /// A definite no.
    Refused,
    /// Surely not processed: not sent, or throttled.
    NotSent,
    /// No answer that says whether it was processed: none at all, or one of a gateway.
    Unanswered,
}

/// What the log should say, and what a history records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// An intent was written.
    Intended {
        /// The fence of the lease.
        fence: Fence,
        /// What is spent.
        spend: Spend,
        /// Whether another member's open intent on the same is known, and the wait for it is over.
        is_over_another: bool,
        /// Whether the engine made it durable.
        is_durable: bool,
    },
    /// It ended: its outcome is known and written down.
    Resolved(Fence),
    /// A pair is served now.
    Serving(Fence),
    /// A login or logout is known now.
    Epoch(Fence),
    /// The engine was found behind.
    Behind,
    /// Another member's open intent is waited for.
    Waiting,
    /// A person is needed.
    Blocked(Block),
    /// A chain of its own was opened.
    Apart,
}

/// A token to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The token.
    pub access: Secret,
    /// Its generation; none for a chain of the member's own.
    pub generation: Option<Fence>,
    /// The epoch that it belongs to.
    pub epoch: Fence,
    /// When it ends, by the boot clock.
    pub expiry: Duration,
}
