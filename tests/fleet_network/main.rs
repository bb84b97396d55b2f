//! A fleet of real programs in network namespaces: five members, a primary with two replicas and three
//! sentinels, the simulator as issuer, and callers who never rest. Links are cut, processes are ended and
//! stopped, engines fail, answers are lost.
//!
//! Each scenario is judged by what the issuer saw and by what the callers were told. The numbers of the
//! promises (I1 to I7) are those of `fleet/README.md`.
//!
//! The members are the program itself. Their times are the real ones divided by [`FASTER`], which only a
//! program that was built for development allows.

#![cfg(all(target_os = "linux", feature = "fleet"))]
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod cut_links;
mod ended_members;
mod engines;
mod failing_engines;
mod judge;
mod members;
mod namespaces;
mod odd_answers;
mod stage;
mod traffic;

use std::io::Write as _;
use std::time::{Duration, Instant};

/// Waits for a condition of which no event tells: it is another process's.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Adds the end of a log to the report of a test that fails.
fn report(of: &str, log: &str) {
    let lines: Vec<_> = log.lines().collect();
    let last = &lines[lines.len().saturating_sub(60)..];
    drop(writeln!(std::io::stderr(), "--- {of}\n{}", last.join("\n")));
}

/// How many times faster than real ones the members live.
const FASTER: u32 = 20;

/// Longer than a lease of such a member: 90 s divided by [`FASTER`], and a moment.
const LEASE: Duration = Duration::from_secs(5);

/// `fleet.clients_stale` of such a member.
const CLIENTS_STALE: Duration = Duration::from_secs(15);

const EMAIL: &str = "ada@example.test";
const PASSWORD: &str = "marker-password-7f3a";

/// What callers ask Nexudus for.
const TARGET: &str = "/api/spaces/coworkers";
