//! What an engine is and what it lacks, for a person who sets it up.
//!
//! Each command that the crate uses is tried, on keys of its own that are removed again: an engine says
//! of no user in advance what the user may do. What a managed engine does not tell (`CONFIG`, sometimes
//! `INFO`) is said, and is no fault.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use redis::{Cmd, RedisError, Value};

use super::address::{Address, Place, Server};
use super::client::{Engine, Options};
use super::connection::ConnectError;
use super::finding::{Finding, findings};
use crate::script::{COMMANDS, Keyspace};

/// What an engine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examination {
    /// `redis` or `valkey` and its version, if the engine tells.
    pub program: Option<(String, String)>,
    /// How it is reached.
    pub transport: Transport,
    /// The median of five.
    pub round_trip: Duration,
    /// The engine's clock less the caller's, in milliseconds.
    pub clock: i64,
    /// What the user lacks: `+command`, `~pattern of keys` or `&pattern of channels`.
    pub missing: Vec<String>,
    /// Commands that the engine does not have.
    pub unknown: Vec<String>,
    /// The line that gives the user what the crate needs, and nothing else.
    pub acl: String,
    /// The `maxmemory-policy`, if the engine tells.
    pub eviction: Option<String>,
    /// Whether memory has a limit, if the engine tells.
    pub has_memory_limit: Option<bool>,
    /// What survives a restart, if the engine tells.
    pub persistence: Option<Persistence>,
    /// The role and the number of its replicas, if the engine tells.
    pub role: Option<(String, u64)>,
    /// Why it takes no writes: the code of its error.
    pub refuses_writes: Option<String>,
    /// Whether it answers `CONFIG GET`.
    pub has_config: bool,
}

/// How an engine is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// TLS, with its certificate verified.
    #[default]
    Tls,
    /// Plain, and only over loopback.
    Loopback,
    /// A Unix socket.
    Unix,
}

/// What survives a restart of the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Persistence {
    /// Whether there is an append-only file.
    pub file: bool,
    /// How often the file is synced, if the engine tells.
    pub fsync: Option<String>,
    /// Whether snapshots are made, if the engine tells.
    pub snapshots: Option<bool>,
    /// Whether the last write of either failed.
    pub is_failing: bool,
}

impl Examination {
    /// Returns what a person should know, the worst first.
    pub fn findings(&self) -> Vec<Finding> {
        findings(self)
    }
}

/// Examines the engine of `options`; `wall` is the caller's clock, in milliseconds since 1970.
///
/// # Errors
///
/// A [`ConnectError`] if there is no connection; everything else is a finding.
pub async fn examine(
    options: Options,
    wall: impl Fn() -> u64,
) -> Result<Examination, ConnectError> {
    let (transport, keyspace) = (transport(&options.address), options.keyspace.clone());
    let database = options.address.database;
    let user = options.username.clone().unwrap_or_else(|| USER.to_owned());
    let mut engine = Engine::new(options.clone());
    engine.connect().await?;
    let mut found = Examination { transport, ..Examination::default() };
    measure(&mut engine, wall, &mut found).await;
    for (name, command) in trials(&keyspace, database) {
        let answer = engine.send_raw(&command).await;
        found.note(name, &keyspace, answer);
    }
    found.try_scripts(&mut engine, &keyspace).await;
    found.try_hints(options, &keyspace).await;
    for key in scratch(&keyspace) {
        let _denied = engine.send_raw(redis::cmd("DEL").arg(key)).await;
    }
    if let Ok(info) = engine.info().await {
        found.read_info(&info.fields);
    }
    found.read_config(&mut engine).await;
    found.missing.sort();
    found.missing.dedup();
    let has_file_wait = !found.unknown.iter().any(|one| one == "waitaof");
    found.acl = acl(&user, &keyspace, database, has_file_wait);
    Ok(found)
}

/// Returns the line that lets a user do what the crate does, and nothing else. The user's password
/// stays as it is; a new user needs `>PASSWORD` after `on`.
pub fn acl(user: &str, keyspace: &Keyspace, database: i64, has_file_wait: bool) -> String {
    let pattern = keyspace.pattern();
    let commands: Vec<String> = COMMANDS
        .iter()
        .filter(|name| has_file_wait || **name != "waitaof")
        .filter(|name| database != 0 || **name != "select")
        .map(|name| format!("+{name}"))
        .collect();
    format!(
        "ACL SETUSER {user} on resetkeys ~{pattern} resetchannels &{pattern} -@all {}",
        commands.join(" ")
    )
}

fn transport(address: &Address) -> Transport {
    match &address.place {
        Place::Server(Server::Unix(_)) => Transport::Unix,
        Place::Server(Server::Tcp { tls: true, .. }) | Place::Sentinel { tls: true, .. } => {
            Transport::Tls
        }
        Place::Server(Server::Tcp { .. }) | Place::Sentinel { .. } => Transport::Loopback,
    }
}

async fn measure(engine: &mut Engine, wall: impl Fn() -> u64, found: &mut Examination) {
    let mut trips = vec![];
    for _ in 0..5 {
        let (began, before) = (Instant::now(), wall());
        let answer = engine.send_raw(&redis::cmd("TIME")).await;
        let trip = began.elapsed();
        if let Some(time) = answer.ok().and_then(milliseconds) {
            let half = u64::try_from(trip.as_millis()).unwrap_or_default() / 2;
            let here = i64::try_from(before + half).unwrap_or(i64::MAX);
            found.clock = i64::try_from(time).unwrap_or(i64::MAX) - here;
        }
        trips.push(trip);
    }
    trips.sort();
    found.round_trip = trips[trips.len() / 2];
}

fn milliseconds(value: Value) -> Option<u64> {
    let (seconds, micros): (u64, u64) = redis::from_redis_value(value).ok()?;
    Some(seconds * 1_000 + micros / 1_000)
}

/// Keys for the trials: a string and a hash.
fn scratch(keyspace: &Keyspace) -> [String; 2] {
    let pattern = keyspace.pattern();
    let base = pattern.trim_end_matches('*');
    [format!("{base}examine"), format!("{base}examine-hash")]
}

/// One harmless use of each command, but for scripts and hints.
fn trials(keyspace: &Keyspace, database: i64) -> Vec<(&'static str, Cmd)> {
    let [string, hash] = scratch(keyspace);
    let (string, hash) = (string.as_str(), hash.as_str());
    let number = database.to_string();
    let mut words: Vec<(&'static str, Vec<&str>)> = vec![
        ("info", vec!["server"]),
        ("role", vec![]),
        ("time", vec![]),
        ("set", vec![string, "1"]),
        ("get", vec![string]),
        ("exists", vec![string]),
        ("pexpire", vec![string, "60000"]),
        ("pttl", vec![string]),
        ("hset", vec![hash, "field", "1"]),
        ("pexpire", vec![hash, "60000"]),
        ("hsetnx", vec![hash, "field", "1"]),
        ("hget", vec![hash, "field"]),
        ("hmget", vec![hash, "field"]),
        ("hgetall", vec![hash]),
        ("hkeys", vec![hash]),
        ("hvals", vec![hash]),
        ("hlen", vec![hash]),
        ("hincrby", vec![hash, "field", "1"]),
        ("hdel", vec![hash, "field"]),
        ("del", vec![string, hash]),
        ("wait", vec!["0", "1"]),
        ("waitaof", vec!["0", "0", "1"]),
    ];
    if database != 0 {
        words.push(("select", vec![&number]));
    }
    let command = |(name, words): (&'static str, Vec<&str>)| {
        let mut command = redis::cmd(name);
        command.arg(words);
        (name, command)
    };
    words.into_iter().map(command).collect()
}

impl Examination {
    fn note(&mut self, name: &str, keyspace: &Keyspace, answer: Result<Value, RedisError>) {
        let Err(error) = answer else { return };
        let text = error.detail().unwrap_or_default();
        match error.code() {
            Some("NOPERM") if text.contains("channel") => {
                self.missing.push(format!("&{}", keyspace.pattern()));
            }
            Some("NOPERM") if text.contains("to run") => self.missing.push(format!("+{name}")),
            Some("NOPERM") => self.missing.push(format!("~{}", keyspace.pattern())),
            Some("ERR") if text.contains("unknown command") => self.unknown.push(name.to_owned()),
            Some(code @ ("READONLY" | "MISCONF" | "OOM" | "NOREPLICAS" | "LOADING")) => {
                self.refuses_writes = Some(code.to_owned());
            }
            // A wait without a file, and what only a broken connection says.
            Some(_) | None => {}
        }
    }

    /// The script does nothing: what real ones call was tried word by word.
    async fn try_scripts(&mut self, engine: &mut Engine, keyspace: &Keyspace) {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg("return 1");
        let loaded = engine.send_raw(&load).await;
        let hash: String = loaded
            .as_ref()
            .ok()
            .and_then(|value| redis::from_redis_value(value.clone()).ok())
            .unwrap_or_else(|| "0".repeat(40));
        self.note("script|load", keyspace, loaded);
        let mut run = redis::cmd("EVALSHA");
        run.arg(hash).arg(1).arg(&scratch(keyspace)[0]);
        let answer = engine.send_raw(&run).await;
        self.note("evalsha", keyspace, answer);
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(keyspace.hints()).arg("");
        let answer = engine.send_raw(&publish).await;
        self.note("publish", keyspace, answer);
    }

    async fn try_hints(&mut self, options: Options, keyspace: &Keyspace) {
        if let Err(ConnectError::Greeting(error)) = Engine::hints(options).await {
            self.note("subscribe", keyspace, Err(error));
        }
    }

    fn read_info(&mut self, fields: &BTreeMap<String, String>) {
        let get = |name: &str| fields.get(name).map(|value| value.trim().to_owned());
        let valkey = get("valkey_version").map(|version| ("valkey".to_owned(), version));
        let redis = || get("redis_version").map(|version| ("redis".to_owned(), version));
        self.program = valkey.or_else(redis);
        self.eviction = get("maxmemory_policy");
        self.has_memory_limit = get("maxmemory").map(|limit| limit != "0");
        self.persistence = get("aof_enabled").map(|file| Persistence {
            file: file == "1",
            fsync: None,
            snapshots: None,
            is_failing: ["aof_last_write_status", "rdb_last_bgsave_status"]
                .iter()
                .any(|name| get(name).is_some_and(|status| status != "ok")),
        });
        let replicas = get("connected_slaves").and_then(|count| count.parse().ok());
        self.role = get("role").map(|role| (role, replicas.unwrap_or_default()));
    }

    /// Asks for what `INFO` does not have.
    async fn read_config(&mut self, engine: &mut Engine) {
        let mut command = redis::cmd("CONFIG");
        command.arg("GET").arg("appendfsync").arg("save").arg("maxmemory-policy");
        let Ok(answer) = engine.send_raw(&command).await else { return };
        let Ok(values) = redis::from_redis_value::<BTreeMap<String, String>>(answer) else {
            return;
        };
        self.has_config = true;
        if let Some(persistence) = &mut self.persistence {
            persistence.fsync = values.get("appendfsync").cloned();
            persistence.snapshots = values.get("save").map(|save| !save.is_empty());
        }
        let policy = values.get("maxmemory-policy").cloned();
        self.eviction = self.eviction.take().or(policy);
    }
}

/// The user in the line where the options name none.
const USER: &str = "nexudus";
