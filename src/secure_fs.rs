//! Files that only their owner may read, from their first instant on, and that are replaced whole.
//!
//! A crash at any point of a replacement leaves either the old file or the new one: the temporary
//! file is complete (and on disk, if the caller wants durability) before it takes the name. The
//! next write overwrites a temporary file that was left over.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Creates a directory, and its missing parents, that only the owner can enter. An existing
/// directory stays as it is. The user's home directory (`$HOME`) is never created.
///
/// # Errors
///
/// When a directory cannot be created, or the home directory above it does not exist.
pub fn create_dir(path: &Path) -> io::Result<()> {
    let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE"));
    create_dir_below(home.as_deref().map(Path::new), path)
}

/// A user without a home directory, such as a system user, must not get one at `/nonexistent`.
fn create_dir_below(home: Option<&Path>, path: &Path) -> io::Result<()> {
    let home = home.filter(|home| home.is_absolute() && path.starts_with(home));
    if let Some(home) = home.filter(|home| !home.is_dir()) {
        let error =
            format!("the home directory {} does not exist: create it, or set HOME", home.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, error));
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Opens a file to lock it. Creates the file if necessary, and does not change its content.
///
/// # Errors
///
/// When the file can be neither created nor opened.
pub fn open_lock_file(path: &Path) -> io::Result<File> {
    options().create(true).truncate(false).open(path)
}

/// Creates a file.
///
/// # Errors
///
/// When the file exists, or cannot be written; no partial file is left.
pub fn create_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_new(path, bytes, false)
}

/// Creates a file to be filled piece by piece.
///
/// # Errors
///
/// When the file exists, or cannot be created.
pub fn create_file(path: &Path) -> io::Result<File> {
    options().create_new(true).open(path)
}

/// Opens a file to read it and to add to its end. Creates the file if necessary.
///
/// # Errors
///
/// When the file can be neither created nor opened.
pub fn open_append(path: &Path) -> io::Result<File> {
    options().append(true).read(true).create(true).open(path)
}

/// Replaces a file, and returns once the new content is on disk.
///
/// # Errors
///
/// When the new content cannot be written; the old file is still there.
pub fn atomic_write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_and_rename(path, bytes, true)
}

/// Replaces a file without waiting for the disk, for content that can be made again after a power
/// cut.
///
/// # Errors
///
/// As [`atomic_write`].
pub fn atomic_write_nosync(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_and_rename(path, bytes, false)
}

/// Keeps a copy of a damaged file beside it, and returns the copy's path. A copy with the same
/// content is made once.
///
/// # Errors
///
/// When no copy can be made.
pub fn keep_copy(path: &Path) -> io::Result<PathBuf> {
    let content = std::fs::read(path);
    for number in 1.. {
        let mut copy = path.as_os_str().to_owned();
        copy.push(format!(".damaged-{number}"));
        let copy = PathBuf::from(copy);
        match (copy.exists(), &content) {
            (true, Ok(content)) if std::fs::read(&copy).is_ok_and(|kept| kept == *content) => {
                return Ok(copy);
            }
            (true, _) => {}
            (false, Ok(content)) => return create_new(&copy, content).map(|()| copy),
            // What cannot be read keeps its content under a second name.
            (false, Err(_)) => return std::fs::hard_link(path, &copy).map(|()| copy),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Waits until the entries of a directory are on disk.
///
/// # Errors
///
/// When the system reports a failure.
pub fn fsync_dir(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(directory)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = directory;
    Ok(())
}

fn write_and_rename(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    // A file left over from a crash may have other permissions than a new one.
    match std::fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    write_new(beside, bytes, durable)?;
    std::fs::rename(beside, path)?;
    match path.parent() {
        // A bare name is in the current directory.
        Some(directory) if durable && directory.as_os_str().is_empty() => fsync_dir(".".as_ref()),
        Some(directory) if durable => fsync_dir(directory),
        Some(_) | None => Ok(()),
    }
}

/// Creates a file with these bytes, or leaves none.
fn write_new(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let mut file = options().create_new(true).open(path)?;
    let written = file.write_all(bytes);
    let filled = if durable { written.and_then(|()| file.sync_all()) } else { written };
    filled.inspect_err(|_| {
        // The first failure is the one to report; a partial file would only fill the disk.
        let _ = std::fs::remove_file(path);
    })
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_and_directories_belong_to_their_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let below = home.path().join("a/b");
        create_dir(&below).unwrap();
        create_dir(&below).unwrap();

        open_lock_file(&below.join("lock")).unwrap();
        create_new(&below.join("made"), b"1").unwrap();
        atomic_write(&below.join("replaced"), b"1").unwrap();
        atomic_write_nosync(&below.join("replaced"), b"2").unwrap();

        let mode = |name: &str| std::fs::metadata(below.join(name)).unwrap().permissions().mode();
        assert_eq!(mode("") & 0o777, 0o700);
        for name in ["lock", "made", "replaced"] {
            assert_eq!(mode(name) & 0o777, 0o600, "{name}");
        }
        assert_eq!(std::fs::read(below.join("replaced")).unwrap(), b"2");
    }

    #[test]
    fn a_missing_home_directory_is_not_created() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home");
        let below = home.join(".local/state");

        let error = create_dir_below(Some(&home), &below).unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!home.exists());
        std::fs::create_dir(&home).unwrap();
        create_dir_below(Some(&home), &below).unwrap();
        assert!(below.is_dir());
        create_dir_below(Some(&root.path().join("other")), &home.join("elsewhere")).unwrap();
    }

    #[test]
    fn an_existing_file_is_not_created_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        create_new(&path, b"1").unwrap();

        assert_eq!(create_new(&path, b"2").unwrap_err().kind(), io::ErrorKind::AlreadyExists);

        assert_eq!(std::fs::read(&path).unwrap(), b"1");
    }

    #[test]
    fn a_damaged_file_is_copied_once() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        for (content, name) in
            [("one", "file.damaged-1"), ("one", "file.damaged-1"), ("two", "file.damaged-2")]
        {
            std::fs::write(&path, content).unwrap();
            assert_eq!(keep_copy(&path).unwrap(), home.path().join(name));
        }
        assert_eq!(std::fs::read(home.path().join("file.damaged-1")).unwrap(), b"one");
    }

    #[test]
    fn opening_a_lock_file_keeps_its_content() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        create_new(&path, b"1").unwrap();

        open_lock_file(&path).unwrap();

        assert_eq!(std::fs::read(&path).unwrap(), b"1");
    }
}
