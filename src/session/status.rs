//! The status that the user sees: no secret, and ages instead of clock readings.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::refresh::shared::Snapshot;
use super::store::token_store::StoreInfo;
use crate::config::UpstreamAuth;

/// The session at one moment, as `/v1/status` writes it and the command `status` reads it.
///
/// Durations are whole seconds in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// The session's state, in a word.
    pub state: SessionState,
    /// `upstream.auth`: `bearer`, or `basic`, where there is no token and each request carries the
    /// login.
    #[serde(default = "bearer")]
    pub auth: Cow<'static, str>,
    /// Whether a renewal or a login is in flight.
    pub renewing: bool,
    /// Number of the token: grows by one with each new pair, across restarts where it is saved.
    pub generation: u64,
    /// The account, by its e-mail address.
    pub account: Option<String>,
    /// Where the login was last read; `None` while none was needed.
    pub source: Option<String>,
    /// Whether no login was needed: the saved session was resumed.
    #[serde(default)]
    pub resumed: bool,
    /// Where the pair is stored.
    #[serde(flatten)]
    pub store: StoreInfo,
    /// Whether the newest pair is on disk there.
    #[serde(skip)]
    pub saved: bool,
    /// How many new pairs this process has got, by a login or a renewal.
    #[serde(skip)]
    pub renewals: u64,
    /// Time since the newest token was received, valid or not.
    #[serde(rename = "age_s", with = "whole_seconds", default)]
    pub age: Option<Duration>,
    /// Time that the token has left.
    #[serde(rename = "expires_in_s", with = "whole_seconds", default)]
    pub expires_in: Option<Duration>,
    /// Time until the next renewal or attempt.
    #[serde(rename = "renews_in_s", with = "whole_seconds", default)]
    pub renews_in: Option<Duration>,
    /// Time until the refresh token lapses, by our own record: Nexudus does not say.
    #[serde(rename = "refresh_token_expires_in_s", with = "whole_seconds", default)]
    pub refresh_token_expires_in: Option<Duration>,
    /// The last failure since the last success.
    pub error: Option<LastError>,
    /// Why the session would not survive a restart, or another problem that the daemon works
    /// around.
    pub degraded: Option<String>,
    /// `Some(false)`: the API rejects even a new token; the account may lack API access.
    pub api_access: Option<bool>,
    /// Advice to the user, if any.
    pub advice: Option<String>,
}

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionState {
    /// The saved session is being read.
    Starting,
    /// A valid token is at hand.
    Ready,
    /// The user has locked the session.
    Locked,
    /// The user is not logged in.
    NotLoggedIn,
    /// Nexudus refused the password.
    Refused,
    /// The login needs a 2FA code.
    TotpRequired,
    /// The account needs a new password.
    PasswordReset,
    /// The session-only login has lapsed.
    Expired,
    /// The credential store is locked or missing.
    CredentialsUnavailable,
    /// No token is valid; one is being fetched, or will be soon. Also a state that this version
    /// does not know.
    #[serde(other)]
    Waiting,
}

/// The last failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// The stable code.
    pub code: Cow<'static, str>,
    /// The error, as a sentence.
    pub sentence: String,
    /// Why, where more is known.
    pub cause: Option<String>,
    /// Advice to the user.
    pub hint: String,
}

impl SessionStatus {
    /// Returns the status at `now`, on the boot clock.
    ///
    /// `pending` is the wait for a command, which explains why there is no token.
    pub(super) fn new(latest: &Snapshot, pending: Option<Error>, now: Duration) -> Self {
        let token = latest.token.filter(|token| token.is_valid(now));
        let left = latest.next_attempt.map(|at| at.saturating_sub(now));
        let pending = pending.filter(|_| token.is_none() && latest.error != Some(Error::Locked));
        let error = pending.or_else(|| latest.error.clone());
        let error = error.map(|error| error.with_retry_after(left.unwrap_or_default()));
        let no_access = latest.lacks_access.then(|| {
            "Nexudus refuses even a new token: ask an administrator for API access.".to_owned()
        });
        let refresh_deadline = latest.refresh_deadline;
        Self {
            state: session_state(latest, token.is_some(), error.as_ref()),
            auth: bearer(),
            renewing: latest.is_busy,
            generation: latest.token.map_or(0, |token| token.generation),
            account: latest.account.clone(),
            source: latest.login_source.map(|source| source.to_string()),
            resumed: latest.login_source.is_none() && token.is_some(),
            store: latest.store.clone().unwrap_or_else(StoreInfo::unknown),
            saved: latest.is_saved,
            renewals: latest.renewals,
            age: latest.token.map(|token| token.age(now)),
            expires_in: token.map(|token| token.left(now)),
            renews_in: left,
            refresh_token_expires_in: refresh_deadline.map(|at| at.saturating_sub(now)),
            degraded: latest.degraded.clone(),
            api_access: latest.lacks_access.then_some(false),
            advice: no_access.or_else(|| error.as_ref().map(|error| error.hint().into_owned())),
            error: error.as_ref().map(LastError::new),
        }
    }
}

impl SessionStatus {
    /// Says how requests are authenticated. A login has no end and is not renewed.
    pub(super) fn with_auth(self, auth: UpstreamAuth) -> Self {
        match auth {
            UpstreamAuth::Bearer => self,
            UpstreamAuth::Basic => Self {
                auth: "basic".into(),
                renews_in: self.renews_in.filter(|_| self.expires_in.is_none()),
                expires_in: None,
                ..self
            },
        }
    }

    /// Says whether each request carries the login itself, and there is no token.
    pub fn is_basic(&self) -> bool {
        self.auth == "basic"
    }
}

/// The default, and what a daemon uses that does not say.
fn bearer() -> Cow<'static, str> {
    "bearer".into()
}

impl SessionState {
    /// Every state, for a metric per state.
    pub const ALL: [Self; 10] = [
        Self::Starting,
        Self::Ready,
        Self::Waiting,
        Self::Locked,
        Self::NotLoggedIn,
        Self::Refused,
        Self::TotpRequired,
        Self::PasswordReset,
        Self::Expired,
        Self::CredentialsUnavailable,
    ];

    /// Returns the word that JSON and metrics have for the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Waiting => "waiting",
            Self::Locked => "locked",
            Self::NotLoggedIn => "not-logged-in",
            Self::Refused => "refused",
            Self::TotpRequired => "totp-required",
            Self::PasswordReset => "password-reset",
            Self::Expired => "expired",
            Self::CredentialsUnavailable => "credentials-unavailable",
        }
    }
}

impl LastError {
    fn new(error: &Error) -> Self {
        Self {
            code: error.code().into(),
            sentence: error.to_string(),
            cause: std::error::Error::source(error).map(ToString::to_string),
            hint: error.hint().into_owned(),
        }
    }
}

fn session_state(latest: &Snapshot, is_valid: bool, error: Option<&Error>) -> SessionState {
    if is_valid {
        return SessionState::Ready;
    }
    match error {
        Some(Error::Locked) => SessionState::Locked,
        // The user may have done what was needed: an attempt is under way.
        Some(_) if latest.is_busy => SessionState::Waiting,
        Some(Error::NotLoggedIn(_)) => SessionState::NotLoggedIn,
        Some(Error::Refused { .. }) => SessionState::Refused,
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

/// Durations as whole seconds: the user needs no finer ones.
mod whole_seconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "as serde wants it")]
    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(|duration| duration.as_secs()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_it_was_written() {
        for state in SessionState::ALL {
            let status = SessionStatus { state, ..status() };
            let json = serde_json::to_value(&status).unwrap();

            assert_eq!(json["state"], state.as_str());
            assert_eq!(json["expires_in_s"], 90);
            assert_eq!(json["store"], "memory");
            assert_eq!(json["store_reason"], "session.store is memory");
            assert_eq!(serde_json::from_value::<SessionStatus>(json).unwrap(), status);
        }
    }

    #[test]
    fn a_state_of_a_later_version_reads_as_waiting() {
        let mut json = serde_json::to_value(status()).unwrap();
        json["state"] = "dreaming".into();

        let status: SessionStatus = serde_json::from_value(json).unwrap();

        assert_eq!(status.state, SessionState::Waiting);
    }

    fn status() -> SessionStatus {
        let store = StoreInfo {
            kind: "memory".into(),
            reason: "session.store is memory".into(),
            is_volatile: false,
        };
        SessionStatus {
            state: SessionState::Ready,
            auth: bearer(),
            renewing: false,
            generation: 3,
            account: Some("ada@example.test".into()),
            source: None,
            resumed: true,
            store,
            saved: false,
            renewals: 0,
            age: Some(Duration::from_secs(10)),
            expires_in: Some(Duration::from_secs(90)),
            renews_in: None,
            refresh_token_expires_in: None,
            error: Some(LastError {
                code: "session.unavailable".into(),
                sentence: "the login failed and is tried again".into(),
                cause: None,
                hint: "Wait.".into(),
            }),
            degraded: None,
            api_access: Some(false),
            advice: None,
        }
    }
}
