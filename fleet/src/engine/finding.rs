//! What a person should know about an engine, and what to do about it.

use std::fmt;

use super::examine::{Examination, Transport};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The fleet does not work on this engine, or not safely.
    Wrong,
    /// A crash or a burst would hurt.
    Risky,
    /// Worth knowing.
    Told,
}

/// Something about an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The version is too old.
    Version(String, String),
    /// The user may not do what the crate does.
    Denied(Vec<String>),
    /// The server is a replica.
    Replica,
    /// The server takes no writes, and says so by this code.
    Unwritable(String),
    /// The server removes keys when its memory is full.
    Evicts(String, bool),
    /// The last write of its file or of its snapshot failed.
    Failing,
    /// Nothing survives a restart.
    Volatile,
    /// Up to a minute of writes and more is lost with a crash.
    SnapshotsOnly,
    /// The system decides when the file is synced.
    Unsynced,
    /// No replica: the engine is one machine.
    Alone,
    /// The durability of the file cannot be waited for.
    NoFileWait,
    /// The clocks differ by so many milliseconds.
    Clock(i64),
    /// The round trip takes so many milliseconds.
    Slow(u128),
    /// The engine does not tell what it is.
    NoInfo,
    /// The engine does not tell its configuration.
    NoConfig,
}

impl Finding {
    /// Says how bad it is.
    pub fn level(&self) -> Level {
        match self {
            Self::Version(..) | Self::Denied(_) | Self::Replica | Self::Unwritable(_) => {
                Level::Wrong
            }
            Self::Evicts(_, true) | Self::Failing => Level::Wrong,
            Self::Evicts(_, false) | Self::Volatile | Self::SnapshotsOnly | Self::Unsynced => {
                Level::Risky
            }
            Self::Slow(_) => Level::Risky,
            Self::Alone | Self::NoFileWait | Self::Clock(_) | Self::NoInfo | Self::NoConfig => {
                Level::Told
            }
        }
    }

    /// Says what a person can do about it, if there is something.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Version(..) => "Use Redis 7.0 or newer, or Valkey 8 or newer.",
            Self::Denied(_) => "Give the user the ACL line of this report.",
            Self::Replica => "Name the primary, or the sentinels, in fleet.engine.",
            Self::Unwritable(_) | Self::Failing => {
                "Look into the engine's log: a full disk, a full memory or missing replicas."
            }
            Self::Evicts(..) => "Set `maxmemory-policy noeviction` in the engine's configuration.",
            Self::Volatile | Self::SnapshotsOnly => {
                "Set `appendonly yes` in the engine's configuration."
            }
            Self::Unsynced => "Set `appendfsync everysec` in the engine's configuration.",
            Self::Slow(_) => "Use an engine in the same region.",
            Self::Clock(_) => "Let both machines set their clocks by NTP.",
            Self::Alone | Self::NoFileWait | Self::NoInfo | Self::NoConfig => return None,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(program, version) => write!(f, "{program} {version} is too old"),
            Self::Denied(missing) => write!(f, "the user lacks {}", missing.join(" ")),
            Self::Replica => f.write_str("the server is a replica"),
            Self::Unwritable(code) => write!(f, "the engine takes no writes: {code}"),
            Self::Evicts(policy, true) => {
                write!(f, "maxmemory-policy is {policy}: the engine removes records of the fleet")
            }
            Self::Evicts(policy, false) => {
                write!(f, "maxmemory-policy is {policy}: with a limit it would remove records")
            }
            Self::Failing => f.write_str("the engine could not write to its disk"),
            Self::Volatile => f.write_str("nothing in the engine survives its restart"),
            Self::SnapshotsOnly => f.write_str("a crash loses what is newer than a snapshot"),
            Self::Unsynced => f.write_str("appendfsync is no: a crash of the machine loses writes"),
            Self::Alone => f.write_str("the engine has no replica"),
            Self::NoFileWait => f.write_str("the engine cannot wait for its append-only file"),
            Self::Clock(by) => write!(f, "the engine's clock differs by {by} ms"),
            Self::Slow(by) => write!(f, "the engine answers after {by} ms"),
            Self::NoInfo => f.write_str("the engine does not tell its version and persistence"),
            Self::NoConfig => f.write_str("the engine does not tell its configuration"),
        }
    }
}

pub(super) fn findings(found: &Examination) -> Vec<Finding> {
    let mut all = vec![];
    match &found.program {
        Some((program, version)) if is_old(program, version) => {
            all.push(Finding::Version(program.clone(), version.clone()));
        }
        Some(_) => {}
        None => all.push(Finding::NoInfo),
    }
    if !found.missing.is_empty() {
        all.push(Finding::Denied(found.missing.clone()));
    }
    match &found.role {
        Some((role, _)) if role != "master" => all.push(Finding::Replica),
        Some((_, 0)) => all.push(Finding::Alone),
        Some(_) | None => {}
    }
    // A replica has said so already.
    all.extend(
        found.refuses_writes.clone().filter(|code| code != "READONLY").map(Finding::Unwritable),
    );
    if let Some(policy) = found.eviction.as_ref().filter(|policy| *policy != "noeviction") {
        all.push(Finding::Evicts(policy.clone(), found.has_memory_limit != Some(false)));
    }
    all.extend(persistence(found));
    if found.unknown.iter().any(|name| name == "waitaof") {
        all.push(Finding::NoFileWait);
    }
    if found.clock.abs() > CLOCK {
        all.push(Finding::Clock(found.clock));
    }
    // Over a socket and loopback a slow answer is a busy machine's.
    if found.transport == Transport::Tls && found.round_trip.as_millis() > SLOW {
        all.push(Finding::Slow(found.round_trip.as_millis()));
    }
    if !found.has_config {
        all.push(Finding::NoConfig);
    }
    all.sort_by_key(Finding::level);
    all
}

fn persistence(found: &Examination) -> Vec<Finding> {
    let Some(persistence) = &found.persistence else { return vec![] };
    let mut all = vec![];
    if persistence.is_failing {
        all.push(Finding::Failing);
    }
    match (persistence.file, persistence.snapshots, persistence.fsync.as_deref()) {
        (true, _, Some("no")) => all.push(Finding::Unsynced),
        (true, ..) => {}
        (false, Some(false), _) => all.push(Finding::Volatile),
        (false, Some(true) | None, _) => all.push(Finding::SnapshotsOnly),
    }
    all
}

/// Says whether the version is before Redis 7.0 or Valkey 8.
fn is_old(program: &str, version: &str) -> bool {
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    let least = if program == "valkey" { 8 } else { 7 };
    major.is_some_and(|major| major < least)
}

/// Pairs are dated by the engine's clock alone, so that this much does no harm.
const CLOCK: i64 = 5_000;

/// Five round trips and two waits stand between a lease and its commit.
const SLOW: u128 = 200;
