//! The stores in which a person can trust the localhost authority: added to and removed from by the
//! programs that own them.
//!
//! Deliberately absent: any way to add the intercept authority, or a root that could vouch for more
//! than this machine ([`ConstrainedRoot`](super::ConstrainedRoot)).

mod anchors;
mod change;
mod error;
mod nss;
mod place;
mod program;
mod record;

pub use self::error::TrustError;
pub use self::place::{Removal, TrustStore};
pub use self::record::{TrustEntry, TrustRecord};
