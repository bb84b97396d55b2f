//! `login`: asks for a login, proves it, shows who it is, and only then keeps it.

mod said;

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::daemon_client::{DaemonClient, OtherOrigin};
use super::prompt::{self, CODE, EMAIL, PASSWORD, StdinLines};
use super::user::CurrentUser;
use super::{CliError, GlobalArgs, Printer, flags::ConfigOverrides, serve};
use crate::clock::Clock;
use crate::config::{Config, LoadedConfig, LoginSource, Origin, Paths, SessionStore};
use crate::credentials::{self, Credentials, Keychain, Login, SecondFactor};
use crate::daemon::{self, process};
use crate::secret::Secret;
use crate::session::endpoint::{Grant, HttpIssuer, Issuer as _, TokenError as Refusal, TokenGrant};
use crate::session::{self, Cause, LoginRejection, OfflineSession};

/// What `login` takes. No secret is among it: arguments are shown to every user.
#[derive(clap::Args, Debug)]
pub(super) struct LoginArgs {
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
    keys: ConfigOverrides,
}

/// Why nobody was logged in. Nothing was stored then, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// A person had to be asked, or standard input lacks something.
    #[error(transparent)]
    Ask(#[from] prompt::PromptError),
    /// `credentials.source` names another place.
    #[error(
        "a login in the {} would not be read: credentials.source is another",
        Keychain::product_name()
    )]
    SourceNotRead,
    /// Whoever serves this profile asks another upstream.
    #[error("{other}, and this login would be for {own}")]
    OtherUpstream {
        /// Who, and which.
        other: OtherOrigin,
        /// The configured one.
        own: Origin,
    },
    /// What was given to be taken over is not a session.
    #[error("standard input is not a session to take over")]
    InvalidImport,
    /// The 2FA secret is not base32.
    #[error("the 2FA secret is not base32")]
    InvalidTotpSecret,
    /// A 2FA code that cannot be one.
    #[error("a 2FA code is 6 to 8 digits")]
    InvalidCode,
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
    Unreachable(#[source] Cause),
    /// Nexudus answers, but not whether the login is right.
    #[error("Nexudus gave no clear answer")]
    Ambiguous(#[source] Cause),
    /// The keychain cannot be used.
    #[error("could not use the {}", Keychain::product_name())]
    Store(#[source] credentials::Error),
    /// The session alone cannot be kept.
    #[error("the session cannot be kept across a reboot, and there would be nothing else")]
    NotLasting(#[source] Cause),
    /// The session file cannot be used.
    #[error("could not keep the session")]
    Session(#[source] session::Error),
    /// The session file cannot be written.
    #[error("could not keep the session")]
    NotStored(#[source] Cause),
}

/// Logs in.
pub(super) fn run(
    options: LoginArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let LoginArgs { keys, .. } = &options;
    let LoadedConfig { config, paths, warnings, .. } =
        globals.load(keys.clone().into_overrides())?;
    warnings.iter().for_each(|warning| print.warning(warning));
    process::harden();
    serve::control_runtime()?.block_on(async {
        let credentials = daemon::credentials(&config, &paths);
        let attempt = LoginFlow {
            issuer: daemon::token_client(&config)?,
            options,
            config,
            paths,
            credentials,
            json: globals.json,
            print,
        };
        attempt.run().await
    })
}

/// Everything that one login needs.
struct LoginFlow {
    options: LoginArgs,
    config: Config,
    paths: Paths,
    credentials: Credentials,
    issuer: HttpIssuer,
    json: bool,
    print: Printer,
}

/// A pair, and whose it is.
struct Verified {
    issued: TokenGrant,
    client_id: String,
    email: Option<String>,
}

impl LoginFlow {
    async fn run(mut self) -> Result<(), CliError> {
        // What cannot be kept need not be asked for.
        self.prepare().await?;
        let me = match self.options.import_stdin {
            true => self.import().await?,
            false => self.log_in().await?,
        };
        let origin = &self.config.upstream.origin;
        let told = DaemonClient::new(&self.config, &self.paths).notify_login(origin).await;
        self.warn_of_daemon(&told, &me);
        self.print_result(&me, told)
    }

    /// Whether only the session is kept.
    fn session_only(&self) -> bool {
        self.options.session_only || self.options.import_stdin
    }

    async fn prepare(&self) -> Result<(), LoginError> {
        let own = &self.config.upstream.origin;
        let running = DaemonClient::new(&self.config, &self.paths);
        if let Some(other) = running.other_origin(own, &self.paths).await {
            return Err(LoginError::OtherUpstream { other, own: own.clone() });
        }
        if self.session_only() {
            if self.config.session.store == SessionStore::Memory {
                return Err(not_lasting("session.store is memory"));
            }
            // The keychain may hold the key of the file.
            return self.open_keychain().await.or_else(|error| match error {
                credentials::Error::Unavailable(_) => Ok(()),
                error @ (credentials::Error::Missing(_)
                | credentials::Error::Incomplete { .. }
                | credentials::Error::Command(_)
                | credentials::Error::Locked) => Err(LoginError::Store(error)),
            });
        }
        if !matches!(self.config.credentials.source, LoginSource::Auto | LoginSource::Keychain) {
            return Err(LoginError::SourceNotRead);
        }
        self.open_keychain().await.map_err(LoginError::Store)?;
        let directory = self.paths.profile_state();
        let proved =
            session::self_test_keychain(self.keychain(), &directory, &Clock::system()).await;
        proved.map_err(LoginError::Store)
    }

    /// Opens the keychain. A person has just typed this command, so a dialog may appear.
    async fn open_keychain(&self) -> Result<(), credentials::Error> {
        self.keychain().unlock().await.map(drop)
    }

    fn keychain(&self) -> &Keychain {
        self.credentials.keychain().expect("a configured login has a keychain")
    }

    async fn log_in(&mut self) -> Result<CurrentUser, LoginError> {
        let mut login = self.prompt_login()?;
        let mut visit = self.open_session().await?;
        let client_id = visit.client_id(&login.email);
        let waits = note_code_wait(self.print);
        let issued = match visit.log_in(&self.issuer, &login, &client_id, &waits).await {
            Err(LoginRejection::Token(Refusal::TotpRequired)) if login.second_factor.is_none() => {
                let code = match CODE.ask(self.print) {
                    Ok(code) => parse_code(&code)?,
                    Err(prompt::PromptError::NoTerminal { .. }) => {
                        return Err(LoginError::CodeNeeded);
                    }
                    Err(error) => return Err(error.into()),
                };
                login.second_factor = Some(SecondFactor::Code(code));
                visit.log_in(&self.issuer, &login, &client_id, &waits).await
            }
            answer => answer,
        };
        let issued = issued.map_err(|denied| login_error(denied, login.second_factor.is_some()))?;
        let proof = Verified { issued, client_id, email: Some(login.email.clone()) };
        let me = match self.fetch_user(&proof.issued).await {
            Ok(me) => me,
            Err(error) => {
                // The pair that was here before is dead by now: this one takes its place.
                if visit.has_session_of(&login.email) {
                    store_session(&mut visit, proof).await?;
                }
                return Err(error);
            }
        };
        if self.session_only() {
            store_session(&mut visit, proof).await?;
            self.drop_password().await?;
        } else {
            self.keychain().store_login(&login).await.map_err(LoginError::Store)?;
            self.warn_of_sources(&visit, &login);
            if let Err(error) = store_session(&mut visit, proof).await {
                self.print.warning(&format!(
                    "the login is stored, the session of now is not: {error}; the daemon logs in \
                     by itself"
                ));
            }
        }
        Ok(me)
    }

    async fn import(&mut self) -> Result<CurrentUser, LoginError> {
        #[derive(Deserialize)]
        struct Import {
            client_id: String,
            refresh_token: String,
        }
        let lines = StdinLines::read()?;
        let Import { client_id, refresh_token } =
            serde_json::from_str(lines.all()).map_err(|_| LoginError::InvalidImport)?;
        if client_id.is_empty() || !client_id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(LoginError::InvalidImport);
        }
        let mut visit = self.open_session().await?;
        let grant = Grant::Refresh(Secret::new(refresh_token));
        let issued = self.issuer.issue(&grant, &client_id).await;
        let issued = issued.map_err(|refusal| match refusal {
            Refusal::Refused => LoginError::ImportRefused,
            other @ (Refusal::TotpRequired
            | Refusal::PasswordReset
            | Refusal::Ambiguous(_)
            | Refusal::Transient { .. }) => login_error(LoginRejection::Token(other), false),
        })?;
        // The token that was given is spent: its successor is kept whatever comes next.
        let unnamed =
            Verified { issued: issued.clone(), client_id: client_id.clone(), email: None };
        store_session(&mut visit, unnamed).await?;
        let me = self.fetch_user(&issued).await?;
        store_session(&mut visit, Verified { issued, client_id, email: me.email.clone() }).await?;
        self.drop_password().await?;
        Ok(me)
    }

    /// Asks for what was not given.
    fn prompt_login(&self) -> Result<Login, LoginError> {
        let options = &self.options;
        let email = options.email.clone().or_else(|| self.config.credentials.email.clone());
        let email = match email {
            Some(email) => EMAIL.checked(email.trim().to_owned())?,
            None => EMAIL.ask(self.print)?,
        };
        let code = options.totp.as_deref().map(parse_code).transpose()?;
        let mut lines = match options.password_stdin || options.totp_secret_stdin {
            true => Some(StdinLines::read()?),
            false => None,
        };
        let password = match &mut lines {
            Some(lines) if options.password_stdin => lines.next_line("the password")?,
            Some(_) | None => PASSWORD.ask_hidden()?,
        };
        let second_factor = match (&mut lines, code) {
            (Some(lines), None) if options.totp_secret_stdin => {
                Some(SecondFactor::Shared(lines.next_line("the 2FA secret")?))
            }
            (_, Some(code)) => Some(SecondFactor::Code(code)),
            (_, None) => None,
        };
        Ok(Login { email, password, second_factor })
    }

    async fn open_session(&self) -> Result<OfflineSession, LoginError> {
        let directory: PathBuf = self.paths.profile_state();
        let (origin, clock) = (&self.config.upstream.origin, Clock::system());
        let (config, credentials) = (&self.config.session, &self.credentials);
        let visit = OfflineSession::open(config, origin, &directory, credentials, clock);
        let visit = visit.await.map_err(LoginError::Session)?;
        if self.session_only() && visit.store_info().is_volatile {
            return Err(not_lasting(&visit.store_info().reason));
        }
        Ok(visit)
    }

    async fn fetch_user(&self, issued: &TokenGrant) -> Result<CurrentUser, LoginError> {
        let bearer = issued.bearer().ok_or_else(|| ambiguous("the token is not text"))?;
        let (status, body) = self.issuer.me(&bearer).await.map_err(LoginError::Unreachable)?;
        let whom = || self.options.email.clone().unwrap_or_else(|| "this account".to_owned());
        match status.as_u16() {
            200 => {
                let me = CurrentUser::parse(&body)
                    .ok_or_else(|| ambiguous("its answer is not a user"))?;
                match me.api_access {
                    Some(false) => Err(LoginError::Forbidden(me.email.unwrap_or_else(whom))),
                    Some(true) | None => Ok(me),
                }
            }
            401 | 403 => Err(LoginError::Forbidden(whom())),
            status => Err(ambiguous(&format!("asked who is logged in it answered {status}"))),
        }
    }

    /// A login of before would be used again once the session ends.
    async fn drop_password(&self) -> Result<(), LoginError> {
        match self.keychain().remove_login().await {
            Ok(_) | Err(credentials::Error::Unavailable(_)) => Ok(()),
            Err(error) => Err(LoginError::Store(error)),
        }
    }
}

/// Reads a 2FA code that was typed; what Nexudus would refuse in any case is not sent.
fn parse_code(typed: &str) -> Result<Secret, LoginError> {
    let is_code = (6..=8).contains(&typed.len()) && typed.bytes().all(|byte| byte.is_ascii_digit());
    if is_code { Ok(Secret::new(typed)) } else { Err(LoginError::InvalidCode) }
}

/// Says why nothing happens for up to half a minute.
pub(super) fn note_code_wait(print: Printer) -> impl Fn(Duration) {
    move |left| {
        let seconds = left.as_secs() + 1;
        print.note(&format!("this 2FA code was used already: waiting {seconds} s for the next"));
    }
}

async fn store_session(visit: &mut OfflineSession, proof: Verified) -> Result<(), LoginError> {
    let kept = visit.save(proof.issued, proof.email.as_deref(), &proof.client_id).await;
    kept.map_err(LoginError::NotStored)
}

fn login_error(denied: LoginRejection, with_code: bool) -> LoginError {
    match denied {
        LoginRejection::InvalidTotpSecret => LoginError::InvalidTotpSecret,
        LoginRejection::Token(Refusal::Refused | Refusal::TotpRequired) if with_code => {
            LoginError::CodeRejected
        }
        LoginRejection::Token(Refusal::Refused) => LoginError::Refused,
        LoginRejection::Token(Refusal::TotpRequired) => LoginError::CodeNeeded,
        LoginRejection::Token(Refusal::PasswordReset) => LoginError::PasswordReset,
        LoginRejection::Token(Refusal::Ambiguous(cause)) => LoginError::Ambiguous(cause),
        LoginRejection::Token(Refusal::Transient { cause, .. }) => LoginError::Unreachable(cause),
    }
}

fn not_lasting(why: &str) -> LoginError {
    LoginError::NotLasting(Cause::new(why))
}

fn ambiguous(why: &str) -> LoginError {
    LoginError::Ambiguous(Cause::new(why))
}
