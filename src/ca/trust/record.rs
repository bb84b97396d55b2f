//! The record of what was added where, so that exactly that can be removed.

use std::io;
use std::path::{Path, PathBuf};

use constrained_ca::ConstrainedRoot;
use serde::{Deserialize, Serialize};

use super::error::TrustError;
use super::place::TrustStore;
use crate::secure_fs;

/// One root in one store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustEntry {
    /// The store.
    #[serde(flatten)]
    pub store: TrustStore,
    /// The common name of the root, under which it was added.
    pub name: String,
    /// The SHA-256 fingerprint of the root.
    pub sha256: String,
    /// The SHA-1 hash of the certificate, by which some stores find it.
    pub sha1: String,
}

impl TrustEntry {
    /// Describes a root in a store.
    pub fn new(store: TrustStore, root: &ConstrainedRoot) -> Self {
        Self { store, name: root.name().to_owned(), sha256: root.sha256(), sha1: root.sha1() }
    }
}

/// The roots that one person has added to stores of that person.
#[derive(Clone, Debug)]
pub struct TrustRecord {
    path: PathBuf,
    entries: Vec<TrustEntry>,
}

impl TrustRecord {
    /// Reads the record in a state directory; an absent one is empty.
    ///
    /// # Errors
    ///
    /// [`TrustError::File`] for one that cannot be read: what it lists would stay trusted.
    pub fn read(directory: &Path) -> Result<Self, TrustError> {
        let path = directory.join(FILE_NAME);
        let entries = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
            Err(error) => Err(error),
        };
        match entries {
            Ok(entries) => Ok(Self { path, entries }),
            Err(source) => Err(TrustError::File { path, source }),
        }
    }

    /// Returns the roots, in the order in which they were added.
    pub fn entries(&self) -> &[TrustEntry] {
        &self.entries
    }

    /// Adds a root, before it is added to its store: a crash between the two leaves no trusted root
    /// that the record does not list.
    ///
    /// # Errors
    ///
    /// [`TrustError::File`].
    pub fn insert(&mut self, entry: TrustEntry) -> Result<(), TrustError> {
        if self.entries.contains(&entry) {
            return Ok(());
        }
        self.entries.push(entry);
        self.write()
    }

    /// Removes a root, after it was removed from its store.
    ///
    /// # Errors
    ///
    /// [`TrustError::File`].
    pub fn remove(&mut self, entry: &TrustEntry) -> Result<(), TrustError> {
        self.entries.retain(|it| it != entry);
        self.write()
    }

    fn write(&self) -> Result<(), TrustError> {
        let failed = |source| TrustError::File { path: self.path.clone(), source };
        if self.entries.is_empty() {
            return match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        // A list of texts always is JSON.
        let text = serde_json::to_string_pretty(&self.entries).unwrap_or_default();
        let directory = self.path.parent().map_or(Ok(()), secure_fs::create_dir);
        directory
            .and_then(|()| secure_fs::atomic_write(&self.path, text.as_bytes()))
            .map_err(failed)
    }
}

const FILE_NAME: &str = "ca-trust.json";
