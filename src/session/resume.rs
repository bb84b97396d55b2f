//! What an attempt finds at rest: the saved session of this origin and profile, as long as neither a
//! login nor a logout has taken its place; and which other origins have one.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use tracing::warn;

use super::binding::NAME;
use super::error::{Cause, Lack};
use super::flight::{Flight, Miss};
use super::home::{self, Home};
use super::issuer::Issuer;
use super::keeper::blocking;
use super::record::Record;
use super::saved;
use crate::credentials::Trouble;

impl<I: Issuer> Flight<I> {
    /// Finds where the pair is kept. A file stays found until a person logs in or out, which may
    /// change its key; memory is looked at each time, for a keychain may open late.
    pub(super) async fn find_home(&mut self) -> Result<(), Miss> {
        let is_file = matches!(self.landing.home, Some((Home::File(_), _)));
        if is_file && !self.fetch.changed {
            return Ok(());
        }
        let desk = &self.desk;
        let handed = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let (config, directory) = (&desk.config, desk.directory.as_deref());
        let home = home::find(config, directory, &desk.binding, &desk.credentials, handed).await;
        self.landing.home = Some(home.map_err(|error| (error, None))?);
        Ok(())
    }

    /// Reads the saved session; what is in memory wins unless the saved one is newer.
    pub(super) async fn read(&mut self) {
        let desk = self.desk.clone();
        blocking(move || desk.epochs.read()).await;
        let Some((Home::File(saved), _)) = &self.landing.home else {
            return;
        };
        let saved = saved.clone();
        match blocking(move || saved.read()).await {
            Ok(Some(record)) => self.adopt(record),
            Ok(None) => self.tell_elsewhere().await,
            Err(error) => self.landing.problem = Some(error.to_string()),
        }
    }

    fn adopt(&mut self, record: Record) {
        let desk = &self.desk;
        if desk.epochs.is_lost_beside(&record) {
            warn!("{NAME} {UNKNOWN}");
            self.landing.problem = Some(format!("{NAME} {UNKNOWN}"));
            return;
        }
        if !desk.epochs.admits(&record, &desk.binding.origin) {
            self.landing.problem = Some(format!("{NAME} {SUPERSEDED}"));
            self.landing.superseded = true;
            return;
        }
        desk.epochs.note(record.epoch, record.generation);
        if self.landing.held.as_ref().is_none_or(|held| record.is_newer_than(held)) {
            self.landing.held = Some(record);
        }
    }

    /// Drops what is held if a person has logged in or out since: it must not be renewed.
    pub(super) async fn drop_if_superseded(&mut self) {
        let desk = self.desk.clone();
        blocking(move || desk.epochs.read()).await;
        let (epochs, origin) = (&self.desk.epochs, &self.desk.binding.origin);
        let superseded = |held: &Record| !epochs.admits(held, origin);
        if self.landing.held.as_ref().is_some_and(superseded) {
            warn!("a session from before the last login or logout is not renewed");
            self.landing.held = None;
            self.landing.disowned = true;
        }
    }

    pub(super) fn own(&self, account: Option<&str>) -> Option<&Record> {
        self.landing.held.as_ref().filter(|record| record.is_of(account))
    }

    /// Says whether what is held is good enough: this account's, newer than what was rejected or
    /// is about to expire, and valid.
    pub(super) fn has_newer(&self, account: Option<&str>) -> bool {
        let now = self.desk.clock.now();
        let newer = |generation| self.fetch.above.is_none_or(|above| above < generation);
        self.own(account)
            .and_then(|record| record.token(now))
            .is_some_and(|token| newer(token.generation) && token.is_valid(now.boot))
    }

    /// Says once in the log that a session of another origin is there and stays where it is.
    async fn tell_elsewhere(&self) {
        if self.desk.told_elsewhere.swap(true, Ordering::Relaxed) {
            return;
        }
        for other in self.elsewhere().await {
            let origin = &self.desk.binding.origin;
            warn!(issued_by = other, origin, "a session of another origin is left alone");
        }
    }

    /// Returns the other origins for which a session or a login is stored.
    async fn elsewhere(&self) -> Vec<String> {
        let desk = self.desk.clone();
        blocking(move || {
            let saved = desk.directory.as_deref().map(|path| saved::elsewhere(path, &desk.binding));
            let logins = desk.epochs.logins().into_iter();
            let mut found = saved.unwrap_or_default();
            found.extend(logins.filter(|origin| *origin != desk.binding.origin));
            found.into_iter().collect()
        })
        .await
    }

    /// Says for which origins there is a login, where there is none for this one. `absence` is why no
    /// keychain can be read, if that is so.
    pub(super) async fn login_elsewhere(&self, absence: Option<&Trouble>) -> Option<Lack> {
        let mut others = self.elsewhere().await;
        if others.is_empty() {
            others.extend(self.desk.credentials.login_without_origin().await);
        }
        if others.is_empty() {
            return None;
        }
        let here = Cause::new(self.desk.binding.origin.clone());
        let keychain = absence.map(|trouble| Cause::new(trouble.to_string()));
        Some(Lack::Elsewhere { there: Cause::new(others.join(" and ")), here, keychain })
    }
}

const UNKNOWN: &str = "is not used: epoch.json is missing or damaged, and would say whether a logout \
                       has withdrawn it";

const SUPERSEDED: &str = "is from before the last login or logout and is not used";
