//! Named clients: their keys, the policy of each, and what each has used.
//!
//! The commands change the file ([`add`], [`revoke`]), also while no daemon runs. The daemon reads
//! the file's metadata on every request that carries a key (about a microsecond; other requests
//! cost nothing). So a revoked key is refused from the next request on, and the daemon needs no
//! notification. The gateway decides whether a request is within a client's rules.

mod change;
mod error;
mod key;
mod key_scanner;
mod store;
mod usage;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::key::KeyHash;
use self::usage::{Usage, UsageCounter};
use crate::clock::Clock;
use crate::config::{Rate, Rule};

pub use self::change::ClientChange;
pub use self::error::{Error, KeyError, QuotaError};
pub use self::key::{LENGTH as KEY_LENGTH, PREFIX, is_well_formed};
pub use self::key_scanner::{
    MAX_DECODED_BYTES, REDACTED, contains_key, contains_key_start, contains_key_start_within,
    contains_key_within, loggable_path,
};
pub use self::store::wire as limits_json;
pub use self::store::{StoredClient, add, list, revoke};

/// The requests that a client may send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientPolicy {
    /// Whether the client may only read.
    pub read_only: bool,
    /// Unless empty, one of these rules must match a request.
    pub allow: Vec<Rule>,
    /// None of these rules may match a request.
    pub deny: Vec<Rule>,
    /// When the key stops working.
    pub expires: Option<SystemTime>,
    /// Most requests in a span of time.
    pub rate: Option<Rate>,
    /// Most requests in all.
    pub max_requests: Option<u64>,
}

impl ClientPolicy {
    /// Says whether the key has expired.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// The allowed requests, in short: `read only, +GET /api/spaces/**`.
impl fmt::Display for ClientPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = |sign: char, rules: &[Rule]| -> Vec<String> {
            rules.iter().map(|rule| format!("{sign}{rule}")).collect()
        };
        let read_only = self.read_only.then(|| "read only".to_owned());
        let parts = read_only.into_iter().chain(signed('+', &self.allow));
        let parts: Vec<_> = parts.chain(signed('-', &self.deny)).collect();
        f.write_str(&if parts.is_empty() { "everything".to_owned() } else { parts.join(", ") })
    }
}

/// The clients of one profile. Clones share them.
#[derive(Clone, Debug)]
pub struct Clients(Arc<ClientsInner>);

#[derive(Debug)]
struct ClientsInner {
    directory: PathBuf,
    cached: Mutex<CachedClients>,
    shared: Arc<ClientContext>,
}

/// The clock and the counts that all clients share.
#[derive(Debug)]
struct ClientContext {
    clock: Clock,
    counter: UsageCounter,
}

#[derive(Debug, Default)]
struct CachedClients {
    /// The file that was read; `None`: never read.
    stamp: Option<FileStamp>,
    clients: Vec<Arc<Client>>,
    is_readable: bool,
    usage: BTreeMap<String, Arc<Usage>>,
}

/// A client that has presented a valid key.
#[derive(Debug)]
pub struct Client {
    name: Arc<str>,
    stored: StoredClient,
    usage: Arc<Usage>,
    shared: Arc<ClientContext>,
}

/// The status of one client.
#[derive(Clone, Debug)]
pub struct ClientStatus {
    /// The client's name.
    pub name: String,
    /// The requests that the client may send.
    pub limits: ClientPolicy,
    /// Whether its key has expired.
    pub is_expired: bool,
    /// When the client was added.
    pub created: SystemTime,
    /// Requests allowed since the daemon started.
    pub requests: u64,
    /// Requests refused for its rate or its count since then.
    pub refused: u64,
    /// Time since its last request, if there was one since the daemon started.
    pub idle: Option<Duration>,
    /// Requests counted against its limit, across restarts.
    pub counted: Option<u64>,
}

impl Clients {
    /// Takes the directory of the clients' file; reads nothing yet.
    pub fn new(directory: &Path, clock: Clock) -> Self {
        let directory = directory.to_owned();
        let shared = Arc::new(ClientContext { clock, counter: UsageCounter::new(&directory) });
        Self(Arc::new(ClientsInner { directory, cached: Mutex::default(), shared }))
    }

    /// Returns the directory of the clients' file: the profile's state.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Returns the client that has this key.
    ///
    /// # Errors
    ///
    /// Why the key is refused.
    pub fn authenticate(&self, presented: &[u8]) -> Result<Arc<Client>, KeyError> {
        let hash = KeyHash::from_key(presented).ok_or(KeyError::Unknown)?;
        let mut cached = self.0.cached.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.reload_if_changed(&mut cached);
        if !cached.is_readable {
            return Err(KeyError::Unreadable);
        }
        // All keys are compared, so that the time does not depend on which one matches.
        let found = cached.clients.iter().fold(None, |found, client| {
            if client.stored.hash.matches(&hash) { Some(client) } else { found }
        });
        let client = found.ok_or(KeyError::Unknown)?.clone();
        if client.stored.limits.is_expired(self.0.shared.clock.now().wall) {
            return Err(KeyError::Expired);
        }
        Ok(client)
    }

    /// Waits until the key of `client` is no longer valid, so that a long response or a WebSocket
    /// ends with the key.
    pub async fn wait_invalid(&self, client: &Client) {
        while self.is_valid(client) {
            tokio::time::sleep(KEY_POLL_INTERVAL).await;
        }
    }

    fn is_valid(&self, client: &Client) -> bool {
        let mut cached = self.0.cached.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.reload_if_changed(&mut cached);
        let now = self.0.shared.clock.now().wall;
        let mut same = cached.clients.iter().filter(|other| other.stored.id == client.stored.id);
        same.any(|client| !client.stored.limits.is_expired(now))
    }

    /// Returns the status of each client, in the order in which they were added. `None` if the file
    /// cannot be read, so that every key is refused.
    pub fn statuses(&self) -> Option<Vec<ClientStatus>> {
        let mut cached = self.0.cached.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.reload_if_changed(&mut cached);
        cached.is_readable.then(|| cached.clients.iter().map(|client| client.status()).collect())
    }

    /// Writes the counts of used requests when the daemon ends.
    pub fn flush(&self) {
        let cached = self.0.cached.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_known = |id: &str| {
            !cached.is_readable || cached.clients.iter().any(|client| client.stored.id == id)
        };
        if let Err(error) = self.0.shared.counter.flush(is_known) {
            tracing::warn!(%error, "could not write the clients' request counts");
        }
    }

    /// Reads the file if it was replaced.
    fn reload_if_changed(&self, cached: &mut CachedClients) {
        let stamp = FileStamp::from_path(&store::store_path(&self.0.directory));
        if cached.stamp.as_ref() == Some(&stamp) {
            return;
        }
        cached.stamp = Some(stamp);
        match list(&self.0.directory) {
            Ok(stored) => {
                let before = std::mem::take(&mut cached.usage);
                cached.is_readable = true;
                cached.clients = stored
                    .into_iter()
                    .map(|stored| {
                        let usage = before.get(&stored.id).cloned().unwrap_or_default();
                        cached.usage.insert(stored.id.clone(), usage.clone());
                        let name = stored.name.as_str().into();
                        Arc::new(Client { name, stored, usage, shared: self.0.shared.clone() })
                    })
                    .collect();
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "all client keys are refused: could not read the clients");
                cached.is_readable = false;
                cached.clients.clear();
            }
        }
    }
}

impl Client {
    /// Returns the client's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns the unique identifier. A client that was revoked and added again has another one.
    pub fn id(&self) -> &str {
        &self.stored.id
    }

    /// Returns the requests that the client may send.
    pub fn policy(&self) -> &ClientPolicy {
        &self.stored.limits
    }

    /// Consumes one request of the rate and of the total count.
    ///
    /// # Errors
    ///
    /// Which of the two is used up.
    pub fn consume(&self) -> Result<(), QuotaError> {
        let now = self.shared.clock.now();
        let limits = &self.stored.limits;
        let outcome = (|| {
            if let Some(rate) = limits.rate {
                self.usage.acquire(rate, now.boot).map_err(QuotaError::Rate)?;
            }
            let Some(most) = limits.max_requests else { return Ok(()) };
            match self.shared.counter.consume(&self.stored.id, most) {
                Ok(true) => Ok(()),
                Ok(false) => Err(QuotaError::Exhausted),
                Err(error) => {
                    tracing::error!(%error, "could not write the clients' request counts");
                    Err(QuotaError::Uncounted)
                }
            }
        })();
        match outcome {
            Ok(()) => self.usage.record_request(to_unix_millis(now.wall)),
            Err(_) => {
                self.usage.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        outcome
    }

    fn status(&self) -> ClientStatus {
        let now = self.shared.clock.now().wall;
        let last = self.usage.last_request_ms.load(Ordering::Relaxed);
        let since = |last| Duration::from_millis(to_unix_millis(now).saturating_sub(last));
        let limits = self.stored.limits.clone();
        let counted = limits.max_requests.map(|_| self.shared.counter.used(&self.stored.id));
        ClientStatus {
            name: self.stored.name.clone(),
            is_expired: limits.is_expired(now),
            limits,
            created: self.stored.created,
            requests: self.usage.requests.load(Ordering::Relaxed),
            refused: self.usage.refused.load(Ordering::Relaxed),
            idle: (last != 0).then(|| since(last)),
            counted: counted.and_then(Result::ok),
        }
    }
}

/// How soon a long response or a WebSocket ends after its key was revoked or has expired.
const KEY_POLL_INTERVAL: Duration = Duration::from_secs(1);

fn to_unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Identifies one version of the file: a replaced file has another inode.
#[derive(Debug, PartialEq, Eq)]
struct FileStamp(Option<(u64, u64, i64, i64, u64)>);

impl FileStamp {
    #[cfg(unix)]
    fn from_path(path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let found = std::fs::metadata(path).ok();
        Self(found.map(|it| (it.dev(), it.ino(), it.ctime(), it.ctime_nsec(), it.size())))
    }

    #[cfg(not(unix))]
    fn from_path(path: &Path) -> Self {
        let found = std::fs::metadata(path).ok();
        let changed = found.as_ref().and_then(|it| it.modified().ok()).map_or(0, to_unix_millis);
        Self(found.map(|it| (changed, 0, 0, 0, it.len())))
    }
}

#[cfg(test)]
mod tests;
