//! A profile's session without the daemon: a command verifies a login and saves its pair, or
//! removes everything.
//!
//! The command holds the lock across processes from before the login is offered until its pair is
//! durable. So a running daemon neither offers a token that the login has just replaced nor
//! overwrites the new one; the daemon finds the pair at its next attempt.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{self, Origin, UpstreamAuth};
use crate::credentials::sealing::binding::Binding;
use crate::credentials::{self, Credentials, Keychain, Login, TotpSecretError};
use crate::session::error::{Cause, Error};
use crate::session::refresh::endpoint::{Grant, Issuer};
use crate::session::refresh::login_attempts::{self, LoginAttempts};
use crate::session::refresh::token_response::TokenError;
use crate::session::refresh::totp::TotpCode;
use crate::session::spawn::run_blocking;
use crate::session::store::epoch::Epochs;
use crate::session::store::record::{StoredSession, TokenPair};
use crate::session::store::sealed_file;
use crate::session::store::session_lock::SessionLock;
use crate::session::store::token_store::{StoreInfo, TokenStore, format_write_error};
use crate::session::token::TokenGrant;

/// The saved session of a profile, while no other process may change it.
#[derive(Debug)]
pub struct OfflineSession {
    store: TokenStore,
    record: Option<StoredSession>,
    binding: Binding,
    attempts: LoginAttempts,
    epochs: Epochs,
    configured_id: Option<String>,
    clock: Clock,
    _lock: SessionLock,
}

/// Why a login gave no pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginRejection {
    /// Nexudus refused the login, or did not respond.
    Token(TokenError),
    /// The 2FA secret makes no code.
    InvalidTotpSecret(TotpSecretError),
}

impl OfflineSession {
    /// Opens the session of `origin`, after waiting for a process that is renewing it.
    ///
    /// # Errors
    ///
    /// Why the state directory, or the store of the session, cannot be used.
    pub async fn open(
        config: &config::Session,
        origin: &Origin,
        directory: &Path,
        credentials: &Credentials,
        clock: Clock,
    ) -> Result<Self, Error> {
        let binding = Binding::new(origin.to_string(), credentials.profile());
        let lock = acquire_lock(directory, &clock, LOCK_TIMEOUT).await.map_err(|cause| {
            let cause = Some(cause);
            Error::CredentialsUnavailable { retry_after: Duration::ZERO, cause }
        })?;
        // Under the lock too, because opening the store may make the key.
        let systemd = credentials::credentials_directory();
        let store =
            TokenStore::open(config, Some(directory), &binding, credentials, systemd).await?;
        let attempts =
            LoginAttempts::new(Some(directory.join(login_attempts::FILE_NAME)), &binding.origin);
        let epochs = Epochs::new(Some(directory));
        epochs.load();
        let record = match store.file.clone() {
            // A file that cannot be decrypted is moved aside when another takes its place.
            Some(file) => run_blocking(move || file.read()).await.ok().flatten(),
            None => None,
        };
        let is_used = |record: &StoredSession| {
            !epochs.is_missing_beside(record) && epochs.is_current(record, &binding.origin)
        };
        let record = record.filter(is_used);
        let configured_id = config.client_id.clone();
        Ok(Self { store, record, binding, attempts, epochs, configured_id, clock, _lock: lock })
    }

    /// Returns where the session is stored, and why there.
    pub fn store_info(&self) -> &StoreInfo {
        &self.store.info
    }

    /// Says whether a session of this account is stored here.
    pub fn has_session_of(&self, email: &str) -> bool {
        let own = self.record.as_ref().filter(|record| record.belongs_to(Some(email)));
        own.is_some_and(|record| record.pair.is_some())
    }

    /// Returns the client id of this installation, profile and account.
    pub fn client_id(&self, email: &str) -> String {
        let own = self.record.as_ref().filter(|record| record.belongs_to(Some(email)));
        let known = own.map(|record| record.client_id.clone());
        self.configured_id.clone().unwrap_or_else(|| {
            self.attempts.load();
            // A failed write is no reason to refuse the login.
            self.attempts.client_id(email, known).0
        })
    }

    /// Offers the login. If this 2FA code was offered already, waits for the next one and calls
    /// `on_wait` with the time. The user requested this login, so one that was refused before is
    /// offered again.
    ///
    /// # Errors
    ///
    /// [`LoginRejection`] says why there is no pair.
    pub async fn log_in<I: Issuer>(
        &self,
        issuer: &I,
        login: &Login,
        client_id: &str,
        on_wait: impl Fn(Duration),
    ) -> Result<TokenGrant, LoginRejection> {
        self.attempts.load();
        let login = &match issuer.auth() {
            UpstreamAuth::Bearer => login.clone(),
            // The scheme has no place for a code.
            UpstreamAuth::Basic => Login { second_factor: None, ..login.clone() },
        };
        let code = loop {
            let now = self.clock.now().wall;
            match TotpCode::new(login.second_factor.as_ref(), self.attempts.totp_step(), now) {
                TotpCode::Wait(left) => {
                    on_wait(left);
                    tokio::time::sleep(left).await;
                }
                TotpCode::Invalid(why) => return Err(LoginRejection::InvalidTotpSecret(why)),
                code @ (TotpCode::None | TotpCode::Typed(_) | TotpCode::Generated { .. }) => {
                    break code;
                }
            }
        };
        // A failed write is no reason to refuse the login.
        let _ = self.attempts.record_start(login, &code, self.clock.now().wall);
        let response = issuer.issue(&Grant::password(login, &code), client_id).await;
        let _ = match response {
            Ok(_) => self.attempts.record_success(),
            // A mistyped password must not count against the one that is stored.
            Err(_) => self.attempts.record_unprocessed(login),
        };
        response.map_err(LoginRejection::Token)
    }

    /// Saves a pair in place of the old one. Returns once the pair is durable, or at once where the
    /// session is in memory only.
    ///
    /// # Errors
    ///
    /// Why the pair could not be written; the old one is still there.
    pub async fn save(
        &mut self,
        grant: TokenGrant,
        email: Option<&str>,
        client_id: &str,
    ) -> Result<(), Cause> {
        let (epoch, generation) =
            self.record.as_ref().map_or((0, 0), |record| (record.epoch, record.generation));
        let epoch = self.epochs.current().max(epoch).saturating_add(1);
        let record = StoredSession {
            epoch,
            generation: generation.max(self.epochs.generation()).saturating_add(1),
            client_id: client_id.to_owned(),
            account: email.map(str::to_owned),
            pair: Some(TokenPair::new(grant, None, self.clock.now())),
        };
        self.record = Some(record.clone());
        let origin = &self.binding.origin;
        let Some(file) = self.store.file.clone() else {
            let recorded = self.epochs.record_login_without_session(origin);
            return recorded.map_err(|error| Cause::new(error.to_string()));
        };
        self.epochs.ensure_file().map_err(|error| Cause::new(error.to_string()))?;
        let written = run_blocking(move || file.write(&record)).await;
        written.map_err(|error| Cause::new(error.to_string()))?;
        // The record is durable and ahead of the epoch: the record is used whether or not the epoch
        // is written.
        if let Err(error) = self.epochs.record_login(origin, epoch, self.clock.now().wall) {
            tracing::warn!(%error, "could not save the epoch of the session");
        }
        Ok(())
    }
}

/// Returns the client ids under which this installation has logged in to `origin`.
pub fn client_ids(config: &config::Session, origin: &Origin, directory: &Path) -> Vec<String> {
    let file = Some(directory.join(login_attempts::FILE_NAME));
    let attempts = LoginAttempts::new(file, &origin.to_string());
    attempts.load();
    let mut ids = attempts.client_ids();
    ids.extend(config.client_id.clone());
    ids.sort();
    ids.dedup();
    ids
}

/// Returns the origins at which a login is stored.
pub fn origins_with_login(directory: &Path) -> Vec<Origin> {
    let epochs = Epochs::new(Some(directory));
    epochs.load();
    epochs.logins().iter().filter_map(|origin| Origin::parse(origin)).collect()
}

/// Removes the profile's session files of every origin; the lock files stay, they hold nothing. The
/// epoch is raised first: a file that a crash leaves behind is then not used.
///
/// # Errors
///
/// When a file is still there.
pub async fn remove_all(directory: &Path, clock: &Clock) -> Result<(), Cause> {
    if !directory.exists() {
        return Ok(());
    }
    let _lock = acquire_lock(directory, clock, LOCK_TIMEOUT).await?;
    let epochs = Epochs::new(Some(directory));
    let ended = epochs.record_logout(None, clock.now().wall);
    sealed_file::remove_all(directory).map_err(|error| write_error(directory, &error))?;
    // A disk that was full has room now.
    let ended = ended.or_else(|_| epochs.record_logout(None, clock.now().wall));
    ended.map_err(|error| write_error(directory, &error))
}

/// Records that the user has locked or unlocked the session of a profile without a running daemon.
///
/// # Errors
///
/// When that could not be written.
pub async fn set_locked(directory: &Path, locked: bool, clock: &Clock) -> Result<(), Cause> {
    let _lock = acquire_lock(directory, clock, LOCK_TIMEOUT).await?;
    let usual = Origin::nexudus().to_string();
    let attempts = LoginAttempts::new(Some(directory.join(login_attempts::FILE_NAME)), &usual);
    attempts.load();
    let flag = attempts.set_locked(locked);
    let epoch = if locked { Epochs::new(Some(directory)).increment() } else { Ok(()) };
    flag.and(epoch).map_err(|error| write_error(directory, &error))
}

/// Tests that the keychain returns what was written to it. All processes test with the same entry,
/// one after another; if the lock is busy, the test runs without it.
///
/// # Errors
///
/// As [`Keychain::self_test`].
pub async fn self_test_keychain(
    keychain: &Keychain,
    directory: &Path,
    clock: &Clock,
) -> Result<(), credentials::Error> {
    let _lock = acquire_lock(directory, clock, SELF_TEST_LOCK_TIMEOUT).await;
    keychain.self_test().await
}

async fn acquire_lock(
    directory: &Path,
    clock: &Clock,
    timeout: Duration,
) -> Result<SessionLock, Cause> {
    match SessionLock::acquire(directory, clock, timeout).await {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(Cause::new("another process is renewing the session")),
        Err(error) => Err(write_error(directory, &error)),
    }
}

fn write_error(directory: &Path, error: &io::Error) -> Cause {
    Cause::new(format_write_error(Some(directory), error))
}

/// Longest wait for another process, whose own attempt ends within 30 s.
const LOCK_TIMEOUT: Duration = Duration::from_secs(35);

/// Longest wait for other processes that test the keychain. An attempt to renew may hold the lock
/// for longer, and does not disturb the test.
const SELF_TEST_LOCK_TIMEOUT: Duration = Duration::from_secs(5);
