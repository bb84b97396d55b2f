//! Why no token could be given: one variant per situation that a user can be told about.
//!
//! The sentence says what is wrong, [`Error::hint`] what to do. Neither carries a word that
//! Nexudus or a credential store said: those are unbounded and may hold secrets.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::credentials::Origin;

/// Why no token could be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The user has locked the session.
    #[error("the session is locked")]
    Locked,
    /// Nobody has logged in on this machine, or the login was cleared.
    #[error("not logged in")]
    NotLoggedIn(#[source] Option<Lack>),
    /// Nexudus refused the e-mail address or the password that was read there.
    #[error("unauthorized: Nexudus refused the stored e-mail address or password")]
    Refused(Origin),
    /// The account has a second factor and no usable code is at hand.
    #[error("unauthorized: the account needs a 2FA code")]
    TotpRequired {
        /// Where the login was read.
        origin: Origin,
        /// What is wrong with the code that there is.
        #[source]
        cause: Option<Cause>,
    },
    /// The account must set a new password first.
    #[error("unauthorized: Nexudus wants a new password set for this account")]
    PasswordReset(Origin),
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
pub enum Lack {
    /// A source has one half of a login.
    #[error("{told}")]
    Half {
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
    Elsewhere {
        /// Which.
        there: Cause,
        /// `upstream.origin`.
        here: Cause,
        /// Why no keychain can be read, if that is so. One may come.
        keychain: Option<Cause>,
    },
    /// The one source that may be asked has no login.
    #[error("no source but the {0} is asked (credentials.source), and it has none")]
    Only(Origin),
    /// There is a session, which cannot be used.
    #[error("{0}")]
    Session(Cause),
    /// There is a session from before the last login or logout, which is never used again.
    #[error("{0}")]
    Superseded(Cause),
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
            Self::NotLoggedIn(Some(Lack::Half { absent, .. })) => {
                return format!("Give {absent} too, or run `nexudus-proxy login`.").into();
            }
            Self::NotLoggedIn(Some(Lack::Keychain(_))) => {
                "Run `nexudus-proxy login` where there is a keychain; here, give the login as a \
                 systemd credential, by credentials.command, or in NEXUDUS_EMAIL and \
                 NEXUDUS_PASSWORD."
            }
            Self::NotLoggedIn(Some(Lack::Elsewhere { there, here, .. })) => {
                return format!(
                    "Run `nexudus-proxy login` to log in to {here} as well (without a keychain: \
                     `login --session-only`); or set upstream.origin back to {there}: that login is \
                     kept."
                )
                .into();
            }
            Self::NotLoggedIn(Some(Lack::Only(origin))) => {
                let give = to_log_in(*origin);
                return format!(
                    "{give}, or set credentials.source = \"auto\" and run `nexudus-proxy login`."
                )
                .into();
            }
            Self::NotLoggedIn(Some(Lack::Session(_))) => {
                "Repair that, or run `nexudus-proxy login`; nothing was removed."
            }
            Self::NotLoggedIn(Some(Lack::Superseded(_)) | None) => "Run `nexudus-proxy login`.",
            Self::Locked => "Run `nexudus-proxy unlock`.",
            Self::Refused(origin) => after_refusal(*origin),
            Self::TotpRequired { origin, .. } => for_a_code(*origin),
            Self::PasswordReset(origin) => {
                let then = with_new_password(*origin);
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
    pub(super) fn may_pass(&self) -> bool {
        self.retry_after().is_some() || self.is_of_store()
    }

    /// Says whether it lies with the credential store.
    pub(super) fn is_of_store(&self) -> bool {
        match self {
            Self::CredentialsLocked { .. }
            | Self::CredentialsUnavailable { .. }
            | Self::NotLoggedIn(Some(
                Lack::Keychain(_) | Lack::Elsewhere { keychain: Some(_), .. },
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
    pub(super) fn due_in(self, left: Duration) -> Self {
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

fn to_log_in(origin: Origin) -> &'static str {
    match origin {
        Origin::Keychain | Origin::Memory => "Run `nexudus-proxy login`",
        Origin::Systemd => "Give it as the systemd credentials nexudus-email and nexudus-password",
        Origin::Command => "Have credentials.command print the password",
        Origin::Environment => {
            "Set NEXUDUS_EMAIL and NEXUDUS_PASSWORD where the program is started"
        }
    }
}

/// Says what to do where the login was refused. It is read again before each attempt, but what
/// systemd and the environment hold is that of the start.
fn after_refusal(origin: Origin) -> &'static str {
    match origin {
        Origin::Keychain | Origin::Memory => {
            "Run `nexudus-proxy login` with the right password; this one is not tried again."
        }
        Origin::Systemd => {
            "Correct the systemd credentials nexudus-email and nexudus-password, then restart the \
             service; this login is not tried again."
        }
        Origin::Command => {
            "Have credentials.command print the right password, then run `nexudus-proxy refresh`; \
             another credentials.email takes a restart. This login is not tried again."
        }
        Origin::Environment => {
            "Correct NEXUDUS_EMAIL and NEXUDUS_PASSWORD where the program is started; this login \
             is not tried again."
        }
    }
}

fn for_a_code(origin: Origin) -> &'static str {
    match origin {
        Origin::Keychain | Origin::Memory => {
            "Run `nexudus-proxy login --totp CODE`, or store the 2FA secret with \
             `--totp-secret-stdin`."
        }
        Origin::Systemd => {
            "Give the 2FA secret as the systemd credential nexudus-totp-secret, then restart the \
             service."
        }
        Origin::Command => {
            "credentials.command gives no 2FA code: run `nexudus-proxy login --session-only --totp \
             CODE`, or keep the login where the 2FA secret has a place too, as in the keychain."
        }
        Origin::Environment => {
            "Set NEXUDUS_TOTP to the 2FA secret, or to a new code, where the program is started."
        }
    }
}

fn with_new_password(origin: Origin) -> &'static str {
    match origin {
        Origin::Keychain | Origin::Memory => "run `nexudus-proxy login`",
        Origin::Systemd => "renew the systemd credential nexudus-password and restart the service",
        Origin::Command => "have credentials.command print it, and run `nexudus-proxy refresh`",
        Origin::Environment => "set NEXUDUS_PASSWORD to it where the program is started",
    }
}

impl Cause {
    /// Wraps a sentence that names no secret.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into().into())
    }

    /// Returns the sentence.
    pub fn sentence(&self) -> &str {
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
            passing.due_in(Duration::from_secs(3)).retry_after(),
            Some(Duration::from_secs(3))
        );
        let refused = Error::Refused(Origin::Keychain);
        assert_eq!(refused.due_in(Duration::from_secs(3)).retry_after(), None);
    }
}
