//! The password login within an attempt: the last resort, and the only one that can lock an
//! account. Each is noted before it leaves (`attempts.rs`), and a definite refusal is final until
//! the login changes.

use std::time::{Duration, SystemTime};

use super::answer::Failure;
use super::attempts::{Attempts, Reason, Verdict};
use super::error::{Cause, Error, Lack};
use super::flight::{End, Flight, Miss, Step, passing, passing_after};
use super::home::{Home, unwritable};
use super::issuer::{Grant, Issuer};
use super::keeper::blocking;
use super::record::Record;
use super::saved;
use super::totp::Code;
use crate::config;
use crate::credentials::{self, Found, Login, Origin, Trouble};

impl<I: Issuer> Flight<I> {
    /// Offers the login, unless it was turned down before.
    pub(super) async fn log_in(&mut self, found: Found) -> Result<End, Miss> {
        let Found { login, origin } = found;
        let desk = self.desk.clone();
        let now = desk.clock.now().wall;
        let code = self.code(&login, origin, now).await?;
        let client_id = self.client_id(&login.email).await;
        self.note({
            let (login, code) = (login.clone(), code.clone());
            move |attempts| attempts.begin(&login, &code, now)
        })
        .await;
        (desk.seen)(Step::Noted);
        let grant = Grant::Password {
            email: login.email.clone(),
            password: login.password.clone(),
            totp: code.digits().cloned(),
        };
        let reason = match self.issue(&grant, &client_id).await {
            Ok(issued) => {
                self.note(Attempts::succeeded).await;
                self.hold(issued, None, Some(login.email), client_id);
                return Ok(End::LoggedIn);
            }
            Err(Failure::Unclear(cause)) => {
                let now = desk.clock.now().wall;
                return Err(match desk.attempts.verdict(&login, false, now) {
                    Verdict::Wait(left) => passing_after(cause, left),
                    Verdict::Go | Verdict::Latched(_) | Verdict::CodeSpent => passing(cause, None),
                });
            }
            Err(Failure::Passing { retry_after, cause }) => {
                self.note(move |attempts| attempts.not_looked_at(&login)).await;
                return Err(passing(cause, retry_after));
            }
            // Which of the two was wrong cannot be told, and a code is not offered twice.
            Err(Failure::Refused | Failure::TotpRequired) if code.digits().is_some() => {
                Reason::CodeRejected
            }
            Err(Failure::Refused) => Reason::Refused,
            Err(Failure::TotpRequired) => Reason::TotpRequired,
            Err(Failure::PasswordReset) => Reason::PasswordReset,
        };
        self.note(move |attempts| attempts.latch(&login, reason)).await;
        Err((turned_down(reason, origin), None))
    }

    /// Returns the 2FA code to offer `login` with, if it may be offered now.
    async fn code(&mut self, login: &Login, origin: Origin, now: SystemTime) -> Result<Code, Miss> {
        self.note(|attempts| {
            attempts.read();
            Ok(())
        })
        .await;
        let attempts = &self.desk.attempts;
        let lacks = |why| Err((Error::TotpRequired { origin, cause: Some(Cause::new(why)) }, None));
        match attempts.verdict(login, self.fetch.asked, now) {
            Verdict::Go => {}
            Verdict::Latched(reason) => return Err((turned_down(reason, origin), None)),
            Verdict::CodeSpent => return lacks("the 2FA code was used already"),
            Verdict::Wait(left) => {
                let cause = "Nexudus gave unclear answers to this login before";
                return Err(passing_after(Cause::new(cause), left));
            }
        }
        match Code::of(login.second_factor.as_ref(), attempts.totp_step(), now) {
            code @ (Code::None | Code::Typed(_) | Code::Made { .. }) => Ok(code),
            Code::Wait(left) => Err((Error::NextCode { retry_after: left }, Some(left))),
            Code::Unreadable => lacks("the stored 2FA secret is not base32"),
        }
    }

    /// Returns this account's client id. A new one is at rest before it is used, or each crash would
    /// leave another behind.
    async fn client_id(&mut self, email: &str) -> String {
        if let Some(configured) = self.desk.config.client_id.clone() {
            return configured;
        }
        let known = self.own(Some(email)).map(|record| record.client_id.clone());
        let (desk, email) = (self.desk.clone(), email.to_owned());
        let (id, noted) = blocking(move || desk.attempts.client_id(&email, known)).await;
        self.tell(noted);
        (self.desk.seen)(Step::ClientIdKept);
        id
    }

    /// The same where a source has half a login: that is said, unless a saved session will do.
    pub(super) async fn without_whole(
        &mut self,
        account: Option<&str>,
        half: credentials::Error,
    ) -> Result<End, Miss> {
        match self.without_password(account, None).await {
            Err((Error::NotLoggedIn(_), wait)) => Err((unread(half), wait)),
            end => end,
        }
    }

    /// Ends an attempt for which no source has a login.
    pub(super) async fn without_password(
        &mut self,
        account: Option<&str>,
        absence: Option<Trouble>,
    ) -> Result<End, Miss> {
        if let Some(cause) = self.doubt.take() {
            return Err(passing(cause, None));
        }
        // Our record of its age may be wrong, and there is nothing else.
        let end = self.refresh(account, true).await?;
        match end {
            Some(end) => Ok(end),
            None => Err((self.nobody(account, absence).await, None)),
        }
    }

    async fn nobody(&self, account: Option<&str>, absence: Option<Trouble>) -> Error {
        if let Some(Record { pair: Some(_), .. }) = self.own(account) {
            return Error::Expired;
        }
        if let Some(problem) = &self.landing.problem {
            let lack = if self.landing.superseded { Lack::Superseded } else { Lack::Session };
            return Error::NotLoggedIn(Some(lack(Cause::new(problem.clone()))));
        }
        // A keychain may be late.
        if let cause @ Some(_) = self.lost_key() {
            return Error::CredentialsUnavailable { retry_after: Duration::ZERO, cause };
        }
        if let lack @ Some(_) = self.login_elsewhere(absence.as_ref()).await {
            return Error::NotLoggedIn(lack);
        }
        let lack = absence.map(|trouble| Lack::Keychain(Cause::new(trouble.to_string())));
        Error::NotLoggedIn(lack.or_else(|| self.desk.credentials.only().map(Lack::Only)))
    }

    /// Says why there is no key, where somebody has logged in when there was one.
    pub(super) fn lost_key(&self) -> Option<Cause> {
        let Some((Home::Memory, keeping)) = &self.landing.home else { return None };
        let is_lost = self.desk.config.store != config::Store::Memory
            && self
                .desk
                .directory
                .as_deref()
                .is_some_and(|path| saved::exists(path, &self.desk.binding));
        is_lost.then(|| Cause::new(keeping.why.clone()))
    }

    /// Changes what is kept of attempts, off this thread: it ends on the disk.
    async fn note(
        &mut self,
        change: impl FnOnce(&Attempts) -> std::io::Result<()> + Send + 'static,
    ) {
        let desk = self.desk.clone();
        let noted = blocking(move || change(&desk.attempts)).await;
        self.tell(noted);
    }

    fn tell(&mut self, noted: std::io::Result<()>) {
        if let Err(error) = noted {
            self.landing.problem = Some(unwritable(self.desk.directory.as_deref(), &error));
        }
    }
}

pub(super) fn unread(error: credentials::Error) -> Error {
    let retry_after = Duration::ZERO;
    match error {
        credentials::Error::Missing(_) => Error::NotLoggedIn(None),
        credentials::Error::Incomplete { absent, .. } => {
            Error::NotLoggedIn(Some(Lack::Half { told: Cause::new(error.to_string()), absent }))
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

fn turned_down(reason: Reason, origin: Origin) -> Error {
    match reason {
        Reason::Refused => Error::Refused(origin),
        Reason::TotpRequired => Error::TotpRequired { origin, cause: None },
        Reason::CodeRejected => {
            let cause = Some(Cause::new("Nexudus rejected the 2FA code or the password"));
            Error::TotpRequired { origin, cause }
        }
        Reason::PasswordReset => Error::PasswordReset(origin),
    }
}
