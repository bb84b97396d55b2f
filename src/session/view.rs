//! What a person may know about the session: no secret, and ages instead of clock readings.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::error::Error;
use super::shared::Latest;

/// The session at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct View {
    /// What it is doing, in a word.
    pub state: Word,
    /// Whether a renewal or a login is in flight.
    pub renewing: bool,
    /// Number of the token: grows by one with each new pair, across restarts where it is saved.
    pub generation: u64,
    /// The account, by its e-mail address.
    pub account: Option<String>,
    /// Where the login was last read; `None` while none was needed.
    pub source: Option<String>,
    /// Where the pair is kept.
    pub store: Keeping,
    /// Whether the newest pair is at rest there.
    pub saved: bool,
    /// Time since the newest token was received, valid or not.
    #[serde(serialize_with = "seconds")]
    pub age: Option<Duration>,
    /// Time that the token has left.
    #[serde(serialize_with = "seconds")]
    pub expires_in: Option<Duration>,
    /// Time until the next renewal or attempt.
    #[serde(serialize_with = "seconds")]
    pub renews_in: Option<Duration>,
    /// Time until the refresh token lapses, by our own record: Nexudus does not tell.
    #[serde(serialize_with = "seconds")]
    pub refresh_token_expires_in: Option<Duration>,
    /// The last failure since the last success.
    pub error: Option<Trouble>,
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
pub enum Word {
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
pub struct Keeping {
    /// `file` or `memory`.
    pub kind: &'static str,
    /// The reason, as a sentence.
    pub why: String,
    /// Whether it is gone after a reboot.
    pub volatile: bool,
}

/// The last failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// The stable code.
    pub code: &'static str,
    /// What is wrong.
    pub sentence: String,
    /// Why, where more is known.
    pub cause: Option<String>,
    /// What to do.
    pub hint: String,
}

impl View {
    /// Returns what is known at `now`, on the boot clock.
    pub(super) fn of(latest: &Latest, now: Duration) -> Self {
        let token = latest.token.filter(|token| token.is_valid(now));
        let left = latest.due.map(|due| due.saturating_sub(now));
        let error = latest.error.clone().map(|error| error.due_in(left.unwrap_or_default()));
        let no_access = latest.lacks_access.then(|| {
            "Nexudus refuses even a new token: ask an administrator for API access.".to_owned()
        });
        let keeping = || Keeping { kind: "unknown", why: "still starting".into(), volatile: true };
        Self {
            state: word(latest, token.is_some(), error.as_ref()),
            renewing: latest.busy,
            generation: latest.token.map_or(0, |token| token.generation),
            account: latest.account.clone(),
            source: latest.origin.map(|origin| origin.to_string()),
            store: latest.keeping.clone().unwrap_or_else(keeping),
            saved: latest.saved,
            age: latest.token.map(|token| token.age(now)),
            expires_in: token.map(|token| token.left(now)),
            renews_in: left,
            refresh_token_expires_in: latest
                .refresh_deadline
                .map(|deadline| deadline.saturating_sub(now)),
            degraded: latest.degraded.clone(),
            api_access: latest.lacks_access.then_some(false),
            advice: no_access.or_else(|| error.as_ref().map(|error| error.hint().into_owned())),
            error: error.as_ref().map(Trouble::of),
        }
    }
}

impl Trouble {
    fn of(error: &Error) -> Self {
        Self {
            code: error.code(),
            sentence: error.to_string(),
            cause: std::error::Error::source(error).map(ToString::to_string),
            hint: error.hint().into_owned(),
        }
    }
}

fn word(latest: &Latest, valid: bool, error: Option<&Error>) -> Word {
    if valid {
        return Word::Ready;
    }
    match error {
        Some(Error::Locked) => Word::Locked,
        // What a person had to do may have been done: an attempt is under way.
        Some(_) if latest.busy => Word::Waiting,
        Some(Error::NotLoggedIn(_)) => Word::NotLoggedIn,
        Some(Error::Refused(_)) => Word::Refused,
        Some(Error::TotpRequired { .. }) => Word::TotpRequired,
        Some(Error::PasswordReset(_)) => Word::PasswordReset,
        Some(Error::Expired) => Word::Expired,
        Some(Error::CredentialsLocked { .. } | Error::CredentialsUnavailable { .. }) => {
            Word::CredentialsUnavailable
        }
        Some(Error::NextCode { .. } | Error::Unavailable { .. }) => Word::Waiting,
        None if latest.flights == 0 => Word::Starting,
        None => Word::Waiting,
    }
}

/// Whole seconds: nobody acts on less.
fn seconds<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs()).serialize(to)
}
