//! The member as the session sees it, and the member's requests to the session.

use std::future::Future;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::secret::Secret;

/// The part of the member's state that decides about requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The token to send now.
    pub token: Option<SharedToken>,
    /// Whether the fleet is locked.
    pub is_locked: bool,
    /// Whether the fleet has logged out.
    pub is_logged_out: bool,
    /// Whether this machine has left the fleet.
    pub has_left: bool,
    /// Why only a person can help.
    pub needs: Option<Need>,
    /// Whether a call to the issuer or a write to the disk is under way.
    pub is_busy: bool,
    /// Whether the engine cannot be reached.
    pub is_away: bool,
    /// How many requests of the handles the member has taken.
    pub asks_taken: u64,
}

/// A token that members share, or one of this member's own while it is cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedToken {
    /// The token.
    pub access: Secret,
    /// Grows with each token.
    pub generation: u64,
    /// When the token ends, on the boot clock.
    pub expiry: Duration,
    /// How long such a token works in all.
    pub lifetime: Duration,
    /// The client id that it was issued under.
    pub client_id: String,
    /// The account.
    pub account: String,
}

/// Why only a person can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The engine has lost the record of password attempts, which count as spent.
    AttemptsLost,
    /// The password was refused, or tried too often.
    PasswordSpent,
    /// This member has no password, and the session has ended.
    NoPassword,
}

/// The session and the login that this machine brings into the fleet.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The client id of a first login.
    pub client_id: String,
    /// The client id of a session of its own while it is cut off.
    pub apart_client_id: String,
    /// The account of the stored login, and whether it takes a code; `None` without a password.
    pub login: Option<(String, bool)>,
    /// The state that the last run has kept.
    pub kept: Option<Zeroizing<Vec<u8>>>,
    /// The session that this machine had before it was a member.
    pub before: Option<Pair>,
}

/// A token pair that this machine has.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The client id that it was issued under.
    pub client_id: String,
    /// The account, if it is known.
    pub account: Option<String>,
    /// The access token.
    pub access: Secret,
    /// The refresh token.
    pub refresh: Option<Secret>,
    /// When it was received, in milliseconds since 1970.
    pub received: u64,
    /// How long the access token works.
    pub lifetime: Duration,
}

/// The chains of refresh tokens that the members know of, by client id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chains {
    /// The chain that the members share.
    pub shared: Vec<String>,
    /// Of pairs of logins that another login overtook.
    pub spares: Vec<String>,
    /// Of members that were cut off.
    pub strays: Vec<String>,
}

/// A call to the token endpoint that the member wants.
#[derive(Clone, Debug)]
pub struct Redemption {
    /// The client id to send.
    pub client_id: String,
    /// The refresh token; without one the login is offered.
    pub refresh: Option<Secret>,
    /// Whether the pair is for this member alone, which is cut off.
    pub is_apart: bool,
    /// The latest time at which the call may start, on the boot clock.
    pub starts_before: Duration,
}

/// A pair that the token endpoint gave.
#[derive(Clone, Debug)]
pub struct Redeemed {
    /// The access token.
    pub access: Secret,
    /// The refresh token.
    pub refresh: Option<Secret>,
    /// How long the access token works.
    pub lifetime: Duration,
    /// The account, where the login says it.
    pub account: Option<String>,
}

/// Why there is no pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedeemError {
    /// A definite no.
    Refused,
    /// Surely not looked at: not sent, or throttled.
    NotSent,
    /// No response says whether it was looked at: none came, or one of a gateway.
    Unanswered,
}

/// The token endpoint.
pub trait Redeem: Send + 'static {
    /// Asks for a pair, within 30 s.
    fn redeem(
        &mut self,
        wanted: Redemption,
    ) -> impl Future<Output = Result<Redeemed, RedeemError>> + Send;
}

/// The disk of this machine.
pub trait MemberStore: Send + 'static {
    /// Seals and writes what must survive a restart; says whether it is durable.
    fn save(&mut self, plain: Zeroizing<Vec<u8>>) -> impl Future<Output = bool> + Send;
}
