//! How durable a write is: the append-only file where it can be waited for, and every replica.
//!
//! `WAIT` and `WAITAOF` count the writes of their own connection only, so they run on the connection
//! that wrote. A primary that is cut off loses sight of its replicas and would then ask none: the
//! largest number of replicas seen lately is what counts.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};

/// What is asked of the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The file where the engine can wait for it, and all replicas.
    #[default]
    Auto,
    /// Nothing is waited for.
    None,
}

/// What the last write reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Whether the primary has it in its append-only file; `None` if the engine cannot tell.
    pub file: Option<bool>,
    /// Replicas that have it.
    pub replicas: u64,
    /// Replicas that should.
    pub expected: u64,
}

impl Reached {
    /// Says whether the write is where it should be.
    pub fn is_enough(&self) -> bool {
        self.file != Some(false) && self.replicas >= self.expected
    }

    /// Says whether the engine promises anything at all.
    pub fn is_none(&self) -> bool {
        self.file.is_none() && self.expected == 0
    }
}

/// How many replicas there were, over a while.
#[derive(Debug)]
pub(super) struct ReplicaCount {
    memory: Duration,
    seen: VecDeque<(Instant, u64)>,
}

impl ReplicaCount {
    pub(super) fn new(memory: Duration) -> Self {
        Self { memory, seen: VecDeque::new() }
    }

    /// Notes how many there are, and returns how many there were at most within the memory.
    pub(super) fn note(&mut self, now: Instant, count: u64) -> u64 {
        while self.seen.front().is_some_and(|(at, _)| now.duration_since(*at) > self.memory) {
            self.seen.pop_front();
        }
        while self.seen.back().is_some_and(|(_, last)| *last <= count) {
            self.seen.pop_back();
        }
        self.seen.push_back((now, count));
        self.seen.front().map_or(count, |(_, most)| *most)
    }
}

/// Waits until the writes of this connection are durable, for at most `longest`.
pub(super) async fn wait(
    connection: &mut MultiplexedConnection,
    replicas: &mut ReplicaCount,
    longest: Duration,
) -> RedisResult<Reached> {
    let connected = connected_replicas(connection).await?;
    let expected = replicas.note(Instant::now(), connected);
    let millis = longest.as_millis().max(1).to_string();
    let mut aof = redis::cmd("WAITAOF");
    aof.arg(1).arg(0).arg(&millis);
    let file = match connection.send_packed_command(&aof).await {
        Ok(Value::Array(counts)) => Some(matches!(counts.first(), Some(Value::Int(1)))),
        Ok(_) => None,
        // Unknown before 7.2, refused without a file, or not in the user's ACL.
        Err(error) if error.is_io_error() || error.is_connection_dropped() => return Err(error),
        Err(_) => None,
    };
    let mut reached = Reached { file, replicas: 0, expected };
    if expected > 0 {
        let mut wait = redis::cmd("WAIT");
        wait.arg(expected).arg(&millis);
        let count = connection.send_packed_command(&wait).await?;
        reached.replicas = redis::from_redis_value(count).unwrap_or_default();
    }
    Ok(reached)
}

/// Asks by `ROLE`, which has the replicas and nothing else; an engine that refuses it has none that
/// we could know of.
async fn connected_replicas(connection: &mut MultiplexedConnection) -> RedisResult<u64> {
    match connection.send_packed_command(&redis::cmd("ROLE")).await {
        Ok(Value::Array(parts)) => {
            let Some(Value::Array(replicas)) = parts.get(2) else { return Ok(0) };
            Ok(replicas.len() as u64)
        }
        Ok(_) => Ok(0),
        Err(error) if error.is_io_error() || error.is_connection_dropped() => Err(error),
        Err(_) => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_that_loses_sight_of_its_replicas_still_owes_them() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut count = ReplicaCount::new(Duration::from_secs(600));

        assert_eq!(count.note(at(0), 2), 2);
        assert_eq!(count.note(at(10), 0), 2);
        assert_eq!(count.note(at(20), 1), 2);
        assert_eq!(count.note(at(601), 0), 1);
        assert_eq!(count.note(at(1_300), 0), 0);
    }

    #[test]
    fn a_write_is_where_it_should_be_only_with_every_replica_and_the_file() {
        let reached = |file, replicas, expected| Reached { file, replicas, expected };
        assert!(reached(None, 0, 0).is_enough() && reached(None, 0, 0).is_none());
        assert!(reached(Some(true), 2, 2).is_enough());
        assert!(!reached(Some(false), 2, 2).is_enough());
        assert!(!reached(Some(true), 1, 2).is_enough());
    }
}
