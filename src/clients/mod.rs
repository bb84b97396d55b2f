//! Named clients: their keys, the policy of each, and what each has used.
//!
//! The commands change the file ([`add`], [`set`], [`rotate`], [`revoke`]), also while no daemon
//! runs. The daemon looks at the file it has read on every request that carries a key (a fraction
//! of a microsecond; other requests cost nothing). So a revoked key is refused from the next
//! request on, and the daemon needs no notification. A changed file is read and compiled, and the
//! counts are written, on other threads; only requests with a key wait for that. The gateway decides
//! whether a request is within a client's rules.

mod blocking;
mod budget;
mod budget_status;
mod change;
mod client;
mod error;
mod key;
mod key_scanner;
mod limits;
mod redaction;
mod shared_counts;
mod store;
mod table;
mod usage;
mod usage_counter;
mod web_origin;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::table::TableCell;
use self::usage_counter::UsageCounter;
use crate::clock::Clock;

pub use self::budget::{Budget, Budgets, Metered};
pub use self::budget_status::BudgetStatus;
pub use self::change::{ChangedKeys, ClientChange};
pub use self::client::{ByteMeter, Client, ClientUse};
pub use self::error::{Error, KeyError, QuotaError};
pub use self::key::{LENGTH as KEY_LENGTH, PREFIX, is_well_formed};
pub use self::key_scanner::{
    MAX_DECODED_BYTES, REDACTED, contains_key, contains_key_start, contains_key_start_within,
    contains_key_within, loggable_path,
};
pub use self::limits::{ClientPolicy, Limit, LimitChange};
pub use self::redaction::RedactionPolicy;
pub use self::shared_counts::{CountRefusal, CounterLimit, SharedCounter, SharedCounts};
pub use self::store::wire as limits_json;
pub use self::store::{ReplacedKey, StoredClient, add, list, revoke, rotate, set, undo_rotation};
pub use self::web_origin::{MalformedOrigin, WebOrigin};

/// The clients of one profile. Clones share them.
#[derive(Clone, Debug)]
pub struct Clients(Arc<ClientsInner>);

#[derive(Debug)]
struct ClientsInner {
    table: TableCell,
    shared: Arc<ClientContext>,
}

/// The clock and the counts that all clients share.
#[derive(Debug)]
struct ClientContext {
    clock: Clock,
    counter: UsageCounter,
    /// Used instead of `counter` where several machines count together.
    counts: OnceLock<Arc<dyn SharedCounts>>,
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
    /// The budgets of the client, and the used part of each.
    pub budgets: Vec<BudgetStatus>,
}

impl Clients {
    /// Takes the directory of the clients' file; reads nothing yet.
    pub fn new(directory: &Path, clock: Clock) -> Self {
        let counter = UsageCounter::new(directory);
        let shared = Arc::new(ClientContext { clock, counter, counts: OnceLock::new() });
        Self(Arc::new(ClientsInner { table: TableCell::new(directory, shared.clone()), shared }))
    }

    /// Returns the directory of the clients' file: the profile's state.
    pub fn directory(&self) -> &Path {
        self.0.table.directory()
    }

    /// Returns the client that has this key.
    ///
    /// # Errors
    ///
    /// Why the key is refused. [`KeyError::Changed`]: the file must be read again first, by
    /// [`Clients::reload`].
    pub fn authenticate(&self, presented: &[u8]) -> Result<Arc<Client>, KeyError> {
        let table = self.0.table.load();
        if !table.is_current() {
            return Err(KeyError::Changed);
        }
        if !table.is_readable {
            return Err(KeyError::Unreadable);
        }
        let client = table.find(presented).ok_or(KeyError::Unknown)?;
        if client.stored.limits.is_expired(self.0.shared.clock.now().wall) {
            return Err(KeyError::Expired);
        }
        Ok(client.clone())
    }

    /// Says whether some client names this origin of web pages.
    ///
    /// # Errors
    ///
    /// [`KeyError::Changed`], as in [`Clients::authenticate`].
    pub fn names_origin(&self, origin: &[u8]) -> Result<bool, KeyError> {
        let table = self.0.table.load();
        if !table.is_current() {
            return Err(KeyError::Changed);
        }
        Ok(str::from_utf8(origin).is_ok_and(|origin| table.names_origin(origin)))
    }

    /// Reads the file if it was replaced, on a thread for work that blocks.
    pub async fn reload(&self) {
        let inner = self.0.clone();
        // The reading goes on if this request is given up.
        blocking::run(move || inner.table.reload_if_changed()).await;
    }

    /// Reads the file if it was replaced, on this thread.
    pub fn reload_blocking(&self) {
        self.0.table.reload_if_changed();
    }

    /// Waits until the key of `client` is no longer valid, so that a long response or a WebSocket
    /// ends with the key.
    pub async fn wait_invalid(&self, client: &Client) {
        while self.is_valid(client).await {
            tokio::time::sleep(KEY_POLL_INTERVAL).await;
        }
    }

    async fn is_valid(&self, client: &Client) -> bool {
        if !self.0.table.load().is_current() {
            self.reload().await;
        }
        let now = self.0.shared.clock.now().wall;
        let table = self.0.table.load();
        let same = table.get(&client.stored.hash).filter(|it| it.stored.id == client.stored.id);
        same.is_some_and(|client| !client.stored.limits.is_expired(now))
    }

    /// Counts together with other machines from now on.
    pub fn count_with(&self, shared: Arc<dyn SharedCounts>) {
        let _once = self.0.shared.counts.set(shared);
    }

    /// Asks how much all machines have used, for a person who wants to see it.
    pub async fn refresh_counts(&self) {
        let Some(shared) = self.0.shared.counts.get() else { return };
        self.reload().await;
        let all = ClientUse { is_write: true, is_delete: true };
        let table = self.0.table.load_full();
        let counters = table.clients().iter().flat_map(|client| client.counters(all));
        let counters: Vec<_> = counters.filter(|counter| counter.what.is_some()).collect();
        if !counters.is_empty() {
            let call = shared.look(&counters);
            shared.wait(call).await;
        }
    }

    /// Returns the status of each client, in the order in which they were added. `None` if the file
    /// cannot be read, so that every key is refused.
    pub fn statuses(&self) -> Option<Vec<ClientStatus>> {
        self.0.table.reload_if_changed();
        let table = self.0.table.load();
        table.is_readable.then(|| table.clients().iter().map(|client| client.status()).collect())
    }

    /// Says whether there is a client with this identifier, or one of this group of tokens.
    pub fn has(&self, is_meant: impl Fn(&str, &RedactionPolicy) -> bool) -> bool {
        self.0.table.reload_if_changed();
        let table = self.0.table.load();
        // An unreadable file may still hold the client.
        let stored = |client: &Arc<Client>| is_meant(client.id(), &client.policy().redaction);
        !table.is_readable || table.clients().iter().any(stored)
    }

    /// Writes the counts of used requests when the daemon ends.
    pub fn flush(&self) {
        let table = self.0.table.load();
        let is_known = |id: &str| !table.is_readable || table.has_id(id);
        if let Err(error) = self.0.shared.counter.flush(is_known) {
            tracing::warn!(%error, "could not write the clients' request counts");
        }
    }
}

/// How soon a long response or a WebSocket ends after its key was revoked or has expired.
const KEY_POLL_INTERVAL: Duration = Duration::from_secs(1);

fn to_unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
