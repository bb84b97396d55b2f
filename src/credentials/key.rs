//! The key of the session file: one static secret, read once.
//!
//! `auto` takes the most explicit place that has one: the systemd credential `nexudus-key`, then
//! `session.key_command`, then the keychain, where it is made if there is none. The kernel's
//! keyring is never taken by itself: its key is gone after a reboot, and a file that nobody can
//! open any more is a choice for a person to make.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::{Credentials, Error, Kind, command};
use crate::config::{self, Key, Store};

/// What the key of the session file is made of, and where that was found.
#[derive(Clone)]
pub struct FileKey {
    /// The material, any bytes; how long it must be is decided by who derives the key.
    pub material: Zeroizing<Vec<u8>>,
    /// Where it was found.
    pub origin: KeyOrigin,
}

/// The place a key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// The systemd credential `nexudus-key`.
    Systemd,
    /// What `session.key_command` printed.
    Command,
    /// The OS keychain.
    Keychain,
    /// The kernel's keyring.
    Kernel,
}

impl KeyOrigin {
    /// Says whether the key is gone after a reboot.
    pub fn is_volatile(self) -> bool {
        match self {
            Self::Kernel => true,
            Self::Systemd | Self::Command | Self::Keychain => false,
        }
    }
}

impl fmt::Display for KeyOrigin {
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

/// Says whether the key of the session file is found without a keychain, or there is no file.
pub fn is_key_elsewhere(session: &config::Session) -> bool {
    let handed = || std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    session.store == Store::Memory
        || match session.key {
            Key::Auto => {
                !session.key_command.is_empty()
                    || handed().is_some_and(|directory| directory.join(CREDENTIAL).exists())
            }
            Key::Keychain => false,
            Key::Systemd | Key::Command | Key::Kernel => true,
        }
}

impl Credentials {
    /// Says whether anything is read from the keychain: the login, or the session's key.
    pub fn needs_keychain(&self, session: &config::Session) -> bool {
        (self.uses_keychain() && self.beside_keychain().is_empty()) || !is_key_elsewhere(session)
    }

    /// Returns the key of the session file. `handed` is systemd's `$CREDENTIALS_DIRECTORY`.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] when no place has one, [`Error::Locked`] and [`Error::Unavailable`] when
    /// a place that may have it cannot be read.
    pub async fn file_key(
        &self,
        config: &config::Session,
        handed: Option<PathBuf>,
    ) -> Result<FileKey, Error> {
        let asked = |place| config.key == Key::Auto || config.key == place;
        if asked(Key::Systemd)
            && let Some(path) = handed.map(|directory| directory.join(CREDENTIAL))
            && path.exists()
        {
            let read = std::fs::read(&path).map(Zeroizing::new);
            let material = read.map_err(|error| Error::Unavailable(Box::new(error)))?;
            return Ok(FileKey { material, origin: KeyOrigin::Systemd });
        }
        if asked(Key::Command) && !config.key_command.is_empty() {
            let printed = command::printed(&config.key_command).await;
            let mut material = printed.map_err(|error| Error::Unavailable(Box::new(error)))?;
            // Password managers print notes below what was asked for.
            let first = std::str::from_utf8(&material).ok().and_then(|text| text.lines().next());
            if let Some(length) = first.map(str::len) {
                material.truncate(length);
            }
            return Ok(FileKey { material, origin: KeyOrigin::Command });
        }
        if asked(Key::Keychain)
            && let Kind::Configured(_, keychain) = &self.0
        {
            let found = match keychain.file_key().await? {
                Some(found) => found,
                None => keychain.make_file_key().await?,
            };
            return Ok(FileKey::text(&found, KeyOrigin::Keychain));
        }
        if config.key == Key::Kernel
            && let Kind::Configured(_, keychain) = &self.0
        {
            return kernel(keychain.profile());
        }
        Err(Error::Missing(None))
    }
}

#[cfg(target_os = "linux")]
fn kernel(profile: &str) -> Result<FileKey, Error> {
    let key = super::kernel::key(profile).map_err(|error| Error::Unavailable(Box::new(error)))?;
    Ok(FileKey::text(&key, KeyOrigin::Kernel))
}

#[cfg(not(target_os = "linux"))]
fn kernel(_: &str) -> Result<FileKey, Error> {
    Err(super::Trouble::NoStore.into())
}

/// The systemd credential that holds the key.
const CREDENTIAL: &str = "nexudus-key";

impl FileKey {
    /// Returns the key itself: text without the newline that an editor or `echo` leaves at its end,
    /// or else all the bytes.
    pub fn bytes(&self) -> &[u8] {
        match std::str::from_utf8(&self.material) {
            Ok(text) => text.trim_ascii_end().as_bytes(),
            Err(_) => &self.material,
        }
    }

    fn text(secret: &crate::secret::Secret, origin: KeyOrigin) -> Self {
        Self { material: Zeroizing::new(secret.expose().as_bytes().to_vec()), origin }
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileKey({:?}, ..)", self.origin)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::keychain::tests::{Memory, State};
    use super::super::{Keychain, Trouble};
    use super::*;
    use crate::config::Source;

    #[tokio::test]
    async fn auto_takes_the_most_explicit_place() {
        let handed = tempfile::tempdir().unwrap();
        std::fs::write(handed.path().join("nexudus-key"), "from systemd").unwrap();
        let handed = || Some(handed.path().to_owned());
        let credentials = credentials(Memory::default());

        let printed = session(Key::Auto, &["printf", "printed"]);
        let made = session(Key::Auto, &[]);

        let origin = async |config, handed| {
            credentials.file_key(&config, handed).await.map(|key| key.origin).unwrap()
        };
        assert_eq!(origin(printed.clone(), handed()).await, KeyOrigin::Systemd);
        assert_eq!(origin(printed, None).await, KeyOrigin::Command);
        assert_eq!(origin(made.clone(), None).await, KeyOrigin::Keychain);
        let of_keychain = session(Key::Keychain, &["printf", "printed"]);
        assert_eq!(origin(of_keychain, handed()).await, KeyOrigin::Keychain);
    }

    #[tokio::test]
    async fn the_keychains_key_is_made_once() {
        let credentials = credentials(Memory::default());
        let key = async || credentials.file_key(&session(Key::Auto, &[]), None).await.unwrap();

        let first = key().await;

        assert_eq!(first.material, key().await.material);
        assert_eq!(format!("{first:?}"), "FileKey(Keychain, ..)");
    }

    #[tokio::test]
    async fn a_locked_or_absent_keychain_is_no_reason_to_take_another_place() {
        let store = Memory::default();
        let credentials = credentials(store.clone());

        store.set(State::Locked);
        let locked = credentials.file_key(&session(Key::Auto, &[]), None).await;
        store.set(State::Absent);
        let absent = credentials.file_key(&session(Key::Auto, &[]), None).await;

        assert!(matches!(locked, Err(Error::Locked)));
        let Err(Error::Unavailable(trouble)) = absent else { panic!("{absent:?}") };
        assert_eq!(trouble.to_string(), Trouble::NoProvider.to_string());
    }

    fn credentials(store: Memory) -> Credentials {
        let config = config::Credentials { source: Source::Auto, email: None, command: Vec::new() };
        Credentials(Kind::Configured(config, Keychain::of(store, "default")))
    }

    fn session(key: Key, command: &[&str]) -> config::Session {
        config::Session {
            store: Store::Auto,
            key,
            key_command: command.iter().map(|word| (*word).to_owned()).collect(),
            client_id: None,
            wait: Duration::ZERO,
        }
    }
}
