//! The epoch of a profile: a number that login, logout and lock raise, and that never falls back.
//!
//! The epoch lies in a file of its own, which holds no secret. The file must outlive the sealed
//! records and their key, and also an earlier program, which rewrites `attempts.json` without the
//! fields that it does not know. A record is used if its epoch is not below that of the last login
//! at its origin and of the last logout: a record that was put back from a backup is older. A lock
//! raises the epoch and withdraws no record, since unlocking resumes the same session.
//!
//! Two files cannot be replaced at once, so the order decides what a crash between them leaves. A
//! login writes the record, then the epoch: the record is ahead of the file, and is used. A logout
//! writes the epoch, then removes the records: a record that is left is behind, and is not used.
//!
//! The file is written before the first record. A record with an epoch but without the file means
//! that the file was lost, and with it the knowledge of logouts: that record is not used.
//!
//! A record of version 1 has no epoch. An earlier program may have written it after a login or a
//! logout of this one. So that no session is lost, the record is used if its tokens were received
//! later.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::record::{StoredSession, wall_millis};
use crate::secure_fs;

/// The epoch of one profile.
#[derive(Debug)]
pub(crate) struct Epochs {
    directory: Option<PathBuf>,
    state: Mutex<EpochFile>,
    /// Whether the file was read or written: before that, logouts are unknown.
    is_known: AtomicBool,
    /// Whether the log says already that the file is damaged.
    is_damage_logged: AtomicBool,
    /// The highest epoch of a record that was not used because the file was lost.
    quarantined: AtomicU64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct EpochFile {
    epoch: u64,
    /// The highest generation of a session that has ended: the next session goes on from there.
    generation: u64,
    /// The last logout.
    ended: Mark,
    /// The last login or logout at each origin.
    begun: BTreeMap<String, Mark>,
    /// The origins at which a login is stored.
    logins: BTreeSet<String>,
}

/// The first epoch and time at which a record is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    epoch: u64,
    /// Milliseconds since 1970.
    at: u64,
}

impl Epochs {
    /// Keeps the epoch in a state directory, or only in memory.
    pub(crate) fn new(directory: Option<&Path>) -> Self {
        Self {
            directory: directory.map(Path::to_owned),
            state: Mutex::default(),
            is_known: AtomicBool::new(directory.is_none()),
            is_damage_logged: AtomicBool::new(false),
            quarantined: AtomicU64::new(0),
        }
    }

    /// Reads the file. A missing or damaged file changes nothing; neither does one with epoch 0,
    /// which is never written. Of a damaged file a copy is kept, since the next write replaces it.
    pub(crate) fn load(&self) {
        let Some(path) = self.path() else { return };
        let read = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => Err(error.to_string()),
            Ok(text) => match serde_json::from_slice::<EpochFile>(&text) {
                Ok(read) if read.epoch > 0 => Ok(read),
                Ok(_) | Err(_) => Err("it is damaged".to_owned()),
            },
        };
        match read {
            Ok(read) => {
                self.state().merge(read);
                self.is_known.store(true, Ordering::Relaxed);
            }
            Err(why) if !self.is_damage_logged.swap(true, Ordering::Relaxed) => {
                let copy = secure_fs::keep_copy(&path);
                let copy = copy.as_ref().map(|copy| copy.display().to_string()).ok();
                let path = path.display();
                warn!(%path, copy, why, "the epoch of the session is not used");
            }
            Err(_) => {}
        }
    }

    /// Says whether the file is lost beside this record, which was found on disk: the file is
    /// written before any record that has an epoch. A logout may have withdrawn the record, so it
    /// is not used.
    pub(crate) fn is_missing_beside(&self, record: &StoredSession) -> bool {
        let is_lost = record.epoch > 0 && !self.is_known.load(Ordering::Relaxed);
        if is_lost {
            self.quarantined.fetch_max(record.epoch, Ordering::Relaxed);
        }
        is_lost
    }

    /// Writes the file before the first record is written.
    ///
    /// # Errors
    ///
    /// As [`Epochs::record_login`]; the error names the file.
    pub(crate) fn ensure_file(&self) -> io::Result<()> {
        if self.is_known.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.update(|_| {}).map_err(|error| {
            let path = self.path().unwrap_or_default();
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })
    }

    /// Returns the epoch. The first is 1: records of version 1 count as 0.
    pub(crate) fn current(&self) -> u64 {
        self.state().epoch.max(self.min_epoch())
    }

    /// Returns the first epoch above those of all records that were not used.
    fn min_epoch(&self) -> u64 {
        self.quarantined.load(Ordering::Relaxed).saturating_add(1)
    }

    /// Returns the highest known generation.
    pub(crate) fn generation(&self) -> u64 {
        self.state().generation
    }

    /// Returns the origins at which a login is stored.
    pub(crate) fn logins(&self) -> Vec<String> {
        self.state().logins.iter().cloned().collect()
    }

    /// Says whether no later login or logout has superseded this record of `origin`.
    pub(crate) fn is_current(&self, record: &StoredSession, origin: &str) -> bool {
        let state = self.state();
        let begun = state.begun.get(origin).copied().unwrap_or_default();
        let floor = if begun.epoch < state.ended.epoch { state.ended } else { begun };
        match record.epoch {
            0 => record.pair.as_ref().is_none_or(|pair| floor.at < pair.received.wall_millis()),
            epoch => floor.epoch <= epoch,
        }
    }

    /// Records the numbers of a record that is known to be genuine: the next ones are above them.
    pub(crate) fn observe(&self, epoch: u64, generation: u64) {
        let mut state = self.state();
        state.epoch = state.epoch.max(epoch);
        state.generation = state.generation.max(generation);
    }

    /// Records a login at `origin`, whose stored session of this epoch is durable.
    ///
    /// # Errors
    ///
    /// When the file could not be written; the login counts in memory all the same.
    pub(crate) fn record_login(&self, origin: &str, epoch: u64, now: SystemTime) -> io::Result<()> {
        self.update(|state| {
            state.epoch = state.epoch.max(epoch);
            state.begun.insert(origin.to_owned(), Mark { epoch, at: wall_millis(now) });
            state.logins.insert(origin.to_owned());
        })
    }

    /// Records a login at `origin` that leaves no stored session.
    ///
    /// # Errors
    ///
    /// As [`Epochs::record_login`].
    pub(crate) fn record_login_without_session(&self, origin: &str) -> io::Result<()> {
        self.update(|state| {
            state.epoch = state.epoch.saturating_add(1);
            state.logins.insert(origin.to_owned());
        })
    }

    /// Records a logout at `origin`, or at every origin.
    ///
    /// # Errors
    ///
    /// As [`Epochs::record_login`].
    pub(crate) fn record_logout(&self, origin: Option<&str>, now: SystemTime) -> io::Result<()> {
        self.update(|state| {
            state.epoch = state.epoch.saturating_add(1);
            let mark = Mark { epoch: state.epoch, at: wall_millis(now) };
            match origin {
                Some(origin) => {
                    state.begun.insert(origin.to_owned(), mark);
                    state.logins.remove(origin);
                }
                None => {
                    state.ended = mark;
                    state.begun.clear();
                    state.logins.clear();
                }
            }
        })
    }

    /// Raises the epoch, because the user has locked the session.
    ///
    /// # Errors
    ///
    /// As [`Epochs::record_login`].
    pub(crate) fn increment(&self) -> io::Result<()> {
        self.update(|state| state.epoch = state.epoch.saturating_add(1))
    }

    /// Changes the file, one process after another: no number that another process has written is
    /// lost.
    fn update(&self, change: impl FnOnce(&mut EpochFile)) -> io::Result<()> {
        let lock = self.lock();
        self.load();
        let json = {
            let mut state = self.state();
            state.epoch = state.epoch.max(self.min_epoch());
            // A record that was not used once is not used later either.
            if self.min_epoch() > 1 && state.ended.epoch < self.min_epoch() {
                state.ended.epoch = self.min_epoch();
            }
            change(&mut state);
            serde_json::to_vec(&*state).expect("numbers and words are valid JSON")
        };
        let _lock = lock?;
        self.path().map_or(Ok(()), |path| secure_fs::atomic_write(&path, &json))?;
        self.is_known.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn lock(&self) -> io::Result<Option<File>> {
        let Some(directory) = &self.directory else { return Ok(None) };
        secure_fs::create_dir(directory)?;
        let file = secure_fs::open_lock_file(&directory.join("epoch.lock"))?;
        file.lock()?;
        Ok(Some(file))
    }

    fn path(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.join(FILE_NAME))
    }

    fn state(&self) -> MutexGuard<'_, EpochFile> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EpochFile {
    /// Takes over the content of the file: numbers only grow, and of two marks the later one
    /// counts.
    fn merge(&mut self, read: Self) {
        self.epoch = self.epoch.max(read.epoch);
        self.generation = self.generation.max(read.generation);
        if self.ended.epoch <= read.ended.epoch {
            self.ended = read.ended;
        }
        for (origin, mark) in read.begun {
            let known = self.begun.entry(origin).or_default();
            if known.epoch <= mark.epoch {
                *known = mark;
            }
        }
        self.logins = read.logins;
    }
}

/// The file's name in the profile's state directory.
pub(crate) const FILE_NAME: &str = "epoch.json";

#[cfg(test)]
#[path = "epoch/tests.rs"]
mod tests;
