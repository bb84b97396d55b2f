//! `login`: asks for a login, verifies it, and only then stores it.

mod error;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use self::error::LoginError;
pub(super) use self::error::{NETWORK_HINT, session_details};
use self::report::{StoredLogin, warn_of_sources};
use super::config_flags::ConfigOverrides;
use super::current_user::CurrentUser;
use super::daemon_client::DaemonClient;
use super::globals::GlobalArgs;
use super::prompt::{self, CODE, EMAIL, PASSWORD, StdinLines};
use super::waiting::{NEXUDUS, with_note};
use super::{CliError, Printer, serve};
use crate::clock::Clock;
use crate::config::{Config, LoadedConfig, LoginSource, Paths, SessionStore};
use crate::credentials::{self, Credentials, Keychain, Login, SecondFactor};
use crate::daemon::{self, process};
use crate::secret::Secret;
use crate::session::endpoint::{Grant, HttpIssuer, Issuer as _, TokenError as Refusal, TokenGrant};
use crate::session::{self, Cause, LoginRejection, OfflineSession};

/// The arguments of `login`. No secret is among them: every user can see arguments.
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

/// Logs in.
pub(super) fn run(
    options: LoginArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let overrides = options.keys.clone().into_overrides();
    let LoadedConfig { config, paths, .. } = globals.load_and_warn(overrides, print)?;
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

/// One login, with all that it needs.
struct LoginFlow {
    options: LoginArgs,
    config: Config,
    paths: Paths,
    credentials: Credentials,
    issuer: HttpIssuer,
    json: bool,
    print: Printer,
}

/// A token pair that Nexudus has issued, and its owner.
struct Verified {
    issued: TokenGrant,
    client_id: String,
    email: Option<String>,
}

impl LoginFlow {
    async fn run(mut self) -> Result<(), CliError> {
        // A login that cannot be stored need not be asked for.
        self.prepare().await?;
        let user =
            if self.options.import_stdin { self.import().await } else { self.log_in().await }?;
        let origin = &self.config.upstream.origin;
        let daemon = DaemonClient::new(&self.config, &self.paths).notify_login(origin).await;
        let stored = StoredLogin {
            profile: &self.paths.profile,
            user: &user,
            is_session_only: self.session_only(),
            daemon,
        };
        stored.print(self.json, self.print)
    }

    /// Returns whether only the session is stored.
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
        let mut session = self.open_session().await?;
        let client_id = session.client_id(&login.email);
        let on_wait = note_code_wait(self.print);
        let issued = match session.log_in(&self.issuer, &login, &client_id, &on_wait).await {
            Err(LoginRejection::Token(Refusal::TotpRequired)) if login.second_factor.is_none() => {
                let code = match CODE.ask(self.print) {
                    Ok(code) => parse_code(&code)?,
                    Err(prompt::PromptError::NoTerminal { .. }) => {
                        return Err(LoginError::CodeNeeded);
                    }
                    Err(error) => return Err(error.into()),
                };
                login.second_factor = Some(SecondFactor::Code(code));
                session.log_in(&self.issuer, &login, &client_id, &on_wait).await
            }
            result => result,
        };
        let issued = issued.map_err(|denied| login_error(denied, login.second_factor.is_some()))?;
        let verified = Verified { issued, client_id, email: Some(login.email.clone()) };
        let me = match self.fetch_user(&verified.issued).await {
            Ok(me) => me,
            Err(error) => {
                // The stored pair is dead by now: the new one takes its place.
                if session.has_session_of(&login.email) {
                    store_session(&mut session, verified).await?;
                }
                return Err(error);
            }
        };
        if self.session_only() {
            store_session(&mut session, verified).await?;
            self.drop_password().await?;
        } else {
            self.keychain().store_login(&login).await.map_err(LoginError::Store)?;
            let is_volatile = session.store_info().is_volatile;
            warn_of_sources(&self.credentials, is_volatile, &login, self.print);
            if let Err(error) = store_session(&mut session, verified).await {
                self.print.warning(&format!(
                    "the login is stored, its first session is not: {error}; the daemon logs in \
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
        let mut session = self.open_session().await?;
        let grant = Grant::Refresh(Secret::new(refresh_token));
        let issued = self.issuer.issue(&grant, &client_id).await;
        let issued = issued.map_err(|refusal| match refusal {
            Refusal::Refused => LoginError::ImportRefused,
            other @ (Refusal::TotpRequired
            | Refusal::PasswordReset
            | Refusal::Ambiguous(_)
            | Refusal::Transient { .. }) => login_error(LoginRejection::Token(other), false),
        })?;
        // The imported token is spent now: its successor is stored whatever comes next.
        let unnamed =
            Verified { issued: issued.clone(), client_id: client_id.clone(), email: None };
        store_session(&mut session, unnamed).await?;
        let me = self.fetch_user(&issued).await?;
        store_session(&mut session, Verified { issued, client_id, email: me.email.clone() })
            .await?;
        self.drop_password().await?;
        Ok(me)
    }

    /// Asks for the parts of the login that were not given.
    fn prompt_login(&self) -> Result<Login, LoginError> {
        let options = &self.options;
        let email = options.email.clone().or_else(|| self.config.credentials.email.clone());
        let email = match email {
            Some(email) => EMAIL.checked(email.trim().to_owned())?,
            None => EMAIL.ask(self.print)?,
        };
        let code = options.totp.as_deref().map(parse_code).transpose()?;
        let reads_stdin = options.password_stdin || options.totp_secret_stdin;
        let mut lines = reads_stdin.then(StdinLines::read).transpose()?;
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
        let session = OfflineSession::open(config, origin, &directory, credentials, clock);
        let session = session.await.map_err(LoginError::Session)?;
        if self.session_only() && session.store_info().is_volatile {
            return Err(not_lasting(&session.store_info().reason));
        }
        Ok(session)
    }

    async fn fetch_user(&self, issued: &TokenGrant) -> Result<CurrentUser, LoginError> {
        let bearer = issued.bearer().ok_or_else(|| ambiguous("the token is not text"))?;
        let me = with_note(self.print, NEXUDUS, self.issuer.me(&bearer)).await;
        let (status, body) = me.map_err(LoginError::Unreachable)?;
        let whom = || self.options.email.clone().unwrap_or_else(|| "this account".to_owned());
        match status.as_u16() {
            200 => {
                let me = CurrentUser::parse(&body)
                    .ok_or_else(|| ambiguous("its response is not a user"))?;
                match me.api_access {
                    Some(false) => Err(LoginError::Forbidden(me.email.unwrap_or_else(whom))),
                    Some(true) | None => Ok(me),
                }
            }
            401 | 403 => Err(LoginError::Forbidden(whom())),
            status => Err(ambiguous(&format!(
                "it responded with {status} to the request for the logged-in user"
            ))),
        }
    }

    /// Removes an earlier login, which would be used again once the session ends.
    async fn drop_password(&self) -> Result<(), LoginError> {
        match self.keychain().remove_login().await {
            Ok(_) | Err(credentials::Error::Unavailable(_)) => Ok(()),
            Err(error) => Err(LoginError::Store(error)),
        }
    }
}

/// Reads a 2FA code. Rejects a text that Nexudus would refuse in any case, so that it is not sent.
fn parse_code(typed: &str) -> Result<Secret, LoginError> {
    let is_code = (6..=8).contains(&typed.len()) && typed.bytes().all(|byte| byte.is_ascii_digit());
    if is_code { Ok(Secret::new(typed)) } else { Err(LoginError::InvalidCode) }
}

/// Prints why nothing happens for up to half a minute.
pub(super) fn note_code_wait(print: Printer) -> impl Fn(Duration) {
    move |left| {
        let seconds = left.as_secs() + 1;
        print.note(&format!("this 2FA code was used already: waiting {seconds} s for the next"));
    }
}

async fn store_session(session: &mut OfflineSession, verified: Verified) -> Result<(), LoginError> {
    let saved = session.save(verified.issued, verified.email.as_deref(), &verified.client_id).await;
    saved.map_err(LoginError::NotStored)
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
