//! Named callers: their keys, how far each may go, and what each has used.
//!
//! The commands change the file ([`add`], [`revoke`]), also while no daemon runs. The daemon looks
//! at the file's metadata on every request that carries a key (about a microsecond, and nothing for
//! the others), so that a revoked key is refused from the next request on without anybody being
//! told. Whether a request is within the rules is the gateway's to judge.

mod key;
mod scan;
mod store;
mod usage;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::key::KeyHash;
use self::usage::{Usage, UsageCounter};
use crate::clock::Clock;
use crate::config::{Rate, Rule};

pub use self::key::{LENGTH as KEY_LENGTH, PREFIX, is_well_formed};
pub use self::scan::{
    MAX_DECODED_BYTES, REDACTED, contains_key, contains_key_start, contains_key_start_within,
    contains_key_within, loggable_path,
};
pub use self::store::{StoredClient, add, list, revoke};

/// How far a client may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientPolicy {
    /// It may only read.
    pub read_only: bool,
    /// Unless empty, one of these must be about the request.
    pub allow: Vec<Rule>,
    /// None of these may be.
    pub deny: Vec<Rule>,
    /// When its key stops working.
    pub expires: Option<SystemTime>,
    /// How often it may call.
    pub rate: Option<Rate>,
    /// How often it may call in all.
    pub max_requests: Option<u64>,
}

impl ClientPolicy {
    /// Says whether it has expired.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// What it may ask for, in short: `read only, +GET /api/spaces/**`.
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

/// Why the clients could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is there, and cannot be read.
    #[error("could not read the clients in {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not what we write.
    #[error("the clients in {} are damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In what way.
        what: String,
    },
    /// The file could not be replaced; what was there before still is.
    #[error("could not write the clients to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A name that cannot be given.
    #[error("`{name}` is not a name for a client")]
    Name {
        /// The name.
        name: String,
    },
    /// A name that is taken.
    #[error("there is a client `{name}` already")]
    Exists {
        /// The name.
        name: String,
    },
    /// A name that nobody has.
    #[error("there is no client `{name}`")]
    Missing {
        /// The name.
        name: String,
    },
}

/// Why a key is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Never given, or revoked.
    #[error("the client key is unknown or revoked")]
    Unknown,
    /// Its time is over.
    #[error("the client key has expired")]
    Expired,
    /// Nobody can tell: the file is damaged.
    #[error("the client key cannot be checked, the file of clients is unreadable")]
    Unreadable,
}

/// Why a client may not call now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// Not so fast.
    #[error("the client calls more often than its rate allows")]
    Rate(Duration),
    /// Not any more.
    #[error("the client has used up its requests")]
    Exhausted,
    /// Its use could not be written down, and without that its limit would mean nothing.
    #[error("the client's requests cannot be counted")]
    Uncounted,
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

/// What a client needs of all of them.
#[derive(Debug)]
struct ClientContext {
    clock: Clock,
    counter: UsageCounter,
}

#[derive(Debug, Default)]
struct CachedClients {
    /// Which file this was read from; `None`: never read.
    stamp: Option<FileStamp>,
    clients: Vec<Arc<Client>>,
    is_readable: bool,
    usage: BTreeMap<String, Arc<Usage>>,
}

/// A client who has shown a good key.
#[derive(Debug)]
pub struct Client {
    name: Arc<str>,
    stored: StoredClient,
    usage: Arc<Usage>,
    shared: Arc<ClientContext>,
}

/// What is known of one client.
#[derive(Clone, Debug)]
pub struct ClientStatus {
    /// Its name.
    pub name: String,
    /// How far it may go.
    pub limits: ClientPolicy,
    /// Whether its time is over.
    pub is_expired: bool,
    /// When it was made.
    pub created: SystemTime,
    /// Requests let through since the daemon started.
    pub requests: u64,
    /// Requests refused for its rate or its count since then.
    pub refused: u64,
    /// Time since it last called, if it has since the daemon started.
    pub idle: Option<Duration>,
    /// Requests counted against its limit, across restarts.
    pub counted: Option<u64>,
}

impl Clients {
    /// Takes the clients from `directory`; reads nothing yet.
    pub fn new(directory: &Path, clock: Clock) -> Self {
        let directory = directory.to_owned();
        let shared = Arc::new(ClientContext { clock, counter: UsageCounter::new(&directory) });
        Self(Arc::new(ClientsInner { directory, cached: Mutex::default(), shared }))
    }

    /// Returns the client whose key this is.
    ///
    /// # Errors
    ///
    /// Why it is nobody's, or nobody's any more.
    pub fn authenticate(&self, presented: &[u8]) -> Result<Arc<Client>, KeyError> {
        let hash = KeyHash::from_key(presented).ok_or(KeyError::Unknown)?;
        let mut known = self.0.cached.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.reload_if_changed(&mut known);
        if !known.is_readable {
            return Err(KeyError::Unreadable);
        }
        // Every one is compared, whether found or not.
        let found = known.clients.iter().fold(None, |found, client| {
            if client.stored.hash.matches(&hash) { Some(client) } else { found }
        });
        let client = found.ok_or(KeyError::Unknown)?.clone();
        match client.stored.limits.is_expired(self.0.shared.clock.now().wall) {
            true => Err(KeyError::Expired),
            false => Ok(client),
        }
    }

    /// Waits until the key of `client` is not good any more, for whoever serves it that long.
    pub async fn wait_invalid(&self, client: &Client) {
        while self.is_valid(client) {
            tokio::time::sleep(KEY_POLL_INTERVAL).await;
        }
    }

    fn is_valid(&self, client: &Client) -> bool {
        let mut known = self.0.cached.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.reload_if_changed(&mut known);
        let now = self.0.shared.clock.now().wall;
        let mut same = known.clients.iter().filter(|other| other.stored.id == client.stored.id);
        same.any(|client| !client.stored.limits.is_expired(now))
    }

    /// Returns what is known of each, in the order in which they were made; `None` if the file
    /// cannot be read, so that every key is refused.
    pub fn statuses(&self) -> Option<Vec<ClientStatus>> {
        let mut known = self.0.cached.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.reload_if_changed(&mut known);
        known.is_readable.then(|| known.clients.iter().map(|client| client.status()).collect())
    }

    /// Writes down what has been used: the daemon ends.
    pub fn flush(&self) {
        let known = self.0.cached.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_known = |id: &str| {
            !known.is_readable || known.clients.iter().any(|client| client.stored.id == id)
        };
        if let Err(error) = self.0.shared.counter.flush(is_known) {
            tracing::warn!(%error, "could not write down what clients have used");
        }
    }

    /// Reads the file if it is another than before.
    fn reload_if_changed(&self, known: &mut CachedClients) {
        let stamp = FileStamp::from_path(&store::store_path(&self.0.directory));
        if known.stamp.as_ref() == Some(&stamp) {
            return;
        }
        known.stamp = Some(stamp);
        match list(&self.0.directory) {
            Ok(kept) => {
                let before = std::mem::take(&mut known.usage);
                known.is_readable = true;
                known.clients = kept
                    .into_iter()
                    .map(|kept| {
                        let usage = before.get(&kept.id).cloned().unwrap_or_default();
                        known.usage.insert(kept.id.clone(), usage.clone());
                        let name = kept.name.as_str().into();
                        Arc::new(Client {
                            name,
                            stored: kept,
                            usage,
                            shared: self.0.shared.clone(),
                        })
                    })
                    .collect();
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "client keys are refused until this is repaired");
                known.is_readable = false;
                known.clients.clear();
            }
        }
    }
}

impl Client {
    /// Returns its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns what tells it from every other client, also from one of the same name before it.
    pub fn id(&self) -> &str {
        &self.stored.id
    }

    /// Returns how far it may go.
    pub fn policy(&self) -> &ClientPolicy {
        &self.stored.limits
    }

    /// Takes one request from its rate and its count.
    ///
    /// # Errors
    ///
    /// Which of the two is used up.
    pub fn consume(&self) -> Result<(), QuotaError> {
        let now = self.shared.clock.now();
        let limits = &self.stored.limits;
        let spent = (|| {
            if let Some(rate) = limits.rate {
                self.usage.acquire(rate, now.boot).map_err(QuotaError::Rate)?;
            }
            let Some(most) = limits.max_requests else { return Ok(()) };
            match self.shared.counter.consume(&self.stored.id, most) {
                Ok(true) => Ok(()),
                Ok(false) => Err(QuotaError::Exhausted),
                Err(error) => {
                    tracing::error!(%error, "could not write down what clients have used");
                    Err(QuotaError::Uncounted)
                }
            }
        })();
        match spent {
            Ok(()) => self.usage.record_request(to_unix_millis(now.wall)),
            Err(_) => {
                self.usage.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        spent
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

/// How soon a key that is revoked, or whose time is over, ends what goes on under it.
const KEY_POLL_INTERVAL: Duration = Duration::from_secs(1);

fn to_unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What tells one version of the file from the next: a replaced file is another inode.
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
