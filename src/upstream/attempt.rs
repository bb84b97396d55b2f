//! One attempt to get a response, and the name of its error.

use http::{Response, StatusCode};

use super::h1_conn::SendError;
use super::{ConnectionError, Error, Malformed, Upstream};

/// An attempt without a response.
pub(super) struct FailedAttempt {
    pub(super) error: Error,
    /// Whether no byte of the request was sent.
    pub(super) is_unsent: bool,
    /// Whether there is no reason to try a new connection, because this was one.
    pub(super) is_new: bool,
}

impl FailedAttempt {
    fn after_sending(error: Error) -> Self {
        Self { error, is_unsent: false, is_new: false }
    }

    /// Reports the failure of a new connection.
    pub(super) fn on_new(error: Error) -> Self {
        Self { error, is_unsent: false, is_new: true }
    }
}

impl Upstream {
    /// Names the error of an exchange, if there was one; `None` is a timeout.
    pub(super) fn check_response<T>(
        &self,
        outcome: Option<Result<Response<T>, SendError>>,
    ) -> Result<Response<T>, FailedAttempt> {
        let origin = || self.0.origin.clone();
        match outcome {
            None => {
                let limit = self.0.header_timeout;
                Err(FailedAttempt::after_sending(Error::Timeout { origin: origin(), limit }))
            }
            // The request asked for no other protocol: if it were passed on, the response would
            // desynchronise the client.
            Some(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let source = Malformed::UnexpectedUpgrade.into();
                Err(FailedAttempt::after_sending(Error::Malformed { origin: origin(), source }))
            }
            Some(Ok(response)) => Ok(response),
            Some(Err(SendError { error: source, is_unsent })) => {
                let is_malformed = match &source {
                    ConnectionError::Malformed(_) => true,
                    ConnectionError::Http2(error) => error.is_parse(),
                    ConnectionError::Closed
                    | ConnectionError::Truncated
                    | ConnectionError::Stalled
                    | ConnectionError::Io(_)
                    | ConnectionError::RequestBody(_) => false,
                };
                let origin = origin();
                let error = if is_malformed {
                    Error::Malformed { origin, source }
                } else {
                    Error::Closed { origin, source }
                };
                Err(FailedAttempt { error, is_unsent, is_new: false })
            }
        }
    }
}
