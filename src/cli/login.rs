//! `login`: asks for a login, proves it, shows who it is, and only then keeps it.

mod said;

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::ask::{self, CODE, EMAIL, Lines, PASSWORD};
use super::me::Me;
use super::running::{Other, Running};
use super::{Failure, Globals, Print, flags::AlsoKeys, serve};
use crate::clock::Clock;
use crate::config::{Config, Loaded, Origin, Paths, Source, Store};
use crate::credentials::{self, Credentials, Keychain, Login, SecondFactor};
use crate::daemon::{self, process};
use crate::secret::Secret;
use crate::session::issuer::{Failure as Refusal, Grant, Http, Issued, Issuer as _};
use crate::session::{self, Cause, Denied, Visit};

/// What `login` takes. No secret is among it: arguments are shown to every user.
#[derive(clap::Args, Debug)]
pub(super) struct Options {
    /// E-mail address of the account
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Read the password from standard input, its first line
    #[arg(long)]
    password_stdin: bool,
    /// The 2FA code that the authenticator shows now; good for this one login
    #[arg(long, value_name = "CODE", conflicts_with = "totp_secret_stdin")]
    totp: Option<String>,
    /// Read the 2FA secret (base32) from standard input, the line after the password's, and store
    /// it, so that the daemon can log in again by itself
    #[arg(long)]
    totp_secret_stdin: bool,
    /// Keep the rotating session, never the password
    #[arg(long)]
    session_only: bool,
    /// Take over a session from standard input: {"client_id": …, "refresh_token": …}; for accounts
    /// that have no password
    #[arg(long, conflicts_with_all = ["email", "password_stdin", "totp", "totp_secret_stdin"])]
    import_stdin: bool,
    #[command(flatten)]
    keys: AlsoKeys,
}

/// Why nobody was logged in. Nothing was stored then, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A person had to be asked, or standard input lacks something.
    #[error(transparent)]
    Ask(#[from] ask::Error),
    /// `credentials.source` names another place.
    #[error("a login in the {} would not be read: credentials.source is another", Keychain::name())]
    NotRead,
    /// Whoever serves this profile asks another upstream.
    #[error("{other}, and this login would be for {own}")]
    OtherUpstream {
        /// Who, and which.
        other: Other,
        /// The configured one.
        own: Origin,
    },
    /// What was given to be taken over is not a session.
    #[error("standard input is not a session to take over")]
    NoImport,
    /// The 2FA secret is not base32.
    #[error("the 2FA secret is not base32")]
    CodeUnreadable,
    /// A 2FA code that cannot be one.
    #[error("a 2FA code is 6 to 8 digits")]
    NoCode,
    /// The address or the password is wrong.
    #[error("unauthorized: Nexudus refused this e-mail address or password")]
    Refused,
    /// What was given to be taken over is not accepted.
    #[error("unauthorized: Nexudus refused this refresh token")]
    ImportRefused,
    /// A code is needed.
    #[error("unauthorized: the account needs a 2FA code")]
    CodeNeeded,
    /// A code was offered, and something is wrong.
    #[error("unauthorized: Nexudus rejected the 2FA code or the password")]
    CodeRejected,
    /// A new password is needed.
    #[error("unauthorized: Nexudus wants a new password set for this account")]
    PasswordReset,
    /// The account may not use the API.
    #[error("forbidden: {0} has no API access")]
    Forbidden(String),
    /// Nexudus cannot be asked.
    #[error("could not reach Nexudus")]
    Offline(#[source] Cause),
    /// Nexudus answers, but not whether the login is right.
    #[error("Nexudus gave no clear answer")]
    Unclear(#[source] Cause),
    /// The keychain cannot be used.
    #[error("could not use the {}", Keychain::name())]
    Store(#[source] credentials::Error),
    /// The session alone cannot be kept.
    #[error("the session cannot be kept across a reboot, and there would be nothing else")]
    Fleeting(#[source] Cause),
    /// The session file cannot be used.
    #[error("could not keep the session")]
    Session(#[source] session::Error),
    /// The session file cannot be written.
    #[error("could not keep the session")]
    Unkept(#[source] Cause),
}

/// Logs in.
pub(super) fn run(options: Options, globals: &Globals, print: Print) -> Result<(), Failure> {
    let Options { keys, .. } = &options;
    let Loaded { config, paths, warnings, .. } = globals.load(keys.clone().given())?;
    warnings.iter().for_each(|warning| print.warning(warning));
    process::harden();
    serve::control()?.block_on(async {
        let credentials = daemon::credentials(&config, &paths);
        let attempt = Attempt {
            issuer: daemon::reach(&config)?,
            options,
            config,
            paths,
            credentials,
            json: globals.json,
            print,
        };
        attempt.make().await
    })
}

/// Everything that one login needs.
struct Attempt {
    options: Options,
    config: Config,
    paths: Paths,
    credentials: Credentials,
    issuer: Http,
    json: bool,
    print: Print,
}

/// A pair, and whose it is.
struct Proof {
    issued: Issued,
    client_id: String,
    email: Option<String>,
}

impl Attempt {
    async fn make(mut self) -> Result<(), Failure> {
        // What cannot be kept need not be asked for.
        self.prepare().await?;
        let me = match self.options.import_stdin {
            true => self.import().await?,
            false => self.log_in().await?,
        };
        let origin = &self.config.upstream.origin;
        let told = Running::of(&self.config, &self.paths).tell_login(origin).await;
        self.warn_of_daemon(&told, &me);
        self.say(&me, told)
    }

    /// Whether only the session is kept.
    fn session_only(&self) -> bool {
        self.options.session_only || self.options.import_stdin
    }

    async fn prepare(&self) -> Result<(), Error> {
        let own = &self.config.upstream.origin;
        let running = Running::of(&self.config, &self.paths);
        if let Some(other) = running.other_origin(own, &self.paths).await {
            return Err(Error::OtherUpstream { other, own: own.clone() });
        }
        if self.session_only() {
            if self.config.session.store == Store::Memory {
                return Err(fleeting("session.store is memory"));
            }
            // The keychain may hold the key of the file.
            return self.open_keychain().await.or_else(|error| match error {
                credentials::Error::Unavailable(_) => Ok(()),
                error @ (credentials::Error::Missing(_)
                | credentials::Error::Incomplete { .. }
                | credentials::Error::Command(_)
                | credentials::Error::Locked) => Err(Error::Store(error)),
            });
        }
        if !matches!(self.config.credentials.source, Source::Auto | Source::Keychain) {
            return Err(Error::NotRead);
        }
        self.open_keychain().await.map_err(Error::Store)?;
        let directory = self.paths.profile_state();
        let proved = session::prove(self.keychain(), &directory, &Clock::system()).await;
        proved.map_err(Error::Store)
    }

    /// Opens the keychain. A person has just typed this command, so a dialog may appear.
    async fn open_keychain(&self) -> Result<(), credentials::Error> {
        self.keychain().unlock().await.map(drop)
    }

    fn keychain(&self) -> &Keychain {
        self.credentials.keychain().expect("a configured login has a keychain")
    }

    async fn log_in(&mut self) -> Result<Me, Error> {
        let mut login = self.ask()?;
        let mut visit = self.visit().await?;
        let client_id = visit.client_id(&login.email);
        let waits = next_code(self.print);
        let issued = match visit.log_in(&self.issuer, &login, &client_id, &waits).await {
            Err(Denied::By(Refusal::TotpRequired)) if login.second_factor.is_none() => {
                let code = match CODE.ask(self.print) {
                    Ok(code) => code_of(&code)?,
                    Err(ask::Error::NoTerminal { .. }) => return Err(Error::CodeNeeded),
                    Err(error) => return Err(error.into()),
                };
                login.second_factor = Some(SecondFactor::Code(code));
                visit.log_in(&self.issuer, &login, &client_id, &waits).await
            }
            answer => answer,
        };
        let issued = issued.map_err(|denied| refused(denied, login.second_factor.is_some()))?;
        let proof = Proof { issued, client_id, email: Some(login.email.clone()) };
        let me = match self.me(&proof.issued).await {
            Ok(me) => me,
            Err(error) => {
                // The pair that was here before is dead by now: this one takes its place.
                if visit.has_session_of(&login.email) {
                    keep(&mut visit, proof).await?;
                }
                return Err(error);
            }
        };
        if self.session_only() {
            keep(&mut visit, proof).await?;
            self.drop_password().await?;
        } else {
            self.keychain().keep_login(&login).await.map_err(Error::Store)?;
            self.warn_of_sources(&visit, &login);
            if let Err(error) = keep(&mut visit, proof).await {
                self.print.warning(&format!(
                    "the login is stored, the session of now is not: {error}; the daemon logs in \
                     by itself"
                ));
            }
        }
        Ok(me)
    }

    async fn import(&mut self) -> Result<Me, Error> {
        #[derive(Deserialize)]
        struct Import {
            client_id: String,
            refresh_token: String,
        }
        let lines = Lines::read()?;
        let Import { client_id, refresh_token } =
            serde_json::from_str(lines.all()).map_err(|_| Error::NoImport)?;
        if client_id.is_empty() || !client_id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::NoImport);
        }
        let mut visit = self.visit().await?;
        let grant = Grant::Refresh(Secret::new(refresh_token));
        let issued = self.issuer.issue(&grant, &client_id).await;
        let issued = issued.map_err(|refusal| match refusal {
            Refusal::Refused => Error::ImportRefused,
            other @ (Refusal::TotpRequired
            | Refusal::PasswordReset
            | Refusal::Unclear(_)
            | Refusal::Passing { .. }) => refused(Denied::By(other), false),
        })?;
        // The token that was given is spent: its successor is kept whatever comes next.
        let unnamed = Proof { issued: issued.clone(), client_id: client_id.clone(), email: None };
        keep(&mut visit, unnamed).await?;
        let me = self.me(&issued).await?;
        keep(&mut visit, Proof { issued, client_id, email: me.email.clone() }).await?;
        self.drop_password().await?;
        Ok(me)
    }

    /// Asks for what was not given.
    fn ask(&self) -> Result<Login, Error> {
        let options = &self.options;
        let email = options.email.clone().or_else(|| self.config.credentials.email.clone());
        let email = match email {
            Some(email) => EMAIL.checked(email.trim().to_owned())?,
            None => EMAIL.ask(self.print)?,
        };
        let code = options.totp.as_deref().map(code_of).transpose()?;
        let mut lines = match options.password_stdin || options.totp_secret_stdin {
            true => Some(Lines::read()?),
            false => None,
        };
        let password = match &mut lines {
            Some(lines) if options.password_stdin => lines.next("the password")?,
            Some(_) | None => PASSWORD.ask_hidden()?,
        };
        let second_factor = match (&mut lines, code) {
            (Some(lines), None) if options.totp_secret_stdin => {
                Some(SecondFactor::Shared(lines.next("the 2FA secret")?))
            }
            (_, Some(code)) => Some(SecondFactor::Code(code)),
            (_, None) => None,
        };
        Ok(Login { email, password, second_factor })
    }

    async fn visit(&self) -> Result<Visit, Error> {
        let directory: PathBuf = self.paths.profile_state();
        let (origin, clock) = (&self.config.upstream.origin, Clock::system());
        let (config, credentials) = (&self.config.session, &self.credentials);
        let visit = Visit::begin(config, origin, &directory, credentials, clock);
        let visit = visit.await.map_err(Error::Session)?;
        if self.session_only() && visit.keeping().volatile {
            return Err(fleeting(&visit.keeping().why));
        }
        Ok(visit)
    }

    async fn me(&self, issued: &Issued) -> Result<Me, Error> {
        let bearer = issued.bearer().ok_or_else(|| unclear("the token is not text"))?;
        let (status, body) = self.issuer.me(&bearer).await.map_err(Error::Offline)?;
        let whom = || self.options.email.clone().unwrap_or_else(|| "this account".to_owned());
        match status.as_u16() {
            200 => {
                let me = Me::read(&body).ok_or_else(|| unclear("its answer is not a user"))?;
                match me.api_access {
                    Some(false) => Err(Error::Forbidden(me.email.unwrap_or_else(whom))),
                    Some(true) | None => Ok(me),
                }
            }
            401 | 403 => Err(Error::Forbidden(whom())),
            status => Err(unclear(&format!("asked who is logged in it answered {status}"))),
        }
    }

    /// A login of before would be used again once the session ends.
    async fn drop_password(&self) -> Result<(), Error> {
        match self.keychain().remove_login().await {
            Ok(_) | Err(credentials::Error::Unavailable(_)) => Ok(()),
            Err(error) => Err(Error::Store(error)),
        }
    }
}

/// Reads a 2FA code that was typed; what Nexudus would refuse in any case is not sent.
fn code_of(typed: &str) -> Result<Secret, Error> {
    let is_code = (6..=8).contains(&typed.len()) && typed.bytes().all(|byte| byte.is_ascii_digit());
    if is_code { Ok(Secret::new(typed)) } else { Err(Error::NoCode) }
}

/// Says why nothing happens for up to half a minute.
pub(super) fn next_code(print: Print) -> impl Fn(Duration) {
    move |left| {
        let seconds = left.as_secs() + 1;
        print.note(&format!("this 2FA code was used already: waiting {seconds} s for the next"));
    }
}

async fn keep(visit: &mut Visit, proof: Proof) -> Result<(), Error> {
    let kept = visit.keep(proof.issued, proof.email.as_deref(), &proof.client_id).await;
    kept.map_err(Error::Unkept)
}

fn refused(denied: Denied, with_code: bool) -> Error {
    match denied {
        Denied::CodeUnreadable => Error::CodeUnreadable,
        Denied::By(Refusal::Refused | Refusal::TotpRequired) if with_code => Error::CodeRejected,
        Denied::By(Refusal::Refused) => Error::Refused,
        Denied::By(Refusal::TotpRequired) => Error::CodeNeeded,
        Denied::By(Refusal::PasswordReset) => Error::PasswordReset,
        Denied::By(Refusal::Unclear(cause)) => Error::Unclear(cause),
        Denied::By(Refusal::Passing { cause, .. }) => Error::Offline(cause),
    }
}

fn fleeting(why: &str) -> Error {
    Error::Fleeting(Cause::new(why))
}

fn unclear(why: &str) -> Error {
    Error::Unclear(Cause::new(why))
}
