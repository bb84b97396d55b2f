//! The file of a unix socket, removed when the socket is no longer used.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The file of a socket. Dropping it removes that very file, never a successor's.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode; none if the service manager made and removes the file.
    file: Option<(u64, u64)>,
}

impl SocketFile {
    /// Takes over the file that was just made at `path`.
    ///
    /// # Errors
    ///
    /// When it is gone already.
    pub(super) fn new(path: &Path) -> std::io::Result<Self> {
        let file = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), file: Some((file.dev(), file.ino())) })
    }

    /// Names a file that the service manager has made and removes.
    pub(super) fn without_cleanup(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None }
    }

    /// Returns where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|file| self.file == Some((file.dev(), file.ino())));
        if is_ours {
            // Failing leaves a stale file, which the next start replaces.
            std::fs::remove_file(&self.path).ok();
        }
    }
}
