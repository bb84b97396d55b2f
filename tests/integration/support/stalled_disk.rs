//! A disk that does not answer.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;

use super::Daemon;

/// Every write of the saved session waits while this lives.
///
/// A write looks at the file that it replaces; here that is a pipe, and opening a pipe waits for
/// its other end.
pub struct StalledDisk {
    path: PathBuf,
    content: Vec<u8>,
}

impl Daemon {
    /// Stalls the disk. Nothing may be reading the saved session at this moment.
    pub fn stall(&self) -> StalledDisk {
        StalledDisk::at(&self.home().join("state/session.sealed"))
    }
}

impl StalledDisk {
    /// Stalls the writes of the session saved at `path`.
    pub fn at(path: &Path) -> Self {
        let content = std::fs::read(path).unwrap();
        std::fs::remove_file(path).unwrap();
        nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        Self { path: path.to_owned(), content }
    }

    /// Lets the write that waits, or the first one to come, go on.
    pub async fn recover(self) {
        let (path, content) = (self.path.clone(), self.content.clone());
        let writing = tokio::task::spawn_blocking(move || {
            let mut other_end = OpenOptions::new().write(true).open(path).unwrap();
            other_end.write_all(&content).unwrap();
        });
        writing.await.unwrap();
    }

    /// Puts back what was there, as a restart after a crash would find it.
    pub fn put_back(self) {
        std::fs::remove_file(&self.path).unwrap();
        let mut options = OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.write(true).create_new(true).open(&self.path).unwrap();
        file.write_all(&self.content).unwrap();
    }
}

impl Drop for StalledDisk {
    fn drop(&mut self) {
        use std::os::unix::fs::FileTypeExt as _;
        let is_pipe = |path: &Path| path.metadata().is_ok_and(|meta| meta.file_type().is_fifo());
        // A test that fails must not leave a thread behind that waits for ever.
        if is_pipe(&self.path) {
            let _ = OpenOptions::new().read(true).write(true).open(&self.path);
        }
    }
}
