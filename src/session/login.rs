//! The password login within an attempt: the last resort, and the only one that can lock an
//! account. Each is noted before it leaves (`login_attempts.rs`), and a definite refusal is final until
//! the login changes.

use std::time::{Duration, SystemTime};

use super::endpoint::{Grant, Issuer};
use super::error::{Cause, Error, MissingLogin};
use super::login_attempts::{BlockReason, LoginAttempts, LoginDecision};
use super::record::StoredSession;
use super::sealed_file;
use super::task::run_blocking;
use super::token_fetch::{
    FetchError, FetchResult, FetchStep, TokenFetch, transient, transient_after,
};
use super::token_response::TokenError;
use super::token_store::{TokenStore, format_write_error};
use super::totp::TotpCode;
use crate::config;
use crate::credentials::{self, CredentialSource, KeychainError, Login, ResolvedLogin};

impl<I: Issuer> TokenFetch<I> {
    /// Offers the login, unless it was turned down before.
    pub(super) async fn log_in(&mut self, found: ResolvedLogin) -> Result<FetchResult, FetchError> {
        let ResolvedLogin { login, source: origin } = found;
        let desk = self.context.clone();
        let now = desk.clock.now().wall;
        let code = self.code(&login, origin, now).await?;
        let client_id = self.client_id(&login.email).await;
        self.record_attempt({
            let (login, code) = (login.clone(), code.clone());
            move |attempts| attempts.record_start(&login, &code, now)
        })
        .await;
        (desk.on_step)(FetchStep::AttemptRecorded);
        let grant = Grant::Password {
            email: login.email.clone(),
            password: login.password.clone(),
            totp: code.digits().cloned(),
        };
        let reason = match self.issue(&grant, &client_id).await {
            Ok(issued) => {
                self.record_attempt(LoginAttempts::record_success).await;
                self.set_record(issued, None, Some(login.email), client_id);
                return Ok(FetchResult::LoggedIn);
            }
            Err(TokenError::Ambiguous(cause)) => {
                let now = desk.clock.now().wall;
                return Err(match desk.attempts.decide(&login, false, now) {
                    LoginDecision::Wait(left) => transient_after(cause, left),
                    LoginDecision::Allow | LoginDecision::Blocked(_) | LoginDecision::CodeUsed => {
                        transient(cause, None)
                    }
                });
            }
            Err(TokenError::Transient { retry_after, cause }) => {
                self.record_attempt(move |attempts| attempts.record_unprocessed(&login)).await;
                return Err(transient(cause, retry_after));
            }
            // Which of the two was wrong cannot be told, and a code is not offered twice.
            Err(TokenError::Refused | TokenError::TotpRequired) if code.digits().is_some() => {
                BlockReason::CodeRejected
            }
            Err(TokenError::Refused) => BlockReason::Refused,
            Err(TokenError::TotpRequired) => BlockReason::TotpRequired,
            Err(TokenError::PasswordReset) => BlockReason::PasswordReset,
        };
        self.record_attempt(move |attempts| attempts.block(&login, reason)).await;
        Err((blocked_error(reason, origin), None))
    }

    /// Returns the 2FA code to offer `login` with, if it may be offered now.
    async fn code(
        &mut self,
        login: &Login,
        origin: CredentialSource,
        now: SystemTime,
    ) -> Result<TotpCode, FetchError> {
        self.record_attempt(|attempts| {
            attempts.load();
            Ok(())
        })
        .await;
        let attempts = &self.context.attempts;
        let lacks = |why| Err((Error::TotpRequired { origin, cause: Some(Cause::new(why)) }, None));
        match attempts.decide(login, self.request.user_requested, now) {
            LoginDecision::Allow => {}
            LoginDecision::Blocked(reason) => return Err((blocked_error(reason, origin), None)),
            LoginDecision::CodeUsed => return lacks("the 2FA code was used already"),
            LoginDecision::Wait(left) => {
                let cause = "Nexudus gave unclear answers to this login before";
                return Err(transient_after(Cause::new(cause), left));
            }
        }
        match TotpCode::new(login.second_factor.as_ref(), attempts.totp_step(), now) {
            code @ (TotpCode::None | TotpCode::Typed(_) | TotpCode::Generated { .. }) => Ok(code),
            TotpCode::Wait(left) => Err((Error::NextCode { retry_after: left }, Some(left))),
            TotpCode::Invalid => lacks("the stored 2FA secret is not base32"),
        }
    }

    /// Returns this account's client id. A new one is at rest before it is used, or each crash would
    /// leave another behind.
    async fn client_id(&mut self, email: &str) -> String {
        if let Some(configured) = self.context.config.client_id.clone() {
            return configured;
        }
        let known = self.own_record(Some(email)).map(|record| record.client_id.clone());
        let (desk, email) = (self.context.clone(), email.to_owned());
        let (id, noted) = run_blocking(move || desk.attempts.client_id(&email, known)).await;
        self.report_write_error(noted);
        (self.context.on_step)(FetchStep::ClientIdStored);
        id
    }

    /// The same where a source has half a login: that is said, unless a saved session will do.
    pub(super) async fn without_complete_login(
        &mut self,
        account: Option<&str>,
        half: credentials::Error,
    ) -> Result<FetchResult, FetchError> {
        match self.without_password(account, None).await {
            Err((Error::NotLoggedIn(_), wait)) => Err((credentials_error(half), wait)),
            end => end,
        }
    }

    /// Ends an attempt for which no source has a login.
    pub(super) async fn without_password(
        &mut self,
        account: Option<&str>,
        absence: Option<KeychainError>,
    ) -> Result<FetchResult, FetchError> {
        if let Some(cause) = self.ambiguous_refresh.take() {
            return Err(transient(cause, None));
        }
        // Our record of its age may be wrong, and there is nothing else.
        let end = self.refresh(account, true).await?;
        match end {
            Some(end) => Ok(end),
            None => Err((self.no_login_error(account, absence).await, None)),
        }
    }

    async fn no_login_error(&self, account: Option<&str>, absence: Option<KeychainError>) -> Error {
        if let Some(StoredSession { pair: Some(_), .. }) = self.own_record(account) {
            return Error::Expired;
        }
        if let Some(problem) = &self.outcome.problem {
            let lack = if self.outcome.is_superseded {
                MissingLogin::SupersededSession
            } else {
                MissingLogin::UnusableSession
            };
            return Error::NotLoggedIn(Some(lack(Cause::new(problem.clone()))));
        }
        // A keychain may be late.
        if let cause @ Some(_) = self.missing_key() {
            return Error::CredentialsUnavailable { retry_after: Duration::ZERO, cause };
        }
        if let lack @ Some(_) = self.login_at_other_origin(absence.as_ref()).await {
            return Error::NotLoggedIn(lack);
        }
        let lack = absence.map(|trouble| MissingLogin::Keychain(Cause::new(trouble.to_string())));
        Error::NotLoggedIn(lack.or_else(|| {
            self.context.credentials.exclusive_source().map(MissingLogin::ExclusiveSource)
        }))
    }

    /// Says why there is no key, where somebody has logged in when there was one.
    pub(super) fn missing_key(&self) -> Option<Cause> {
        let Some((TokenStore::Memory, keeping)) = &self.outcome.store else { return None };
        let is_lost = self.context.config.store != config::SessionStore::Memory
            && self
                .context
                .directory
                .as_deref()
                .is_some_and(|path| sealed_file::exists(path, &self.context.binding));
        is_lost.then(|| Cause::new(keeping.reason.clone()))
    }

    /// Changes what is kept of attempts, off this thread: it ends on the disk.
    async fn record_attempt(
        &mut self,
        change: impl FnOnce(&LoginAttempts) -> std::io::Result<()> + Send + 'static,
    ) {
        let desk = self.context.clone();
        let noted = run_blocking(move || change(&desk.attempts)).await;
        self.report_write_error(noted);
    }

    fn report_write_error(&mut self, noted: std::io::Result<()>) {
        if let Err(error) = noted {
            self.outcome.problem =
                Some(format_write_error(self.context.directory.as_deref(), &error));
        }
    }
}

pub(super) fn credentials_error(error: credentials::Error) -> Error {
    let retry_after = Duration::ZERO;
    match error {
        credentials::Error::Missing(_) => Error::NotLoggedIn(None),
        credentials::Error::Incomplete { absent, .. } => {
            Error::NotLoggedIn(Some(MissingLogin::Incomplete {
                told: Cause::new(error.to_string()),
                absent,
            }))
        }
        credentials::Error::Locked => Error::CredentialsLocked { retry_after },
        credentials::Error::Command(ref source) => Error::CredentialsUnavailable {
            retry_after,
            cause: Some(Cause::new(format!("{error}: {source}"))),
        },
        credentials::Error::Unavailable(source) => Error::CredentialsUnavailable {
            retry_after,
            cause: Some(Cause::new(source.to_string())),
        },
    }
}

fn blocked_error(reason: BlockReason, origin: CredentialSource) -> Error {
    match reason {
        BlockReason::Refused => Error::Refused(origin),
        BlockReason::TotpRequired => Error::TotpRequired { origin, cause: None },
        BlockReason::CodeRejected => {
            let cause = Some(Cause::new("Nexudus rejected the 2FA code or the password"));
            Error::TotpRequired { origin, cause }
        }
        BlockReason::PasswordReset => Error::PasswordReset(origin),
    }
}
