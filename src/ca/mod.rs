//! The two certificate authorities for connections to ourselves, and what they sign.
//!
//! *intercept* covers the configured hosts, for programs that cannot change their base URL.
//! *localhost* covers this machine alone, for programs that insist on `https://localhost`. Neither
//! can sign for anything else (`ca/` is a crate of its own, and says how).

mod kind;
mod leaf_issuer;
mod live;
mod local_tls;
mod store;
mod trust;

pub use constrained_ca::{Authority, ConstrainedRoot, Error, Names};

pub use self::kind::{AUTHORITY_LIFETIME, AuthorityKind, EXPIRY_NOTICE, localhost_root};
pub use self::leaf_issuer::LeafIssuer;
pub use self::live::LiveAuthorities;
pub use self::local_tls::LocalTls;
pub use self::store::{AuthorityStore, StoreError};
pub use self::trust::{Removal, TrustEntry, TrustError, TrustRecord, TrustStore};
