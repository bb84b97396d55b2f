//! A local certificate authority that can sign for a few names and for nothing else.
//!
//! [`Authority::create`] makes two certificates. The root is what others may come to trust. Its key
//! signs one issuing certificate and is then destroyed; the key has never left the function. The
//! issuing certificate carries the same limits, and only its key is kept. So a stolen key is worth
//! no more than the certificates themselves say: server certificates for the names that were given
//! at creation.
//!
//! Both certificates carry the limits because some verifiers ignore those of a trust anchor.
//!
//! Deliberately absent: storage, clocks, TLS, and any way to sign for another name or purpose.

mod authority;
mod constraints;
mod names;
mod stored;

pub use self::authority::{Authority, Error, Leaf};
pub use self::names::{MalformedNames, Names};
