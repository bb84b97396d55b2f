//! The promises of the simulator, over real TLS.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod access;
mod client;
mod control;
mod data;
mod faults;
mod throttle;
mod tokens;
mod transport;
