//! The tokens of all redacted clients, how they are kept, and how they are forgotten.
//!
//! With the session's key, the secrets of tables are the same after a restart, and their values are on
//! disk, sealed. Without one, both last as long as the process. Requests never wait for the disk: one
//! thread at a time writes what is new.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::Redaction;
use super::fields::FieldRules;
use super::remembered::Halves;
use super::table_name::TableName;
use super::token_store::{self, TableStore};
use super::tokens::{TableWork, TokenTable, oldest_hour};
use crate::clock::Clock;
use crate::config::{Origin, RedactMode};
use crate::credentials::TokenSealer;

/// The token tables of one profile. Clones share them.
#[derive(Clone)]
pub struct TokenVault(Arc<VaultInner>);

struct VaultInner {
    clock: Clock,
    /// The profile's state directory; `None` where nothing is stored.
    state: Option<PathBuf>,
    /// The files. Locked before the tables, for as long as the disk takes: never by a request.
    store: Mutex<Option<TableStore>>,
    tables: Mutex<Tables>,
    /// Whether it is known how the tables are kept, and what was kept is read.
    settled: watch::Sender<bool>,
    work: Arc<TableWork>,
}

#[derive(Default)]
struct Tables {
    by_name: HashMap<TableName, Arc<TokenTable>>,
    /// Makes their secrets, where these outlive the process.
    sealer: Option<Arc<TokenSealer>>,
}

impl TokenVault {
    /// Begins without any table, and keeps tables in memory.
    pub fn new(clock: Clock) -> Self {
        Self::begin(clock, None, true)
    }

    /// Begins without any table; [`TokenVault::keep_sealed`] or [`TokenVault::keep_in_memory`] says how
    /// tables are kept.
    pub fn unsettled(state: &Path, clock: Clock) -> Self {
        Self::begin(clock, Some(state.to_owned()), false)
    }

    fn begin(clock: Clock, state: Option<PathBuf>, is_settled: bool) -> Self {
        let (store, tables, work) = (Mutex::default(), Mutex::default(), Arc::default());
        let settled = watch::Sender::new(is_settled);
        Self(Arc::new(VaultInner { clock, state, store, tables, settled, work }))
    }

    /// Says whether it is known how tables are kept, and what was kept is read.
    pub fn is_settled(&self) -> bool {
        *self.0.settled.borrow()
    }

    /// Waits until that is known.
    pub async fn wait_settled(&self) {
        // `self` holds the sender.
        let _ = self.0.settled.subscribe().wait_for(|settled| *settled).await;
    }

    /// Keeps tables in memory until there is a key. Returns whether that is new.
    pub fn keep_in_memory(&self) -> bool {
        !self.0.settled.send_replace(true)
    }

    /// Keeps tables on disk from now on, sealed with this key, and goes on with those that are there, if
    /// `is_used`. What another key has made is forgotten. To be called where waiting for the disk
    /// delays nothing.
    pub fn keep_sealed(&self, sealer: &Arc<TokenSealer>, is_used: impl Fn(&TableName) -> bool) {
        let mut place = self.store();
        let Some(state) = &self.0.state else { return };
        if place.as_ref().is_some_and(|store| store.sealer().is_same(sealer)) {
            return;
        }
        let mut store = TableStore::new(state, sealer.clone());
        warn_on_error(store.retain(is_used));
        let saved = store.read(oldest_hour(&self.0.clock));
        let make = |(name, halves)| {
            let table = Arc::new(self.make_table(&name, Some(sealer), halves));
            (name, table)
        };
        let by_name = saved.into_iter().map(make).collect();
        let before = {
            let mut tables = self.tables();
            std::mem::replace(&mut *tables, Tables { by_name, sealer: Some(sealer.clone()) })
        };
        before.by_name.values().for_each(|table| table.wipe());
        *place = Some(store);
        self.0.settled.send_replace(true);
    }

    /// Returns the table of this name, with a secret of its own.
    pub fn table(&self, name: &TableName) -> Arc<TokenTable> {
        let mut tables = self.tables();
        if let Some(table) = tables.by_name.get(name) {
            return table.clone();
        }
        let table = self.make_table(name, tables.sealer.as_ref(), Halves::default());
        let table = Arc::new(table);
        tables.by_name.insert(name.clone(), table.clone());
        table
    }

    fn make_table(
        &self,
        name: &TableName,
        sealer: Option<&Arc<TokenSealer>>,
        halves: Halves,
    ) -> TokenTable {
        let (clock, work) = (self.0.clock.clone(), self.0.work.clone());
        if let Some(sealer) = sealer.filter(|_| name.is_kept()) {
            let secret = sealer.secret(&name.label());
            return TokenTable::new(&secret, clock, work).with_saved(halves);
        }
        let mut secret = Zeroizing::new([0; 32]);
        rand::fill(&mut *secret).expect("the system gives random bytes");
        TokenTable::new(&secret, clock, work)
    }

    /// Waits until there is something for [`TokenVault::flush`] to do.
    pub async fn wait_work(&self) {
        self.0.work.write.notified().await;
    }

    /// Waits until there is something for [`TokenVault::free_forgotten`] to do.
    pub async fn wait_forgotten(&self) {
        self.0.work.free.notified().await;
    }

    /// Frees what tables have forgotten: milliseconds, which no request should wait for.
    pub fn free_forgotten(&self) {
        let tables: Vec<_> = self.tables().by_name.values().cloned().collect();
        tables.iter().for_each(|table| table.free_forgotten());
    }

    /// Writes what is new; waits for the disk.
    ///
    /// # Errors
    ///
    /// When the disk does not take it: the next call writes the whole table.
    pub fn flush(&self) -> io::Result<()> {
        let mut store = self.store();
        let named = |(name, table): (&TableName, &Arc<TokenTable>)| (name.clone(), table.clone());
        let tables: Vec<_> = self.tables().by_name.iter().map(named).collect();
        let mut outcome = Ok(());
        for (name, table) in tables {
            let Some(store) = store.as_mut().filter(|_| name.is_kept()) else { continue };
            let Some(unsaved) = table.take_unsaved() else { continue };
            if let Err(error) = store.write(&name, unsaved) {
                table.set_incomplete();
                outcome = Err(error);
            }
        }
        outcome
    }

    /// Forgets every value of every table, also on disk; tokens stay the same.
    pub fn wipe(&self) {
        let mut store = self.store();
        self.tables().by_name.values().for_each(|table| table.wipe());
        warn_on_error(match (store.as_mut(), &self.0.state) {
            (Some(store), _) => store.erase(),
            // Written by a daemon that had the key.
            (None, Some(state)) => token_store::erase(state),
            (None, None) => Ok(()),
        });
    }

    /// Forgets the tables for which `is_used` is false, also on disk.
    pub fn retain(&self, is_used: impl Fn(&TableName) -> bool) {
        let mut store = self.store();
        self.tables().by_name.retain(|name, table| {
            let is_used = is_used(name);
            if !is_used {
                // A response that is on its way may hold the table a little longer.
                table.wipe();
            }
            is_used
        });
        if let Some(store) = store.as_mut() {
            warn_on_error(store.retain(is_used));
        }
    }

    fn store(&self) -> MutexGuard<'_, Option<TableStore>> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn warn_on_error(erased: io::Result<()>) {
    if let Err(error) = erased {
        tracing::warn!(%error, "a file of tokens that are to be forgotten is still there");
    }
}

impl fmt::Debug for TokenVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenVault(..)")
    }
}

/// Makes the redaction of each client.
#[derive(Clone, Debug)]
pub struct Redactor {
    vault: TokenVault,
    fields: Arc<FieldRules>,
    origin: Arc<Origin>,
}

/// Tokens of its own, and the built-in rules alone.
impl Default for Redactor {
    fn default() -> Self {
        Self::new(TokenVault::new(Clock::system()), FieldRules::default(), &Origin::nexudus())
    }
}

impl Redactor {
    /// Redacts with these rules for fields; addresses on `origin` do not leave the proxy.
    pub fn new(vault: TokenVault, fields: FieldRules, origin: &Origin) -> Self {
        Self { vault, fields: Arc::new(fields), origin: Arc::new(origin.clone()) }
    }

    /// Returns the tokens of all clients.
    pub fn vault(&self) -> &TokenVault {
        &self.vault
    }

    /// Returns what a client may see.
    pub fn redaction(
        &self,
        mode: RedactMode,
        can_resolve: bool,
        name: &TableName,
    ) -> Arc<Redaction> {
        let tokens = self.vault.table(name);
        let (fields, origin) = (self.fields.clone(), self.origin.clone());
        let hour = tokens.hour();
        Arc::new(Redaction { mode, can_resolve, fields, tokens, origin, hour })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Category;

    #[test]
    fn a_group_shares_tokens_and_a_client_does_not() {
        let vault = TokenVault::new(Clock::system());
        let token = |name: TableName| {
            let mut out = String::new();
            vault.table(&name).write_token(Category::Name, "Ada", true, &mut out);
            out
        };
        let group = || TableName::Group("a".to_owned());
        let first = token(group());
        assert_eq!(token(group()), first);
        assert_ne!(token(TableName::Client("a".to_owned())), first);
        assert_ne!(token(TableName::Anonymous), first);

        vault.wipe();
        assert_eq!(token(group()), first);
        vault.retain(|name| *name != group());
        assert_ne!(token(group()), first);
        assert!(vault.is_settled() && !vault.keep_in_memory());
        assert_eq!(format!("{vault:?}"), "TokenVault(..)");
    }
}
