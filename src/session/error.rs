//! Why no token could be given: one variant per situation that a user can be told about.
//!
//! The sentence says what is wrong, [`Error::hint`] what to do. Neither carries a word that
//! Nexudus or a credential store said: those are unbounded and may hold secrets.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::credentials::CredentialSource;

/// Why no token could be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The user has locked the session.
    #[error("the session is locked")]
    Locked,
    /// Nobody has logged in on this machine, or the login was cleared.
    #[error("not logged in")]
    NotLoggedIn(#[source] Option<MissingLogin>),
    /// Nexudus refused the e-mail address or the password that was read there.
    #[error("unauthorized: Nexudus refused the stored e-mail address or password")]
    Refused(CredentialSource),
    /// The account has a second factor and no usable code is at hand.
    #[error("unauthorized: the account needs a 2FA code")]
    TotpRequired {
        /// Where the login was read.
        origin: CredentialSource,
        /// What is wrong with the code that there is.
        #[source]
        cause: Option<Cause>,
    },
    /// The account must set a new password first.
    #[error("unauthorized: Nexudus wants a new password set for this account")]
    PasswordReset(CredentialSource),
    /// The saved session has ended, and there is no password to start another with.
    #[error("the saved session has ended and no password is stored")]
    Expired,
    /// The credential store is locked; a person has to open it.
    #[error("the credential store is locked")]
    CredentialsLocked {
        /// Time until it is tried again.
        retry_after: Duration,
    },
    /// The credential store, or the key of the saved session, cannot be read.
    #[error("could not use the stored credentials")]
    CredentialsUnavailable {
        /// Time until it is tried again.
        retry_after: Duration,
        /// What went wrong.
        #[source]
        cause: Option<Cause>,
    },
    /// A login is due, and its 2FA code was offered already (RFC 6238 §5.2: once each).
    #[error("no valid token, and the 2FA code of this half minute was used already")]
    NextCode {
        /// Time until the next code.
        retry_after: Duration,
    },
    /// The token endpoint gave no token, and none is left that works.
    #[error("no valid token, and Nexudus gave no new one yet")]
    Unavailable {
        /// Time until it is asked again.
        retry_after: Duration,
        /// What went wrong the last time.
        #[source]
        cause: Option<Cause>,
    },
}

/// Why nobody counts as logged in, where more is known than that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MissingLogin {
    /// A source has one half of a login.
    #[error("{told}")]
    Incomplete {
        /// Which source, and which half.
        told: Cause,
        /// The other half.
        absent: &'static str,
    },
    /// There is no keychain to look into. One may come.
    #[error("no keychain can be read: {0}")]
    Keychain(Cause),
    /// A login is stored, and another origin has accepted it. It stays as it is.
    #[error("the stored login is for {there}, not for {here}")]
    OtherOrigin {
        /// Which.
        there: Cause,
        /// `upstream.origin`.
        here: Cause,
        /// Why no keychain can be read, if that is so. One may come.
        keychain: Option<Cause>,
    },
    /// The one source that may be asked has no login.
    #[error("no source but the {0} is asked (credentials.source), and it has none")]
    ExclusiveSource(CredentialSource),
    /// There is a session, which cannot be used.
    #[error("{0}")]
    UnusableSession(Cause),
    /// There is a session from before the last login or logout, which is never used again.
    #[error("{0}")]
    SupersededSession(Cause),
}

/// The reason behind an [`Error`], in our own words.
#[derive(Clone, PartialEq, Eq)]
pub struct Cause(Arc<str>);

impl Error {
    /// Returns the stable code, as in `urn:nexudus-proxy:CODE`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Locked => "session.locked",
            Self::NotLoggedIn(_) => "session.not-logged-in",
            Self::Refused(_) => "session.refused",
            Self::TotpRequired { .. } => "session.totp-required",
            Self::PasswordReset(_) => "session.password-reset",
            Self::Expired => "session.expired",
            Self::CredentialsLocked { .. } => "credentials.locked",
            Self::CredentialsUnavailable { .. } => "credentials.unavailable",
            Self::NextCode { .. } | Self::Unavailable { .. } => "session.unavailable",
        }
    }

    /// Returns what a person can do about it.
    pub fn hint(&self) -> Cow<'static, str> {
        let said = match self {
            Self::NotLoggedIn(Some(MissingLogin::Incomplete { absent, .. })) => {
                return format!("Give {absent} too, or run `nexudus-proxy login`.").into();
            }
            Self::NotLoggedIn(Some(MissingLogin::Keychain(_))) => {
                "Run `nexudus-proxy login` where there is a keychain; here, give the login as a \
                 systemd credential, by credentials.command, or in NEXUDUS_EMAIL and \
                 NEXUDUS_PASSWORD."
            }
            Self::NotLoggedIn(Some(MissingLogin::OtherOrigin { there, here, .. })) => {
                return format!(
                    "Run `nexudus-proxy login` to log in to {here} as well (without a keychain: \
                     `login --session-only`); or set upstream.origin back to {there}: that login is \
                     kept."
                )
                .into();
            }
            Self::NotLoggedIn(Some(MissingLogin::ExclusiveSource(origin))) => {
                let give = login_hint(*origin);
                return format!(
                    "{give}, or set credentials.source = \"auto\" and run `nexudus-proxy login`."
                )
                .into();
            }
            Self::NotLoggedIn(Some(MissingLogin::UnusableSession(_))) => {
                "Repair that, or run `nexudus-proxy login`; nothing was removed."
            }
            Self::NotLoggedIn(Some(MissingLogin::SupersededSession(_)) | None) => {
                "Run `nexudus-proxy login`."
            }
            Self::Locked => "Run `nexudus-proxy unlock`.",
            Self::Refused(origin) => refused_hint(*origin),
            Self::TotpRequired { origin, .. } => totp_hint(*origin),
            Self::PasswordReset(origin) => {
                let then = password_reset_hint(*origin);
                return format!("Set a new password at https://spaces.nexudus.com, then {then}.")
                    .into();
            }
            Self::Expired => "Run `nexudus-proxy login --session-only` again.",
            Self::CredentialsLocked { .. } => {
                "Run `nexudus-proxy unlock` in a desktop session, or give the login as a systemd \
                 credential."
            }
            Self::CredentialsUnavailable { .. } => "Run `nexudus-proxy doctor`.",
            Self::NextCode { .. } => "It goes on by itself with the next code.",
            Self::Unavailable { .. } => {
                "It is retried by itself; `nexudus-proxy status` shows the last reason."
            }
        };
        said.into()
    }

    /// Says whether the next attempt may find it gone without anybody telling.
    pub(super) fn is_transient(&self) -> bool {
        self.retry_after().is_some() || self.is_credential_store()
    }

    /// Says whether it lies with the credential store.
    pub(super) fn is_credential_store(&self) -> bool {
        match self {
            Self::CredentialsLocked { .. }
            | Self::CredentialsUnavailable { .. }
            | Self::NotLoggedIn(Some(
                MissingLogin::Keychain(_) | MissingLogin::OtherOrigin { keychain: Some(_), .. },
            )) => true,
            Self::Locked
            | Self::NotLoggedIn(_)
            | Self::Refused(_)
            | Self::TotpRequired { .. }
            | Self::PasswordReset(_)
            | Self::Expired
            | Self::NextCode { .. }
            | Self::Unavailable { .. } => false,
        }
    }

    /// Returns the time after which asking again makes sense; `None` when a person is needed.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CredentialsLocked { retry_after }
            | Self::CredentialsUnavailable { retry_after, .. }
            | Self::NextCode { retry_after }
            | Self::Unavailable { retry_after, .. } => Some(*retry_after),
            Self::Locked
            | Self::NotLoggedIn(_)
            | Self::Refused(_)
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
            | Self::Refused(_)
            | Self::TotpRequired { .. }
            | Self::PasswordReset(_)
            | Self::Expired) => other,
        }
    }
}

fn login_hint(origin: CredentialSource) -> &'static str {
    match origin {
        CredentialSource::Keychain | CredentialSource::Memory => "Run `nexudus-proxy login`",
        CredentialSource::Systemd => {
            "Give it as the systemd credentials nexudus-email and nexudus-password"
        }
        CredentialSource::Command => "Have credentials.command print the password",
        CredentialSource::Environment => {
            "Set NEXUDUS_EMAIL and NEXUDUS_PASSWORD where the program is started"
        }
    }
}

/// Says what to do where the login was refused. It is read again before each attempt, but what
/// systemd and the environment hold is that of the start.
fn refused_hint(origin: CredentialSource) -> &'static str {
    match origin {
        CredentialSource::Keychain | CredentialSource::Memory => {
            "Run `nexudus-proxy login` with the right password; this one is not tried again."
        }
        CredentialSource::Systemd => {
            "Correct the systemd credentials nexudus-email and nexudus-password, then restart the \
             service; this login is not tried again."
        }
        CredentialSource::Command => {
            "Have credentials.command print the right password, then run `nexudus-proxy refresh`; \
             another credentials.email takes a restart. This login is not tried again."
        }
        CredentialSource::Environment => {
            "Correct NEXUDUS_EMAIL and NEXUDUS_PASSWORD where the program is started; this login \
             is not tried again."
        }
    }
}

fn totp_hint(origin: CredentialSource) -> &'static str {
    match origin {
        CredentialSource::Keychain | CredentialSource::Memory => {
            "Run `nexudus-proxy login --totp CODE`, or store the 2FA secret with \
             `--totp-secret-stdin`."
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
        CredentialSource::Keychain | CredentialSource::Memory => "run `nexudus-proxy login`",
        CredentialSource::Systemd => {
            "renew the systemd credential nexudus-password and restart the service"
        }
        CredentialSource::Command => {
            "have credentials.command print it, and run `nexudus-proxy refresh`"
        }
        CredentialSource::Environment => "set NEXUDUS_PASSWORD to it where the program is started",
    }
}

impl Cause {
    /// Wraps a sentence that names no secret.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into().into())
    }

    /// Returns the sentence.
    pub fn message(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl std::error::Error for Cause {}

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
        let refused = Error::Refused(CredentialSource::Keychain);
        assert_eq!(refused.with_retry_after(Duration::from_secs(3)).retry_after(), None);
    }
}
