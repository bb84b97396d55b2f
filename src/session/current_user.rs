//! The logged-in user, from `/api/auth/me`: only the fields that are safe to show.
//!
//! The response also holds a token that logs into the portal as this user. That token is not read.

use http::{HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::error::{Cause, Error};
use super::handle::{Session, UnauthorizedCause};
use super::refresh::endpoint::HttpIssuer;
use super::refresh::me::MeError;
use super::token::Bearer;
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::throttle;

/// A user, under the names that Nexudus has for its fields.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CurrentUser {
    /// The user's number.
    pub id: Option<i64>,
    /// The user's name.
    pub full_name: Option<String>,
    /// The user's e-mail address.
    pub email: Option<String>,
    /// Whether the user may use the API.
    #[serde(rename = "APIAccess")]
    pub api_access: Option<bool>,
    /// Whether Nexudus answered a request to the API. Asked only where `APIAccess` reads false, which
    /// was seen on accounts whose requests are answered.
    #[serde(rename = "api_answers", skip_serializing_if = "Option::is_none")]
    pub api_answers: Option<bool>,
    /// Whether the user is an administrator.
    pub is_admin: Option<bool>,
    /// The default business.
    pub default_business_id: i64,
    /// The name.
    pub default_business_name: Option<String>,
    /// The default currency.
    pub default_currency_id: i64,
    /// The code.
    pub default_currency_code: Option<String>,
    /// The default country.
    pub default_country_id: i64,
    /// The name.
    pub default_country_name: Option<String>,
    /// The default time zone.
    pub default_simple_time_zone_id: i64,
    /// The name.
    pub default_simple_time_zone_name: Option<String>,
}

/// Why the logged-in user is not known.
#[derive(Debug, thiserror::Error)]
pub enum CurrentUserError {
    /// Even a good token is refused.
    #[error("forbidden: the account has no API access")]
    Forbidden,
    /// Nexudus cannot be reached.
    #[error("could not reach Nexudus")]
    Unreachable(#[source] Cause),
    /// Nexudus limits the rate of requests.
    #[error(transparent)]
    Throttled(#[from] throttle::Error),
    /// The response is not a user.
    #[error("Nexudus did not say who is logged in")]
    Ambiguous(#[source] Cause),
    /// There is no token.
    #[error(transparent)]
    Session(#[from] Error),
}

impl Problem for CurrentUserError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Forbidden => ProblemKind::NoApiAccess.into(),
            Self::Unreachable(_) => ProblemKind::UpstreamUnreachable.into(),
            Self::Throttled(error) => error.details(),
            Self::Ambiguous(_) => ProblemKind::SessionUnavailable.into(),
            Self::Session(error) => error.details(),
        }
    }
}

impl From<MeError> for CurrentUserError {
    fn from(error: MeError) -> Self {
        match error {
            MeError::Throttled(error) => Self::Throttled(error),
            MeError::Unreachable(cause) => Self::Unreachable(cause),
        }
    }
}

impl CurrentUser {
    /// Parses a response.
    pub fn parse(body: &[u8]) -> Option<Self> {
        // Some servers send a byte order mark (RFC 8259 §8.1).
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        let me: Self = serde_json::from_slice(body).ok()?;
        // `{}` would parse: an object without an address is no user.
        me.email.is_some().then_some(me)
    }

    /// Returns whether the user may use the API: an answered request counts more than the field.
    pub fn has_api_access(&self) -> Option<bool> {
        self.api_answers.or(self.api_access)
    }

    /// Asks the API where the field says that the user may not use it.
    pub async fn verify_access(&mut self, issuer: &HttpIssuer, bearer: &HeaderValue) {
        if self.api_access == Some(false) {
            self.api_answers = issuer.api_answers(bearer).await;
        }
    }

    /// Fetches the user with this token, and once more with another if it is dead.
    ///
    /// # Errors
    ///
    /// Why the user is not known.
    pub async fn fetch(
        session: &Session,
        issuer: &HttpIssuer,
        mut bearer: Bearer,
    ) -> Result<Self, CurrentUserError> {
        let (mut status, mut body) = issuer.me(bearer.header()).await?;
        if status == StatusCode::UNAUTHORIZED {
            match session.classify_unauthorized(&bearer, &Method::GET, ME_PATH).await {
                UnauthorizedCause::TokenReplaced => {
                    bearer = session.bearer()?;
                    (status, body) = issuer.me(bearer.header()).await?;
                }
                UnauthorizedCause::MissingPermission => {}
                UnauthorizedCause::Unavailable(error) => return Err(error.into()),
            }
        }
        let ambiguous = |why: String| CurrentUserError::Ambiguous(Cause::new(why));
        match status.as_u16() {
            200 => {
                let me = Self::parse(&body);
                let mut me =
                    me.ok_or_else(|| ambiguous("its response is not a user".to_owned()))?;
                me.verify_access(issuer, bearer.header()).await;
                Ok(me)
            }
            401 | 403 => Err(CurrentUserError::Forbidden),
            status => Err(ambiguous(format!("it responded with {status}"))),
        }
    }
}

const ME_PATH: &str = "/api/auth/me";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_portal_token_is_not_read() {
        let body = r#"{"Email":"ada@example.test","AccessToken":"portal-token",
            "DefaultBusinessId":7,"DefaultBusinessName":null}"#;

        let me = CurrentUser::parse(body.as_bytes()).unwrap();

        assert!(!serde_json::to_string(&me).unwrap().contains("portal-token"));
    }

    #[test]
    fn an_answer_without_an_address_is_no_user() {
        assert_eq!(CurrentUser::parse(b"{}"), None);
        assert_eq!(CurrentUser::parse(b"<html>"), None);
    }
}
