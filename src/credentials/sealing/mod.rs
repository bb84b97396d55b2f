//! Sealed files: a key, a purpose, and the origin and profile that a file is bound to.
//!
//! The session (`session/store`) and the login (`sealed_login.rs`) are sealed in the same way, under
//! keys that are derived apart.

pub(crate) mod binding;
pub(crate) mod crypto;
