//! The password login within an attempt: the last resort, and the only step that can lock an
//! account.
//!
//! Each login is recorded before it is sent (`login_attempts.rs`), and a definite refusal is final
//! until the login changes.

use std::time::{Duration, SystemTime};

use super::context::FetchStep;
use super::endpoint::{Grant, Issuer};
use super::login_attempts::{BlockReason, LoginAttempts, LoginDecision};
use super::outcome::{FetchError, FetchResult};
use super::token_fetch::TokenFetch;
use super::token_response::TokenError;
use super::totp::TotpCode;
use crate::config::{self, UpstreamAuth};
use crate::credentials::{self, CredentialSource, KeychainError, Login, ResolvedLogin};
use crate::session::error::{Cause, Error, MissingLogin};
use crate::session::spawn::run_blocking;
use crate::session::store::record::StoredSession;
use crate::session::store::sealed_file;
use crate::session::store::token_store::format_write_error;
use crate::session::token::TokenGrant;

impl<I: Issuer> TokenFetch<I> {
    /// Offers the login, unless it was refused before.
    pub(crate) async fn log_in(&mut self, found: ResolvedLogin) -> Result<FetchResult, FetchError> {
        let email = found.login.email.clone();
        let (grant, client_id) = self.prove(found, None).await.map_err(|failure| failure.error)?;
        self.set_record(grant, None, Some(email), client_id);
        Ok(FetchResult::LoggedIn)
    }

    /// Offers the login under this client id, else that of the account, unless it was refused before;
    /// returns the pair and the client id.
    pub(crate) async fn prove(
        &mut self,
        found: ResolvedLogin,
        client_id: Option<String>,
    ) -> Result<(TokenGrant, String), LoginFailure> {
        let ResolvedLogin { login, source } = found;
        let context = self.context.clone();
        let now = context.clock.now().wall;
        let code = self.code(&login, source, now).await.map_err(LoginFailure::not_offered)?;
        let client_id = match client_id {
            Some(client_id) => client_id,
            None => self.client_id(&login.email).await,
        };
        let offered = (login.clone(), code.clone());
        self.record_attempt(move |attempts| attempts.record_start(&offered.0, &offered.1, now))
            .await;
        (context.on_step)(FetchStep::AttemptRecorded);
        let grant = Grant::password(&login, &code);
        let reason = match self.issue(&grant, &client_id).await {
            Ok(grant) => {
                self.record_attempt(LoginAttempts::record_success).await;
                return Ok((grant, client_id));
            }
            Err(TokenError::Ambiguous(cause)) => return Err(self.unanswered(&login, cause)),
            Err(TokenError::Transient { retry_after, cause }) => {
                let error = FetchError::transient(cause, retry_after);
                return Err(self.unprocessed(login, error, LoginFate::NotOffered).await);
            }
            // A gateway that fails does not judge the password, and an outage must not block the login.
            Err(TokenError::Unavailable { retry_after, cause }) => {
                let error = FetchError::transient(cause, retry_after);
                return Err(self.unprocessed(login, error, LoginFate::Unanswered).await);
            }
            // Nexudus does not say which of the two was wrong, and a code is not offered twice.
            Err(TokenError::Refused | TokenError::TotpRequired) if code.digits().is_some() => {
                BlockReason::CodeRejected
            }
            Err(TokenError::Refused) => BlockReason::Refused,
            Err(TokenError::TotpRequired) => BlockReason::TotpRequired,
            Err(TokenError::PasswordReset) => BlockReason::PasswordReset,
        };
        self.block(login, reason).await;
        let error = blocked_error(reason, source, context.issuer.auth()).into();
        // An account that asks for a code has judged no password yet.
        let is_judged = reason != BlockReason::TotpRequired;
        let fate = if is_judged { LoginFate::Refused } else { LoginFate::NotOffered };
        Err(LoginFailure { error, fate })
    }

    /// Ends an attempt that Nexudus has not judged.
    async fn unprocessed(
        &mut self,
        login: Login,
        error: FetchError,
        fate: LoginFate,
    ) -> LoginFailure {
        self.record_attempt(move |attempts| attempts.record_unprocessed(&login)).await;
        LoginFailure { error, fate }
    }

    /// Says when a login may be offered again whose answer was lost.
    fn unanswered(&self, login: &Login, cause: Cause) -> LoginFailure {
        let now = self.context.clock.now().wall;
        let error = match self.context.attempts.decide(login, false, now) {
            LoginDecision::Wait(left) => FetchError::transient_after(cause, left),
            LoginDecision::Allow | LoginDecision::Blocked(_) | LoginDecision::CodeUsed => {
                FetchError::transient(cause, None)
            }
        };
        LoginFailure { error, fate: LoginFate::Unknown }
    }

    /// Records that this login is not to be offered again.
    pub(crate) async fn block(&mut self, login: Login, reason: BlockReason) {
        self.record_attempt(move |attempts| attempts.block(&login, reason)).await;
    }

    /// Returns the 2FA code to offer `login` with, if it may be offered now.
    async fn code(
        &mut self,
        login: &Login,
        source: CredentialSource,
        now: SystemTime,
    ) -> Result<TotpCode, FetchError> {
        self.record_attempt(|attempts| {
            attempts.load();
            Ok(())
        })
        .await;
        if std::mem::take(&mut self.outcome.forgets_refusal) {
            self.record_attempt(LoginAttempts::record_success).await;
        }
        let attempts = &self.context.attempts;
        let needs_code = |why: &str| {
            Err(Error::TotpRequired { origin: source, cause: Some(Cause::new(why)) }.into())
        };
        // Under Basic a code is never asked for, so that only a refusal blocks a login.
        let auth = self.context.issuer.auth();
        let ignores_codes = auth == UpstreamAuth::Basic;
        match attempts.decide(login, self.request.is_user_request() || ignores_codes, now) {
            LoginDecision::Allow => {}
            LoginDecision::Blocked(reason) => {
                return Err(blocked_error(reason, source, auth).into());
            }
            LoginDecision::CodeUsed => return needs_code("the 2FA code was used already"),
            LoginDecision::Wait(left) => {
                let cause = "Nexudus gave ambiguous responses to this login before";
                return Err(FetchError::transient_after(Cause::new(cause), left));
            }
        }
        match TotpCode::new(login.second_factor.as_ref(), attempts.totp_step(), now) {
            code @ (TotpCode::None | TotpCode::Typed(_) | TotpCode::Generated { .. }) => Ok(code),
            TotpCode::Wait(left) => {
                Err(FetchError { error: Error::NextCode { retry_after: left }, wait: Some(left) })
            }
            TotpCode::Invalid(error) => needs_code(&error.to_string()),
        }
    }

    /// Returns this account's client id. A new id is on disk before it is used, or each crash would
    /// leave another session at Nexudus.
    async fn client_id(&mut self, email: &str) -> String {
        if let Some(configured) = self.context.config.client_id.clone() {
            return configured;
        }
        let known = self.own_record(Some(email)).map(|record| record.client_id.clone());
        let (context, email) = (self.context.clone(), email.to_owned());
        let (id, written) = run_blocking(move || context.attempts.client_id(&email, known)).await;
        self.report_write_error(written);
        (self.context.on_step)(FetchStep::ClientIdStored);
        id
    }

    /// Ends an attempt for which a source has half a login: the error says so, unless a saved
    /// session is enough.
    pub(crate) async fn without_complete_login(
        &mut self,
        account: Option<&str>,
        incomplete: credentials::Error,
    ) -> Result<FetchResult, FetchError> {
        match self.without_password(account, None).await {
            Err(FetchError { error: Error::NotLoggedIn(_), .. }) => Err(incomplete.into()),
            result => result,
        }
    }

    /// Ends an attempt for which no source has a login. `keychain` is why no keychain can be read,
    /// if that is so.
    pub(crate) async fn without_password(
        &mut self,
        account: Option<&str>,
        keychain: Option<KeychainError>,
    ) -> Result<FetchResult, FetchError> {
        if let Some(cause) = self.ambiguous_refresh.take() {
            return Err(FetchError::transient(cause, None));
        }
        // Our record of the refresh token's age may be wrong, and nothing else is left to try.
        match self.refresh(account, true).await? {
            Some(result) => Ok(result),
            None => Err(self.no_login_error(account, keychain).await.into()),
        }
    }

    /// Returns why the user does not count as logged in.
    async fn no_login_error(
        &self,
        account: Option<&str>,
        keychain: Option<KeychainError>,
    ) -> Error {
        if let Some(StoredSession { pair: Some(_), .. }) = self.own_record(account) {
            return Error::Expired;
        }
        if let Some(problem) = &self.outcome.problem {
            let missing = if self.outcome.is_superseded {
                MissingLogin::SupersededSession
            } else {
                MissingLogin::UnusableSession
            };
            return Error::NotLoggedIn(Some(missing(Cause::new(problem.clone()))));
        }
        // The keychain with the key may open later.
        if let cause @ Some(_) = self.missing_key() {
            return Error::CredentialsUnavailable { retry_after: Duration::ZERO, cause };
        }
        self.missing_login_error(keychain).await
    }

    /// Returns why no source has a login.
    pub(crate) async fn missing_login_error(&self, keychain: Option<KeychainError>) -> Error {
        if let missing @ Some(_) = self.login_at_other_origin(keychain.as_ref()).await {
            return Error::NotLoggedIn(missing);
        }
        let missing = keychain.map(|error| MissingLogin::Keychain(Cause::new(error.to_string())));
        Error::NotLoggedIn(missing.or_else(|| {
            self.context.credentials.exclusive_source().map(MissingLogin::ExclusiveSource)
        }))
    }

    /// Returns why there is no key, if a session was saved with a key before.
    pub(crate) fn missing_key(&self) -> Option<Cause> {
        let store = self.outcome.store.as_ref().filter(|store| store.file.is_none())?;
        let directory = self.context.directory.as_deref()?;
        let is_missing = self.context.config.store != config::SessionStore::Memory
            && sealed_file::exists(directory, &self.context.binding);
        is_missing.then(|| Cause::new(store.info.reason.clone()))
    }

    /// Changes the record of attempts, off this thread, because the change is written to disk.
    async fn record_attempt(
        &mut self,
        change: impl FnOnce(&LoginAttempts) -> std::io::Result<()> + Send + 'static,
    ) {
        let context = self.context.clone();
        let written = run_blocking(move || change(&context.attempts)).await;
        self.report_write_error(written);
    }

    fn report_write_error(&mut self, written: std::io::Result<()>) {
        if let Err(error) = written {
            self.outcome.problem =
                Some(format_write_error(self.context.directory.as_deref(), &error));
        }
    }
}

/// Why a login brought no pair.
pub(crate) struct LoginFailure {
    pub(crate) error: FetchError,
    pub(crate) fate: LoginFate,
}

/// The fate of a login that was to be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginFate {
    /// Nexudus has not judged the login.
    NotOffered,
    /// A gateway responded in Nexudus's place: most likely Nexudus has not judged the login.
    Unanswered,
    /// Nexudus may have judged the login.
    Unknown,
    /// Nexudus has refused the login.
    Refused,
}

impl LoginFailure {
    fn not_offered(error: FetchError) -> Self {
        Self { error, fate: LoginFate::NotOffered }
    }
}

/// Returns the error for a login that is not offered again.
pub(crate) fn blocked_error(
    reason: BlockReason,
    origin: CredentialSource,
    auth: UpstreamAuth,
) -> Error {
    match reason {
        BlockReason::Refused => Error::Refused { origin, auth },
        BlockReason::TotpRequired => Error::TotpRequired { origin, cause: None },
        BlockReason::CodeRejected => {
            let cause = Some(Cause::new("Nexudus rejected the 2FA code or the password"));
            Error::TotpRequired { origin, cause }
        }
        BlockReason::PasswordReset => Error::PasswordReset(origin),
    }
}
