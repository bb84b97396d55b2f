//! Exit codes and hints of what is about logging in.

use super::{ExitCode, Report, causes, exit_code_of};
use crate::cli::login::LoginError as Login;
use crate::cli::prompt;
use crate::cli::whoami::WhoamiError as Whoami;
use crate::credentials::{self, Keychain};
use crate::session;

pub(super) fn session_code(error: &session::Error) -> ExitCode {
    match error {
        session::Error::Locked => ExitCode::Failed,
        session::Error::NotLoggedIn(_) | session::Error::Expired => ExitCode::NotLoggedIn,
        session::Error::Refused(_)
        | session::Error::TotpRequired { .. }
        | session::Error::PasswordReset(_) => ExitCode::Unauthorized,
        session::Error::CredentialsLocked { .. }
        | session::Error::CredentialsUnavailable { .. } => ExitCode::CredentialStore,
        session::Error::NextCode { .. } | session::Error::Unavailable { .. } => ExitCode::Network,
    }
}

pub(super) fn session(error: &session::Error) -> Report {
    let hint = match error {
        // Nobody retries for a command, and no daemon has a status to show.
        session::Error::Unavailable { .. } => "Run `nexudus-proxy doctor`.".into(),
        session::Error::Locked
        | session::Error::NextCode { .. }
        | session::Error::NotLoggedIn(_)
        | session::Error::Refused(_)
        | session::Error::TotpRequired { .. }
        | session::Error::PasswordReset(_)
        | session::Error::Expired
        | session::Error::CredentialsLocked { .. }
        | session::Error::CredentialsUnavailable { .. } => error.hint(),
    };
    Report { message: error.to_string(), causes: causes(error), hint: Some(hint.into_owned()) }
}

/// Exits as the store's failures do: a login that is missing is no failure of the store.
pub(super) fn credentials_code(error: &credentials::Error) -> ExitCode {
    match error {
        credentials::Error::Missing(_) => ExitCode::NotLoggedIn,
        credentials::Error::Incomplete { .. } => ExitCode::Usage,
        credentials::Error::Command(_)
        | credentials::Error::Locked
        | credentials::Error::Unavailable(_) => ExitCode::CredentialStore,
    }
}

pub(super) fn credentials(error: &credentials::Error) -> Report {
    Report {
        message: error.to_string(),
        causes: causes(error),
        hint: Some(credentials_hint(error)),
    }
}

fn credentials_hint(error: &credentials::Error) -> String {
    match error {
        credentials::Error::Missing(_) => "Run `nexudus-proxy login`.".to_owned(),
        credentials::Error::Incomplete { absent, .. } => format!("Give {absent} too."),
        credentials::Error::Command(_) => {
            "Repair it, or name the source to ask instead with credentials.source.".to_owned()
        }
        credentials::Error::Locked => {
            "Unlock it in a desktop session, or give the login as a systemd credential.".to_owned()
        }
        credentials::Error::Unavailable(_) => format!(
            "Start the {}, or give the login as a systemd credential, by credentials.command, or \
             in NEXUDUS_EMAIL and NEXUDUS_PASSWORD.",
            Keychain::product_name()
        ),
    }
}

pub(super) fn login_code(error: &Login) -> ExitCode {
    match error {
        Login::Ask(error) => match error {
            prompt::PromptError::NoTerminal { .. }
            | prompt::PromptError::Missing { .. }
            | prompt::PromptError::Empty { .. } => ExitCode::Usage,
            prompt::PromptError::Unreadable { .. } => ExitCode::Failed,
        },
        Login::SourceNotRead
        | Login::OtherUpstream { .. }
        | Login::InvalidImport
        | Login::InvalidCode
        | Login::InvalidTotpSecret => ExitCode::Usage,
        Login::Refused
        | Login::ImportRefused
        | Login::CodeNeeded
        | Login::CodeRejected
        | Login::PasswordReset => ExitCode::Unauthorized,
        Login::Forbidden(_) => ExitCode::Forbidden,
        Login::Unreachable(_) | Login::Ambiguous(_) => ExitCode::Network,
        Login::Store(_) | Login::NotLasting(_) | Login::NotStored(_) => ExitCode::CredentialStore,
        Login::Session(error) => session_code(error),
    }
}

pub(super) fn login(error: &Login) -> Report {
    let hint = match error {
        Login::Ask(error) => match error {
            prompt::PromptError::NoTerminal { instead, .. } => Some((*instead).to_owned()),
            prompt::PromptError::Missing { .. } => Some(
                "One line each: the password, then the 2FA secret if --totp-secret-stdin is given."
                    .to_owned(),
            ),
            prompt::PromptError::Empty { .. } | prompt::PromptError::Unreadable { .. } => None,
        },
        Login::SourceNotRead => Some(
            "Set credentials.source to \"auto\" or \"keychain\", or log in with --session-only."
                .to_owned(),
        ),
        Login::OtherUpstream { other, .. } => Some(other.hint()),
        Login::InvalidImport => Some(
            "Give {\"client_id\": \"…\", \"refresh_token\": \"…\"}, as the client that logged in \
             has them."
                .to_owned(),
        ),
        Login::InvalidCode => Some(
            "Give the one that the authenticator shows now; the 2FA secret goes to \
             --totp-secret-stdin."
                .to_owned(),
        ),
        Login::InvalidTotpSecret => {
            Some("Copy the text that the site shows beside the QR code.".to_owned())
        }
        Login::Refused => Some(
            "Check both at https://spaces.nexudus.com; nothing was stored, and it was tried once."
                .to_owned(),
        ),
        Login::ImportRefused => Some(
            "A refresh token works once, for 15 days, and with the client id it was issued to."
                .to_owned(),
        ),
        Login::CodeNeeded => Some(
            "Run it again with --totp CODE, or store the 2FA secret with --totp-secret-stdin."
                .to_owned(),
        ),
        Login::CodeRejected => {
            Some("Wait for the next code, check the clock of this machine, try again.".to_owned())
        }
        Login::PasswordReset => {
            Some("Set one at https://spaces.nexudus.com, then log in again.".to_owned())
        }
        Login::Forbidden(_) => Some(ASK_ADMINISTRATOR.to_owned()),
        Login::Unreachable(_) => Some(OFFLINE.to_owned()),
        Login::Ambiguous(_) => Some(
            "Check the e-mail address and the password, and try again in a few minutes.".to_owned(),
        ),
        Login::Store(error) => Some(credentials_hint(error)),
        Login::NotLasting(_) => Some(
            "Give the session file a lasting key: a keychain, the systemd credential \
             `nexudus-key`, or session.key_command."
                .to_owned(),
        ),
        Login::Session(error) => session(error).hint,
        Login::NotStored(_) => Some(
            "Make room, or make the directory writable for this user, and log in again; what was \
             there is still there."
                .to_owned(),
        ),
    };
    let mut causes = causes(error);
    if let Login::Store(credentials::Error::Unavailable(_)) = error {
        // That it cannot be reached is said by then.
        causes.remove(0);
    }
    Report { message: error.to_string(), causes, hint }
}

pub(super) fn whoami_code(error: &Whoami) -> ExitCode {
    match error {
        Whoami::OtherUpstream { .. } => ExitCode::Usage,
        Whoami::Forbidden => ExitCode::Forbidden,
        Whoami::Unreachable(_) | Whoami::Ambiguous(_) => ExitCode::Network,
        Whoami::Daemon { code, .. } if code.starts_with("upstream.") => ExitCode::Network,
        Whoami::Daemon { code, .. } => exit_code_of(code),
    }
}

pub(super) fn whoami(error: &Whoami) -> Report {
    let hint = match error {
        Whoami::OtherUpstream { other, .. } => Some(other.hint()),
        Whoami::Forbidden => Some(ASK_ADMINISTRATOR.to_owned()),
        Whoami::Unreachable(_) | Whoami::Ambiguous(_) => Some(OFFLINE.to_owned()),
        Whoami::Daemon { hint, .. } => hint.clone(),
    };
    Report { message: error.to_string(), causes: causes(error), hint }
}

const ASK_ADMINISTRATOR: &str =
    "Ask an administrator of your Nexudus account to turn on API access for it.";

const OFFLINE: &str = "Check the network and upstream.origin; `nexudus-proxy doctor` tells more.";
