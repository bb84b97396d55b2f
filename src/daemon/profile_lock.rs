//! One daemon per profile.

use std::fs::{File, TryLockError};

use super::Error;
use crate::config::Paths;
use crate::secure_fs;

/// Held while a daemon serves a profile, or nobody is to.
#[derive(Debug)]
pub struct ProfileLock(File);

impl Drop for ProfileLock {
    fn drop(&mut self) {
        // Closing would not do: a command that is just being started has a copy of the descriptor.
        let _ = self.0.unlock();
    }
}

/// Takes the profile's lock: the kernel releases it with the process, however that ends.
///
/// # Errors
///
/// [`Error::AlreadyRunning`] where somebody serves it, [`Error::LimiterState`] where there is no lock to
/// be had.
pub fn lock_profile(paths: &Paths) -> Result<ProfileLock, Error> {
    let directory = paths.profile_state();
    let failed = |source| Error::State { path: directory.clone(), source };
    secure_fs::create_dir(&directory).map_err(failed)?;
    let file = secure_fs::open_lock_file(&directory.join("daemon.lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(ProfileLock(file)),
        Err(TryLockError::WouldBlock) => {
            Err(Error::AlreadyRunning { profile: paths.profile.clone() })
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
