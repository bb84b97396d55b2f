//! `login`: asks for a login, verifies it, and only then stores it.

mod error;
mod place;
mod proof;
mod report;
mod system;
mod system_store;

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use self::error::LoginError;
pub(super) use self::error::{NETWORK_HINT, session_details};
use self::place::Place;
use self::proof::{Proof, parse_code};
use self::report::{StoredLogin, warn_of_sources};
use self::system_store::ScratchDirectory;
use super::config_flags::ConfigOverrides;
use super::current_user::CurrentUser;
use super::daemon_client::{DaemonClient, record_login};
use super::globals::GlobalArgs;
use super::prompt::{EMAIL, PASSWORD, PromptError, StdinLines, guarded};
use super::waiting::{DAEMON, NEXUDUS, say_waiting};
use super::{CliError, Printer, serve, service};
use crate::clock::Clock;
use crate::config::{Config, LoadedConfig, Paths, SessionStore, UpstreamAuth};
use crate::credentials::{Credentials, Login, SecondFactor, TotpSecret};
use crate::daemon::{self, process};
use crate::problem::ExitCode;
use crate::secret::SecretInput;
use crate::session::endpoint::{Grant, HttpIssuer, Issuer as _, TokenError as Refusal, TokenGrant};
use crate::session::{Cause, LoginRejection, OfflineSession};

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
    /// Read the 2FA secret (base32, or an otpauth:// URI) from standard input, the line after the
    /// password's, and store it, so that the daemon can log in again by itself
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
    let is_of_system = service::is_system_login(globals)?;
    process::harden();
    serve::control_runtime()?.block_on(async {
        let credentials = daemon::credentials(&config, &paths);
        let attempt = LoginFlow {
            issuer: daemon::token_client(&config)?,
            options,
            config,
            paths,
            credentials,
            scratch: None,
            globals: globals.clone(),
            print,
        };
        let ended = if is_of_system {
            guarded(attempt.log_in_system()).await
        } else {
            guarded(attempt.run()).await
        };
        // As the shell has it for a program that a signal ended.
        ended.map_err(|signal| CliError::AlreadyPrinted(ExitCode::Child(128 + signal)))?
    })
}

/// One login, with all that it needs.
struct LoginFlow {
    options: LoginArgs,
    config: Config,
    paths: Paths,
    credentials: Credentials,
    issuer: HttpIssuer,
    /// The state directory of a login that is not this profile's own: that of the system service.
    scratch: Option<ScratchDirectory>,
    globals: GlobalArgs,
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
        let place = self.prepare().await?;
        let user = if self.options.import_stdin {
            self.import().await
        } else {
            self.log_in(place.as_ref()).await
        };
        let user = user?;
        let origin = &self.config.upstream.origin;
        let daemon = DaemonClient::new(&self.config, &self.paths);
        let daemon = say_waiting(self.print, DAEMON, daemon.notify_login(origin, false)).await;
        if let Ok(None) = &daemon {
            record_login(&self.config.audit, &self.paths, self.print);
        }
        let stored = StoredLogin {
            profile: &self.paths.profile,
            user: &user,
            place: place.as_ref(),
            daemon,
        };
        stored.print(self.globals.json, self.print)
    }

    /// Returns whether only the session is stored.
    fn session_only(&self) -> bool {
        self.options.session_only || self.options.import_stdin
    }

    /// Returns whether requests carry the login itself.
    fn is_basic(&self) -> bool {
        self.config.upstream.auth == UpstreamAuth::Basic
    }

    async fn log_in(&mut self, place: Option<&Place>) -> Result<CurrentUser, LoginError> {
        let (mut login, is_typed) = self.prompt_login().await?;
        let mut session = self.open_session().await?;
        let client_id = session.client_id(&login.email);
        let proof =
            Proof { issuer: &self.issuer, client_id: &client_id, is_typed, print: self.print };
        let issued = proof.prove(&session, &mut login).await?;
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
        let Some(place) = place else {
            store_session(&mut session, verified).await?;
            self.drop_password().await?;
            return Ok(me);
        };
        self.store_login(place, &login).await?;
        if self.scratch.is_some() {
            // The service asks for a session of its own.
            return Ok(me);
        }
        let is_volatile = session.store_info().is_volatile && !self.is_basic();
        warn_of_sources(&self.credentials, is_volatile, &login, self.print);
        if let Err(error) = store_session(&mut session, verified).await {
            self.print.warning(&format!(
                "the login is stored, its first session is not: {error}; the daemon logs in by \
                 itself"
            ));
        }
        Ok(me)
    }

    async fn import(&mut self) -> Result<CurrentUser, LoginError> {
        #[derive(Deserialize)]
        struct Import {
            client_id: String,
            refresh_token: String,
        }
        let import = StdinLines::read()?.json()?;
        let Import { client_id, refresh_token } = import.ok_or(LoginError::InvalidImport)?;
        let refresh_token = SecretInput::new("refresh_token", refresh_token).line();
        let refresh_token = refresh_token.map_err(|_| LoginError::InvalidImport)?;
        if client_id.is_empty() || !client_id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(LoginError::InvalidImport);
        }
        let mut session = self.open_session().await?;
        let grant = Grant::Refresh(refresh_token);
        let issued = say_waiting(self.print, NEXUDUS, self.issuer.issue(&grant, &client_id)).await;
        let issued = issued.map_err(|refusal| match refusal {
            Refusal::Refused => LoginError::ImportRefused,
            other @ (Refusal::TotpRequired
            | Refusal::PasswordReset
            | Refusal::Ambiguous(_)
            | Refusal::Transient { .. }
            | Refusal::Unavailable { .. }) => {
                proof::login_error(LoginRejection::Token(other), false, 1)
            }
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

    /// Asks for the parts of the login that were not given, and says whether the password was typed.
    async fn prompt_login(&self) -> Result<(Login, bool), LoginError> {
        let options = &self.options;
        let email = options.email.clone().or_else(|| self.config.credentials.email.clone());
        let email = match email {
            Some(email) => EMAIL.checked(email.trim().to_owned())?,
            None => EMAIL.ask(self.print).await?,
        };
        if email.contains(char::is_control) {
            return Err(LoginError::InvalidEmail);
        }
        let code =
            options.totp.as_deref().map(|code| SecretInput::new("the 2FA code", code).line());
        let code = code.transpose().map_err(PromptError::from)?.map(parse_code).transpose()?;
        let reads_stdin = options.password_stdin || options.totp_secret_stdin;
        let mut lines = reads_stdin.then(StdinLines::read).transpose()?;
        let (password, is_typed) = match &mut lines {
            Some(lines) if options.password_stdin => (lines.next_line("the password")?, false),
            Some(_) | None => (PASSWORD.ask_hidden(self.print).await?, true),
        };
        let second_factor = match (&mut lines, code) {
            (Some(lines), None) if options.totp_secret_stdin => {
                let secret = lines.next_line("the 2FA secret")?;
                TotpSecret::parse(&secret).map_err(LoginError::InvalidTotpSecret)?;
                Some(SecondFactor::Shared(secret))
            }
            (_, code) => code,
        };
        if lines.is_some_and(|lines| lines.has_more()) {
            // Not refused: below the password, password managers print notes.
            let left = if options.totp_secret_stdin { "" } else { STDIN_TOTP };
            self.print
                .warning(&format!("standard input has another line, which is not read{left}"));
        }
        Ok((Login { email, password, second_factor }, is_typed))
    }

    async fn open_session(&self) -> Result<OfflineSession, LoginError> {
        let scratch = self.scratch.as_ref().map(|scratch| scratch.path().to_owned());
        let directory: PathBuf = scratch.unwrap_or_else(|| self.paths.profile_state());
        let (origin, clock) = (&self.config.upstream.origin, Clock::system());
        let (mut config, credentials) = (self.config.session.clone(), &self.credentials);
        if self.is_basic() || self.scratch.is_some() {
            // There is no token to keep, and the password is stored as a login alone.
            config.store = SessionStore::Memory;
        }
        let session = OfflineSession::open(&config, origin, &directory, credentials, clock);
        let session = say_waiting(self.print, OTHER_PROCESS, session).await;
        let session = session.map_err(LoginError::Session)?;
        if self.session_only() && self.scratch.is_none() && session.store_info().is_volatile {
            return Err(not_lasting(&session.store_info().reason));
        }
        Ok(session)
    }

    async fn fetch_user(&self, issued: &TokenGrant) -> Result<CurrentUser, LoginError> {
        let bearer = issued.authorization(self.config.upstream.auth);
        let bearer = bearer.ok_or_else(|| ambiguous("the token is not text"))?;
        let me = say_waiting(self.print, NEXUDUS, self.issuer.me(&bearer)).await;
        let (status, body) = me?;
        let whom = || self.options.email.clone().unwrap_or_else(|| "this account".to_owned());
        match status.as_u16() {
            200 => {
                let mut me = CurrentUser::parse(&body)
                    .ok_or_else(|| ambiguous("its response is not a user"))?;
                say_waiting(self.print, NEXUDUS, me.verify_access(&self.issuer, &bearer)).await;
                match me.has_api_access() {
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

fn not_lasting(why: &str) -> LoginError {
    LoginError::NotLasting(Cause::new(why))
}

fn ambiguous(why: &str) -> LoginError {
    LoginError::Ambiguous(Cause::new(why))
}

/// The end of the error about a second line.
const STDIN_TOTP: &str = ": a 2FA secret takes --totp-secret-stdin";

/// The holder of the lock that the session file may have to wait for.
const OTHER_PROCESS: &str = "another process that renews the session";
