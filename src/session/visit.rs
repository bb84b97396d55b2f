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

use super::answer::{Failure, Issued};
use super::attempts::{self, Attempts};
use super::binding::Binding;
use super::epoch::Epochs;
use super::error::{Cause, Error};
use super::home::{self, Home};
use super::issuer::{Grant, Issuer};
use super::keeper::blocking;
use super::record::{Pair, Record};
use super::saved::{self, Lock};
use super::totp::Code;
use super::view::Keeping;
use crate::clock::Clock;
use crate::config::{self, Origin};
use crate::credentials::{self, Credentials, Keychain, Login};

/// The saved session of a profile, while no other process may change it.
#[derive(Debug)]
pub struct Visit {
    home: Home,
    keeping: Keeping,
    record: Option<Record>,
    binding: Binding,
    attempts: Attempts,
    epochs: Epochs,
    configured_id: Option<String>,
    clock: Clock,
    _lock: Lock,
}

/// Why a login gave no pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// What Nexudus answered, or that it did not.
    By(Failure),
    /// The 2FA secret is not base32.
    CodeUnreadable,
}

impl Visit {
    /// Begins a visit to the session of `origin`, waiting for others who renew it just now.
    ///
    /// # Errors
    ///
    /// Why the state directory, or the place of the session, cannot be used.
    pub async fn begin(
        config: &config::Session,
        origin: &Origin,
        directory: &Path,
        credentials: &Credentials,
        clock: Clock,
    ) -> Result<Self, Error> {
        let binding = Binding::new(origin.to_string(), credentials.profile());
        let lock = wait_for_lock(directory, &clock, PATIENCE).await.map_err(|cause| {
            let cause = Some(cause);
            Error::CredentialsUnavailable { retry_after: Duration::ZERO, cause }
        })?;
        // In turn with others too: it may make the key.
        let handed = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let found = home::find(config, Some(directory), &binding, credentials, handed).await;
        let (home, keeping) = found?;
        let attempts = Attempts::new(Some(directory.join(attempts::FILE)), &binding.origin);
        let epochs = Epochs::new(Some(directory));
        epochs.read();
        let record = match &home {
            // One that does not open is moved aside when another takes its place.
            Home::File(saved) => {
                let saved = saved.clone();
                blocking(move || saved.read()).await.ok().flatten()
            }
            Home::Memory => None,
        };
        let is_used =
            |it: &Record| !epochs.is_lost_beside(it) && epochs.admits(it, &binding.origin);
        let record = record.filter(is_used);
        let configured_id = config.client_id.clone();
        Ok(Self {
            home,
            keeping,
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
    pub fn keeping(&self) -> &Keeping {
        &self.keeping
    }

    /// Says whether a session of this account is kept here.
    pub fn has_session_of(&self, email: &str) -> bool {
        let own = self.record.as_ref().filter(|record| record.is_of(Some(email)));
        own.is_some_and(|record| record.pair.is_some())
    }

    /// Returns the client id of this installation, profile and account.
    pub fn client_id(&self, email: &str) -> String {
        let own = self.record.as_ref().filter(|record| record.is_of(Some(email)));
        let known = own.map(|record| record.client_id.clone());
        self.configured_id.clone().unwrap_or_else(|| {
            self.attempts.read();
            // What cannot be kept is no reason to keep a person out.
            self.attempts.client_id(email, known).0
        })
    }

    /// Offers the login, waiting for the next 2FA code if this one was offered already, which
    /// `waits` is told. A person has asked: what was refused before is offered again.
    ///
    /// # Errors
    ///
    /// [`Denied`] says why there is no pair.
    pub async fn log_in<I: Issuer>(
        &self,
        issuer: &I,
        login: &Login,
        client_id: &str,
        waits: impl Fn(Duration),
    ) -> Result<Issued, Denied> {
        self.attempts.read();
        let code = loop {
            let now = self.clock.now().wall;
            match Code::of(login.second_factor.as_ref(), self.attempts.totp_step(), now) {
                Code::Wait(left) => {
                    waits(left);
                    tokio::time::sleep(left).await;
                }
                Code::Unreadable => return Err(Denied::CodeUnreadable),
                code @ (Code::None | Code::Typed(_) | Code::Made { .. }) => break code,
            }
        };
        // What cannot be noted is no reason to keep a person out; the file tells them later.
        let _ = self.attempts.begin(login, &code, self.clock.now().wall);
        let grant = Grant::Password {
            email: login.email.clone(),
            password: login.password.clone(),
            totp: code.digits().cloned(),
        };
        let answer = issuer.issue(&grant, client_id).await;
        let _ = match answer {
            Ok(_) => self.attempts.succeeded(),
            // A mistyped password must not count against the one that is stored.
            Err(_) => self.attempts.not_looked_at(login),
        };
        answer.map_err(Denied::By)
    }

    /// Puts a pair in place of what is there. Returns once it is durable, or at once where the
    /// session is kept in memory only.
    ///
    /// # Errors
    ///
    /// Why it could not be written; what was there before is still there.
    pub async fn keep(
        &mut self,
        issued: Issued,
        email: Option<&str>,
        client_id: &str,
    ) -> Result<(), Cause> {
        let (epoch, generation) =
            self.record.as_ref().map_or((0, 0), |record| (record.epoch, record.generation));
        let epoch = self.epochs.current().max(epoch).saturating_add(1);
        let record = Record {
            epoch,
            generation: generation.max(self.epochs.generation()).saturating_add(1),
            client_id: client_id.to_owned(),
            account: email.map(str::to_owned),
            pair: Some(Pair::new(issued, None, self.clock.now())),
        };
        self.record = Some(record.clone());
        let origin = &self.binding.origin;
        let Home::File(saved) = &self.home else {
            let begun = self.epochs.begin_without_record(origin);
            return begun.map_err(|error| Cause::new(error.to_string()));
        };
        self.epochs.prepare().map_err(|error| Cause::new(error.to_string()))?;
        let saved: Arc<_> = saved.clone();
        let written = blocking(move || saved.write(&record)).await;
        written.map_err(|error| Cause::new(error.to_string()))?;
        // The record is durable and ahead of the epoch: it is used whatever becomes of that.
        if let Err(error) = self.epochs.begin(origin, epoch, self.clock.now().wall) {
            tracing::warn!(%error, "the epoch of the session could not be saved");
        }
        Ok(())
    }
}

/// Returns the origins at which a login is stored.
pub fn logins(directory: &Path) -> Vec<Origin> {
    let epochs = Epochs::new(Some(directory));
    epochs.read();
    epochs.logins().iter().filter_map(|origin| Origin::parse(origin)).collect()
}

/// Removes every file that this profile keeps of a session, at whatever origin; the locks stay, they
/// hold nothing. The epoch is first: what a crash leaves of the files is then not used.
///
/// # Errors
///
/// When one of them is still there.
pub async fn remove(directory: &Path, clock: &Clock) -> Result<(), Cause> {
    if !directory.exists() {
        return Ok(());
    }
    let _lock = wait_for_lock(directory, clock, PATIENCE).await?;
    let epochs = Epochs::new(Some(directory));
    let ended = epochs.end(None, clock.now().wall);
    saved::remove(directory).map_err(|error| unwritable(directory, &error))?;
    // A disk that was full has room now.
    let ended = ended.or_else(|_| epochs.end(None, clock.now().wall));
    ended.map_err(|error| unwritable(directory, &error))
}

/// Notes that a person has locked or unlocked the session of a profile that nobody serves.
///
/// # Errors
///
/// When it could not be noted.
pub async fn set_locked(directory: &Path, locked: bool, clock: &Clock) -> Result<(), Cause> {
    let _lock = wait_for_lock(directory, clock, PATIENCE).await?;
    let usual = Origin::nexudus().to_string();
    let attempts = Attempts::new(Some(directory.join(attempts::FILE)), &usual);
    attempts.read();
    let kept = attempts.set_locked(locked);
    let raised = if locked { Epochs::new(Some(directory)).raise() } else { Ok(()) };
    kept.and(raised).map_err(|error| unwritable(directory, &error))
}

/// Proves that the keychain keeps what it is given, in turn with others who do: it is one entry.
///
/// # Errors
///
/// As [`Keychain::prove`]. Where no turn is to be had, it is proved out of turn.
pub async fn prove(
    keychain: &Keychain,
    directory: &Path,
    clock: &Clock,
) -> Result<(), credentials::Error> {
    let _lock = wait_for_lock(directory, clock, A_PROOF).await;
    keychain.prove().await
}

async fn wait_for_lock(directory: &Path, clock: &Clock, patience: Duration) -> Result<Lock, Cause> {
    let patience = clock.now().boot + patience;
    loop {
        match Lock::attempt(directory) {
            Ok(Some(lock)) => return Ok(lock),
            Ok(None) if clock.now().boot < patience => tokio::time::sleep(AGAIN).await,
            Ok(None) => return Err(Cause::new("another process is renewing the session")),
            Err(error) => return Err(unwritable(directory, &error)),
        }
    }
}

fn unwritable(directory: &Path, error: &io::Error) -> Cause {
    Cause::new(home::unwritable(Some(directory), error))
}

/// Longest wait for another process: an attempt of its own ends within 30 s.
const PATIENCE: Duration = Duration::from_secs(35);

/// Longest wait for others who prove the keychain: an attempt to renew may be slower, and is not in
/// the way.
const A_PROOF: Duration = Duration::from_secs(5);

/// How often the lock is tried.
const AGAIN: Duration = Duration::from_millis(20);
