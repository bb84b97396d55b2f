//! The client of an engine: transitions on one connection, draws and hints on another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, PushInfo, PushKind, RedisError, Value};
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::address::{Address, Server};
use super::connection::{ConnectError, Connection, Dial};
use super::durability::{self, Durability, Reached, ReplicaCount};
use super::sentinel;
use crate::call::{Call, CallError, Reply};
use crate::script::{self, Keyspace, SCRIPTS};
use crate::secret::Secret;
use crate::timing::Timing;

/// What a client needs.
#[derive(Clone)]
pub struct Options {
    /// Where the engine is.
    pub address: Address,
    /// The user of the ACL, if it is not the default one.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// Trust anchors, and a client certificate where the engine wants one.
    pub tls: Option<Arc<ClientConfig>>,
    /// The names of the keys.
    pub keyspace: Keyspace,
    /// How durable a write has to be.
    pub durability: Durability,
    /// Longest time for one call, and for its durability.
    pub timeout: Duration,
    /// The times of the protocol.
    pub timing: Timing,
}

/// The client for transitions.
pub struct Engine {
    link: Link,
    replicas: ReplicaCount,
    reached: Reached,
}

/// Something changed in the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A record, which a poll reads.
    Records,
    /// A pause or the windows, which [`Call::Pace`] reads too.
    Pace,
}

/// What an engine says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineInfo {
    /// The lines `name:value` of `INFO`; empty where the user may not ask.
    pub fields: BTreeMap<String, String>,
}

/// A connection that is opened when it is needed, by one attempt at a time.
struct Link {
    options: Options,
    connection: Option<Connection>,
    server: Option<Server>,
    hashes: Vec<String>,
    pushes: Option<mpsc::UnboundedSender<PushInfo>>,
    failures: u32,
    /// No attempt before, and why the last one failed.
    not_before: Option<(Instant, CallError)>,
}

impl Engine {
    /// Makes a client that connects with its first call.
    pub fn new(options: Options) -> Self {
        let replicas = ReplicaCount::new(options.timing.share);
        Self { link: Link::new(options, None), replicas, reached: Reached::default() }
    }

    /// Performs a call, and waits until what it wrote is durable.
    ///
    /// # Errors
    ///
    /// A [`CallError`]; only some of them say that the call was not performed.
    pub async fn call(&mut self, call: &Call) -> Result<Reply, CallError> {
        let (index, arguments) = script::encode(call, &self.link.options.timing);
        let value = self.link.run(index, &arguments).await?;
        let reply = script::decode(call, value)?;
        if reply == (Reply::Done { is_durable: false }) {
            return self.make_durable(call).await;
        }
        Ok(reply)
    }

    /// Connects, and says why it cannot.
    pub(super) async fn connect(&mut self) -> Result<(), ConnectError> {
        self.link.connect().await
    }

    /// Sends a command, and returns the engine's own error.
    pub(super) async fn send_raw(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        self.link.send_now(command).await
    }

    async fn make_durable(&mut self, call: &Call) -> Result<Reply, CallError> {
        let is_needless = matches!(call, Call::Release { .. } | Call::Leave { .. });
        if is_needless || self.link.options.durability == Durability::None {
            return Ok(Reply::Done { is_durable: true });
        }
        let longest = self.link.options.timeout;
        let Some(connection) = &mut self.link.connection else { return Err(CallError::Away) };
        let waited = durability::wait(&mut connection.redis, &mut self.replicas, longest);
        // The write was made: whatever becomes of the wait, only its durability is in doubt.
        self.reached = match timeout(longest * 2 + GRACE, waited).await {
            Ok(Ok(reached)) => reached,
            Ok(Err(_)) | Err(_) => {
                self.link.failed(CallError::Away);
                return Ok(Reply::Done { is_durable: false });
            }
        };
        Ok(Reply::Done { is_durable: self.reached.is_enough() })
    }

    /// Returns what the last write reached.
    pub fn reached(&self) -> Reached {
        self.reached
    }

    /// Returns the server of the connection, if there is one.
    pub fn server(&self) -> Option<&Server> {
        self.link.server.as_ref()
    }

    /// Asks the engine what it is.
    ///
    /// # Errors
    ///
    /// [`CallError::Denied`] where the user may not ask: managed engines often refuse it.
    pub async fn info(&mut self) -> Result<EngineInfo, CallError> {
        let value = self.link.send(&redis::cmd("INFO")).await?;
        let text: String = redis::from_redis_value(value).map_err(|_| CallError::Malformed)?;
        let fields = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(EngineInfo { fields })
    }

    /// Opens the second connection and listens on it for hints, until the receiver is dropped or
    /// the connection ends.
    ///
    /// # Errors
    ///
    /// A [`ConnectError`].
    pub async fn hints(options: Options) -> Result<mpsc::Receiver<Hint>, ConnectError> {
        let (pushes, mut pushed) = mpsc::unbounded_channel();
        let channel = options.keyspace.hints();
        let mut link = Link::new(options, Some(pushes));
        link.connect().await?;
        let Some(connection) = &mut link.connection else { return Err(ConnectError::Timeout) };
        connection.redis.subscribe(channel).await.map_err(ConnectError::Greeting)?;
        // A few hints wait at most: more of them say nothing more.
        let (hints, receiver) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Some(push) = pushed.recv().await {
                if push.kind == PushKind::Disconnection || hints.is_closed() {
                    break;
                }
                if push.kind == PushKind::Message {
                    let is_pace = push.data.last().is_some_and(says_pace);
                    let _full = hints.try_send(if is_pace { Hint::Pace } else { Hint::Records });
                }
            }
            drop(link);
        });
        Ok(receiver)
    }
}

impl Link {
    fn new(options: Options, pushes: Option<mpsc::UnboundedSender<PushInfo>>) -> Self {
        Self {
            options,
            connection: None,
            server: None,
            hashes: vec![],
            pushes,
            failures: 0,
            not_before: None,
        }
    }

    /// Runs a script; loads the scripts again where the engine has forgotten them.
    async fn run(&mut self, index: usize, arguments: &[Vec<u8>]) -> Result<Value, CallError> {
        self.ensure().await?;
        for _ in 0..2 {
            if self.hashes.is_empty() {
                self.load().await?;
            }
            let mut command = redis::cmd("EVALSHA");
            let keys = self.options.keyspace.keys();
            command.arg(&self.hashes[index]).arg(keys.len()).arg(keys).arg(arguments);
            match self.send_now(&command).await {
                Err(error) if error.code() == Some("NOSCRIPT") => self.hashes.clear(),
                Err(error) => return Err(self.judge(&error)),
                Ok(value) => return Ok(value),
            }
        }
        Err(CallError::Malformed)
    }

    async fn load(&mut self) -> Result<(), CallError> {
        let mut hashes = vec![];
        for script in SCRIPTS {
            let mut command = redis::cmd("SCRIPT");
            command.arg("LOAD").arg(script);
            let value = self.send(&command).await?;
            hashes.push(redis::from_redis_value(value).map_err(|_| CallError::Malformed)?);
        }
        self.hashes = hashes;
        Ok(())
    }

    async fn send(&mut self, command: &Cmd) -> Result<Value, CallError> {
        self.ensure().await?;
        self.send_now(command).await.map_err(|error| self.judge(&error))
    }

    async fn send_now(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        let longest = self.options.timeout;
        let Some(connection) = &mut self.connection else { return Err(gone()) };
        match timeout(longest, connection.redis.send_packed_command(command)).await {
            Ok(Ok(value)) => value.extract_error(),
            Ok(Err(error)) => Err(error),
            Err(_elapsed) => Err(gone()),
        }
    }

    async fn ensure(&mut self) -> Result<(), CallError> {
        if self.connection.is_some() {
            return Ok(());
        }
        if let Some((at, why)) = self.not_before
            && Instant::now() < at
        {
            return Err(why);
        }
        self.connect().await.map_err(|error| judge_connect(&error))
    }

    async fn connect(&mut self) -> Result<(), ConnectError> {
        let dial = Dial {
            username: self.options.username.clone(),
            password: self.options.password.clone(),
            database: self.options.address.database,
            tls: self.options.tls.clone(),
            timeout: self.options.timeout,
        };
        let opened = async {
            let server = sentinel::find(&self.options.address, &dial).await?;
            let connection = Connection::open(&server, &dial, self.pushes.clone()).await?;
            Ok((server, connection))
        };
        match opened.await {
            Ok((server, connection)) => {
                (self.server, self.connection) = (Some(server), Some(connection));
                (self.failures, self.not_before) = (0, None);
                self.hashes.clear();
                Ok(())
            }
            Err(error) => {
                self.failed(judge_connect(&error));
                Err(error)
            }
        }
    }

    /// Drops the connection, and spreads the next attempts of many members.
    fn failed(&mut self, why: CallError) {
        let (first, longest) = self.options.timing.retry;
        // One that was open, as after a restart of the engine, is opened again soon.
        let first = if self.connection.take().is_some() { first / 8 } else { first };
        let wait = (first * 2_u32.saturating_pow(self.failures.min(16))).min(longest);
        self.failures += 1;
        self.not_before = Some((Instant::now() + wait.mul_f64(jitter()), why));
    }

    fn judge(&mut self, error: &RedisError) -> CallError {
        match error.code() {
            Some("NOPERM" | "NOAUTH" | "WRONGPASS") => CallError::Denied,
            Some("READONLY" | "MASTERDOWN" | "LOADING") => {
                // Another server may be the primary now.
                self.failed(CallError::Unwritable);
                CallError::Unwritable
            }
            Some("NOREPLICAS" | "OOM" | "MISCONF" | "BUSY" | "CLUSTERDOWN" | "TRYAGAIN") => {
                CallError::Unwritable
            }
            Some(_) => CallError::Malformed,
            None => {
                self.failed(CallError::Away);
                CallError::Away
            }
        }
    }
}

fn judge_connect(error: &ConnectError) -> CallError {
    if matches!(error, ConnectError::Denied) { CallError::Denied } else { CallError::Away }
}

/// Says whether the message of a hint is of `pace.lua`.
fn says_pace(message: &Value) -> bool {
    matches!(message, Value::BulkString(bytes) if bytes == b"pace")
}

fn gone() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// Returns a number from 0.5 to 1.
fn jitter() -> f64 {
    let mut byte = [0];
    aws_lc_rs::rand::fill(&mut byte).expect("the system has randomness");
    0.5 + f64::from(byte[0]) / 510.0
}

/// What the engine may take longer to answer a wait than it was told.
const GRACE: Duration = Duration::from_millis(500);
