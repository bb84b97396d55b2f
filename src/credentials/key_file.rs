//! The key file: for machines without a keychain.
//!
//! The key protects the sealed files beside it from other users and from a reader who gets a copy of
//! one file, as in a backup. The key does not protect from a reader of the whole directory. So only
//! `login` makes the file, says so, and only where there is no keychain; the daemon reads a file that
//! exists.

use std::path::{Path, PathBuf};

use super::keychain::random_key;
use super::private_file::{self, FileError};
use crate::secret::{KeyMaterial, SecretInput};
use crate::secure_fs;

/// The key file of one profile.
#[derive(Clone, Debug)]
pub(super) struct KeyFile {
    directory: PathBuf,
}

impl KeyFile {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.join(FILE_NAME)
    }

    /// Says whether anything lies in the place of the file.
    pub(super) fn exists(&self) -> bool {
        self.path().symlink_metadata().is_ok()
    }

    /// Reads the key; `None` when there is no file.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the file is not private, or does not hold a whole key.
    pub(super) fn read(&self) -> Result<Option<KeyMaterial>, FileError> {
        let path = self.path();
        let Some(bytes) = private_file::read(&path)? else { return Ok(None) };
        let key = SecretInput::new("the key file", bytes.to_vec()).key().ok();
        let whole = key.filter(|key| {
            key.as_bytes().len() == KEY_LENGTH && key.as_bytes().iter().all(u8::is_ascii_hexdigit)
        });
        let why = "does not hold a whole key of 64 hexadecimal digits";
        whole.map(Some).ok_or(FileError::Damaged { path, why })
    }

    /// Returns the key, and makes the file if there is none. Of several processes that do so at
    /// once, one makes the key and the others read it.
    ///
    /// # Errors
    ///
    /// As [`KeyFile::read`], and when the file cannot be written.
    pub(super) fn create(&self) -> Result<KeyMaterial, FileError> {
        let io = |source| FileError::Io { path: self.path(), source };
        secure_fs::create_dir(&self.directory).map_err(io)?;
        let lock = secure_fs::open_lock_file(&self.directory.join(LOCK_NAME)).map_err(io)?;
        lock.lock().map_err(io)?;
        if let Some(key) = self.read()? {
            return Ok(key);
        }
        let line = zeroize::Zeroizing::new(format!("{}\n", random_key().expose()));
        secure_fs::atomic_write(&self.path(), line.as_bytes()).map_err(io)?;
        // Read back: a file system that keeps no permissions is no place for a key.
        self.read()?.ok_or_else(|| FileError::Missing(self.path()))
    }

    /// Removes the key.
    ///
    /// # Errors
    ///
    /// When the file is still there.
    pub(super) fn remove(&self) -> Result<(), FileError> {
        remove_file(&self.path())
    }
}

/// Removes a file that may not be there.
pub(super) fn remove_file(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::Io { path: path.to_owned(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The file's name in the profile's state directory.
const FILE_NAME: &str = "session.key";

/// Held while a key is made.
const LOCK_NAME: &str = "session.key.lock";

/// Digits of a key: 256 bits.
const KEY_LENGTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_make_the_key_at_once_have_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::new(&directory.path().join("state"));
        assert!(file.read().unwrap().is_none());

        let keys: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| file.create().unwrap())).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });

        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(file.read().unwrap().unwrap(), keys[0]);
        file.remove().unwrap();
        file.remove().unwrap();
        assert_ne!(file.create().unwrap(), keys[0]);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_another_user_may_have_made_or_seen_is_refused_with_a_hint() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::new(directory.path());
        let whole = file.create().unwrap();
        assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);

        let chmod = |mode| {
            std::fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).unwrap();
        };
        chmod(0o640);
        let exposed = file.read().unwrap_err();
        assert!(matches!(exposed, FileError::Mode { mode: 0o640, .. }), "{exposed}");
        assert!(exposed.hint().starts_with("Run `chmod 600 /"), "{}", exposed.hint());
        assert!(file.create().is_err(), "no new key takes its place");
        chmod(0o600);
        assert_eq!(file.read().unwrap().unwrap(), whole);

        let target = directory.path().join("target");
        std::fs::rename(file.path(), &target).unwrap();
        symlink(&target, file.path()).unwrap();
        assert!(matches!(file.read(), Err(FileError::Symlink(_))));
        assert!(matches!(file.create(), Err(FileError::Symlink(_))));
        std::fs::remove_file(file.path()).unwrap();

        std::fs::create_dir(file.path()).unwrap();
        assert!(matches!(file.read(), Err(FileError::NotRegular(_) | FileError::Mode { .. })));
        std::fs::remove_dir(file.path()).unwrap();

        for text in ["", "abc", &"z".repeat(64), &"0".repeat(63)] {
            std::fs::write(file.path(), text).unwrap();
            chmod(0o600);
            assert!(matches!(file.read(), Err(FileError::Damaged { .. })), "{text:?}");
        }
    }
}
