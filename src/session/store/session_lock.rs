//! The lock that one process holds while it renews the session.
//!
//! The lock is the kernel's (`flock`), on a file of its own that is never removed: a killed process
//! leaves no lock behind.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::clock::Clock;
use crate::secure_fs;
use crate::session::spawn::run_blocking;

/// Held from the reading of a single-use token until its successor is durable.
#[derive(Debug)]
pub(crate) struct SessionLock(#[expect(dead_code, reason = "closing the file releases it")] File);

impl SessionLock {
    /// Waits for the lock of `directory`, for `timeout` at most; `None` while another process
    /// holds it.
    ///
    /// # Errors
    ///
    /// When the lock's file can be neither made nor opened.
    pub(crate) async fn acquire(
        directory: &Path,
        clock: &Clock,
        timeout: Duration,
    ) -> io::Result<Option<Self>> {
        let deadline = clock.now().boot + timeout;
        loop {
            let path = directory.to_owned();
            let lock = run_blocking(move || Self::try_acquire(&path)).await?;
            if lock.is_some() || deadline <= clock.now().boot {
                return Ok(lock);
            }
            tokio::time::sleep(LOCK_POLL_INTERVAL).await;
        }
    }

    fn try_acquire(directory: &Path) -> io::Result<Option<Self>> {
        secure_fs::create_dir(directory)?;
        let file = secure_fs::open_lock_file(&directory.join("session.lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// How often the lock is tried.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_free_again_when_its_holder_is_gone() {
        let directory = tempfile::tempdir().unwrap();

        let first = SessionLock::try_acquire(directory.path()).unwrap().unwrap();
        assert!(SessionLock::try_acquire(directory.path()).unwrap().is_none());

        drop(first);
        assert!(SessionLock::try_acquire(directory.path()).unwrap().is_some());
    }
}
