//! What the crate promises, against real engines and against a model of one.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![cfg(unix)]

mod counts;
mod engines;
mod hinted;
mod judged;
mod model;
mod own_writes;
mod simulation;
