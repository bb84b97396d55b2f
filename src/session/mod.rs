//! The bearer token: who holds it, when it is renewed.
//!
//! Requests look at the latest state and never wait while a valid token exists. One task
//! (`keeper.rs`) owns the state (`state.rs`), asks the issuer (`issuer.rs`) and keeps the pair at
//! rest (`saved.rs`).
