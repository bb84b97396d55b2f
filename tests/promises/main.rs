//! What the daemon promises to its user, a file per promise, against the simulated Nexudus.
//!
//! Most tests run the real daemon in this process, on ports of its own, and a client that knows
//! nothing of it; where a process must die, they run the real program.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod support;

mod answers;
mod callers;
mod calls;
mod connects;
mod crowds;
mod drains;
mod floods;
mod forwards;
mod framing;
mod fuzzed;
mod heads;
mod keys;
mod limits;
mod logins;
mod memory;
mod misplaced;
mod observes;
mod paces;
mod reaches;
mod refuses;
mod rejected;
mod relays;
mod replies;
mod secrets;
mod shields;
mod sockets;
mod spellings;
mod survives;
mod tells;
mod tokens;
mod uploads;
