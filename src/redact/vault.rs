//! The tokens of all redacted clients, and how they are forgotten.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand;

use super::Redaction;
use super::fields::FieldRules;
use super::tokens::TokenTable;
use crate::clock::Clock;
use crate::config::{Origin, RedactMode};

/// The token tables of one profile. Clones share them.
#[derive(Clone)]
pub struct TokenVault(Arc<VaultInner>);

struct VaultInner {
    clock: Clock,
    tables: Mutex<HashMap<TableName, Arc<TokenTable>>>,
}

/// Whose tokens a table has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TableName {
    /// Clients without a key.
    Anonymous,
    /// The person who reads what was captured of requests.
    Reader,
    /// The client with this identifier.
    Client(String),
    /// The clients of this group.
    Group(String),
}

impl TokenVault {
    /// Begins without any table.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(VaultInner { clock, tables: Mutex::default() }))
    }

    /// Returns the table of this name, with a secret of its own.
    pub fn table(&self, name: &TableName) -> Arc<TokenTable> {
        let mut tables = self.lock();
        if let Some(table) = tables.get(name) {
            return table.clone();
        }
        let mut secret = zeroize::Zeroizing::new([0; 32]);
        rand::fill(&mut *secret).expect("the system gives random bytes");
        let table = Arc::new(TokenTable::new(&secret, self.0.clock.clone()));
        tables.insert(name.clone(), table.clone());
        table
    }

    /// Forgets every value of every table; tokens stay the same.
    pub fn wipe(&self) {
        self.lock().values().for_each(|table| table.wipe());
    }

    /// Forgets the tables for which `is_used` is false.
    pub fn retain(&self, is_used: impl Fn(&TableName) -> bool) {
        self.lock().retain(|name, table| {
            let is_used = is_used(name);
            if !is_used {
                // A response that is on its way may hold the table a little longer.
                table.wipe();
            }
            is_used
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TableName, Arc<TokenTable>>> {
        self.0.tables.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Returns what a client may see.
    pub fn redaction(
        &self,
        mode: RedactMode,
        can_resolve: bool,
        name: &TableName,
    ) -> Arc<Redaction> {
        let tokens = self.vault.table(name);
        let (fields, origin) = (self.fields.clone(), self.origin.clone());
        Arc::new(Redaction { mode, can_resolve, fields, tokens, origin })
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
        assert_eq!(format!("{vault:?}"), "TokenVault(..)");
    }
}
