//! The entries of a profile in the keychain: the login at an origin, and the key of the session
//! file.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

#[cfg(any(target_os = "macos", windows))]
use super::native;
#[cfg(target_os = "linux")]
use super::secret_service;
use super::store::{EntryName, EntryStore, StoreFuture};
use super::{KeychainError, product_name};
use crate::config;
use crate::credentials::{CredentialSource, Error, Login, SecondFactor};
use crate::secret::Secret;

/// The entries of one profile. The calls of all clones run one at a time.
#[derive(Clone, Debug)]
pub struct Keychain {
    store: Arc<dyn EntryStore>,
    profile: Arc<str>,
    /// The origin of the login; `None`: the default one.
    origin: Option<Arc<str>>,
    call_lock: Arc<Mutex<()>>,
}

impl Keychain {
    /// Returns the system's keychain, for the login at `origin`. Nothing is opened before it is
    /// used.
    pub fn system(profile: &str, origin: &config::Origin) -> Self {
        #[cfg(target_os = "linux")]
        let store = secret_service::SecretService;
        #[cfg(any(target_os = "macos", windows))]
        let store = native::Native::default();
        #[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
        let store = super::store::NoKeychain;
        Self::with_store(store, profile).with_origin(origin)
    }

    pub(in crate::credentials) fn with_store(
        store: impl EntryStore + 'static,
        profile: &str,
    ) -> Self {
        let (store, call_lock) = (Arc::new(store), Arc::default());
        Self { store, profile: profile.into(), origin: None, call_lock }
    }

    /// Returns the same for the login at `origin`.
    #[must_use]
    pub fn with_origin(&self, origin: &config::Origin) -> Self {
        let named = *origin != config::Origin::nexudus();
        let origin = named.then(|| origin.to_string().into());
        Self { origin, ..self.clone() }
    }

    /// Says whether this is the login at the default origin.
    pub(in crate::credentials) fn is_default_origin(&self) -> bool {
        self.origin.is_none()
    }

    /// Returns the profile of these entries.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// Returns the name that people know the system's keychain by.
    pub fn product_name() -> &'static str {
        product_name()
    }

    /// Reads the login; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`], [`Error::Unavailable`], and [`Error::Incomplete`] when half is missing.
    pub async fn login(&self) -> Result<Option<Login>, Error> {
        let [email, password, totp] =
            self.read([EntryName::Email, EntryName::Password, EntryName::TotpSecret]).await?;
        let half = |present, absent| Error::Incomplete {
            origin: CredentialSource::Keychain,
            present,
            absent,
        };
        match (email, password) {
            // A 2FA secret alone is no login.
            (None, None) => Ok(None),
            (Some(_), None) => Err(half("an e-mail address", "a password")),
            (None, Some(_)) => Err(half("a password", "an e-mail address")),
            (Some(email), Some(password)) => Ok(Some(Login {
                email: email.expose().to_owned(),
                password,
                second_factor: totp.map(SecondFactor::Shared),
            })),
        }
    }

    /// Stores the login in place of the old one. A typed code is not stored, because it is spent.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] and [`Error::Unavailable`].
    pub async fn store_login(&self, login: &Login) -> Result<(), Error> {
        let totp = match &login.second_factor {
            Some(SecondFactor::Shared(secret)) => Some(secret.clone()),
            Some(SecondFactor::Code(_)) | None => None,
        };
        self.write(vec![
            (EntryName::Email, Some(Secret::new(login.email.clone()))),
            (EntryName::Password, Some(login.password.clone())),
            (EntryName::TotpSecret, totp),
        ])
        .await
    }

    /// Removes the login, and says whether there was one.
    ///
    /// # Errors
    ///
    /// As [`Keychain::store_login`].
    pub async fn remove_login(&self) -> Result<bool, Error> {
        let [email, password, totp] =
            self.read([EntryName::Email, EntryName::Password, EntryName::TotpSecret]).await?;
        let names = [
            (EntryName::Email, email.is_some()),
            (EntryName::Password, password.is_some()),
            (EntryName::TotpSecret, totp.is_some()),
        ];
        let there: Vec<_> = names.into_iter().filter(|(_, is_there)| *is_there).collect();
        let any = !there.is_empty();
        if any {
            self.write(there.into_iter().map(|(name, _)| (name, None)).collect()).await?;
        }
        Ok(any)
    }

    /// Reads the key of the session file; `None` when there is none.
    ///
    /// # Errors
    ///
    /// As [`Keychain::store_login`].
    pub async fn session_key(&self) -> Result<Option<Secret>, Error> {
        let [key] = self.read([EntryName::SessionKey]).await?;
        Ok(key)
    }

    /// Creates a key for the session file, and returns the key that the keychain then has.
    ///
    /// # Errors
    ///
    /// As [`Keychain::store_login`]; [`KeychainError::ReadBackMismatch`] when it was not stored.
    pub async fn create_session_key(&self) -> Result<Secret, Error> {
        self.write(vec![(EntryName::SessionKey, Some(random_key()))]).await?;
        // Read back, on a connection of its own: another process may have been faster.
        self.session_key().await?.ok_or_else(|| KeychainError::ReadBackMismatch.into())
    }

    /// Removes the key of the session file.
    ///
    /// # Errors
    ///
    /// As [`Keychain::store_login`].
    pub async fn remove_session_key(&self) -> Result<(), Error> {
        match self.session_key().await? {
            Some(_) => self.write(vec![(EntryName::SessionKey, None)]).await,
            None => Ok(()),
        }
    }

    /// Writes an entry, reads it back on another connection, and removes it.
    ///
    /// # Errors
    ///
    /// As [`Keychain::create_session_key`].
    pub async fn self_test(&self) -> Result<(), Error> {
        let canary = random_key();
        self.write(vec![(EntryName::Canary, Some(canary.clone()))]).await?;
        let [read] = self.read([EntryName::Canary]).await?;
        self.write(vec![(EntryName::Canary, None)]).await?;
        let [left] = self.read([EntryName::Canary]).await?;
        if read != Some(canary) || left.is_some() {
            return Err(KeychainError::ReadBackMismatch.into());
        }
        Ok(())
    }

    /// Prompts the person to open the keychain, if it is locked, and says whether it was. Only a
    /// command that a person has just typed may call this, never the daemon.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when it stays locked.
    pub async fn unlock(&self) -> Result<bool, Error> {
        self.serialized(PROMPT_TIMEOUT, self.store.unlock()).await
    }

    async fn read<const N: usize>(
        &self,
        names: [EntryName; N],
    ) -> Result<[Option<Secret>; N], Error> {
        let names = names.map(|name| self.entry(name));
        let read = self.serialized(CALL_TIMEOUT, self.store.read(&self.profile, &names)).await?;
        read.try_into().map_err(|_| KeychainError::ReadBackMismatch.into())
    }

    pub(super) async fn write(
        &self,
        changes: Vec<(EntryName, Option<Secret>)>,
    ) -> Result<(), Error> {
        let changes = changes.into_iter().map(|(name, value)| (self.entry(name), value)).collect();
        self.serialized(CALL_TIMEOUT, self.store.write(&self.profile, changes)).await
    }

    /// Returns the full name of an entry: a login belongs to an origin, the rest to the profile.
    fn entry(&self, name: EntryName) -> String {
        match (&self.origin, name) {
            (Some(origin), EntryName::Email | EntryName::Password | EntryName::TotpSecret) => {
                format!("{}@{origin}", name.as_str())
            }
            (None, _) | (Some(_), EntryName::SessionKey | EntryName::Canary) => {
                name.as_str().to_owned()
            }
        }
    }

    async fn serialized<T>(&self, limit: Duration, call: StoreFuture<'_, T>) -> Result<T, Error> {
        let serialized_call = async {
            let _guard = self.call_lock.lock().await;
            call.await
        };
        let result = tokio::time::timeout(limit, serialized_call).await;
        result.unwrap_or_else(|_| Err(KeychainError::Timeout(limit).into()))
    }
}

/// Returns 256 random bits as text: KWallet takes nothing else.
pub(in crate::credentials) fn random_key() -> Secret {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *bytes).expect("the system has randomness");
    Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Longest call that needs no person. macOS may show a dialog of its own after an upgrade.
const CALL_TIMEOUT: Duration =
    Duration::from_secs(if cfg!(target_os = "linux") { 15 } else { 120 });

/// Longest call that waits for a person to type.
const PROMPT_TIMEOUT: Duration = Duration::from_secs(180);
