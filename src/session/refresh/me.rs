//! The request that asks who is logged in.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use zeroize::Zeroizing;

use super::endpoint::{CallError, HttpIssuer, ME_TIMEOUT};
use super::{connect_error, response_body, token_response};
use crate::session::error::Cause;
use crate::throttle;

/// Why it is not known who is logged in.
#[derive(Debug, thiserror::Error)]
pub enum MeError {
    /// Nexudus limits the rate of requests.
    #[error(transparent)]
    Throttled(#[from] throttle::Error),
    /// No response came.
    #[error("could not reach Nexudus")]
    Unreachable(#[source] Cause),
}

impl From<Cause> for MeError {
    fn from(cause: Cause) -> Self {
        Self::Unreachable(cause)
    }
}

impl From<CallError> for MeError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Throttled(error) => Self::Throttled(error),
            CallError::Lost(error) if error.is_connect() => {
                Self::Unreachable(Cause::new(connect_error::text(&error)))
            }
            CallError::Lost(_) => Self::Unreachable(Cause::new("the response was lost")),
        }
    }
}

impl HttpIssuer {
    /// Asks who is logged in: `GET /api/auth/me`, status and body. The body holds login material.
    ///
    /// # Errors
    ///
    /// [`MeError::Throttled`] while Nexudus limits the rate, and [`MeError::Unreachable`] when no response
    /// comes within 30 s.
    pub async fn me(
        &self,
        bearer: &HeaderValue,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), MeError> {
        let request = async {
            let response = self.request_me(bearer).await?;
            let status = response.status();
            // A question can have no conflict: 409 is what Nexudus's documents say of its limits.
            if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT) {
                let retry_after = token_response::parse_retry_after(response.headers());
                let retry_after = retry_after.unwrap_or(DEFAULT_RETRY);
                return Err(throttle::Error::Queue { retry_after }.into());
            }
            let body = response_body::read(response).await;
            Ok((status, body.map_err(|_| Cause::new("the response was lost"))?))
        };
        let late = |_| Cause::new("Nexudus did not say within 30 s who is logged in");
        tokio::time::timeout(ME_TIMEOUT, request).await.map_err(late)?
    }
}

/// When to ask again after a response that does not say.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);
