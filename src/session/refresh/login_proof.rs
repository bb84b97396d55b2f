//! The proof of a login under `upstream.auth = "basic"`: the probe, with the login itself.
//!
//! No token is asked for. A login that Nexudus accepts once is what requests carry from then on.

use http::{StatusCode, header};
use serde::de::IgnoredAny;

use super::endpoint::{Grant, HttpIssuer, Issuer as _, Probe, classify_probe};
use super::token_response::{TokenError, parse_retry_after};
use super::{loop_detection, response_body};
use crate::config::UpstreamAuth;
use crate::session::error::Cause;
use crate::session::token::{LOGIN_LIFETIME, TokenGrant, authorization, encode_login};

impl HttpIssuer {
    /// Offers a login once, and returns it encoded, in place of a token.
    pub(super) async fn prove_login(&self, grant: &Grant) -> Result<TokenGrant, TokenError> {
        // A refresh token proves no login, and there is none: `basic_fetch.rs` offers logins only.
        let Grant::Password { email, password, .. } = grant else {
            return Err(TokenError::Refused);
        };
        // The server would read another name, and refuse it.
        let access = encode_login(email, password).ok_or(TokenError::Refused)?;
        let header = authorization(UpstreamAuth::Basic, &access).ok_or(TokenError::Refused)?;
        let sent = self.request_me(&header).await;
        let response = sent.map_err(|error| name_nexudus(error.into_failure(self.origin())))?;
        let (status, headers) = (response.status(), response.headers());
        if let Some(cause) = loop_detection::cause(headers, self.origin()) {
            return Err(TokenError::Transient { retry_after: None, cause });
        }
        let retry_after = parse_retry_after(headers);
        match classify_probe(status, headers.get(header::LOCATION)) {
            Probe::Dead => return Err(TokenError::Refused),
            Probe::Alive | Probe::Unclear => {}
        }
        match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => {
                let cause = Cause::new("Nexudus asks to slow down");
                return Err(TokenError::Transient { retry_after, cause });
            }
            // The login is known, and may not use the API.
            StatusCode::FORBIDDEN => {}
            status if status.is_success() => {
                let body = response_body::read(response).await;
                if !body.is_ok_and(|body| is_json_object(&body)) {
                    return Err(ambiguous("Nexudus did not say who is logged in"));
                }
            }
            // The password may have been looked at.
            status => return Err(ambiguous(&format!("Nexudus responded with {status}"))),
        }
        Ok(TokenGrant { access, refresh: None, lifetime: LOGIN_LIFETIME })
    }
}

fn ambiguous(why: &str) -> TokenError {
    TokenError::Ambiguous(Cause::new(why))
}

/// Says whether a body can be a user: a page for logging in comes with 200 too.
fn is_json_object(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    body.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

/// Names the host in a cause that is about the token endpoint, which was not asked.
fn name_nexudus(error: TokenError) -> TokenError {
    let named = |cause: Cause| match cause.message().strip_prefix("the token endpoint") {
        Some(rest) => Cause::new(format!("Nexudus{rest}")),
        None => cause,
    };
    match error {
        TokenError::Ambiguous(cause) => TokenError::Ambiguous(named(cause)),
        TokenError::Transient { retry_after, cause } => {
            TokenError::Transient { retry_after, cause: named(cause) }
        }
        TokenError::Unavailable { retry_after, cause } => {
            TokenError::Unavailable { retry_after, cause: named(cause) }
        }
        other @ (TokenError::Refused | TokenError::TotpRequired | TokenError::PasswordReset) => {
            other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_no_user() {
        assert!(is_json_object(b"\xEF\xBB\xBF {\"Id\":1}"));
        assert!(!is_json_object(b"<html></html>"));
        assert!(!is_json_object(b"{\"Id\":"));
        assert!(!is_json_object(b"[]"));
    }
}
