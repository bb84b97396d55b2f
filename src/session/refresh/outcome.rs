//! How an attempt to get a token ends, and what it leaves behind.

use std::time::Duration;

use crate::credentials::{self, CredentialSource};
use crate::problem::Problem as _;
use crate::session::error::{Cause, Error, MissingLogin};
use crate::session::store::record::StoredSession;
use crate::session::store::session_lock::SessionLock;
use crate::session::store::token_store::TokenStore;

/// The state that an attempt leaves behind, however it ends.
#[derive(Debug, Default)]
pub(crate) struct FetchOutcome {
    /// The newest record known.
    pub(crate) record: Option<StoredSession>,
    /// The lock, if it was acquired.
    pub(crate) lock: Option<SessionLock>,
    /// Where the pair is stored, once that is known.
    pub(crate) store: Option<TokenStore>,
    /// Where the login was read.
    pub(crate) login_source: Option<CredentialSource>,
    /// The problem with the saved session, or with the state directory.
    pub(crate) problem: Option<String>,
    /// Whether the problem is that the session is from before the last login or logout.
    pub(crate) is_superseded: bool,
    /// Whether the login is of another account than the record held before.
    pub(crate) account_changed: bool,
    /// Whether the API has refused the login that requests carry, under Basic.
    pub(crate) is_login_refused: bool,
    /// Whether the record that a login was refused is to be dropped before one is offered.
    pub(crate) forgets_refusal: bool,
    /// Whether a login that has changed is still to be read.
    pub(crate) credentials_unreadable: bool,
}

/// How an attempt succeeded; the pair is in [`FetchOutcome::record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchResult {
    /// The refresh token brought a new pair.
    Renewed,
    /// The password brought a new pair.
    LoggedIn,
    /// A saved pair is good enough.
    Resumed,
    /// The changed login is of the account whose token is held: nothing new is needed.
    Unchanged,
}

/// Why an attempt failed.
#[derive(Debug)]
pub(crate) struct FetchError {
    pub(crate) error: Error,
    /// Shortest time until the next attempt makes sense, where it is known.
    pub(crate) wait: Option<Duration>,
}

impl FetchError {
    /// A failure that passes by itself, after `retry_after` if the server said so.
    pub(crate) fn transient(cause: Cause, retry_after: Option<Duration>) -> Self {
        let wait = retry_after.map(|wait| wait.min(MAX_RETRY_AFTER));
        let retry_after = wait.unwrap_or_default();
        Self { error: Error::Unavailable { retry_after, cause: Some(cause) }, wait }
    }

    /// A failure that passes after `wait`.
    pub(crate) fn transient_after(cause: Cause, wait: Duration) -> Self {
        let error = Error::Unavailable { retry_after: wait, cause: Some(cause) };
        Self { error, wait: Some(wait) }
    }
}

impl From<Error> for FetchError {
    fn from(error: Error) -> Self {
        Self { error, wait: None }
    }
}

impl From<credentials::Error> for FetchError {
    fn from(error: credentials::Error) -> Self {
        login_error(error).into()
    }
}

/// Returns the session's error for a login that could not be read.
fn login_error(error: credentials::Error) -> Error {
    let unavailable = |cause: String| Error::CredentialsUnavailable {
        retry_after: Duration::ZERO,
        cause: Some(Cause::new(cause)),
    };
    match error {
        credentials::Error::Missing(_) => Error::NotLoggedIn(None),
        credentials::Error::Incomplete { absent, .. } => {
            let told = Cause::new(error.to_string());
            Error::NotLoggedIn(Some(MissingLogin::Incomplete { told, absent }))
        }
        credentials::Error::Locked => Error::CredentialsLocked { retry_after: Duration::ZERO },
        credentials::Error::Command(ref source) => unavailable(format!("{error}: {source}")),
        credentials::Error::Unusable(_) | credentials::Error::File(_) => {
            let source = std::error::Error::source(&error);
            let cause = source.map(|source| format!(": {source}")).unwrap_or_default();
            let hint = error.details().hint.unwrap_or_default();
            let cause = Cause::new(format!("{error}{cause}")).with_hint(hint);
            Error::CredentialsUnavailable { retry_after: Duration::ZERO, cause: Some(cause) }
        }
        credentials::Error::Unavailable(source) => unavailable(source.to_string()),
    }
}

/// Longest `Retry-After` that is honoured: as long as our own waits become.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
