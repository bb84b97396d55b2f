//! One daemon per profile.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use super::Error;
use crate::config::Paths;

/// Held while a daemon serves a profile.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would not do: a command that is just being started has a copy of the descriptor.
        let _ = self.0.unlock();
    }
}

/// Takes the profile's lock: the kernel releases it with the process, however that ends.
pub(super) fn take(paths: &Paths) -> Result<Lock, Error> {
    let directory = paths.profile_state();
    let failed = |source| Error::State { path: directory.clone(), source };
    private_directory(&directory).map_err(failed)?;
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(directory.join("daemon.lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => {
            Err(Error::AlreadyRunning { profile: paths.profile.clone() })
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Makes a directory that only its owner can enter.
fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
