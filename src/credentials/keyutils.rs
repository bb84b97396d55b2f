//! The kernel's keyring: memory of the kernel, gone after a reboot.
//!
//! The key lies in the *user* keyring, which all sessions and services of a user share. A process
//! may read a key only once it possesses that key. A login shell does; a service or `su` does not.
//! So the user keyring is first linked into the keyring of this process.

use linux_keyutils::{KeyError, KeyRing, KeyRingIdentifier};

use super::keychain::random_key;
use crate::secret::Secret;

/// Why the kernel gives no key.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The kernel refused a call.
    #[error("the kernel keyring refused: {0}")]
    Refused(KeyError),
    /// The key there is not ours.
    #[error("the key in the kernel keyring is not text")]
    NotText,
}

/// Returns the key of `profile`, and makes one if there is none.
///
/// # Errors
///
/// When the kernel refuses: a container may forbid its calls.
pub(super) fn key(profile: &str) -> Result<Secret, Error> {
    let keyring = user_keyring().map_err(Error::Refused)?;
    let description = description(profile);
    let key = match keyring.search(&description) {
        Ok(key) => key,
        // Read back: another process may have been faster with its key.
        Err(KeyError::KeyDoesNotExist | KeyError::KeyExpired | KeyError::KeyRevoked) => {
            let made = random_key();
            keyring.add_key(&description, made.expose()).map_err(Error::Refused)?;
            keyring.search(&description).map_err(Error::Refused)?
        }
        Err(error) => return Err(Error::Refused(error)),
    };
    // Not `read_to_vec`: its buffer would not be wiped.
    let mut buffer = zeroize::Zeroizing::new([0; 256]);
    let length = key.read(&mut *buffer).map_err(Error::Refused)?;
    let text = buffer.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.map(Secret::new).ok_or(Error::NotText)
}

/// Removes the key of `profile`, if there is one.
///
/// # Errors
///
/// As [`key`].
pub(super) fn remove(profile: &str) -> Result<(), Error> {
    let keyring = user_keyring().map_err(Error::Refused)?;
    match keyring.search(&description(profile)) {
        Ok(key) => key.invalidate().map_err(Error::Refused),
        Err(KeyError::KeyDoesNotExist | KeyError::KeyExpired | KeyError::KeyRevoked) => Ok(()),
        Err(error) => Err(Error::Refused(error)),
    }
}

fn user_keyring() -> Result<KeyRing, KeyError> {
    let own = KeyRing::from_special_id(KeyRingIdentifier::Process, true)?;
    let user = KeyRing::from_special_id(KeyRingIdentifier::User, true)?;
    own.link_keyring(user)?;
    Ok(user)
}

fn description(profile: &str) -> String {
    format!("nexudus-proxy:{profile}:file-key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_until_it_is_removed() {
        let profile = format!("test-{}", std::process::id());
        let first = key(&profile).unwrap();

        assert_eq!(first.expose().len(), 64);
        assert_eq!(key(&profile).unwrap(), first);

        remove(&profile).unwrap();
        remove(&profile).unwrap();
        assert_ne!(key(&profile).unwrap(), first);
        remove(&profile).unwrap();
    }
}
