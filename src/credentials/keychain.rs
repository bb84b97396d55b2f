//! The OS keychain: Secret Service on Linux, Keychain on macOS, Credential Manager on Windows.
//!
//! macOS and Windows go through the keyring project's current interface (`keyring-core` and its
//! native stores). On Linux it is `oo7`, for what was measured against a real GNOME Keyring:
//!
//! - *locked*: the keyring project's store opens a dialog on every read, and blocks its thread for
//!   as long as that is open; `oo7` says `is_locked` and opens one only when asked to;
//! - *late*: without D-Bus the old façade remembers the failure for the life of the process; here
//!   every turn connects anew;
//! - *restarted*: a store held across a restart of the provider fails for ever in both; see above.
//!
//! A login belongs to the origin that accepted it, so its entries carry the origin in their names
//! (`password@https://…`), in the same way in every store. Those of the default origin have none, as
//! before origins were noted: an earlier program finds that login and no other.
//!
//! Calls take turns, because many connections at once have stalled GNOME Keyring, and each has a
//! time limit. Nothing here falls back to anything: there is no mock store, no plain text.

#[cfg(any(target_os = "macos", windows))]
mod native;
#[cfg(target_os = "linux")]
mod secret_service;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::{CredentialSource, Error, Login, SecondFactor};
use crate::config;
use crate::secret::Secret;

/// The entries of one profile. Clones take turns with each other.
#[derive(Clone, Debug)]
pub struct Keychain {
    store: Arc<dyn EntryStore>,
    profile: Arc<str>,
    /// Whose login is meant; `None`: the default origin's.
    origin: Option<Arc<str>>,
    turn: Arc<Mutex<()>>,
}

/// What is kept, one entry each: Windows bounds an entry at 2,560 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryName {
    Email,
    Password,
    TotpSecret,
    SessionKey,
    Canary,
}

/// One change: the name of an entry, and a value to keep, or `None` to remove it.
pub(super) type EntryChange = (String, Option<Secret>);

/// What a store promises; boxed, since it is chosen at run time.
pub(super) type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// A place that keeps secrets.
pub(super) trait EntryStore: fmt::Debug + Send + Sync {
    /// Reads entries; a missing one is `None`. Never opens a dialog.
    fn read<'a>(
        &'a self,
        profile: &'a str,
        names: &'a [String],
    ) -> StoreFuture<'a, Vec<Option<Secret>>>;

    /// Makes changes. Never opens a dialog where the store can tell that it would.
    fn write<'a>(&'a self, profile: &'a str, changes: Vec<EntryChange>) -> StoreFuture<'a, ()>;

    /// Asks the person to open it, if it is locked, and says whether it was.
    fn unlock(&self) -> StoreFuture<'_, bool>;
}

/// Why a keychain cannot be used, in our own words: what a store says is unbounded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeychainError {
    /// There is no session bus.
    #[error("there is no D-Bus session bus")]
    NoBus,
    /// Nobody offers the service.
    #[error("no Secret Service runs: install and start gnome-keyring, KWallet or KeePassXC")]
    NoProvider,
    /// The provider has no place for new entries.
    #[error("the Secret Service has no default collection")]
    NoCollection,
    /// There is none on this system.
    #[error("this system has no keychain that is known")]
    NoStore,
    /// It did not answer.
    #[error("the keychain did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// An entry is larger than it takes.
    #[error("the keychain takes at most {0} bytes per entry")]
    TooLong(u32),
    /// What it gave back is not what was written.
    #[error("the keychain gave back something else than was written")]
    ReadBackMismatch,
    /// The person closed the dialog.
    #[error("the dialog to unlock it was closed")]
    Dismissed,
    /// Anything else.
    #[error("the keychain failed: {0}")]
    Other(String),
}

impl KeychainError {
    /// Says whether there is none at all, rather than one that fails.
    pub(super) fn is_absent(&self) -> bool {
        match self {
            Self::NoBus | Self::NoProvider | Self::NoCollection | Self::NoStore => true,
            Self::Timeout(_)
            | Self::TooLong(_)
            | Self::ReadBackMismatch
            | Self::Dismissed
            | Self::Other(_) => false,
        }
    }
}

impl From<KeychainError> for Error {
    fn from(trouble: KeychainError) -> Self {
        Self::Unavailable(Box::new(trouble))
    }
}

impl Keychain {
    /// Returns the system's keychain, for the login at `origin`. Nothing is opened before it is used.
    pub fn system(profile: &str, origin: &config::Origin) -> Self {
        #[cfg(target_os = "linux")]
        let store = secret_service::SecretService;
        #[cfg(any(target_os = "macos", windows))]
        let store = native::Native::default();
        #[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
        let store = NoKeychain;
        Self::with_store(store, profile).with_origin(origin)
    }

    pub(super) fn with_store(store: impl EntryStore + 'static, profile: &str) -> Self {
        let (store, turn) = (Arc::new(store), Arc::default());
        Self { store, profile: profile.into(), origin: None, turn }
    }

    /// Returns the same for the login at `origin`.
    #[must_use]
    pub fn with_origin(&self, origin: &config::Origin) -> Self {
        let named = *origin != config::Origin::nexudus();
        let origin = named.then(|| origin.to_string().into());
        Self { origin, ..self.clone() }
    }

    /// Says whether this is the login at the default origin.
    pub(super) fn is_default_origin(&self) -> bool {
        self.origin.is_none()
    }

    /// Returns whose entries these are.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// Returns what people call it.
    pub fn product_name() -> &'static str {
        match () {
            () if cfg!(target_os = "macos") => "macOS Keychain",
            () if cfg!(windows) => "Windows Credential Manager",
            () => "Secret Service",
        }
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
            // A 2FA secret alone logs nobody in.
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

    /// Keeps the login in place of the one that is there. A typed code is not kept: it is spent.
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

    /// Makes a key for the session file, and returns what the keychain then has.
    ///
    /// # Errors
    ///
    /// As [`Keychain::store_login`]; [`KeychainError::ReadBackMismatch`] when it was not kept.
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

    /// Asks the person to open the keychain, if it is locked, and says whether it was. Only a
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

    async fn write(&self, changes: Vec<(EntryName, Option<Secret>)>) -> Result<(), Error> {
        let changes = changes.into_iter().map(|(name, value)| (self.entry(name), value)).collect();
        self.serialized(CALL_TIMEOUT, self.store.write(&self.profile, changes)).await
    }

    /// Returns the name of an entry: a login is an origin's, the rest the profile's.
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
        let take_turn = async {
            let _turn = self.turn.lock().await;
            call.await
        };
        match tokio::time::timeout(limit, take_turn).await {
            Ok(answer) => answer,
            Err(_) => Err(KeychainError::Timeout(limit).into()),
        }
    }
}

impl EntryName {
    /// Returns what its name begins with.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Password => "password",
            Self::TotpSecret => "totp-secret",
            Self::SessionKey => "file-key",
            Self::Canary => "canary",
        }
    }
}

/// Returns 256 random bits as text: KWallet takes nothing else.
pub(super) fn random_key() -> Secret {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *bytes).expect("the system has randomness");
    Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// The service under which everything is kept.
pub(super) const SERVICE: &str = "nexudus-proxy";

/// Longest call that needs no person. macOS may show a dialog of its own after an upgrade.
const CALL_TIMEOUT: Duration =
    Duration::from_secs(if cfg!(target_os = "linux") { 15 } else { 120 });

/// Longest call that waits for a person to type.
const PROMPT_TIMEOUT: Duration = Duration::from_secs(180);

/// A system whose keychain is not known.
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
#[derive(Debug)]
struct NoKeychain;

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
impl EntryStore for NoKeychain {
    fn read<'a>(&'a self, _: &'a str, _: &'a [String]) -> StoreFuture<'a, Vec<Option<Secret>>> {
        Box::pin(async { Err(KeychainError::NoStore.into()) })
    }

    fn write<'a>(&'a self, _: &'a str, _: Vec<EntryChange>) -> StoreFuture<'a, ()> {
        Box::pin(async { Err(KeychainError::NoStore.into()) })
    }

    fn unlock(&self) -> StoreFuture<'_, bool> {
        Box::pin(async { Err(KeychainError::NoStore.into()) })
    }
}

#[cfg(test)]
#[path = "keychain/tests.rs"]
pub(super) mod tests;
