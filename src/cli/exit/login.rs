//! Exit codes and hints of what is about logging in.

use super::{Code, Report, causes, code_of};
use crate::cli::ask;
use crate::cli::login::Error as Login;
use crate::cli::whoami::Error as Whoami;
use crate::credentials::{self, Keychain};
use crate::session;

pub(super) fn session_code(error: &session::Error) -> Code {
    match error {
        session::Error::Locked => Code::Failed,
        session::Error::NotLoggedIn(_) | session::Error::Expired => Code::NotLoggedIn,
        session::Error::Refused(_)
        | session::Error::TotpRequired { .. }
        | session::Error::PasswordReset(_) => Code::Unauthorized,
        session::Error::CredentialsLocked { .. }
        | session::Error::CredentialsUnavailable { .. } => Code::Store,
        session::Error::NextCode { .. } | session::Error::Unavailable { .. } => Code::Network,
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
    Report { sentence: error.to_string(), causes: causes(error), hint: Some(hint.into_owned()) }
}

/// Exits as the store's failures do: a login that is missing is no failure of the store.
pub(super) fn credentials_code(error: &credentials::Error) -> Code {
    match error {
        credentials::Error::Missing(_) => Code::NotLoggedIn,
        credentials::Error::Incomplete { .. } => Code::Usage,
        credentials::Error::Command(_)
        | credentials::Error::Locked
        | credentials::Error::Unavailable(_) => Code::Store,
    }
}

pub(super) fn credentials(error: &credentials::Error) -> Report {
    Report {
        sentence: error.to_string(),
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
            Keychain::name()
        ),
    }
}

pub(super) fn login_code(error: &Login) -> Code {
    match error {
        Login::Ask(error) => match error {
            ask::Error::NoTerminal { .. }
            | ask::Error::Absent { .. }
            | ask::Error::Empty { .. } => Code::Usage,
            ask::Error::Unreadable { .. } => Code::Failed,
        },
        Login::NotRead
        | Login::OtherUpstream { .. }
        | Login::NoImport
        | Login::NoCode
        | Login::CodeUnreadable => Code::Usage,
        Login::Refused
        | Login::ImportRefused
        | Login::CodeNeeded
        | Login::CodeRejected
        | Login::PasswordReset => Code::Unauthorized,
        Login::Forbidden(_) => Code::Forbidden,
        Login::Offline(_) | Login::Unclear(_) => Code::Network,
        Login::Store(_) | Login::Fleeting(_) | Login::Unkept(_) => Code::Store,
        Login::Session(error) => session_code(error),
    }
}

pub(super) fn login(error: &Login) -> Report {
    let hint = match error {
        Login::Ask(error) => match error {
            ask::Error::NoTerminal { instead, .. } => Some((*instead).to_owned()),
            ask::Error::Absent { .. } => Some(
                "One line each: the password, then the 2FA secret if --totp-secret-stdin is given."
                    .to_owned(),
            ),
            ask::Error::Empty { .. } | ask::Error::Unreadable { .. } => None,
        },
        Login::NotRead => Some(
            "Set credentials.source to \"auto\" or \"keychain\", or log in with --session-only."
                .to_owned(),
        ),
        Login::OtherUpstream { other, .. } => Some(other.hint()),
        Login::NoImport => Some(
            "Give {\"client_id\": \"…\", \"refresh_token\": \"…\"}, as the client that logged in \
             has them."
                .to_owned(),
        ),
        Login::NoCode => Some(
            "Give the one that the authenticator shows now; the 2FA secret goes to \
             --totp-secret-stdin."
                .to_owned(),
        ),
        Login::CodeUnreadable => {
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
        Login::Offline(_) => Some(OFFLINE.to_owned()),
        Login::Unclear(_) => Some(
            "Check the e-mail address and the password, and try again in a few minutes.".to_owned(),
        ),
        Login::Store(error) => Some(credentials_hint(error)),
        Login::Fleeting(_) => Some(
            "Give the session file a lasting key: a keychain, the systemd credential \
             `nexudus-key`, or session.key_command."
                .to_owned(),
        ),
        Login::Session(error) => session(error).hint,
        Login::Unkept(_) => Some(
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
    Report { sentence: error.to_string(), causes, hint }
}

pub(super) fn whoami_code(error: &Whoami) -> Code {
    match error {
        Whoami::OtherUpstream { .. } => Code::Usage,
        Whoami::Forbidden => Code::Forbidden,
        Whoami::Offline(_) | Whoami::Unclear(_) => Code::Network,
        Whoami::Daemon { code, .. } if code.starts_with("upstream.") => Code::Network,
        Whoami::Daemon { code, .. } => code_of(code),
    }
}

pub(super) fn whoami(error: &Whoami) -> Report {
    let hint = match error {
        Whoami::OtherUpstream { other, .. } => Some(other.hint()),
        Whoami::Forbidden => Some(ASK_ADMINISTRATOR.to_owned()),
        Whoami::Offline(_) | Whoami::Unclear(_) => Some(OFFLINE.to_owned()),
        Whoami::Daemon { hint, .. } => hint.clone(),
    };
    Report { sentence: error.to_string(), causes: causes(error), hint }
}

const ASK_ADMINISTRATOR: &str =
    "Ask an administrator of your Nexudus account to turn on API access for it.";

const OFFLINE: &str = "Check the network and upstream.origin; `nexudus-proxy doctor` tells more.";
