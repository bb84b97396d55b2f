//! Why a login failed, and what to do about it.

use super::system_store::SystemLoginError;
use crate::admin::client as admin;
use crate::cli::daemon_client::OtherOrigin;
use crate::cli::prompt::PromptError;
use crate::config::{Origin, UpstreamAuth};
use crate::credentials::{self, Keychain, TotpSecretError};
use crate::problem::{Problem, ProblemDetails, ProblemKind, Report};
use crate::session::{self, Cause, MeError};
use crate::throttle;

/// Why a login failed. Nothing was stored then, unless the error says so.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoginError {
    /// A prompt had no terminal, or standard input lacks something.
    #[error(transparent)]
    Ask(#[from] PromptError),
    /// `credentials.source` names another place.
    #[error(
        "a login in the {} would be ignored: credentials.source selects another source",
        Keychain::product_name()
    )]
    SourceNotRead {
        /// The scheme: under Basic there is no session to keep.
        auth: UpstreamAuth,
    },
    /// The daemon of this profile answers nothing.
    #[error(transparent)]
    Daemon(#[from] admin::Error),
    /// The process that serves this profile uses another upstream.
    #[error("{other}, and this login would be for {own}")]
    OtherUpstream {
        /// The process, and its upstream.
        other: OtherOrigin,
        /// The configured upstream.
        own: Origin,
    },
    /// Standard input is not a session to take over.
    #[error("standard input is not a session to take over")]
    InvalidImport,
    /// The 2FA secret makes no code.
    #[error(transparent)]
    InvalidTotpSecret(TotpSecretError),
    /// The text cannot be an e-mail address.
    #[error("the e-mail address contains a control character")]
    InvalidEmail,
    /// The text cannot be a 2FA code.
    #[error("a 2FA code is 6 to 8 digits")]
    InvalidCode,
    /// The address or the password is wrong.
    #[error("unauthorized: Nexudus refused this e-mail address or password")]
    Refused {
        /// How many passwords were tried.
        tries: u32,
    },
    /// The refresh token to take over is not accepted.
    #[error("unauthorized: Nexudus refused this refresh token")]
    ImportRefused,
    /// A 2FA code is needed.
    #[error("unauthorized: the account needs a 2FA code")]
    CodeNeeded,
    /// A 2FA code was sent, and the code or the password is wrong.
    #[error("unauthorized: Nexudus rejected the 2FA code or the password")]
    CodeRejected,
    /// A new password is needed.
    #[error("unauthorized: Nexudus wants a new password set for this account")]
    PasswordReset,
    /// The account may not use the API.
    #[error("forbidden: {0} has no API access")]
    Forbidden(String),
    /// Nexudus cannot be reached.
    #[error("could not reach Nexudus")]
    Unreachable(#[source] Cause),
    /// Nexudus limits the rate of requests.
    #[error(transparent)]
    Throttled(#[from] throttle::Error),
    /// Nexudus responds, but does not say whether the login is right.
    #[error("Nexudus gave no clear response")]
    Ambiguous(#[source] Cause),
    /// The keychain cannot be used.
    #[error("could not use the {}", Keychain::product_name())]
    Store(#[source] credentials::Error),
    /// The login cannot be stored in a file.
    #[error("could not store the login in a sealed file")]
    StoreInFile(#[source] credentials::Error),
    /// The login is for the system service, and cannot be stored for it.
    #[error(transparent)]
    System(#[from] SystemLoginError),
    /// The session without a password would not last.
    #[error("the login would not survive a reboot: only the session would be stored")]
    NotLasting(#[source] Cause),
    /// There is no session without the password.
    #[error(
        "upstream.auth is basic: each request carries the password, so there is no session to keep \
         without it"
    )]
    NoSession,
    /// The session file cannot be used.
    #[error("could not keep the session")]
    Session(#[source] session::Error),
    /// The session file cannot be written.
    #[error("could not keep the session")]
    NotStored(#[source] Cause),
}

impl From<MeError> for LoginError {
    fn from(error: MeError) -> Self {
        match error {
            MeError::Throttled(error) => Self::Throttled(error),
            MeError::Unreachable(cause) => Self::Unreachable(cause),
        }
    }
}

impl Problem for LoginError {
    fn details(&self) -> ProblemDetails {
        let usage = |hint| ProblemKind::CommandUsage.with_hint(hint);
        match self {
            Self::Ask(error) => error.details(),
            Self::Daemon(error) => error.details(),
            Self::SourceNotRead { auth } => {
                ProblemKind::ConfigInvalid.with_hint(source_not_read_hint(*auth))
            }
            Self::OtherUpstream { other, .. } => ProblemKind::OtherOrigin.with_hint(other.hint()),
            Self::NoSession => ProblemKind::ConfigInvalid.with_hint(NO_SESSION_HINT),
            Self::InvalidImport => usage(IMPORT_HINT),
            Self::InvalidCode => usage(
                "Give the one that the authenticator shows now; the 2FA secret goes to \
                 --totp-secret-stdin.",
            ),
            Self::InvalidTotpSecret(_) => usage(
                "Copy the text that the site shows beside the QR code, or the otpauth:// URI in it.",
            ),
            Self::InvalidEmail => usage("Give the address, and nothing else."),
            Self::Refused { tries } => refused_details(*tries),
            Self::ImportRefused => ProblemKind::LoginRefused.with_hint(
                "A refresh token works once, for 15 days, and with the client id it was issued to.",
            ),
            Self::CodeNeeded => ProblemKind::TotpRequired.with_hint(
                "Run it again with --totp CODE, or store the 2FA secret with --totp-secret-stdin.",
            ),
            Self::CodeRejected => ProblemKind::TotpRequired
                .with_hint("Wait for the next code, check the clock of this machine, try again."),
            Self::PasswordReset => ProblemKind::PasswordReset
                .with_hint("Set one at https://spaces.nexudus.com, then log in again."),
            Self::Forbidden(_) => ProblemKind::NoApiAccess.into(),
            Self::Unreachable(_) => ProblemKind::UpstreamUnreachable.with_hint(NETWORK_HINT),
            Self::Throttled(error) => error.details(),
            Self::Ambiguous(_) => ProblemKind::SessionUnavailable.with_hint(
                "Check the e-mail address and the password, and try again in a few minutes.",
            ),
            Self::Store(error) | Self::StoreInFile(error) => store_details(error),
            Self::System(error) => error.details(),
            Self::NotLasting(_) => ProblemKind::CredentialsUnavailable.with_hint(
                "Give the session file a lasting key: a keychain, the systemd credential \
                 `nexudus-key`, session.key_command, or session.key = \"file\".",
            ),
            Self::Session(error) => session_details(error),
            Self::NotStored(_) => ProblemKind::CredentialsUnavailable.with_hint(
                "Make room, or make the directory writable for this user, and log in again; what \
                 was there is still there.",
            ),
        }
    }

    fn parts(&self) -> Vec<Report> {
        let Self::Store(credentials::Error::Unavailable(_)) = self else { return vec![] };
        let mut report = Report::new(self);
        // The sentence says already that the store cannot be reached.
        report.causes.remove(0);
        vec![report]
    }
}

fn source_not_read_hint(auth: UpstreamAuth) -> &'static str {
    match auth {
        UpstreamAuth::Bearer => {
            "Set credentials.source to \"auto\", \"keychain\" or \"file\", or log in with \
             --session-only."
        }
        UpstreamAuth::Basic => {
            "Set credentials.source to \"auto\", \"keychain\" or \"file\", or run `nexudus-proxy login \
             --credentials-source auto`: it proves the login, and stores one that is not read."
        }
    }
}

fn refused_details(tries: u32) -> ProblemDetails {
    let tried = match tries {
        1 => "it was tried once".to_owned(),
        several => format!("{several} passwords were tried"),
    };
    ProblemKind::LoginRefused.with_hint(format!(
        "Check both at https://spaces.nexudus.com; nothing was stored, and {tried}."
    ))
}

fn store_details(error: &credentials::Error) -> ProblemDetails {
    ProblemDetails { kind: ProblemKind::CredentialsUnavailable, ..error.details() }
}

/// Describes an error of the session to a command: nothing is retried for a command, and no daemon
/// has a status to show.
pub(in crate::cli) fn session_details(error: &session::Error) -> ProblemDetails {
    let details = error.details();
    if matches!(error, session::Error::Unavailable { .. }) {
        details.with_hint("Run `nexudus-proxy doctor`.")
    } else {
        details
    }
}

/// The way out where Nexudus cannot be reached.
pub(in crate::cli) const NETWORK_HINT: &str =
    "Check the network and upstream.origin; `nexudus-proxy doctor` tells more.";

/// The way out where only a session was to be stored under Basic.
const NO_SESSION_HINT: &str =
    "Log in without --session-only and --import-stdin, or set upstream.auth = \"bearer\".";

/// The form of a session on standard input.
const IMPORT_HINT: &str =
    "Give {\"client_id\": \"…\", \"refresh_token\": \"…\"}, as the client that logged in has them.";
