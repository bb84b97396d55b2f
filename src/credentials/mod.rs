//! The stored login and the sources that it can be read from.
//!
//! Each source is one file. [`Credentials::load`] reads the configured sources in order, the most
//! explicit first, and says which one has the login. The session calls it before every password
//! login, so that a changed source is seen without a restart.

mod authority_key;
mod authority_sealer;
mod command;
mod environment;
mod fleet_secrets;
mod key_file;
mod keychain;
#[cfg(target_os = "linux")]
mod keyutils;
mod pending_command;
mod private_file;
mod resolver;
mod sealed_login;
pub(crate) mod sealing;
mod session_key;
mod sources;
mod stored_files;
mod systemd;
mod systemd_store;
mod token_sealer;
mod totp_secret;

use std::fmt;

pub use self::authority_key::AuthorityKey;
pub use self::authority_sealer::AuthoritySealer;
pub use self::fleet_secrets::{FleetKey, FleetSecretError, FleetSecrets};
pub use self::keychain::{Keychain, KeychainError};
pub use self::private_file::FileError;
pub use self::resolver::Credentials;
pub use self::session_key::{KeySource, SessionKey};
pub use self::stored_files::{ClearedFiles, FilePlace};
pub use self::systemd::credentials_directory;
pub use self::systemd_store::{SystemdStoreError, store_for_service, test_store_for_service};
pub use self::token_sealer::TokenSealer;
pub use self::totp_secret::{TotpSecret, TotpSecretError};
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::secret::{Secret, UnusableSecret};

/// The login for a password grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The e-mail address of the account.
    pub email: String,
    /// The password.
    pub password: Secret,
    /// The second factor, where the account has one.
    pub second_factor: Option<SecondFactor>,
}

/// The second factor: the source of a 2FA code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecondFactor {
    /// A code that was typed: 6 to 8 digits, good for one attempt.
    Code(Secret),
    /// The shared secret of RFC 6238, as the site shows it (`totp_secret.rs`): makes a code whenever
    /// one is needed.
    Shared(Secret),
}

impl SecondFactor {
    /// Takes a code; `None` when the text cannot be one.
    pub fn code(text: Secret) -> Option<Self> {
        let digits = text.expose().as_bytes();
        let is_code = (6..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        is_code.then_some(Self::Code(text))
    }
}

/// A login and the place it came from.
#[derive(Clone, Debug)]
pub struct ResolvedLogin {
    /// The login.
    pub login: Login,
    /// The source that has it.
    pub source: CredentialSource,
}

/// Environment variables that no child inherits: those that may hold a secret, and those by which
/// the service manager speaks to this process alone. Those that name directories or credentials
/// stay, because a command may be there to read them.
pub const PRIVATE_ENV_VARIABLES: [&str; 13] = [
    "NEXUDUS_FLEET_PASSWORD",
    "NEXUDUS_PASSWORD",
    "NEXUDUS_TOTP",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "FDSTORE",
    "JOURNAL_STREAM",
    "INVOCATION_ID",
];

/// The place a login came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// systemd's credentials directory.
    Systemd,
    /// The output of `credentials.command`.
    Command,
    /// `NEXUDUS_EMAIL`, `NEXUDUS_PASSWORD` and their variants.
    Environment,
    /// The OS keychain.
    Keychain,
    /// A sealed file in the state directory.
    File,
    /// Handed over inside this process.
    Memory,
}

impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Systemd => "systemd credentials",
            Self::Command => "command",
            Self::Environment => "environment",
            Self::Keychain => keychain::product_name(),
            Self::File => "sealed file",
            Self::Memory => "memory",
        })
    }
}

/// Returns the verb that agrees with the name of a source: the systemd credentials are several.
pub fn verb<'a>(source: &str, one: &'a str, several: &'a str) -> &'a str {
    if source == CredentialSource::Systemd.to_string() { several } else { one }
}

/// Why no login could be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No source has a login; there is no keychain either, if that is why.
    #[error("no credentials are stored")]
    Missing(#[source] Option<KeychainError>),
    /// A source has one part of a login, but not the other.
    #[error("the {origin} {} {present} but not {absent}", verb(&origin.to_string(), "has", "have"))]
    Incomplete {
        /// The source.
        origin: CredentialSource,
        /// The part that is there.
        present: &'static str,
        /// The part that is missing.
        absent: &'static str,
    },
    /// The store is locked; a person has to open it.
    #[error("the credential store is locked")]
    Locked,
    /// The command failed. Later sources are not tried: they may belong to another account.
    #[error("credentials.command gave no password, and no other source is tried")]
    Command(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A source holds what cannot be part of a login. Later sources are not tried, as above.
    #[error(transparent)]
    Unusable(#[from] UnusableSecret),
    /// A file of the state directory is missing, damaged or not private.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store cannot be reached.
    #[error("the credential store cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Problem for Error {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Missing(_) => ProblemKind::NotLoggedIn.into(),
            Self::Incomplete { absent, .. } => {
                ProblemKind::ConfigInvalid.with_hint(format!("Give {absent} too."))
            }
            Self::Command(_) => ProblemKind::CredentialsUnavailable.with_hint(
                "Repair it, or name the source to read instead with credentials.source.",
            ),
            Self::Unusable(error) => ProblemKind::CredentialsUnavailable.with_hint(error.hint()),
            Self::File(error) => ProblemKind::CredentialsUnavailable.with_hint(error.hint()),
            Self::Locked => ProblemKind::CredentialsLocked.with_hint(
                "Unlock it in a desktop session, or give the login as a systemd credential.",
            ),
            Self::Unavailable(error)
                if error.downcast_ref() == Some(&KeychainError::NoCollection) =>
            {
                ProblemKind::CredentialsUnavailable.with_hint(
                    "Run `nexudus-proxy login` in a desktop session, which asks for a password and \
                     makes one; or set credentials.source and session.key to \"file\".",
                )
            }
            Self::Unavailable(_) => ProblemKind::CredentialsUnavailable.with_hint(format!(
                "Start the {}, or give the login as a systemd credential, by credentials.command, \
                 or in NEXUDUS_EMAIL and NEXUDUS_PASSWORD.",
                Keychain::product_name()
            )),
        }
    }
}

impl Error {
    /// Returns why there is no keychain at all, if there is none. A keychain that fails or is
    /// locked is not absent.
    pub fn keychain_absence(&self) -> Option<KeychainError> {
        match self {
            Self::Missing(absence) => absence.clone(),
            Self::Unavailable(error) => error.downcast_ref().cloned(),
            Self::Incomplete { .. }
            | Self::Command(_)
            | Self::Unusable(_)
            | Self::File(_)
            | Self::Locked => None,
        }
        .filter(KeychainError::is_absent)
    }
}

/// Returns the address in a text: the blanks around it are not part of it.
fn address(text: &Secret) -> String {
    text.expose().trim().to_owned()
}

impl From<KeychainError> for Error {
    fn from(error: KeychainError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}
