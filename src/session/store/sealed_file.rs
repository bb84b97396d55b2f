//! The token pair on disk: one sealed file, replaced atomically.
//!
//! The program never deletes a session on its own account: a file that cannot be decrypted stays
//! where it is until another must be written there, and is then moved aside. A file that another
//! origin or profile has made is not used (`credentials/sealing/binding.rs`). A crash at any point leaves either the
//! old file or the new one (`secure_fs.rs`).

pub(crate) mod member;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::record::StoredSession;
use crate::config::Origin;
use crate::credentials::sealing::binding::{
    Binding, BindingError, Envelope, FILE_NAME, parked_name,
};
use crate::credentials::sealing::crypto::{self, Purpose, SealingKey};
use crate::secure_fs;

/// The file of a saved session.
#[derive(Debug)]
pub(crate) struct SealedFile {
    directory: PathBuf,
    key: SealingKey,
    /// Seals what a member of a fleet keeps, beside the session.
    member_key: Option<SealingKey>,
    binding: Binding,
}

/// Why a saved session cannot be used. The file stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Other users could read or replace the file.
    #[error("{} can be read by others (mode {mode:o}): `chmod 600` it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// The file's permission bits.
        mode: u32,
    },
    /// The file cannot be decrypted.
    #[error("{} {why}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why.
        why: crypto::Error,
    },
    /// The file belongs to another origin or profile.
    #[error("{} {why}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The origin or profile.
        why: BindingError,
    },
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SealedFile {
    /// Keeps the session of `binding` in `directory`, under `key`.
    pub(crate) fn new(directory: PathBuf, key: SealingKey, binding: Binding) -> Self {
        Self { directory, key, member_key: None, binding }
    }

    /// Keeps what a member of a fleet knows beside the session, under `key`.
    pub(crate) fn with_member_key(self, key: Option<SealingKey>) -> Self {
        Self { member_key: key, ..self }
    }

    /// Reads the session; `None` when there is none.
    ///
    /// # Errors
    ///
    /// One variant per reason for which a file that is there cannot be used.
    pub(crate) fn read(&self) -> Result<Option<StoredSession>, Error> {
        match self.read_from(self.path()) {
            Ok(None) | Err(Error::Foreign { why: BindingError::Origin(_), .. }) => {
                self.read_from(self.parked_path())
            }
            read @ (Ok(Some(_)) | Err(_)) => read,
        }
    }

    fn read_from(&self, path: PathBuf) -> Result<Option<StoredSession>, Error> {
        let Some(envelope) = read_private(&path, MAX_FILE_SIZE)? else { return Ok(None) };
        let sealed = |why| Error::Sealed { path: path.clone(), why };
        let Envelope { clear, sealed: rest, header } =
            Envelope::parse(&envelope, Purpose::Session).map_err(sealed)?;
        let header = header.as_ref();
        let foreign = |why| Error::Foreign { path: path.clone(), why };
        self.binding.verify(header).map_err(foreign)?;
        let plain = self.key.open(clear, rest).map_err(sealed)?;
        StoredSession::from_json(&plain, header)
            .map(Some)
            .ok_or_else(|| sealed(crypto::Error::UnknownVersion))
    }

    /// Replaces the session. Returns once the new one is durable.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; the old session is still there.
    pub(crate) fn write(&self, record: &StoredSession) -> Result<(), Error> {
        let path = self.path();
        let header =
            self.binding.header(record.generation, record.epoch).to_bytes(Purpose::Session);
        let envelope = self.key.seal(&header, &zeroize::Zeroizing::new(record.to_json()));
        self.make_room()
            .and_then(|()| secure_fs::create_dir(&self.directory))
            .and_then(|()| secure_fs::atomic_write(&path, &envelope))
            .map_err(|source| Error::Io { path, source })
    }

    /// Moves away a file that would be lost if another took its name. The parked session of this
    /// origin gets its name back; a crash in between leaves the session where it is still found.
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

    /// Moves an unusable file to a name that no session has.
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

/// Says whether a session of `binding` is stored in `directory`, readable or not.
pub(crate) fn exists(directory: &Path, binding: &Binding) -> bool {
    paths(directory, binding).iter().any(|path| path.exists())
}

/// Returns the other origins whose sessions are stored in `directory`, by the headers of the files.
pub(crate) fn other_origins(directory: &Path, binding: &Binding) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let is_session = |name: &str| {
        name.starts_with(FILE_NAME) && !name.contains(QUARANTINE_INFIX) && !name.ends_with(".new")
    };
    let sessions = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_session));
    let origins = sessions.filter_map(|entry| other_origin_of(&entry.path(), binding));
    // The header is not authenticated here: only a text that is an origin is ever shown.
    origins.filter_map(|origin| Some(Origin::parse(&origin)?.to_string())).collect()
}

/// Removes the session of `binding` from `directory`, after a logout. Needs no key.
///
/// # Errors
///
/// [`Error::Io`] when a file is still there.
pub(crate) fn erase(directory: &Path, binding: &Binding) -> Result<(), Error> {
    for path in paths(directory, binding) {
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Error::Io { path, source });
            }
            Ok(()) | Err(_) => {}
        }
    }
    // Not worth a failure: the files are gone unless the machine crashes right now.
    let _ = secure_fs::fsync_dir(directory);
    Ok(())
}

/// Returns the paths at which the session of `binding` can be.
fn paths(directory: &Path, binding: &Binding) -> Vec<PathBuf> {
    let path = directory.join(FILE_NAME);
    let own = other_origin_of(&path, binding).is_none().then_some(path);
    own.into_iter().chain([directory.join(parked_name(&binding.origin))]).collect()
}

/// Returns the origin that issued the session in this file, by its header, if it is another origin.
fn other_origin_of(path: &Path, binding: &Binding) -> Option<String> {
    let mut start = Vec::new();
    File::open(path).ok()?.take(MAX_FILE_SIZE).read_to_end(&mut start).ok()?;
    Some(Envelope::parse(&start, Purpose::Session).ok()?.issued_by())
        .filter(|origin| *origin != binding.origin)
}

/// Removes the sessions of every origin, and all files that were moved aside or left behind. The
/// record of login attempts and the lock stay: neither is a credential, and both outlive a logout.
pub(crate) fn remove_all(directory: &Path) -> io::Result<()> {
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

/// Reads a file that no other user may read, and at most `limit` bytes of it; `None` when there is none.
fn read_private(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    if let Some(mode) = exposed_mode(&file).map_err(io)? {
        return Err(Error::Exposed { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(io)?;
    Ok(Some(bytes))
}

/// Returns the permission bits if users other than the owner have any.
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
#[path = "sealed_file/tests/versions.rs"]
mod versions;
