//! The key of the session file: one static secret, read once.
//!
//! `auto` takes the most explicit source that has a key: the systemd credential `nexudus-key`, then
//! `session.key_command`, then the keychain, where a key is created if there is none. A person must
//! choose the kernel's keyring explicitly: its key is gone after a reboot, and with it the session.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::resolver::{Backend, Credentials};
use super::{Error, command, systemd};
use crate::config::{self, KeyStore, SessionStore};

/// The key material of the session file, and its source.
#[derive(Clone)]
pub struct SessionKey {
    /// Any bytes; the code that derives the key decides how many are needed.
    pub material: Zeroizing<Vec<u8>>,
    /// The source of the material.
    pub source: KeySource,
}

/// The source of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The systemd credential `nexudus-key`.
    Systemd,
    /// The output of `session.key_command`.
    Command,
    /// The OS keychain.
    Keychain,
    /// The kernel's keyring.
    Kernel,
}

impl KeySource {
    /// Says whether the key is gone after a reboot.
    pub fn is_volatile(self) -> bool {
        match self {
            Self::Kernel => true,
            Self::Systemd | Self::Command | Self::Keychain => false,
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Systemd => "the systemd credential `nexudus-key`",
            Self::Command => "session.key_command",
            Self::Keychain => match () {
                () if cfg!(target_os = "macos") => "the macOS Keychain",
                () if cfg!(windows) => "the Windows Credential Manager",
                () => "the Secret Service",
            },
            Self::Kernel => "the kernel keyring (volatile: lost at reboot)",
        })
    }
}

/// Says whether the session file needs no keychain: its key is elsewhere, or there is no file.
pub fn is_key_outside_keychain(session: &config::Session) -> bool {
    let directory = systemd::credentials_directory;
    session.store == SessionStore::Memory
        || match session.key {
            KeyStore::Auto => {
                !session.key_command.is_empty()
                    || directory().is_some_and(|directory| directory.join(CREDENTIAL_NAME).exists())
            }
            KeyStore::Keychain => false,
            KeyStore::Systemd | KeyStore::Command | KeyStore::Kernel => true,
        }
}

impl Credentials {
    /// Says whether anything is read from the keychain: the login, or the session's key.
    pub fn needs_keychain(&self, session: &config::Session) -> bool {
        (self.uses_keychain() && self.sources_beside_keychain().is_empty())
            || !is_key_outside_keychain(session)
    }

    /// Returns the key of the session file. `directory` is systemd's
    /// `$CREDENTIALS_DIRECTORY`.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when no source has a key, [`Error::Locked`] and [`Error::Unavailable`]
    /// when a source that may have one cannot be read.
    pub async fn session_key(
        &self,
        config: &config::Session,
        directory: Option<PathBuf>,
    ) -> Result<SessionKey, Error> {
        let is_enabled = |place| config.key == KeyStore::Auto || config.key == place;
        if is_enabled(KeyStore::Systemd)
            && let Some(path) = directory.map(|directory| directory.join(CREDENTIAL_NAME))
            && path.exists()
        {
            let read = std::fs::read(&path).map(Zeroizing::new);
            let material = read.map_err(|error| Error::Unavailable(Box::new(error)))?;
            return Ok(SessionKey { material, source: KeySource::Systemd });
        }
        if is_enabled(KeyStore::Command) && !config.key_command.is_empty() {
            let printed = command::output(&config.key_command).await;
            let mut material = printed.map_err(|error| Error::Unavailable(Box::new(error)))?;
            // Password managers print notes below the secret.
            let first = std::str::from_utf8(&material).ok().and_then(|text| text.lines().next());
            if let Some(length) = first.map(str::len) {
                material.truncate(length);
            }
            return Ok(SessionKey { material, source: KeySource::Command });
        }
        if is_enabled(KeyStore::Keychain)
            && let Backend::Configured(_, keychain) = &self.0
        {
            let found = match keychain.session_key().await? {
                Some(found) => found,
                None => keychain.create_session_key().await?,
            };
            return Ok(SessionKey::from_text(&found, KeySource::Keychain));
        }
        if config.key == KeyStore::Kernel
            && let Backend::Configured(_, keychain) = &self.0
        {
            return from_kernel(keychain.profile());
        }
        Err(Error::Missing(None))
    }
}

#[cfg(target_os = "linux")]
fn from_kernel(profile: &str) -> Result<SessionKey, Error> {
    let key = super::keyutils::key(profile).map_err(|error| Error::Unavailable(Box::new(error)))?;
    Ok(SessionKey::from_text(&key, KeySource::Kernel))
}

#[cfg(not(target_os = "linux"))]
fn from_kernel(_: &str) -> Result<SessionKey, Error> {
    Err(super::KeychainError::NoStore.into())
}

/// The systemd credential that holds the key.
const CREDENTIAL_NAME: &str = "nexudus-key";

impl SessionKey {
    /// Returns the key itself: text without the newline that an editor or `echo` leaves at its end,
    /// or else all the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match std::str::from_utf8(&self.material) {
            Ok(text) => text.trim_ascii_end().as_bytes(),
            Err(_) => &self.material,
        }
    }

    fn from_text(secret: &crate::secret::Secret, source: KeySource) -> Self {
        Self { material: Zeroizing::new(secret.expose().as_bytes().to_vec()), source }
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileKey({:?}, ..)", self.source)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::LoginSource;
    use crate::credentials::keychain::tests::{MemoryStore, StoreState};
    use crate::credentials::{Keychain, KeychainError};

    #[tokio::test]
    async fn auto_takes_the_most_explicit_source() {
        let handed = tempfile::tempdir().unwrap();
        std::fs::write(handed.path().join("nexudus-key"), "from systemd").unwrap();
        let handed = || Some(handed.path().to_owned());
        let credentials = credentials(MemoryStore::default());

        let printed = session(KeyStore::Auto, &["printf", "printed"]);
        let made = session(KeyStore::Auto, &[]);

        let origin = async |config, handed| {
            credentials.session_key(&config, handed).await.map(|key| key.source).unwrap()
        };
        assert_eq!(origin(printed.clone(), handed()).await, KeySource::Systemd);
        assert_eq!(origin(printed, None).await, KeySource::Command);
        assert_eq!(origin(made.clone(), None).await, KeySource::Keychain);
        let of_keychain = session(KeyStore::Keychain, &["printf", "printed"]);
        assert_eq!(origin(of_keychain, handed()).await, KeySource::Keychain);
    }

    #[tokio::test]
    async fn the_keychains_key_is_made_once() {
        let credentials = credentials(MemoryStore::default());
        let key =
            async || credentials.session_key(&session(KeyStore::Auto, &[]), None).await.unwrap();

        let first = key().await;

        assert_eq!(first.material, key().await.material);
        assert_eq!(format!("{first:?}"), "FileKey(Keychain, ..)");
    }

    #[tokio::test]
    async fn a_locked_or_absent_keychain_is_no_reason_to_take_another_source() {
        let store = MemoryStore::default();
        let credentials = credentials(store.clone());

        store.set(StoreState::Locked);
        let locked = credentials.session_key(&session(KeyStore::Auto, &[]), None).await;
        store.set(StoreState::Absent);
        let absent = credentials.session_key(&session(KeyStore::Auto, &[]), None).await;

        assert!(matches!(locked, Err(Error::Locked)));
        let Err(Error::Unavailable(error)) = absent else { panic!("{absent:?}") };
        assert_eq!(error.to_string(), KeychainError::NoProvider.to_string());
    }

    fn credentials(store: MemoryStore) -> Credentials {
        let config =
            config::Credentials { source: LoginSource::Auto, email: None, command: Vec::new() };
        Credentials(Backend::Configured(config, Keychain::with_store(store, "default")))
    }

    fn session(key: KeyStore, command: &[&str]) -> config::Session {
        config::Session {
            store: SessionStore::Auto,
            key,
            key_command: command.iter().map(|word| (*word).to_owned()).collect(),
            client_id: None,
            wait: Duration::ZERO,
        }
    }
}
