//! The file of a member of a fleet, beside the session and under a key of its own.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Error, SealedFile, read_private};
use crate::credentials::sealing::binding::{Binding, Envelope, name_for_origin};
use crate::credentials::sealing::crypto::{self, Purpose, SealingKey};
use crate::secure_fs;

impl SealedFile {
    /// Reads what the member has kept; `None` when there is nothing.
    ///
    /// # Errors
    ///
    /// As [`SealedFile::read`].
    pub(crate) fn read_member(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let path = member_path(&self.directory, &self.binding);
        let Some(bytes) = read_private(&path, MAX_MEMBER_SIZE)? else { return Ok(None) };
        let sealed = |why| Error::Sealed { path: path.clone(), why };
        let envelope = Envelope::parse(&bytes, Purpose::Member).map_err(sealed)?;
        let foreign = |why| Error::Foreign { path: path.clone(), why };
        self.binding.verify(envelope.header.as_ref()).map_err(foreign)?;
        let key = self.member_key().map_err(|source| Error::Io { path: path.clone(), source })?;
        key.open(envelope.clear, envelope.sealed).map(Some).map_err(sealed)
    }

    /// Replaces what the member keeps. Returns once that is durable.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; what was kept before is still there.
    pub(crate) fn write_member(&self, plain: &[u8]) -> Result<(), Error> {
        let path = member_path(&self.directory, &self.binding);
        let header = self.binding.header(0, 0).to_bytes(Purpose::Member);
        let written = self.member_key().and_then(|key| {
            secure_fs::create_dir(&self.directory)?;
            secure_fs::atomic_write(&path, &key.seal(&header, plain))
        });
        written.map_err(|source| Error::Io { path, source })
    }

    fn member_key(&self) -> io::Result<&SealingKey> {
        self.member_key.as_ref().ok_or_else(|| io::Error::other(crypto::Error::CannotDecrypt))
    }
}

/// Removes what the member of `binding` has kept in `directory`.
///
/// # Errors
///
/// When the file is still there.
pub(crate) fn erase_member(directory: &Path, binding: &Binding) -> io::Result<()> {
    match std::fs::remove_file(member_path(directory, binding)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => secure_fs::fsync_dir(directory),
    }
}

/// Each origin has a file of its own.
fn member_path(directory: &Path, binding: &Binding) -> PathBuf {
    directory.join(name_for_origin(MEMBER_FILE, &binding.origin))
}

const MEMBER_FILE: &str = "fleet.sealed";

/// Largest file read, in bytes: some thousand clients.
const MAX_MEMBER_SIZE: u64 = 4 << 20;
