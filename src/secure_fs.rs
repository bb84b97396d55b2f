//! Files that only their owner may read: made so from their first instant, and replaced whole.
//!
//! A crash at any point of a replacement leaves either the old file or the new one: the temporary
//! file is complete, and on disk where that is asked for, before it takes the name. One that was
//! left over is overwritten by the next write.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// Makes a directory, and those above it, that only its owner can enter. One that is there stays
/// as it is.
///
/// # Errors
///
/// When it cannot be made.
pub fn create_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Opens a file to lock it, made if it is not there.
///
/// # Errors
///
/// When it can be neither made nor opened.
pub fn open_lock_file(path: &Path) -> io::Result<File> {
    options().create(true).truncate(false).open(path)
}

/// Makes a file that is not there yet.
///
/// # Errors
///
/// When there is one, or it cannot be written; nothing is left of it then.
pub fn create_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_new(path, bytes, false)
}

/// Replaces a file, and returns once it is on disk.
///
/// # Errors
///
/// When it cannot be written; what was there before is still there.
pub fn atomic_write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_and_rename(path, bytes, true)
}

/// Replaces a file without waiting for the disk: what is lost with the power is made again.
///
/// # Errors
///
/// As [`atomic_write`].
pub fn atomic_write_nosync(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_and_rename(path, bytes, false)
}

/// Waits until the names in a directory are on disk.
///
/// # Errors
///
/// When the system cannot tell.
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
    // A left-over of a crash may have other permissions than a file made now.
    match std::fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    write_new(beside, bytes, durable)?;
    std::fs::rename(beside, path)?;
    match path.parent() {
        Some(directory) if durable => fsync_dir(directory),
        Some(_) | None => Ok(()),
    }
}

/// Makes a file with these bytes, or none.
fn write_new(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let mut file = options().create_new(true).open(path)?;
    let filled = file.write_all(bytes).and_then(|()| match durable {
        true => file.sync_all(),
        false => Ok(()),
    });
    filled.inspect_err(|_| {
        // The first failure is the one to tell; what is half written would only fill the disk.
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
    fn files_and_directories_are_their_owners_alone() {
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
    fn what_is_there_is_not_made_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        create_new(&path, b"1").unwrap();

        assert_eq!(create_new(&path, b"2").unwrap_err().kind(), io::ErrorKind::AlreadyExists);

        assert_eq!(std::fs::read(&path).unwrap(), b"1");
    }

    #[test]
    fn a_lock_keeps_what_the_file_holds() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        create_new(&path, b"1").unwrap();

        open_lock_file(&path).unwrap();

        assert_eq!(std::fs::read(&path).unwrap(), b"1");
    }
}
