//! What a person may know about the session: no secret, and ages instead of clock readings.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::error::Error;
use super::shared::Snapshot;

/// The session at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionStatus {
    /// What it is doing, in a word.
    pub state: SessionState,
    /// Whether a renewal or a login is in flight.
    pub renewing: bool,
    /// Number of the token: grows by one with each new pair, across restarts where it is saved.
    pub generation: u64,
    /// The account, by its e-mail address.
    pub account: Option<String>,
    /// Where the login was last read; `None` while none was needed.
    pub source: Option<String>,
    /// Where the pair is kept.
    pub store: StoreInfo,
    /// Whether the newest pair is at rest there.
    pub saved: bool,
    /// Time since the newest token was received, valid or not.
    #[serde(serialize_with = "serialize_seconds")]
    pub age: Option<Duration>,
    /// Time that the token has left.
    #[serde(serialize_with = "serialize_seconds")]
    pub expires_in: Option<Duration>,
    /// Time until the next renewal or attempt.
    #[serde(serialize_with = "serialize_seconds")]
    pub renews_in: Option<Duration>,
    /// Time until the refresh token lapses, by our own record: Nexudus does not tell.
    #[serde(serialize_with = "serialize_seconds")]
    pub refresh_token_expires_in: Option<Duration>,
    /// The last failure since the last success.
    pub error: Option<LastError>,
    /// Why the session would not survive a restart, or another thing that is handled, but wrong.
    pub degraded: Option<String>,
    /// `Some(false)`: even a new token is refused by the API; the account may lack API access.
    pub api_access: Option<bool>,
    /// What a person should do, if anything.
    pub advice: Option<String>,
}

/// What a session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionState {
    /// The saved session is being read.
    Starting,
    /// A valid token is at hand.
    Ready,
    /// There is no valid token; one is being asked for, or will be soon.
    Waiting,
    /// Locked by the user.
    Locked,
    /// Nobody has logged in.
    NotLoggedIn,
    /// The password was refused.
    Refused,
    /// A 2FA code is needed.
    TotpRequired,
    /// A new password is needed.
    PasswordReset,
    /// The session-only login has lapsed.
    Expired,
    /// The credential store is locked or missing.
    CredentialsUnavailable,
}

/// Where the pair is kept, and why there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreInfo {
    /// `file` or `memory`.
    pub kind: &'static str,
    /// The reason, as a sentence.
    pub reason: String,
    /// Whether it is gone after a reboot.
    pub is_volatile: bool,
}

/// The last failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastError {
    /// The stable code.
    pub code: &'static str,
    /// What is wrong.
    pub sentence: String,
    /// Why, where more is known.
    pub cause: Option<String>,
    /// What to do.
    pub hint: String,
}

impl SessionStatus {
    /// Returns what is known at `now`, on the boot clock.
    pub(super) fn new(latest: &Snapshot, now: Duration) -> Self {
        let token = latest.token.filter(|token| token.is_valid(now));
        let left = latest.next_attempt.map(|due| due.saturating_sub(now));
        let error =
            latest.error.clone().map(|error| error.with_retry_after(left.unwrap_or_default()));
        let no_access = latest.lacks_access.then(|| {
            "Nexudus refuses even a new token: ask an administrator for API access.".to_owned()
        });
        let keeping =
            || StoreInfo { kind: "unknown", reason: "still starting".into(), is_volatile: true };
        Self {
            state: session_state(latest, token.is_some(), error.as_ref()),
            renewing: latest.is_busy,
            generation: latest.token.map_or(0, |token| token.generation),
            account: latest.account.clone(),
            source: latest.login_source.map(|origin| origin.to_string()),
            store: latest.store.clone().unwrap_or_else(keeping),
            saved: latest.is_saved,
            age: latest.token.map(|token| token.age(now)),
            expires_in: token.map(|token| token.left(now)),
            renews_in: left,
            refresh_token_expires_in: latest
                .refresh_deadline
                .map(|deadline| deadline.saturating_sub(now)),
            degraded: latest.degraded.clone(),
            api_access: latest.lacks_access.then_some(false),
            advice: no_access.or_else(|| error.as_ref().map(|error| error.hint().into_owned())),
            error: error.as_ref().map(LastError::new),
        }
    }
}

impl LastError {
    fn new(error: &Error) -> Self {
        Self {
            code: error.code(),
            sentence: error.to_string(),
            cause: std::error::Error::source(error).map(ToString::to_string),
            hint: error.hint().into_owned(),
        }
    }
}

fn session_state(latest: &Snapshot, valid: bool, error: Option<&Error>) -> SessionState {
    if valid {
        return SessionState::Ready;
    }
    match error {
        Some(Error::Locked) => SessionState::Locked,
        // What a person had to do may have been done: an attempt is under way.
        Some(_) if latest.is_busy => SessionState::Waiting,
        Some(Error::NotLoggedIn(_)) => SessionState::NotLoggedIn,
        Some(Error::Refused(_)) => SessionState::Refused,
        Some(Error::TotpRequired { .. }) => SessionState::TotpRequired,
        Some(Error::PasswordReset(_)) => SessionState::PasswordReset,
        Some(Error::Expired) => SessionState::Expired,
        Some(Error::CredentialsLocked { .. } | Error::CredentialsUnavailable { .. }) => {
            SessionState::CredentialsUnavailable
        }
        Some(Error::NextCode { .. } | Error::Unavailable { .. }) => SessionState::Waiting,
        None if latest.fetches_ended == 0 => SessionState::Starting,
        None => SessionState::Waiting,
    }
}

/// Whole seconds: nobody acts on less.
fn serialize_seconds<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs()).serialize(to)
}
