//! How the session gets its tokens: the task that owns it, and one attempt after another.

mod connect_error;
pub(crate) mod context;
pub mod endpoint;
pub(crate) mod login_attempts;
pub(crate) mod loop_detection;
pub(crate) mod me;
pub(crate) mod permission_cache;
pub(crate) mod probe;
mod response_body;
pub(crate) mod revocation;
pub(crate) mod shared;
pub(crate) mod task;
pub(crate) mod token_response;
pub(crate) mod totp;

mod basic_fetch;
mod fleet_fetch;
mod fleet_issuer;
pub(super) mod fleet_source;
mod login;
mod login_proof;
mod outcome;
mod saved_session;
mod token_fetch;
