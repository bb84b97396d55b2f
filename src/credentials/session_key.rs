//! The key of the session file: one static secret, read once.
//!
//! `auto` takes the most explicit source that has a key: the systemd credential `nexudus-key`, then
//! `session.key_command`, then the keychain, where a key is created if there is none. A person must
//! choose the kernel's keyring explicitly: its key is gone after a reboot, and with it the session.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::authority_key::AuthorityKey;
use super::authority_sealer::AuthoritySealer;
use super::pending_command::PendingCommand;
use super::resolver::{Backend, Configured, Credentials};
use super::{Error, FileError, Keychain, TokenSealer, command, systemd};
use crate::config::{self, KeyStore, SessionStore};
use crate::secret::{KeyMaterial, Secret, SecretInput};

/// The key material of the session file, and its source.
#[derive(Clone)]
pub struct SessionKey {
    /// Any bytes; the code that derives the key decides how many are needed.
    pub material: KeyMaterial,
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
    /// The key file that `login` made where it found no keychain.
    File,
    /// The key file, because `session.key` says so.
    NamedFile,
    /// The kernel's keyring.
    Kernel,
}

impl KeySource {
    /// Says whether the key is gone after a reboot.
    pub fn is_volatile(self) -> bool {
        match self {
            Self::Kernel => true,
            Self::Systemd | Self::Command | Self::Keychain | Self::File | Self::NamedFile => false,
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
            Self::File => "the key file that `login` made where it found no keychain",
            Self::NamedFile => "the key file (session.key = \"file\")",
            Self::Kernel => "the kernel keyring (volatile: lost at reboot)",
        })
    }
}

impl Credentials {
    /// Says whether the session file needs no keychain: its key is elsewhere, or there is no file.
    pub fn is_key_outside_keychain(&self, session: &config::Session) -> bool {
        let directory = systemd::credentials_directory;
        let has_key_file =
            || matches!(&self.0, Backend::Configured(configured) if configured.key_file.exists());
        session.store == SessionStore::Memory
            || match session.key {
                KeyStore::Auto => {
                    !session.key_command.is_empty()
                        || directory().is_some_and(|path| path.join(CREDENTIAL_NAME).exists())
                        || has_key_file()
                }
                KeyStore::Keychain => false,
                KeyStore::Systemd | KeyStore::Command | KeyStore::File | KeyStore::Kernel => true,
            }
    }

    /// Says whether anything is read from the keychain: the login, or the session's key.
    pub fn needs_keychain(&self, session: &config::Session) -> bool {
        (self.uses_keychain() && !self.has_file() && self.sources_beside_keychain().is_empty())
            || !self.is_key_outside_keychain(session)
    }

    /// Returns the key of the session file. `directory` is systemd's
    /// `$CREDENTIALS_DIRECTORY`.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when no source has a key, [`Error::Locked`], [`Error::File`],
    /// [`Error::Unusable`] and [`Error::Unavailable`] when a source that may have one cannot be
    /// read.
    pub async fn session_key(
        &self,
        config: &config::Session,
        directory: Option<PathBuf>,
    ) -> Result<SessionKey, Error> {
        let read = self.read_session_key(config, directory).await;
        self.1.publish(match &read {
            Ok(key) => authority_key(key, self.profile()),
            Err(error) => AuthorityKey::Unreadable(error.to_string()),
        });
        read
    }

    /// Follows the key that seals certificate authorities, from its newest reading on.
    pub fn authority_key(&self) -> watch::Receiver<AuthorityKey> {
        self.1.subscribe()
    }

    async fn read_session_key(
        &self,
        config: &config::Session,
        directory: Option<PathBuf>,
    ) -> Result<SessionKey, Error> {
        let is_enabled = |place| config.key == KeyStore::Auto || config.key == place;
        if is_enabled(KeyStore::Systemd)
            && let Some(directory) = directory
            && let Some(material) = from_systemd(&directory)?
        {
            return Ok(SessionKey { material, source: KeySource::Systemd });
        }
        if is_enabled(KeyStore::Command) && !config.key_command.is_empty() {
            let pending = match &self.0 {
                Backend::Configured(places) => places.pending.clone(),
                Backend::Memory(_) => PendingCommand::default(),
            };
            let _pending = pending.begin("session.key_command", &config.key_command);
            let printed = command::key(&config.key_command).await;
            let material = printed.map_err(|error| Error::Unavailable(Box::new(error)))?;
            return Ok(SessionKey { material, source: KeySource::Command });
        }
        let Backend::Configured(Configured { keychain, key_file, sealed, .. }) = &self.0 else {
            return Err(Error::Missing(None));
        };
        // Before the keychain: `login` made the file where there was none, and all sealed files of
        // the profile open with it.
        if is_enabled(KeyStore::File) {
            let named = config.key == KeyStore::File;
            let source = if named { KeySource::NamedFile } else { KeySource::File };
            match key_file.read()? {
                Some(material) => return Ok(SessionKey { material, source }),
                None if named => return Err(FileError::Missing(key_file.path()).into()),
                None => {}
            }
        }
        if is_enabled(KeyStore::Keychain) {
            let found = keychain_key(keychain).await.map_err(|error| {
                // A login lies beside the place of the key: the file is what is missing here.
                let is_absent = error.keychain_absence().is_some();
                let is_missing = is_enabled(KeyStore::File) && sealed.exists() && is_absent;
                if is_missing { FileError::Missing(key_file.path()).into() } else { error }
            })?;
            return Ok(SessionKey::from_secret(&found, KeySource::Keychain));
        }
        if config.key == KeyStore::Kernel {
            return from_kernel(keychain.profile());
        }
        Err(Error::Missing(None))
    }
}

fn authority_key(key: &SessionKey, profile: &str) -> AuthorityKey {
    let sealer = AuthoritySealer::new(&key.material, profile);
    match sealer.zip(TokenSealer::new(&key.material, profile)) {
        Some((sealer, tokens)) => AuthorityKey::Read {
            sealer: Arc::new(sealer),
            tokens: Arc::new(tokens),
            is_durable: !key.source.is_volatile(),
        },
        None => AuthorityKey::Unreadable(format!("the key from {} is too short", key.source)),
    }
}

/// Returns the key in the keychain, which is created if there is none.
async fn keychain_key(keychain: &Keychain) -> Result<Secret, Error> {
    match keychain.session_key().await? {
        Some(found) => Ok(found),
        None => keychain.create_session_key().await,
    }
}

fn from_systemd(directory: &Path) -> Result<Option<KeyMaterial>, Error> {
    let source = format!("the systemd credential `{CREDENTIAL_NAME}`");
    let input = SecretInput::from_file(source, &directory.join(CREDENTIAL_NAME));
    let input = input.map_err(|error| Error::Unavailable(Box::new(error)))?;
    Ok(input.map(SecretInput::key).transpose()?)
}

#[cfg(target_os = "linux")]
fn from_kernel(profile: &str) -> Result<SessionKey, Error> {
    let key = super::keyutils::key(profile).map_err(|error| Error::Unavailable(Box::new(error)))?;
    Ok(SessionKey::from_secret(&key, KeySource::Kernel))
}

#[cfg(not(target_os = "linux"))]
fn from_kernel(_: &str) -> Result<SessionKey, Error> {
    Err(super::KeychainError::NoStore.into())
}

/// The systemd credential that holds the key.
const CREDENTIAL_NAME: &str = "nexudus-key";

impl SessionKey {
    fn from_secret(secret: &Secret, source: KeySource) -> Self {
        Self { material: KeyMaterial::from_secret(secret), source }
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

    #[tokio::test]
    async fn a_key_file_is_read_and_never_made() {
        let state = tempfile::tempdir().unwrap();
        let store = MemoryStore::default();
        store.set(StoreState::Absent);
        let config = login_config();
        let origin = config::Origin::nexudus();
        let keychain = Keychain::with_store(store.clone(), "default");
        let credentials =
            Configured::new(&config, &session(KeyStore::Auto, &[]), &origin, keychain);
        let credentials =
            Credentials::from(Backend::Configured(credentials.in_directory(state.path())));
        let key = async |key| credentials.session_key(&session(key, &[]), None).await;

        assert!(matches!(key(KeyStore::File).await, Err(Error::File(FileError::Missing(_)))));
        assert!(key(KeyStore::Auto).await.is_err());
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);

        let absence = KeychainError::NoBus;
        for state in [StoreState::Locked, StoreState::Open] {
            store.set(state);
            let made = credentials.prepare_key(&session(KeyStore::Auto, &[]), Some(&absence)).await;
            assert_eq!(made.unwrap(), None, "{state:?}");
        }
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);

        store.set(StoreState::Absent);
        let made = credentials.prepare_key(&session(KeyStore::Auto, &[]), Some(&absence)).await;
        assert_eq!(made.unwrap(), Some(state.path().join("session.key")));
        assert_eq!(key(KeyStore::Auto).await.unwrap().source, KeySource::File);
        assert_eq!(key(KeyStore::File).await.unwrap().source, KeySource::NamedFile);
        assert!(
            !credentials.needs_keychain(&session(KeyStore::File, &[])) || !credentials.has_file()
        );
    }

    fn credentials(store: MemoryStore) -> Credentials {
        let keychain = Keychain::with_store(store, "default");
        let session = session(KeyStore::Auto, &[]);
        let (login, origin) = (login_config(), config::Origin::nexudus());
        Backend::Configured(Configured::new(&login, &session, &origin, keychain)).into()
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

    fn login_config() -> config::Credentials {
        config::Credentials { source: config::LoginSource::Auto, email: None, command: vec![] }
    }
}
