//! The proof of a login: Nexudus accepts it, or a person at a terminal corrects it.
//!
//! A typed login is tried three times at most, so that no account is locked. What a script
//! gives is tried once: it would be the same the next time.

use super::error::LoginError;
use super::note_code_wait;
use crate::cli::Printer;
use crate::cli::prompt::{CODE, PASSWORD, PromptError};
use crate::cli::waiting::{NEXUDUS, say_waiting};
use crate::config::UpstreamAuth;
use crate::credentials::{Login, SecondFactor};
use crate::secret::Secret;
use crate::session::endpoint::{
    Grant, HttpIssuer, Issuer, Probe, TokenError as Refusal, TokenGrant,
};
use crate::session::{LoginRejection, OfflineSession};

/// The issuer and the prompts for the proof of a login.
pub(super) struct Proof<'a> {
    pub(super) issuer: &'a HttpIssuer,
    pub(super) client_id: &'a str,
    /// Whether the password was typed: then another may be.
    pub(super) is_typed: bool,
    pub(super) print: Printer,
}

impl Proof<'_> {
    /// Offers the login until Nexudus accepts it, and leaves in it what was accepted.
    pub(super) async fn prove(
        &self,
        session: &OfflineSession,
        login: &mut Login,
    ) -> Result<TokenGrant, LoginError> {
        let issuer = AnnouncedIssuer { inner: self.issuer.clone(), print: self.print };
        let on_wait = note_code_wait(self.print);
        // Nexudus asks for a code once the password is right.
        let mut is_password_right = false;
        let mut tries = 1;
        loop {
            let offered = session.log_in(&issuer, login, self.client_id, &on_wait).await;
            let rejection = match offered {
                Ok(issued) => return Ok(issued),
                Err(rejection) => rejection,
            };
            let is_basic = issuer.auth() == UpstreamAuth::Basic;
            let with_code = login.second_factor.is_some() && !is_basic;
            let is_wrong = matches!(
                rejection,
                LoginRejection::Token(Refusal::Refused | Refusal::TotpRequired)
            );
            if rejection == LoginRejection::Token(Refusal::TotpRequired) && !with_code {
                is_password_right = true;
                login.second_factor = Some(self.ask_code().await?);
                continue;
            }
            if !is_wrong || !self.is_typed || tries >= MAX_TRIES {
                return Err(login_error(rejection, with_code, tries));
            }
            let why = login_error(rejection, with_code, tries);
            self.print.warning(&format!("{why}; {} of {MAX_TRIES} tries left", MAX_TRIES - tries));
            tries += 1;
            if is_password_right {
                login.second_factor = Some(self.ask_code().await?);
            } else {
                login.password = PASSWORD.ask_hidden(self.print).await?;
                // A code is good for one login.
                login.second_factor = None;
            }
        }
    }

    /// Asks for a code, again where the text cannot be one: that costs no try.
    async fn ask_code(&self) -> Result<SecondFactor, LoginError> {
        for _ in 1..MAX_TRIES {
            match self.ask_code_once().await {
                Err(error @ LoginError::InvalidCode) => self.print.warning(&error.to_string()),
                asked => return asked,
            }
        }
        self.ask_code_once().await
    }

    async fn ask_code_once(&self) -> Result<SecondFactor, LoginError> {
        match CODE.ask_hidden(self.print).await {
            Ok(code) => parse_code(code),
            Err(PromptError::NoTerminal { .. }) => Err(LoginError::CodeNeeded),
            Err(error) => Err(error.into()),
        }
    }
}

/// Reads a 2FA code. Rejects a text that Nexudus would refuse in any case, so that it is not sent.
pub(super) fn parse_code(typed: Secret) -> Result<SecondFactor, LoginError> {
    SecondFactor::code(typed).ok_or(LoginError::InvalidCode)
}

/// Returns why Nexudus gave no tokens after so many tries.
pub(super) fn login_error(denied: LoginRejection, with_code: bool, tries: u32) -> LoginError {
    match denied {
        LoginRejection::InvalidTotpSecret(why) => LoginError::InvalidTotpSecret(why),
        LoginRejection::Token(Refusal::Refused | Refusal::TotpRequired) if with_code => {
            LoginError::CodeRejected
        }
        LoginRejection::Token(Refusal::Refused) => LoginError::Refused { tries },
        LoginRejection::Token(Refusal::TotpRequired) => LoginError::CodeNeeded,
        LoginRejection::Token(Refusal::PasswordReset) => LoginError::PasswordReset,
        LoginRejection::Token(Refusal::Ambiguous(cause)) => LoginError::Ambiguous(cause),
        LoginRejection::Token(
            Refusal::Transient { cause, .. } | Refusal::Unavailable { cause, .. },
        ) => LoginError::Unreachable(cause),
    }
}

/// An issuer that says when Nexudus takes its time.
struct AnnouncedIssuer {
    inner: HttpIssuer,
    print: Printer,
}

impl Issuer for AnnouncedIssuer {
    fn origin(&self) -> &str {
        self.inner.origin()
    }

    fn auth(&self) -> UpstreamAuth {
        self.inner.auth()
    }

    async fn issue(&self, grant: &Grant, client_id: &str) -> Result<TokenGrant, Refusal> {
        say_waiting(self.print, NEXUDUS, self.inner.issue(grant, client_id)).await
    }

    async fn probe(&self, bearer: &http::HeaderValue) -> Probe {
        self.inner.probe(bearer).await
    }
}

/// Most logins that one command offers.
const MAX_TRIES: u32 = 3;
