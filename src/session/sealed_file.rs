//! The pair at rest: one sealed file, replaced atomically, and a lock across processes.
//!
//! Nothing is ever deleted on our own account: a file that does not open stays where it is until
//! another must take its place, and is then moved aside. A file that another origin or profile has
//! made is not used (`binding.rs`). The lock is the kernel's (`flock`), on a file of its own that is
//! never removed, so a killed process leaves none behind.
//! A crash at any point leaves either the old file or the new one (`secure_fs.rs`).

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::binding::{Binding, BindingError, Envelope, FILE_NAME, parked_name};
use super::crypto::{self, SealingKey};
use super::record::StoredSession;
use crate::config::Origin;
use crate::secure_fs;

/// A saved session, read or not.
#[derive(Debug)]
pub(super) struct SealedFile {
    directory: PathBuf,
    key: SealingKey,
    binding: Binding,
}

/// Why a saved session cannot be used. The file is kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Others could read or replace it.
    #[error("{} can be read by others (mode {mode:o}): `chmod 600` it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It does not open.
    #[error("{} {why}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why.
        why: crypto::Error,
    },
    /// It belongs to another origin or profile.
    #[error("{} {why}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// To which.
        why: BindingError,
    },
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Held from the reading of a single-use token until its successor is durable.
#[derive(Debug)]
pub(super) struct SessionLock(#[expect(dead_code, reason = "closing the file releases it")] File);

impl SealedFile {
    /// Keeps the session of `binding` in `directory`, under `key`.
    pub(super) fn new(directory: PathBuf, key: SealingKey, binding: Binding) -> Self {
        Self { directory, key, binding }
    }

    /// Reads the session; `None` when there is none.
    ///
    /// # Errors
    ///
    /// One variant per reason for which a file that is there cannot be used.
    pub(super) fn read(&self) -> Result<Option<StoredSession>, Error> {
        match self.read_from(self.path()) {
            Ok(None) | Err(Error::Foreign { why: BindingError::Origin(_), .. }) => {
                self.read_from(self.parked_path())
            }
            read @ (Ok(Some(_)) | Err(_)) => read,
        }
    }

    fn read_from(&self, path: PathBuf) -> Result<Option<StoredSession>, Error> {
        let io = |source| Error::Io { path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        if let Some(mode) = exposed_mode(&file).map_err(io)? {
            return Err(Error::Exposed { path, mode });
        }
        let mut envelope = Vec::new();
        file.take(MAX_FILE_SIZE).read_to_end(&mut envelope).map_err(io)?;
        let sealed = |why| Error::Sealed { path: path.clone(), why };
        let Envelope { clear, sealed: rest, header } =
            Envelope::parse(&envelope).map_err(sealed)?;
        let header = header.as_ref();
        let foreign = |why| Error::Foreign { path: path.clone(), why };
        self.binding.verify(header).map_err(foreign)?;
        let plain = self.key.open(clear, rest).map_err(sealed)?;
        StoredSession::from_json(&plain, header)
            .map(Some)
            .ok_or_else(|| sealed(crypto::Error::UnknownVersion))
    }

    /// Replaces the session. Returns once it is durable.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; what was there before is still there.
    pub(super) fn write(&self, record: &StoredSession) -> Result<(), Error> {
        let path = self.path();
        let header = self.binding.header(record.generation, record.epoch).to_bytes();
        let envelope = self.key.seal(&header, &zeroize::Zeroizing::new(record.to_json()));
        self.make_room()
            .and_then(|()| secure_fs::create_dir(&self.directory))
            .and_then(|()| secure_fs::atomic_write(&path, &envelope))
            .map_err(|source| Error::Io { path, source })
    }

    /// Moves away a file that would be lost if another took its name. The session of this origin takes
    /// its place again; a crash in between leaves that one where it is still found.
    fn make_room(&self) -> io::Result<()> {
        match self.read_from(self.path()) {
            Ok(Some(_)) | Err(Error::Io { .. }) => return Ok(()),
            Ok(None) => {}
            Err(Error::Foreign { path, why: BindingError::Origin(other) }) => {
                std::fs::rename(path, self.directory.join(parked_name(&other)))?;
            }
            Err(error) => return self.quarantine(error),
        }
        if !self.parked_path().exists() {
            return Ok(());
        }
        std::fs::rename(self.parked_path(), self.path())?;
        self.read_from(self.path()).map_or_else(|error| self.quarantine(error), |_| Ok(()))
    }

    /// Keeps what cannot be used, under a name that no session has.
    fn quarantine(&self, why: Error) -> io::Result<()> {
        match why {
            Error::Io { .. } => Ok(()),
            Error::Exposed { path, .. }
            | Error::Sealed { path, .. }
            | Error::Foreign { path, .. } => {
                let free = (1..)
                    .map(|number| {
                        self.directory.join(format!("{FILE_NAME}{QUARANTINE_INFIX}{number}"))
                    })
                    .find(|aside| !aside.exists())
                    .expect("a directory holds fewer files than there are numbers");
                std::fs::rename(path, free)
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.join(FILE_NAME)
    }

    fn parked_path(&self) -> PathBuf {
        self.directory.join(parked_name(&self.binding.origin))
    }
}

impl SessionLock {
    /// Takes the lock of `directory`; `None` while another holds it. Never waits.
    ///
    /// # Errors
    ///
    /// When its file can be neither made nor opened.
    pub(super) fn try_acquire(directory: &Path) -> io::Result<Option<Self>> {
        secure_fs::create_dir(directory)?;
        let file = secure_fs::open_lock_file(&directory.join("session.lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Says whether a session of `binding` is kept in `directory`, readable or not.
pub(super) fn exists(directory: &Path, binding: &Binding) -> bool {
    paths(directory, binding).iter().any(|path| path.exists())
}

/// Returns the other origins whose sessions are kept in `directory`, by what their files say.
pub(super) fn other_origins(directory: &Path, binding: &Binding) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let is_session = |name: &str| {
        name.starts_with(FILE_NAME) && !name.contains(QUARANTINE_INFIX) && !name.ends_with(".new")
    };
    let sessions = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_session));
    let origins = sessions.filter_map(|entry| other_origin_of(&entry.path(), binding));
    // What stands there is not authenticated: only an origin is ever shown.
    origins.filter_map(|origin| Some(Origin::parse(&origin)?.to_string())).collect()
}

/// Removes the session of `binding` from `directory`: a person has logged out. Needs no key.
///
/// # Errors
///
/// [`Error::Io`] when it is still there.
pub(super) fn erase(directory: &Path, binding: &Binding) -> Result<(), Error> {
    for path in paths(directory, binding) {
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Error::Io { path, source });
            }
            Ok(()) | Err(_) => {}
        }
    }
    // Not worth a failure: they are gone unless the machine crashes right now.
    let _ = secure_fs::fsync_dir(directory);
    Ok(())
}

/// Returns where the session of `binding` can be.
fn paths(directory: &Path, binding: &Binding) -> Vec<PathBuf> {
    let path = directory.join(FILE_NAME);
    let own = other_origin_of(&path, binding).is_none().then_some(path);
    own.into_iter().chain([directory.join(parked_name(&binding.origin))]).collect()
}

/// Returns the origin that issued the session in this file, by its header, if it is another one.
fn other_origin_of(path: &Path, binding: &Binding) -> Option<String> {
    let mut start = Vec::new();
    File::open(path).ok()?.take(MAX_FILE_SIZE).read_to_end(&mut start).ok()?;
    Some(Envelope::parse(&start).ok()?.issued_by()).filter(|origin| *origin != binding.origin)
}

/// Removes the sessions of every origin, and all that was ever moved aside or left behind. What was
/// tried with a password stays, and that the session is locked: neither is a credential, and both
/// outlive a logout.
pub(super) fn remove_all(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(FILE_NAME) {
            std::fs::remove_file(entry.path())?;
        }
    }
    secure_fs::fsync_dir(directory)
}

/// Returns the permission bits if others have any.
#[cfg(unix)]
fn exposed_mode(file: &File) -> io::Result<Option<u32>> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata()?.permissions()) & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

#[cfg(not(unix))]
fn exposed_mode(_file: &File) -> io::Result<Option<u32>> {
    Ok(None)
}

/// Between the name of a file that was moved aside and a number.
const QUARANTINE_INFIX: &str = ".unreadable-";

/// Largest file read, in bytes: a real one has less than 4 KiB.
const MAX_FILE_SIZE: u64 = 256 * 1024;

#[cfg(unix)]
#[cfg(test)]
#[path = "sealed_file/tests.rs"]
mod tests;

#[cfg(unix)]
#[cfg(test)]
#[path = "sealed_file/versions.rs"]
mod versions;
