//! Stands in for `src/session/error.rs`: the variants and methods that the state machine names.

use std::time::Duration;

use crate::credentials::CredentialSource;

/// Why no token could be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The user has locked the session.
    Locked,
    /// The user is not logged in.
    NotLoggedIn(Option<()>),
    /// Nexudus refused the login.
    Refused(CredentialSource),
    /// The credential store cannot be used.
    CredentialsUnavailable {
        /// Time until the next attempt.
        retry_after: Duration,
        /// Why.
        cause: Option<Cause>,
    },
    /// Nexudus gave no token.
    Unavailable {
        /// Time until the next attempt.
        retry_after: Duration,
        /// Why.
        cause: Option<Cause>,
    },
}

/// The reason behind an [`Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause(String);

impl Error {
    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Locked => "session.locked",
            Self::NotLoggedIn(_) => "session.not-logged-in",
            Self::Refused(_) => "session.refused",
            Self::CredentialsUnavailable { .. } => "credentials.unavailable",
            Self::Unavailable { .. } => "session.unavailable",
        }
    }

    /// Returns the time after which another attempt makes sense.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CredentialsUnavailable { retry_after, .. }
            | Self::Unavailable { retry_after, .. } => Some(*retry_after),
            Self::Locked | Self::NotLoggedIn(_) | Self::Refused(_) => None,
        }
    }

    /// Says whether the error passes by itself.
    pub fn is_transient(&self) -> bool {
        self.retry_after().is_some()
    }

    /// Says whether the credential store is the cause.
    pub fn is_credential_store(&self) -> bool {
        matches!(self, Self::CredentialsUnavailable { .. })
    }
}

impl Cause {
    /// Wraps a sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}
