//! A disk that does not answer.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
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

    /// Lets the write that waits, and every later one, go on.
    pub async fn recover(self) {
        tokio::task::spawn_blocking(move || drop(self)).await.unwrap();
    }

    /// Puts back what was there, as a restart after a crash would find it.
    pub fn put_back(self) {
        self.restore();
    }

    /// Replaces the pipe by the file that was there, so that no later write waits.
    fn restore(&self) {
        let beside = self.path.with_extension("restored");
        let mut options = OpenOptions::new();
        let mut file = options.mode(0o600).write(true).create_new(true).open(&beside).unwrap();
        file.write_all(&self.content).unwrap();
        std::fs::rename(&beside, &self.path).unwrap();
    }
}

impl Drop for StalledDisk {
    /// Ends the stall also where a test fails: a thread that waits for ever would hang the test.
    fn drop(&mut self) {
        let is_pipe = |meta: std::fs::Metadata| meta.file_type().is_fifo();
        if !self.path.symlink_metadata().is_ok_and(is_pipe) {
            return;
        }
        // The pipe keeps a name, by which its waiting reader is found.
        let pipe = self.path.with_extension("stalled");
        std::fs::hard_link(&self.path, &pipe).unwrap();
        self.restore();
        // Fails with ENXIO where no write waits.
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits());
        if let Ok(mut other_end) = options.open(&pipe) {
            other_end.write_all(&self.content).unwrap();
        }
        std::fs::remove_file(&pipe).unwrap();
    }
}
