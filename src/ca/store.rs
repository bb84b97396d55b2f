//! The authorities on disk: each one sealed file, and its root in the clear beside it.
//!
//! The sealed file counts. The root's file is for programs that are told to trust it, and is written
//! again from the sealed one. Sealing is the caller's: this module knows no keys.

use std::io;
use std::path::{Path, PathBuf};

use constrained_ca::Authority;
use zeroize::Zeroizing;

use super::kind::AuthorityKind;
use crate::secure_fs;

/// The files of the authorities of one profile.
#[derive(Clone, Debug)]
pub struct AuthorityStore {
    directory: PathBuf,
}

/// Why a stored authority cannot be used. The files stay.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The sealed file does not open, or holds something else.
    #[error("{} {why}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A file cannot be read or written.
    #[error("could not use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl AuthorityStore {
    /// Stores in the state directory of a profile.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Returns the path of the root in PEM.
    pub fn root_path(&self, kind: AuthorityKind) -> PathBuf {
        self.directory.join(format!("ca-{kind}.pem"))
    }

    /// Says whether there is a sealed file, whatever it holds.
    pub fn exists(&self, kind: AuthorityKind) -> bool {
        self.sealed_path(kind).exists()
    }

    /// Reads an authority; `None` when there is none. `open` opens what `seal` has sealed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Sealed`] with the reason of `open`, or when the content is another.
    pub fn read(
        &self,
        kind: AuthorityKind,
        open: impl FnOnce(&[u8]) -> Result<Zeroizing<Vec<u8>>, String>,
    ) -> Result<Option<Authority>, StoreError> {
        let path = self.sealed_path(kind);
        let sealed = match std::fs::read(&path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Io { path, source }),
        };
        let opened = open(&sealed).and_then(|plain| {
            Authority::from_secret_bytes(&plain).map_err(|error| error.to_string())
        });
        opened.map(Some).map_err(|why| StoreError::Sealed { path, why })
    }

    /// Replaces an authority. Returns once the new one is durable.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`]. The sealed file is written first: if only the root's file could not be
    /// written, the authority is stored.
    pub fn write(
        &self,
        kind: AuthorityKind,
        authority: &Authority,
        seal: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Result<(), StoreError> {
        let sealed = seal(&authority.to_secret_bytes());
        let path = self.sealed_path(kind);
        secure_fs::create_dir(&self.directory)
            .and_then(|()| secure_fs::atomic_write(&path, &sealed))
            .map_err(|source| StoreError::Io { path, source })?;
        let path = self.root_path(kind);
        secure_fs::atomic_write(&path, authority.root_pem().as_bytes())
            .map_err(|source| StoreError::Io { path, source })
    }

    /// Removes an authority, its root's file last; says whether there was one.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] when a file is still there.
    pub fn remove(&self, kind: AuthorityKind) -> Result<bool, StoreError> {
        let mut existed = false;
        for path in [self.sealed_path(kind), self.root_path(kind)] {
            match std::fs::remove_file(&path) {
                Ok(()) => existed = true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(StoreError::Io { path, source }),
            }
        }
        Ok(existed)
    }

    fn sealed_path(&self, kind: AuthorityKind) -> PathBuf {
        self.directory.join(format!("ca-{kind}.sealed"))
    }
}
