//! The status of the session, as the JSON of the admin socket has it.

use std::time::Duration;

use super::api::{LastError, SessionStatus};
use crate::session::{self, SessionState};

/// Returns the status of the session as the JSON has it.
pub(super) fn from_session(status: &session::SessionStatus) -> SessionStatus {
    let seconds = |duration: Option<Duration>| duration.map(|it| it.as_secs());
    SessionStatus {
        state: state_name(status.state).to_owned(),
        renewing: status.renewing,
        generation: status.generation,
        account: status.account.clone(),
        source: status.source.clone(),
        sources: vec![],
        halves: vec![],
        resumed: status.source.is_none() && status.expires_in.is_some(),
        store: status.store.kind.to_string(),
        store_reason: status.store.reason.clone(),
        age_s: seconds(status.age),
        expires_in_s: seconds(status.expires_in),
        renews_in_s: seconds(status.renews_in),
        refresh_token_expires_in_s: seconds(status.refresh_token_expires_in),
        error: status.error.as_ref().map(|error| LastError {
            code: error.code.to_string(),
            sentence: error.sentence.clone(),
            cause: error.cause.clone(),
            hint: error.hint.to_owned(),
        }),
        degraded: status.degraded.clone(),
        api_access: status.api_access,
        advice: status.advice.clone(),
    }
}

/// Every state of a session, for the metrics.
pub(super) const SESSION_STATES: [SessionState; 10] = [
    SessionState::Starting,
    SessionState::Ready,
    SessionState::Waiting,
    SessionState::Locked,
    SessionState::NotLoggedIn,
    SessionState::Refused,
    SessionState::TotpRequired,
    SessionState::PasswordReset,
    SessionState::Expired,
    SessionState::CredentialsUnavailable,
];

pub(super) fn state_name(state: SessionState) -> &'static str {
    match state {
        SessionState::Starting => "starting",
        SessionState::Ready => "ready",
        SessionState::Waiting => "waiting",
        SessionState::Locked => "locked",
        SessionState::NotLoggedIn => "not-logged-in",
        SessionState::Refused => "refused",
        SessionState::TotpRequired => "totp-required",
        SessionState::PasswordReset => "password-reset",
        SessionState::Expired => "expired",
        SessionState::CredentialsUnavailable => "credentials-unavailable",
    }
}
