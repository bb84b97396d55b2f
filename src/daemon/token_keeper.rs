//! The keeper of what the tokens of redacted clients stand for: on disk once the session's key is
//! known, in memory where there is none.

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::authorities::run_blocking;
use crate::admin::is_table_used;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::{Config, SessionStore};
use crate::credentials::AuthorityKey;
use crate::redact::TokenVault;
use crate::session::Session;

/// Writes the tables of one daemon.
pub(super) struct TokenKeeper {
    pub(super) tokens: TokenVault,
    pub(super) key: watch::Receiver<AuthorityKey>,
    pub(super) session: Session,
    pub(super) clients: Clients,
    /// Whether clients without a key are redacted.
    pub(super) redacts_anonymous: bool,
}

/// Makes the tables of a profile, whose state directory is `state`, if anything is stored.
pub(super) fn vault(config: &Config, state: Option<&Path>, clock: &Clock) -> TokenVault {
    let Some(state) = state else { return TokenVault::new(clock.clone()) };
    let tokens = TokenVault::unsettled(state, clock.clone());
    if config.session.store == SessionStore::Memory {
        tokens.keep_in_memory();
    }
    tokens
}

impl TokenKeeper {
    /// Keeps the tables until the daemon drops the task.
    pub(super) async fn run(self) {
        // Freeing waits for no disk.
        let tokens = self.tokens.clone();
        tokio::join!(self.keep(), free_forgotten(tokens));
    }

    async fn keep(mut self) {
        let mut changes = self.session.subscribe();
        let mut is_failing = false;
        loop {
            self.settle().await;
            tokio::select! {
                // `self` and the session hold the senders.
                _ = self.key.changed() => {}
                _ = changes.changed(), if !self.tokens.is_settled() => {}
                () = self.tokens.wait_work() => {
                    // What comes meanwhile is written with it.
                    sleep(WRITE_INTERVAL).await;
                    is_failing = self.write(is_failing).await;
                }
                () = sleep(RETRY_INTERVAL), if is_failing => {
                    is_failing = self.write(is_failing).await;
                }
            }
        }
    }

    /// Decides how the tables are kept, as far as the key is known.
    async fn settle(&mut self) {
        let key = self.key.borrow_and_update().clone();
        match key {
            AuthorityKey::Read { tokens: sealer, is_durable: true, .. } => {
                let (tokens, clients) = (self.tokens.clone(), self.clients.clone());
                run_blocking(move || {
                    tokens.keep_sealed(&sealer, |name| is_table_used(&clients, name));
                })
                .await;
            }
            AuthorityKey::Read { .. } => self.keep_in_memory("the session's key is lost at reboot"),
            AuthorityKey::Unreadable(why) => self.keep_in_memory(&why),
            // A session that needs no key, such as one of `upstream.auth = "basic"`.
            AuthorityKey::Unread if self.session.bearer().is_ok() => {
                self.keep_in_memory("the session has no key");
            }
            AuthorityKey::Unread => {}
        }
    }

    fn keep_in_memory(&self, why: &str) {
        let is_new = self.tokens.keep_in_memory();
        if is_new && (self.redacts_anonymous || self.clients.has(|_, it| it.is_active())) {
            tracing::info!(why, "tokens of redacted clients are in memory: a restart changes them");
        }
    }

    /// Writes what is new. Returns whether that failed: told once.
    async fn write(&self, was_failing: bool) -> bool {
        let tokens = self.tokens.clone();
        match run_blocking(move || tokens.flush()).await {
            Ok(()) => false,
            Err(error) => {
                if !was_failing {
                    tracing::warn!(%error, "could not write what tokens stand for");
                }
                true
            }
        }
    }
}

/// Frees what tables forget, as soon as they do.
async fn free_forgotten(tokens: TokenVault) {
    loop {
        tokens.wait_forgotten().await;
        let tokens = tokens.clone();
        run_blocking(move || tokens.free_forgotten()).await;
    }
}

/// How long a new value waits for others: the most that a crash loses.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// How soon a failed write is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
