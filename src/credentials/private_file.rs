//! Files that hold a key or a login: read only where no other user can have written or read them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Why a file of the state directory is not used. The file stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Named by `session.key` or needed to open the login, and not there.
    #[error("there is no key file at {}", .0.display())]
    Missing(PathBuf),
    /// A link may lead to another user's file.
    #[error("{} is a symbolic link", .0.display())]
    Symlink(PathBuf),
    /// A directory, a device, a pipe.
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// Another user can have written the file.
    #[error("{} belongs to another user (uid {uid})", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// The owner.
        uid: u32,
    },
    /// Other users can read or write the file.
    #[error("{} can be read by others (mode {mode:o})", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// The permission bits.
        mode: u32,
    },
    /// The file has not the content that this program writes.
    #[error("{} {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The flaw of the content.
        why: &'static str,
    },
    /// The file belongs to another origin or profile, or opens with another key.
    #[error("{} {why}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why it does not open.
        why: String,
    },
    /// The file cannot be read or written.
    #[error("could not use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl FileError {
    /// Returns what to do.
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Missing(_) => {
                "Run `nexudus-proxy login`: only `login` makes the key file.".to_owned()
            }
            Self::Mode { path, .. } => format!(
                "Run `chmod 600 {0}` if no other user has read it; else remove it and run \
                 `nexudus-proxy login`.",
                path.display()
            ),
            Self::Owner { path, .. } => format!(
                "Run the command as that user, or remove {} and run `nexudus-proxy login`.",
                path.display()
            ),
            Self::Symlink(path)
            | Self::NotRegular(path)
            | Self::Damaged { path, .. }
            | Self::Sealed { path, .. } => format!(
                "Put back the file that was there, or remove {} and run `nexudus-proxy login`.",
                path.display()
            ),
            Self::Io { .. } => "Make the directory writable for this user, or give the login as a \
                                systemd credential, by credentials.command, or in NEXUDUS_EMAIL and \
                                NEXUDUS_PASSWORD."
                .to_owned(),
        }
    }
}

/// Reads a private file; `None` when there is none.
///
/// # Errors
///
/// [`FileError`] when another user can have made or seen the file, or it cannot be read.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let is_link = path.symlink_metadata().is_ok_and(|found| found.is_symlink());
            return Err(if is_link { FileError::Symlink(path.to_owned()) } else { io(error) });
        }
    };
    check(path, &file.metadata().map_err(io)?)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(INITIAL_CAPACITY));
    file.take(MAX_FILE_SIZE).read_to_end(&mut bytes).map_err(io)?;
    Ok(Some(bytes))
}

#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // Not to wait for a writer where a pipe lies in the place of the file.
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    std::fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(unix)]
fn check(path: &Path, found: &std::fs::Metadata) -> Result<(), FileError> {
    use std::os::unix::fs::MetadataExt as _;
    let path = path.to_owned();
    let mode = found.mode() & 0o777;
    match found.uid() {
        _ if !found.is_file() => Err(FileError::NotRegular(path)),
        uid if uid != nix::unistd::geteuid().as_raw() => Err(FileError::Owner { path, uid }),
        _ if mode & 0o077 != 0 => Err(FileError::Mode { path, mode }),
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
fn check(path: &Path, found: &std::fs::Metadata) -> Result<(), FileError> {
    if found.is_file() { Ok(()) } else { Err(FileError::NotRegular(path.to_owned())) }
}

/// Largest file read, in bytes: a sealed login has less than 4 KiB.
const MAX_FILE_SIZE: u64 = 64 << 10;

/// The files have fewer bytes; a buffer that grows is copied.
const INITIAL_CAPACITY: usize = 8 << 10;
