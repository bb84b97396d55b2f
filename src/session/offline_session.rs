//! What a command does with a profile's session: prove a login and put its pair in place, or
//! remove everything.
//!
//! A visit holds the lock across processes from before the login is offered until its pair is
//! durable, so that a running daemon neither offers a token that the login has just replaced nor
//! overwrites the new one. The daemon finds the pair when it next looks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::binding::Binding;
use super::endpoint::{Grant, Issuer};
use super::epoch::Epochs;
use super::error::{Cause, Error};
use super::login_attempts::{self, LoginAttempts};
use super::record::{StoredSession, TokenPair};
use super::sealed_file::{self, SessionLock};
use super::status::StoreInfo;
use super::task::run_blocking;
use super::token_response::{TokenError, TokenGrant};
use super::token_store::{self, TokenStore};
use super::totp::TotpCode;
use crate::clock::Clock;
use crate::config::{self, Origin};
use crate::credentials::{self, Credentials, Keychain, Login};

/// The saved session of a profile, while no other process may change it.
#[derive(Debug)]
pub struct OfflineSession {
    store: TokenStore,
    store_info: StoreInfo,
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
    /// What Nexudus answered, or that it did not.
    Token(TokenError),
    /// The 2FA secret is not base32.
    InvalidTotpSecret,
}

impl OfflineSession {
    /// Begins a visit to the session of `origin`, waiting for others who renew it just now.
    ///
    /// # Errors
    ///
    /// Why the state directory, or the place of the session, cannot be used.
    pub async fn open(
        config: &config::Session,
        origin: &Origin,
        directory: &Path,
        credentials: &Credentials,
        clock: Clock,
    ) -> Result<Self, Error> {
        let binding = Binding::new(origin.to_string(), credentials.profile());
        let lock = wait_for_lock(directory, &clock, LOCK_TIMEOUT).await.map_err(|cause| {
            let cause = Some(cause);
            Error::CredentialsUnavailable { retry_after: Duration::ZERO, cause }
        })?;
        // In turn with others too: it may make the key.
        let handed = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let found = token_store::open(config, Some(directory), &binding, credentials, handed).await;
        let (home, keeping) = found?;
        let attempts =
            LoginAttempts::new(Some(directory.join(login_attempts::FILE_NAME)), &binding.origin);
        let epochs = Epochs::new(Some(directory));
        epochs.load();
        let record = match &home {
            // One that does not open is moved aside when another takes its place.
            TokenStore::File(saved) => {
                let saved = saved.clone();
                run_blocking(move || saved.read()).await.ok().flatten()
            }
            TokenStore::Memory => None,
        };
        let is_used = |it: &StoredSession| {
            !epochs.is_missing_beside(it) && epochs.is_current(it, &binding.origin)
        };
        let record = record.filter(is_used);
        let configured_id = config.client_id.clone();
        Ok(Self {
            store: home,
            store_info: keeping,
            record,
            binding,
            attempts,
            epochs,
            configured_id,
            clock,
            _lock: lock,
        })
    }

    /// Returns where the session is kept, and why there.
    pub fn store_info(&self) -> &StoreInfo {
        &self.store_info
    }

    /// Says whether a session of this account is kept here.
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
            // What cannot be kept is no reason to keep a person out.
            self.attempts.client_id(email, known).0
        })
    }

    /// Offers the login, waiting for the next 2FA code if this one was offered already, which
    /// `waits` is told. A person has asked: what was refused before is offered again.
    ///
    /// # Errors
    ///
    /// [`LoginRejection`] says why there is no pair.
    pub async fn log_in<I: Issuer>(
        &self,
        issuer: &I,
        login: &Login,
        client_id: &str,
        waits: impl Fn(Duration),
    ) -> Result<TokenGrant, LoginRejection> {
        self.attempts.load();
        let code = loop {
            let now = self.clock.now().wall;
            match TotpCode::new(login.second_factor.as_ref(), self.attempts.totp_step(), now) {
                TotpCode::Wait(left) => {
                    waits(left);
                    tokio::time::sleep(left).await;
                }
                TotpCode::Invalid => return Err(LoginRejection::InvalidTotpSecret),
                code @ (TotpCode::None | TotpCode::Typed(_) | TotpCode::Generated { .. }) => {
                    break code;
                }
            }
        };
        // What cannot be noted is no reason to keep a person out; the file tells them later.
        let _ = self.attempts.record_start(login, &code, self.clock.now().wall);
        let grant = Grant::Password {
            email: login.email.clone(),
            password: login.password.clone(),
            totp: code.digits().cloned(),
        };
        let answer = issuer.issue(&grant, client_id).await;
        let _ = match answer {
            Ok(_) => self.attempts.record_success(),
            // A mistyped password must not count against the one that is stored.
            Err(_) => self.attempts.record_unprocessed(login),
        };
        answer.map_err(LoginRejection::Token)
    }

    /// Puts a pair in place of what is there. Returns once it is durable, or at once where the
    /// session is kept in memory only.
    ///
    /// # Errors
    ///
    /// Why it could not be written; what was there before is still there.
    pub async fn save(
        &mut self,
        issued: TokenGrant,
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
            pair: Some(TokenPair::new(issued, None, self.clock.now())),
        };
        self.record = Some(record.clone());
        let origin = &self.binding.origin;
        let TokenStore::File(saved) = &self.store else {
            let begun = self.epochs.record_login_without_session(origin);
            return begun.map_err(|error| Cause::new(error.to_string()));
        };
        self.epochs.ensure_file().map_err(|error| Cause::new(error.to_string()))?;
        let saved: Arc<_> = saved.clone();
        let written = run_blocking(move || saved.write(&record)).await;
        written.map_err(|error| Cause::new(error.to_string()))?;
        // The record is durable and ahead of the epoch: it is used whatever becomes of that.
        if let Err(error) = self.epochs.record_login(origin, epoch, self.clock.now().wall) {
            tracing::warn!(%error, "the epoch of the session could not be saved");
        }
        Ok(())
    }
}

/// Returns the origins at which a login is stored.
pub fn origins_with_login(directory: &Path) -> Vec<Origin> {
    let epochs = Epochs::new(Some(directory));
    epochs.load();
    epochs.logins().iter().filter_map(|origin| Origin::parse(origin)).collect()
}

/// Removes every file that this profile keeps of a session, at whatever origin; the locks stay, they
/// hold nothing. The epoch is first: what a crash leaves of the files is then not used.
///
/// # Errors
///
/// When one of them is still there.
pub async fn remove_all(directory: &Path, clock: &Clock) -> Result<(), Cause> {
    if !directory.exists() {
        return Ok(());
    }
    let _lock = wait_for_lock(directory, clock, LOCK_TIMEOUT).await?;
    let epochs = Epochs::new(Some(directory));
    let ended = epochs.record_logout(None, clock.now().wall);
    sealed_file::remove_all(directory).map_err(|error| write_error(directory, &error))?;
    // A disk that was full has room now.
    let ended = ended.or_else(|_| epochs.record_logout(None, clock.now().wall));
    ended.map_err(|error| write_error(directory, &error))
}

/// Notes that a person has locked or unlocked the session of a profile that nobody serves.
///
/// # Errors
///
/// When it could not be noted.
pub async fn set_locked(directory: &Path, locked: bool, clock: &Clock) -> Result<(), Cause> {
    let _lock = wait_for_lock(directory, clock, LOCK_TIMEOUT).await?;
    let usual = Origin::nexudus().to_string();
    let attempts = LoginAttempts::new(Some(directory.join(login_attempts::FILE_NAME)), &usual);
    attempts.load();
    let kept = attempts.set_locked(locked);
    let raised = if locked { Epochs::new(Some(directory)).increment() } else { Ok(()) };
    kept.and(raised).map_err(|error| write_error(directory, &error))
}

/// Proves that the keychain keeps what it is given, in turn with others who do: it is one entry.
///
/// # Errors
///
/// As [`Keychain::prove`]. Where no turn is to be had, it is proved out of turn.
pub async fn self_test_keychain(
    keychain: &Keychain,
    directory: &Path,
    clock: &Clock,
) -> Result<(), credentials::Error> {
    let _lock = wait_for_lock(directory, clock, SELF_TEST_LOCK_TIMEOUT).await;
    keychain.self_test().await
}

async fn wait_for_lock(
    directory: &Path,
    clock: &Clock,
    patience: Duration,
) -> Result<SessionLock, Cause> {
    let patience = clock.now().boot + patience;
    loop {
        match SessionLock::try_acquire(directory) {
            Ok(Some(lock)) => return Ok(lock),
            Ok(None) if clock.now().boot < patience => tokio::time::sleep(LOCK_POLL_INTERVAL).await,
            Ok(None) => return Err(Cause::new("another process is renewing the session")),
            Err(error) => return Err(write_error(directory, &error)),
        }
    }
}

fn write_error(directory: &Path, error: &io::Error) -> Cause {
    Cause::new(token_store::format_write_error(Some(directory), error))
}

/// Longest wait for another process: an attempt of its own ends within 30 s.
const LOCK_TIMEOUT: Duration = Duration::from_secs(35);

/// Longest wait for others who prove the keychain: an attempt to renew may be slower, and is not in
/// the way.
const SELF_TEST_LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the lock is tried.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(20);
