//! What an attempt finds at rest: the saved session of this origin and profile, as long as neither a
//! login nor a logout has taken its place; and which other origins have one.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use tracing::warn;

use super::binding::FILE_NAME;
use super::endpoint::Issuer;
use super::error::{Cause, MissingLogin};
use super::record::StoredSession;
use super::sealed_file;
use super::task::run_blocking;
use super::token_fetch::{FetchError, TokenFetch};
use super::token_store::{self, TokenStore};
use crate::credentials::KeychainError;

impl<I: Issuer> TokenFetch<I> {
    /// Finds where the pair is kept. A file stays found until a person logs in or out, which may
    /// change its key; memory is looked at each time, for a keychain may open late.
    pub(super) async fn find_store(&mut self) -> Result<(), FetchError> {
        let is_file = matches!(self.outcome.store, Some((TokenStore::File(_), _)));
        if is_file && !self.request.credentials_changed {
            return Ok(());
        }
        let desk = &self.context;
        let handed = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let (config, directory) = (&desk.config, desk.directory.as_deref());
        let home =
            token_store::open(config, directory, &desk.binding, &desk.credentials, handed).await;
        self.outcome.store = Some(home.map_err(|error| (error, None))?);
        Ok(())
    }

    /// Reads the saved session; what is in memory wins unless the saved one is newer.
    pub(super) async fn load_saved(&mut self) {
        let desk = self.context.clone();
        run_blocking(move || desk.epochs.load()).await;
        let Some((TokenStore::File(saved), _)) = &self.outcome.store else {
            return;
        };
        let saved = saved.clone();
        match run_blocking(move || saved.read()).await {
            Ok(Some(record)) => self.adopt(record),
            Ok(None) => self.log_other_origins().await,
            Err(error) => self.outcome.problem = Some(error.to_string()),
        }
    }

    fn adopt(&mut self, record: StoredSession) {
        let desk = &self.context;
        if desk.epochs.is_missing_beside(&record) {
            warn!("{FILE_NAME} {UNKNOWN}");
            self.outcome.problem = Some(format!("{FILE_NAME} {UNKNOWN}"));
            return;
        }
        if !desk.epochs.is_current(&record, &desk.binding.origin) {
            self.outcome.problem = Some(format!("{FILE_NAME} {SUPERSEDED}"));
            self.outcome.is_superseded = true;
            return;
        }
        desk.epochs.observe(record.epoch, record.generation);
        if self.outcome.record.as_ref().is_none_or(|held| record.is_newer_than(held)) {
            self.outcome.record = Some(record);
        }
    }

    /// Drops what is held if a person has logged in or out since: it must not be renewed.
    pub(super) async fn drop_if_superseded(&mut self) {
        let desk = self.context.clone();
        run_blocking(move || desk.epochs.load()).await;
        let (epochs, origin) = (&self.context.epochs, &self.context.binding.origin);
        let superseded = |held: &StoredSession| !epochs.is_current(held, origin);
        if self.outcome.record.as_ref().is_some_and(superseded) {
            warn!("a session from before the last login or logout is not renewed");
            self.outcome.record = None;
            self.outcome.account_changed = true;
        }
    }

    pub(super) fn own_record(&self, account: Option<&str>) -> Option<&StoredSession> {
        self.outcome.record.as_ref().filter(|record| record.belongs_to(account))
    }

    /// Says whether what is held is good enough: this account's, newer than what was rejected or
    /// is about to expire, and valid.
    pub(super) fn has_fresh(&self, account: Option<&str>) -> bool {
        let now = self.context.clock.now();
        let newer = |generation| self.request.newer_than.is_none_or(|above| above < generation);
        self.own_record(account)
            .and_then(|record| record.token(now))
            .is_some_and(|token| newer(token.generation) && token.is_valid(now.boot))
    }

    /// Says once in the log that a session of another origin is there and stays where it is.
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
        let desk = self.context.clone();
        run_blocking(move || {
            let saved = desk
                .directory
                .as_deref()
                .map(|path| sealed_file::other_origins(path, &desk.binding));
            let logins = desk.epochs.logins().into_iter();
            let mut found = saved.unwrap_or_default();
            found.extend(logins.filter(|origin| *origin != desk.binding.origin));
            found.into_iter().collect()
        })
        .await
    }

    /// Says for which origins there is a login, where there is none for this one. `absence` is why no
    /// keychain can be read, if that is so.
    pub(super) async fn login_at_other_origin(
        &self,
        absence: Option<&KeychainError>,
    ) -> Option<MissingLogin> {
        let mut others = self.other_origins().await;
        if others.is_empty() {
            others.extend(self.context.credentials.default_origin_login().await);
        }
        if others.is_empty() {
            return None;
        }
        let here = Cause::new(self.context.binding.origin.clone());
        let keychain = absence.map(|trouble| Cause::new(trouble.to_string()));
        Some(MissingLogin::OtherOrigin { there: Cause::new(others.join(" and ")), here, keychain })
    }
}

const UNKNOWN: &str = "is not used: epoch.json is missing or damaged, and would say whether a logout \
                       has withdrawn it";

const SUPERSEDED: &str = "is from before the last login or logout and is not used";
