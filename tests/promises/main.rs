//! What the daemon promises to its user, a file per promise, against the simulated Nexudus.
//!
//! Every test runs the real daemon in this process, on ports of its own, and a client that knows
//! nothing of it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod support;

mod drains;
mod forwards;
mod limits;
mod observes;
mod refuses;
mod secrets;
mod shields;
mod tokens;
