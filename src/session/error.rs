//! Why no token could be given: one variant per situation that can be explained to a user.
//!
//! The sentence says what is wrong, [`Error::hint`] what to do. Neither repeats a text of Nexudus
//! or of a credential store, because those are unbounded and may hold secrets.

use std::borrow::Cow;
use std::time::Duration;

pub use super::cause::Cause;
use crate::config::UpstreamAuth;
use crate::credentials::CredentialSource;
use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// Why no token could be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The user has locked the session.
    #[error("the session is locked")]
    Locked,
    /// No login is stored on this machine, or the user has logged out.
    #[error("not logged in")]
    NotLoggedIn(#[source] Option<MissingLogin>),
    /// Nexudus refused the e-mail address or the password that was read from this source.
    #[error("unauthorized: Nexudus refused the stored e-mail address or password")]
    Refused {
        /// Where the login was read.
        origin: CredentialSource,
        /// The scheme by which it was offered: a cure of one is refused under the other.
        auth: UpstreamAuth,
    },
    /// The account has a second factor and no usable code is at hand.
    #[error("unauthorized: the account needs a 2FA code")]
    TotpRequired {
        /// Where the login was read.
        origin: CredentialSource,
        /// Why the code, if there is one, is of no use.
        #[source]
        cause: Option<Cause>,
    },
    /// The account must set a new password first.
    #[error("unauthorized: Nexudus wants a new password set for this account")]
    PasswordReset(CredentialSource),
    /// The saved session has ended, and there is no password to start another with.
    #[error("the saved session has ended and no password is stored")]
    Expired,
    /// The credential store is locked; the user has to open it.
    #[error("the credential store is locked")]
    CredentialsLocked {
        /// Time until the next attempt.
        retry_after: Duration,
    },
    /// The credential store, or the key of the saved session, cannot be read.
    #[error("could not use the stored credentials")]
    CredentialsUnavailable {
        /// Time until the next attempt.
        retry_after: Duration,
        /// The reason.
        #[source]
        cause: Option<Cause>,
    },
    /// A login is due, and its 2FA code was offered already (RFC 6238 §5.2: once each).
    #[error("no valid token, and the 2FA code of this half minute was used already")]
    NextCode {
        /// Time until the next code.
        retry_after: Duration,
    },
    /// The token endpoint gave no token, and no other token works.
    #[error("{}", describe_attempt(*retry_after, cause.as_ref()))]
    Unavailable {
        /// Time until the next attempt.
        retry_after: Duration,
        /// The reason of the last failure.
        #[source]
        cause: Option<Cause>,
    },
}

/// Why the user does not count as logged in, where the reason is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MissingLogin {
    /// A source has one half of a login.
    #[error("{told}")]
    Incomplete {
        /// A sentence: which source, and which half.
        told: Cause,
        /// The other half.
        absent: &'static str,
    },
    /// No keychain can be read now; one may be started later.
    #[error("no keychain can be read: {0}")]
    Keychain(Cause),
    /// The stored login was accepted by another origin; it stays as it is.
    #[error("the stored login is for {there}, not for {here}")]
    OtherOrigin {
        /// The other origin.
        there: Cause,
        /// `upstream.origin`.
        here: Cause,
        /// Why no keychain can be read, if that is so; one may be started later.
        keychain: Option<Cause>,
    },
    /// The only source that the configuration allows has no login.
    #[error("credentials.source allows only the {0}, which holds no login")]
    ExclusiveSource(CredentialSource),
    /// A saved session exists and cannot be used.
    #[error("{0}")]
    UnusableSession(Cause),
    /// The saved session is from before the last login or logout, and is never used again.
    #[error("{0}")]
    SupersededSession(Cause),
}

impl Problem for Error {
    fn details(&self) -> ProblemDetails {
        let kind = match self {
            Self::Locked => ProblemKind::SessionLocked,
            Self::NotLoggedIn(_) => ProblemKind::NotLoggedIn,
            Self::Refused { .. } => ProblemKind::LoginRefused,
            Self::TotpRequired { .. } => ProblemKind::TotpRequired,
            Self::PasswordReset(_) => ProblemKind::PasswordReset,
            Self::Expired => ProblemKind::SessionExpired,
            Self::CredentialsLocked { .. } => ProblemKind::CredentialsLocked,
            Self::CredentialsUnavailable { .. } => ProblemKind::CredentialsUnavailable,
            Self::Unavailable { cause: Some(cause), .. } if cause.is_loop() => {
                ProblemKind::UpstreamLoop
            }
            Self::NextCode { .. } | Self::Unavailable { .. } => ProblemKind::SessionUnavailable,
        };
        let details = ProblemDetails::from(kind);
        ProblemDetails {
            hint: self.own_hint().or(details.hint),
            retry_after: self.retry_after(),
            ..details
        }
    }
}

impl Error {
    /// Returns the stable code, as in `urn:nexudus-proxy:CODE`.
    pub fn code(&self) -> &'static str {
        self.kind().code()
    }

    /// Returns what the user can do.
    pub fn hint(&self) -> Cow<'static, str> {
        self.details().hint.unwrap_or_default()
    }

    /// Returns a better hint than the kind has.
    fn own_hint(&self) -> Option<Cow<'static, str>> {
        let said = match self {
            Self::NotLoggedIn(Some(MissingLogin::Incomplete { absent, .. })) => {
                return Some(format!("Give {absent} too, or run `nexudus-proxy login`.").into());
            }
            Self::NotLoggedIn(Some(MissingLogin::Keychain(_))) => {
                "Run `nexudus-proxy login` (it works without a keychain too), or give the login as a \
                 systemd credential, by credentials.command, or in NEXUDUS_EMAIL and \
                 NEXUDUS_PASSWORD."
            }
            Self::NotLoggedIn(Some(MissingLogin::OtherOrigin { there, here, .. })) => {
                let hint = format!(
                    "Run `nexudus-proxy login` to log in to {here} as well, or set \
                     upstream.origin back to {there}: that login is kept."
                );
                return Some(hint.into());
            }
            Self::NotLoggedIn(Some(MissingLogin::ExclusiveSource(origin))) => {
                let give = login_hint(*origin);
                let hint = format!(
                    "{give}, or set credentials.source = \"auto\" and run `nexudus-proxy login`."
                );
                return Some(hint.into());
            }
            Self::NotLoggedIn(Some(MissingLogin::UnusableSession(_))) => {
                "Repair that, or run `nexudus-proxy login`; nothing was removed."
            }
            Self::CredentialsUnavailable { cause: Some(cause), .. } => {
                return Some(cause.hint()?.to_owned().into());
            }
            Self::Refused { origin, auth } => return Some(refused_hint(*origin, *auth)),
            Self::TotpRequired { origin, .. } => totp_hint(*origin),
            Self::PasswordReset(origin) => {
                let then = password_reset_hint(*origin);
                let hint =
                    format!("Set a new password at https://spaces.nexudus.com, then {then}.");
                return Some(hint.into());
            }
            Self::NextCode { .. } => "Wait: the daemon logs in with the next code.",
            Self::NotLoggedIn(Some(MissingLogin::SupersededSession(_)) | None)
            | Self::Locked
            | Self::Expired
            | Self::CredentialsLocked { .. }
            | Self::CredentialsUnavailable { cause: None, .. }
            | Self::Unavailable { .. } => return None,
        };
        Some(said.into())
    }

    /// Says whether the error may pass without the user's help.
    pub(super) fn is_transient(&self) -> bool {
        self.retry_after().is_some() || self.is_credential_store()
    }

    /// Says whether the credential store is the cause.
    pub(super) fn is_credential_store(&self) -> bool {
        match self {
            Self::CredentialsLocked { .. }
            | Self::CredentialsUnavailable { .. }
            | Self::NotLoggedIn(Some(
                MissingLogin::Keychain(_) | MissingLogin::OtherOrigin { keychain: Some(_), .. },
            )) => true,
            Self::Locked
            | Self::NotLoggedIn(_)
            | Self::Refused { .. }
            | Self::TotpRequired { .. }
            | Self::PasswordReset(_)
            | Self::Expired
            | Self::NextCode { .. }
            | Self::Unavailable { .. } => false,
        }
    }

    /// Returns the time after which another attempt makes sense; `None` when the user is needed.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CredentialsLocked { retry_after }
            | Self::CredentialsUnavailable { retry_after, .. }
            | Self::NextCode { retry_after }
            | Self::Unavailable { retry_after, .. } => Some(*retry_after),
            Self::Locked
            | Self::NotLoggedIn(_)
            | Self::Refused { .. }
            | Self::TotpRequired { .. }
            | Self::PasswordReset(_)
            | Self::Expired => None,
        }
    }

    /// Returns the same error with the time that is left until the next attempt.
    pub(super) fn with_retry_after(self, left: Duration) -> Self {
        match self {
            Self::CredentialsLocked { .. } => Self::CredentialsLocked { retry_after: left },
            Self::CredentialsUnavailable { cause, .. } => {
                Self::CredentialsUnavailable { retry_after: left, cause }
            }
            Self::NextCode { .. } => Self::NextCode { retry_after: left },
            Self::Unavailable { cause, .. } => Self::Unavailable { retry_after: left, cause },
            other @ (Self::Locked
            | Self::NotLoggedIn(_)
            | Self::Refused { .. }
            | Self::TotpRequired { .. }
            | Self::PasswordReset(_)
            | Self::Expired) => other,
        }
    }
}

/// Says that no attempt has failed yet, or when the next one follows. The words hold under each
/// scheme: under Basic there is no token.
fn describe_attempt(retry_after: Duration, cause: Option<&Cause>) -> String {
    match (cause, retry_after.as_secs()) {
        (None, _) => "logging in to Nexudus".to_owned(),
        (Some(_), 0) => "the login failed and is tried again".to_owned(),
        (Some(_), secs) => {
            let next = humantime::format_duration(Duration::from_secs(secs));
            format!("the login failed, next try in {next}")
        }
    }
}

fn login_hint(origin: CredentialSource) -> &'static str {
    match origin {
        CredentialSource::Keychain | CredentialSource::File | CredentialSource::Memory => {
            "Run `nexudus-proxy login`"
        }
        CredentialSource::Systemd => {
            "Give it as the systemd credentials nexudus-email and nexudus-password"
        }
        CredentialSource::Command => "Have credentials.command print the password",
        CredentialSource::Environment => {
            "Set NEXUDUS_EMAIL and NEXUDUS_PASSWORD where the program is started"
        }
    }
}

/// Returns what to do where the login was refused. The daemon reads the login before each attempt,
/// but systemd's and the environment's values are those of the start.
fn refused_hint(origin: CredentialSource, auth: UpstreamAuth) -> Cow<'static, str> {
    let correct = match origin {
        CredentialSource::Keychain | CredentialSource::File | CredentialSource::Memory => {
            return ProblemKind::LoginRefused.hint().unwrap_or_default().into();
        }
        CredentialSource::Systemd => {
            "Correct the systemd credentials nexudus-email and nexudus-password, then restart the \
             service."
        }
        CredentialSource::Command => {
            "Have credentials.command print the right password, then run `nexudus-proxy refresh`; \
             another credentials.email takes a restart."
        }
        CredentialSource::Environment => {
            "Correct NEXUDUS_EMAIL and NEXUDUS_PASSWORD where the program is started."
        }
    };
    let proof = match auth {
        UpstreamAuth::Bearer => "until `nexudus-proxy login --session-only` proves it",
        // No session can be kept without the password, and a named source would forbid to store it.
        UpstreamAuth::Basic => {
            "until `nexudus-proxy login --credentials-source auto` proves and stores it"
        }
    };
    format!("{correct} This login is not tried again {proof}.").into()
}

fn totp_hint(origin: CredentialSource) -> &'static str {
    match origin {
        CredentialSource::Keychain | CredentialSource::File | CredentialSource::Memory => {
            ProblemKind::TotpRequired.hint().unwrap_or_default()
        }
        CredentialSource::Systemd => {
            "Give the 2FA secret as the systemd credential nexudus-totp-secret, then restart the \
             service."
        }
        CredentialSource::Command => {
            "credentials.command gives no 2FA code: run `nexudus-proxy login --session-only --totp \
             CODE`, or keep the login where the 2FA secret has a place too, as in the keychain."
        }
        CredentialSource::Environment => {
            "Set NEXUDUS_TOTP to the 2FA secret, or to a new code, where the program is started."
        }
    }
}

fn password_reset_hint(origin: CredentialSource) -> &'static str {
    match origin {
        CredentialSource::Keychain | CredentialSource::File | CredentialSource::Memory => {
            "run `nexudus-proxy login`"
        }
        CredentialSource::Systemd => {
            "renew the systemd credential nexudus-password and restart the service"
        }
        CredentialSource::Command => {
            "have credentials.command print it, and run `nexudus-proxy refresh`"
        }
        CredentialSource::Environment => "set NEXUDUS_PASSWORD to it where the program is started",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_by_itself_says_when_to_come_back() {
        let passing = Error::Unavailable { retry_after: Duration::ZERO, cause: None };

        assert_eq!(
            passing.with_retry_after(Duration::from_secs(3)).retry_after(),
            Some(Duration::from_secs(3))
        );
        let refused =
            Error::Refused { origin: CredentialSource::Keychain, auth: UpstreamAuth::Bearer };
        assert_eq!(refused.with_retry_after(Duration::from_secs(3)).retry_after(), None);
    }

    #[test]
    fn no_hint_of_a_refused_login_advises_what_its_scheme_refuses() {
        for origin in [
            CredentialSource::Systemd,
            CredentialSource::Command,
            CredentialSource::Environment,
            CredentialSource::Keychain,
            CredentialSource::File,
        ] {
            let hint = |auth| Error::Refused { origin, auth }.hint().into_owned();
            assert!(!hint(UpstreamAuth::Basic).contains("--session-only"), "{origin}");
            assert!(hint(UpstreamAuth::Basic).contains("`nexudus-proxy login"), "{origin}");
            assert!(hint(UpstreamAuth::Bearer).contains("`nexudus-proxy login"), "{origin}");
        }
    }
}
