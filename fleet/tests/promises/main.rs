//! What the crate promises, against real engines.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![cfg(unix)]

mod engines;
