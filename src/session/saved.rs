//! The pair at rest: one sealed file, replaced atomically, and a lock across processes.
//!
//! Nothing is ever deleted on our own account: a file that does not open stays where it is until
//! another must take its place, and is then moved aside. Each origin has a file of its own
//! (`binding.rs`); a file that another origin or profile has made is not used. The lock is the kernel's (`flock`), on a
//! file of its own that is never removed, so a killed process leaves none behind.
//! A crash at any point leaves either the old file or the new one (`private.rs`).

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::binding::{Binding, Envelope, Foreign, NAME};
use super::record::Record;
use super::seal::{self, Key};
use crate::config::Origin;
use crate::private;

/// A saved session, read or not.
#[derive(Debug)]
pub(super) struct Saved {
    directory: PathBuf,
    key: Key,
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
        why: seal::Error,
    },
    /// It belongs to another origin or profile.
    #[error("{} {why}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// To which.
        why: Foreign,
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
pub(super) struct Lock(#[expect(dead_code, reason = "closing the file releases it")] File);

impl Saved {
    /// Keeps the session of `binding` in `directory`, under `key`.
    pub(super) fn new(directory: PathBuf, key: Key, binding: Binding) -> Self {
        Self { directory, key, binding }
    }

    /// Reads the session; `None` when there is none.
    ///
    /// # Errors
    ///
    /// One variant per reason for which a file that is there cannot be used.
    pub(super) fn read(&self) -> Result<Option<Record>, Error> {
        let path = self.path();
        let io = |source| Error::Io { path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        if let Some(mode) = exposed(&file).map_err(io)? {
            return Err(Error::Exposed { path, mode });
        }
        let mut envelope = Vec::new();
        file.take(LARGEST).read_to_end(&mut envelope).map_err(io)?;
        let sealed = |why| Error::Sealed { path: path.clone(), why };
        let Envelope { clear, sealed: rest, header } =
            Envelope::parse(&envelope).ok_or_else(|| sealed(seal::Error::Unknown))?;
        let header = header.as_ref();
        let foreign = |why| Error::Foreign { path: path.clone(), why };
        self.binding.check(header).map_err(foreign)?;
        let plain = self.key.open(clear, rest).map_err(sealed)?;
        Record::from_json(&plain, header).map(Some).ok_or_else(|| sealed(seal::Error::Unknown))
    }

    /// Replaces the session. Returns once it is durable.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; what was there before is still there.
    pub(super) fn write(&self, record: &Record) -> Result<(), Error> {
        let path = self.path();
        let header = self.binding.header(record.generation, record.epoch).to_bytes();
        let envelope = self.key.seal(&header, &zeroize::Zeroizing::new(record.to_json()));
        self.set_aside()
            .and_then(|()| private::directory(&self.directory))
            .and_then(|()| private::replace(&path, &envelope))
            .map_err(|source| Error::Io { path, source })
    }

    /// Moves away a file that would be lost if another took its name.
    fn set_aside(&self) -> io::Result<()> {
        match self.read() {
            Ok(_) | Err(Error::Io { .. }) => Ok(()),
            Err(
                Error::Exposed { path, .. }
                | Error::Sealed { path, .. }
                | Error::Foreign { path, .. },
            ) => {
                let name = self.binding.file_name();
                let free = (1..)
                    .map(|number| self.directory.join(format!("{name}{ASIDE}{number}")))
                    .find(|aside| !aside.exists())
                    .expect("a directory holds fewer files than there are numbers");
                std::fs::rename(path, free)
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.join(self.binding.file_name())
    }
}

impl Lock {
    /// Takes the lock of `directory`; `None` while another holds it. Never waits.
    ///
    /// # Errors
    ///
    /// When its file can be neither made nor opened.
    pub(super) fn attempt(directory: &Path) -> io::Result<Option<Self>> {
        private::directory(directory)?;
        let file = private::open(&directory.join("session.lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Says whether a session of `binding` is kept in `directory`, readable or not.
pub(super) fn exists(directory: &Path, binding: &Binding) -> bool {
    directory.join(binding.file_name()).exists()
}

/// Returns the other origins whose sessions are kept in `directory`, by what their files say.
pub(super) fn elsewhere(directory: &Path, binding: &Binding) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let issued_by = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        if !name.starts_with(NAME) || name.contains(ASIDE) || name.ends_with(".new") {
            return None;
        }
        let mut start = Vec::new();
        File::open(entry.path()).ok()?.take(LARGEST).read_to_end(&mut start).ok()?;
        // What stands there is not authenticated yet: only an origin is ever shown.
        Origin::parse(&Envelope::parse(&start)?.issued_by()).map(|origin| origin.to_string())
    };
    entries.filter_map(issued_by).filter(|origin| *origin != binding.origin).collect()
}

/// Removes the session of `binding` from `directory`: a person has logged out. Needs no key.
///
/// # Errors
///
/// [`Error::Io`] when it is still there.
pub(super) fn erase(directory: &Path, binding: &Binding) -> Result<(), Error> {
    let path = directory.join(binding.file_name());
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Io { path, source }),
        Ok(()) | Err(_) => {
            // Not worth a failure: it is gone for everybody but a crash right now.
            let _ = private::sync_names(directory);
            Ok(())
        }
    }
}

/// Removes the sessions of every origin, and all that was ever moved aside or left behind. What was tried with a
/// password stays, and that the session is locked: neither is a credential, and both outlive a logout.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(NAME) {
            std::fs::remove_file(entry.path())?;
        }
    }
    private::sync_names(directory)
}

/// Returns the permission bits if others have any.
#[cfg(unix)]
fn exposed(file: &File) -> io::Result<Option<u32>> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata()?.permissions()) & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

#[cfg(not(unix))]
fn exposed(_file: &File) -> io::Result<Option<u32>> {
    Ok(None)
}

/// Between the name of a file that was moved aside and a number.
const ASIDE: &str = ".unreadable-";

/// Largest file read, in bytes: a real one has less than 4 KiB.
const LARGEST: u64 = 256 * 1024;

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_private() {
        let (directory, saved) = saved();
        assert!(saved.read().unwrap().is_none());

        saved.write(&record(1)).unwrap();
        saved.write(&record(2)).unwrap();

        assert_eq!(saved.read().unwrap(), Some(record(2)));
        let mode = |name: &str| {
            let path = directory.path().join("state").join(name);
            std::fs::metadata(path).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode(""), mode(NAME)), (0o700, 0o600));
        assert_eq!(names(&directory), [NAME]);
    }

    #[test]
    fn a_file_that_does_not_open_is_kept_and_then_moved_aside() {
        let (directory, saved) = saved();
        for (number, damage) in
            [b"".as_slice(), b"garbage", b"nexudus-proxy session 3\nxxxx"].into_iter().enumerate()
        {
            saved.write(&record(1)).unwrap();
            std::fs::write(saved.path(), damage).unwrap();
            assert!(matches!(saved.read(), Err(Error::Sealed { .. })));
            assert_eq!(std::fs::read(saved.path()).unwrap(), damage);

            saved.write(&record(2)).unwrap();

            assert_eq!(saved.read().unwrap(), Some(record(2)));
            let aside = format!("state/{NAME}.unreadable-{}", number + 1);
            assert_eq!(std::fs::read(directory.path().join(aside)).unwrap(), damage);
        }
    }

    #[test]
    fn another_key_opens_nothing_and_says_so() {
        let (_directory, saved) = saved();
        saved.write(&record(1)).unwrap();
        let key = Key::derive(&[8; 16]).unwrap();
        let other = Saved::new(saved.directory.clone(), key, saved.binding.clone());

        let error = other.read().unwrap_err();

        assert!(
            error
                .to_string()
                .ends_with("does not open with this key: it is damaged, or the key is another")
        );
        assert_eq!(saved.read().unwrap(), Some(record(1)));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let (_directory, saved) = saved();
        saved.write(&record(1)).unwrap();
        std::fs::set_permissions(saved.path(), PermissionsExt::from_mode(0o640)).unwrap();

        let error = saved.read().unwrap_err();

        assert!(error.to_string().contains("can be read by others (mode 640)"), "{error}");
    }

    #[test]
    fn a_crash_between_the_steps_of_a_write_leaves_the_old_or_the_new() {
        let (directory, saved) = saved();
        saved.write(&record(1)).unwrap();
        // Killed while the temporary file was being written, with any length.
        for length in [0, 10, 4_000] {
            let temporary = directory.path().join("state/session.sealed.new");
            std::fs::write(&temporary, vec![0; length]).unwrap();
            std::fs::set_permissions(&temporary, PermissionsExt::from_mode(0o444)).unwrap();
            assert_eq!(saved.read().unwrap(), Some(record(1)));
        }

        saved.write(&record(2)).unwrap();

        assert_eq!(saved.read().unwrap(), Some(record(2)));
        assert_eq!(names(&directory), [NAME]);
    }

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let (directory, saved) = saved();
        saved.write(&record(1)).unwrap();
        std::fs::create_dir(directory.path().join("state/session.sealed.new")).unwrap();

        assert!(matches!(saved.write(&record(2)), Err(Error::Io { .. })));

        assert_eq!(saved.read().unwrap(), Some(record(1)));
    }

    #[test]
    fn erasing_removes_the_session_and_may_be_repeated() {
        let (_directory, saved) = saved();
        saved.write(&record(1)).unwrap();

        erase(&saved.directory, &saved.binding).unwrap();
        erase(&saved.directory, &saved.binding).unwrap();

        assert!(saved.read().unwrap().is_none());
    }

    #[test]
    fn one_holds_the_lock_until_it_lets_go() {
        let directory = tempfile::tempdir().unwrap();
        let first = Lock::attempt(directory.path()).unwrap().unwrap();
        assert!(Lock::attempt(directory.path()).unwrap().is_none());

        drop(first);

        assert!(Lock::attempt(directory.path()).unwrap().is_some());
    }

    fn saved() -> (tempfile::TempDir, Saved) {
        let directory = tempfile::tempdir().unwrap();
        let saved = of(&directory, "https://spaces.nexudus.com", "default");
        (directory, saved)
    }

    fn record(generation: u64) -> Record {
        Record { epoch: 1, generation, client_id: "c".into(), account: None, pair: None }
    }

    fn of(directory: &tempfile::TempDir, origin: &str, profile: &str) -> Saved {
        let (directory, key) = (directory.path().join("state"), Key::derive(&[7; 16]).unwrap());
        Saved::new(directory, key, Binding::new(origin, profile))
    }

    fn names(directory: &tempfile::TempDir) -> Vec<String> {
        let entries = std::fs::read_dir(directory.path().join("state")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}
