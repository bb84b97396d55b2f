//! The part of an attempt that reads the disk: the saved session of this origin and profile, unless
//! a login or a logout has superseded it; and which other origins have a session.

use std::sync::atomic::Ordering;

use tracing::warn;

use super::context::FetchContext;
use super::endpoint::Issuer;
use super::token_fetch::TokenFetch;
use crate::credentials::sealing::binding::FILE_NAME;
use crate::credentials::{self, KeychainError};
use crate::session::error::{Cause, Error, MissingLogin};
use crate::session::spawn::run_blocking;
use crate::session::store::record::StoredSession;
use crate::session::store::sealed_file;
use crate::session::store::token_store::TokenStore;

impl<I: Issuer> TokenFetch<I> {
    /// Opens the store of the pair. A sealed file stays the store until the user logs in or out,
    /// which may change its key. After memory, a file is tried anew each time, since a keychain may
    /// open late.
    pub(crate) async fn open_store(&mut self) -> Result<(), Error> {
        let has_file = self.outcome.store.as_ref().is_some_and(|store| store.file.is_some());
        if has_file && !self.request.has_changed_login() {
            return Ok(());
        }
        let FetchContext { config, directory, binding, credentials, .. } = &*self.context;
        let systemd = credentials::credentials_directory();
        let store = TokenStore::open(config, directory.as_deref(), binding, credentials, systemd);
        self.outcome.store = Some(store.await?);
        Ok(())
    }

    /// Reads the saved session; the record in memory wins unless the saved one is newer.
    pub(crate) async fn load_saved(&mut self) {
        let context = self.context.clone();
        run_blocking(move || context.epochs.load()).await;
        let Some(file) = self.outcome.store.as_ref().and_then(|store| store.file.clone()) else {
            return;
        };
        match run_blocking(move || file.read()).await {
            Ok(Some(record)) => self.adopt(record),
            Ok(None) => self.log_other_origins().await,
            Err(error) => self.outcome.problem = Some(error.to_string()),
        }
    }

    /// Takes over a record that was found on disk, if it may be used.
    fn adopt(&mut self, record: StoredSession) {
        let context = &self.context;
        if context.epochs.is_missing_beside(&record) {
            warn!("{FILE_NAME} {UNKNOWN}");
            self.outcome.problem = Some(format!("{FILE_NAME} {UNKNOWN}"));
            return;
        }
        if !context.epochs.is_current(&record, &context.binding.origin) {
            self.outcome.problem = Some(format!("{FILE_NAME} {SUPERSEDED}"));
            self.outcome.is_superseded = true;
            return;
        }
        context.epochs.observe(record.epoch, record.generation);
        if self.outcome.record.as_ref().is_none_or(|held| record.is_newer_than(held)) {
            self.outcome.record = Some(record);
        }
    }

    /// Drops the record held if the user has logged in or out since: it must not be renewed.
    pub(crate) async fn drop_if_superseded(&mut self) {
        let context = self.context.clone();
        run_blocking(move || context.epochs.load()).await;
        let (epochs, origin) = (&self.context.epochs, &self.context.binding.origin);
        let superseded = |held: &StoredSession| !epochs.is_current(held, origin);
        if self.outcome.record.as_ref().is_some_and(superseded) {
            warn!("a session from before the last login or logout is not renewed");
            self.outcome.record = None;
            self.outcome.account_changed = true;
        }
    }

    /// Returns the record held, if it is of this account.
    pub(crate) fn own_record(&self, account: Option<&str>) -> Option<&StoredSession> {
        self.outcome.record.as_ref().filter(|record| record.belongs_to(account))
    }

    /// Says whether the token held is good enough: of this account, valid, and newer than the one
    /// that was rejected or is about to expire.
    pub(crate) fn has_fresh(&self, account: Option<&str>) -> bool {
        let now = self.context.clock.now();
        let newer = |generation| self.request.newer_than.is_none_or(|old| old < generation);
        self.own_record(account)
            .and_then(|record| record.token(now))
            .is_some_and(|token| newer(token.generation) && token.is_valid(now.boot))
    }

    /// Logs once that a session of another origin exists and stays where it is.
    async fn log_other_origins(&self) {
        if self.context.other_origins_logged.swap(true, Ordering::Relaxed) {
            return;
        }
        for other in self.other_origins().await {
            let origin = &self.context.binding.origin;
            warn!(issued_by = other, origin, "a session of another origin is left alone");
        }
    }

    /// Returns the other origins for which a session or a login is stored.
    async fn other_origins(&self) -> Vec<String> {
        let context = self.context.clone();
        run_blocking(move || {
            let saved = context
                .directory
                .as_deref()
                .map(|path| sealed_file::other_origins(path, &context.binding));
            let logins = context.epochs.logins().into_iter();
            let mut found = saved.unwrap_or_default();
            found.extend(logins.filter(|origin| *origin != context.binding.origin));
            found.into_iter().collect()
        })
        .await
    }

    /// Returns for which other origins there is a login. `keychain` is why no keychain can be read,
    /// if that is so.
    pub(crate) async fn login_at_other_origin(
        &self,
        keychain: Option<&KeychainError>,
    ) -> Option<MissingLogin> {
        let mut others = self.other_origins().await;
        if others.is_empty() {
            others.extend(self.context.credentials.default_origin_login().await);
        }
        if others.is_empty() {
            return None;
        }
        let here = Cause::new(self.context.binding.origin.clone());
        let keychain = keychain.map(|error| Cause::new(error.to_string()));
        Some(MissingLogin::OtherOrigin { there: Cause::new(others.join(" and ")), here, keychain })
    }
}

const UNKNOWN: &str = "is not used: epoch.json is missing or damaged, and would say whether a logout \
                       has withdrawn it";

const SUPERSEDED: &str = "is from before the last login or logout and is not used";
