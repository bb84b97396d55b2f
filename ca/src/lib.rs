//! A local certificate authority that can sign for a few names and for nothing else.
//!
#![doc = include_str!("../README.md")]
//!
//! Deliberately absent: storage, clocks, TLS, and any way to sign for another name or purpose.

mod authority;
mod constraints;
mod names;
mod root;
mod stored;

pub use self::authority::{Authority, Error, Leaf};
pub use self::names::{MalformedNames, Names};
pub use self::root::{ConstrainedRoot, NotConstrained};
