//! The two locks of a profile: one process serves it, and one process at a time starts to.
//!
//! A process that wants to serve takes the start lock first, and holds it until its sockets
//! respond. So the holder of the start lock knows: the profile's lock is free, or its holder
//! responds on the admin socket, or its holder is ending and will release it. Each of these is an
//! event to wait for. The kernel releases both locks with their process, however that ends.

use std::fs::{File, TryLockError};
use std::io;
use std::thread;

use tokio::sync::oneshot;

use super::Error;
use crate::config::{Config, Paths, SessionStore};
use crate::secure_fs;

/// Held while a process serves a profile, or prevents others from serving it.
#[derive(Debug)]
pub struct ProfileLock {
    /// `None` where nothing can be written: then no state is shared either.
    file: Option<LockedFile>,
}

/// Held while a process starts to serve a profile, or waits until it can.
#[derive(Debug)]
pub struct StartLock {
    _file: LockedFile,
}

/// Takes the profile's lock.
///
/// # Errors
///
/// [`Error::AlreadyRunning`] if another process holds the lock, [`Error::State`] if the lock file
/// cannot be used.
pub fn lock_profile(paths: &Paths) -> Result<ProfileLock, Error> {
    let file = open(paths, PROFILE_LOCK)?;
    match file.try_lock() {
        Ok(()) => Ok(ProfileLock { file: Some(LockedFile(file)) }),
        Err(TryLockError::WouldBlock) => {
            Err(Error::AlreadyRunning { profile: paths.profile.clone() })
        }
        Err(TryLockError::Error(source)) => Err(unusable(paths, source)),
    }
}

impl ProfileLock {
    /// Waits until no other process serves the profile, and takes its lock.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the lock file cannot be used.
    pub async fn wait(paths: &Paths) -> Result<Self, Error> {
        Ok(Self { file: Some(wait(paths, PROFILE_LOCK).await?) })
    }

    /// Returns what stands for the lock where the state directory cannot be used and nothing is to
    /// be stored in it: a daemon in a container where nothing can be written.
    ///
    /// Only `session.store = "memory"` says that nothing is to be stored: without it, an unusable
    /// directory is an error, as a session that is lost at each restart is not what was asked for.
    pub(super) fn without_state(config: &Config, paths: &Paths) -> Option<Self> {
        if config.session.store != SessionStore::Memory {
            return None;
        }
        let Err(Error::State { path, source }) = open(paths, PROFILE_LOCK) else { return None };
        tracing::warn!(
            path = %path.display(),
            error = %source,
            "no state directory: client keys, a lock or a logout, the client id and the record of a \
             refused password end with this process; STATE_DIRECTORY names a directory for them"
        );
        Some(Self { file: None })
    }

    /// Says whether the state directory can be used.
    pub(super) fn has_state(&self) -> bool {
        self.file.is_some()
    }
}

impl StartLock {
    /// Waits until no other process is starting to serve the profile.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the lock file cannot be used.
    pub async fn wait(paths: &Paths) -> Result<Self, Error> {
        Ok(Self { _file: wait(paths, START_LOCK).await? })
    }
}

#[derive(Debug)]
struct LockedFile(File);

impl Drop for LockedFile {
    fn drop(&mut self) {
        // Closing the file would not do: a child process that is just being started has a copy of
        // the descriptor.
        let _ = self.0.unlock();
    }
}

fn open(paths: &Paths, name: &str) -> Result<File, Error> {
    let directory = paths.profile_state();
    secure_fs::create_dir(&directory)
        .and_then(|()| secure_fs::open_lock_file(&directory.join(name)))
        .map_err(|source| unusable(paths, source))
}

async fn wait(paths: &Paths, name: &str) -> Result<LockedFile, Error> {
    let file = open(paths, name)?;
    let locked = match file.try_lock() {
        Ok(()) => Ok(LockedFile(file)),
        Err(TryLockError::WouldBlock) => lock_on_thread(file).await,
        Err(TryLockError::Error(source)) => Err(source),
    };
    locked.map_err(|source| unusable(paths, source))
}

/// Waits on a thread of its own: the system call cannot be cancelled, and a runtime that ends would
/// wait for a blocking task.
async fn lock_on_thread(file: File) -> io::Result<LockedFile> {
    let (sender, locked) = oneshot::channel();
    let lock = move || {
        // If the wait was given up meanwhile, the lock is dropped here, and so released.
        let _ = sender.send(file.lock().map(|()| LockedFile(file)));
    };
    thread::Builder::new().name("lock".to_owned()).spawn(lock)?;
    locked.await.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

fn unusable(paths: &Paths, source: io::Error) -> Error {
    Error::State { path: paths.profile_state(), source }
}

const PROFILE_LOCK: &str = "daemon.lock";

const START_LOCK: &str = "start.lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_with_the_release_of_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::rooted_at(directory.path());
        let held = lock_profile(&paths).unwrap();
        let waiting = wait_in_task(&paths).await;

        drop(held);

        let _held = waiting.await.unwrap().unwrap();
        assert!(matches!(lock_profile(&paths), Err(Error::AlreadyRunning { .. })));
    }

    #[tokio::test]
    async fn a_wait_that_was_given_up_keeps_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::rooted_at(directory.path());
        let held = lock_profile(&paths).unwrap();
        let waiting = wait_in_task(&paths).await;

        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        drop(held);

        let _held = ProfileLock::wait(&paths).await.unwrap();
    }

    /// Returns a task that waits for the profile's lock, which is held.
    async fn wait_in_task(paths: &Paths) -> tokio::task::JoinHandle<Result<ProfileLock, Error>> {
        let paths = paths.clone();
        let waiting = tokio::spawn(async move { ProfileLock::wait(&paths).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        waiting
    }
}
