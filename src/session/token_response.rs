//! What an answer of the token endpoint means.
//!
//! The JSON's `error` and `error_description` decide first, the status second: Nexudus documents
//! 400 for a refused login, one of its pages says 401, and 500 has been seen. Field names are
//! taken in any casing, and nothing that was answered ever becomes part of a message.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use super::error::Cause;
use crate::secret::Secret;

/// An answer as it came.
#[derive(Debug)]
pub(super) struct TokenResponse<'a> {
    /// The status.
    pub(super) status: StatusCode,
    /// When to come back, if it says so.
    pub(super) retry_after: Option<Duration>,
    /// The body.
    pub(super) body: &'a [u8],
}

/// A pair of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenGrant {
    /// The bearer text.
    pub access: Secret,
    /// What to offer the next time; `None` keeps the one that was offered.
    pub refresh: Option<Secret>,
    /// How long the access token works, from now on.
    pub lifetime: Duration,
}

/// Why no tokens came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// What was offered is not accepted.
    Refused,
    /// A 2FA code is needed, or the one offered is wrong.
    TotpRequired,
    /// The account must set a new password first.
    PasswordReset,
    /// What was offered may have been looked at, and may be wrong.
    Ambiguous(Cause),
    /// What was offered was not looked at, or the answer is nonsense.
    Transient {
        /// When to come back, if the answer says so.
        retry_after: Option<Duration>,
        /// What happened.
        cause: Cause,
    },
}

impl TokenGrant {
    /// Returns the value of the `Authorization` header, marked sensitive.
    pub fn bearer(&self) -> Option<HeaderValue> {
        let text = zeroize::Zeroizing::new(format!("Bearer {}", self.access.expose()));
        let mut header = HeaderValue::from_str(&text).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

impl TokenError {
    /// The token endpoint could not be reached, and why.
    pub(super) fn unreachable(why: &str) -> Self {
        let cause = Cause::new(format!("the token endpoint cannot be reached: {why}"));
        Self::Transient { retry_after: None, cause }
    }
}

/// Reads an answer.
///
/// # Errors
///
/// One variant per kind of answer that carries no tokens.
pub(super) fn parse(answer: &TokenResponse<'_>) -> Result<TokenGrant, TokenError> {
    let fields = parse_fields(answer.body);
    if let Some(failure) = fields.as_ref().and_then(|fields| error_in_body(fields, answer)) {
        return Err(failure);
    }
    let passing = |cause: &str| TokenError::Transient {
        retry_after: answer.retry_after,
        cause: Cause::new(cause),
    };
    let status = answer.status;
    Err(match status.as_u16() {
        200..=299 => {
            let issued = fields.as_ref().and_then(parse_grant);
            return issued.ok_or_else(|| passing("the token endpoint's answer holds no token"));
        }
        // A firewall's page, such as CloudFront's "Request blocked".
        403 if is_html(answer.body) => {
            passing("a web firewall in front of Nexudus blocks the request (403)")
        }
        403 if fields.is_none() => {
            TokenError::Ambiguous(Cause::new("the token endpoint answered 403 without a reason"))
        }
        400 | 401 | 403 => TokenError::Refused,
        409 | 429 => passing("the token endpoint asks to slow down"),
        502..=504 => passing(&format!("the token endpoint is not available ({status})")),
        500..=599 => TokenError::Ambiguous(Cause::new(format!(
            "the token endpoint failed ({status}), which may also mean a wrong login"
        ))),
        _ => passing(&format!("the token endpoint gave an unexpected answer ({status})")),
    })
}

/// Reads `Retry-After`: seconds, with a fraction or not, or a date.
pub(super) fn parse_retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Returns the failure that the body names, whatever the status.
fn error_in_body(fields: &Map<String, Value>, answer: &TokenResponse<'_>) -> Option<TokenError> {
    let text = |name| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let said = format!("{} {}", text("error"), text("errordescription")).to_lowercase();
    let passing = |cause: &str| TokenError::Transient {
        retry_after: answer.retry_after,
        cause: Cause::new(cause),
    };
    let says = |word| said.contains(word);
    match () {
        () if says("two_factor") => Some(TokenError::TotpRequired),
        () if says("must_reset_password") => Some(TokenError::PasswordReset),
        () if says("invalid_grant") => Some(TokenError::Refused),
        () if says("unsupported_grant_type") => {
            Some(passing("the token endpoint did not understand the request"))
        }
        () if says("temporarily_unavailable") => Some(passing("the token endpoint is busy")),
        () => None,
    }
}

fn parse_grant(fields: &Map<String, Value>) -> Option<TokenGrant> {
    let text = |name| fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let access =
        text("accesstoken").filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    Some(TokenGrant {
        access: Secret::new(access?),
        refresh: text("refreshtoken").map(Secret::new),
        lifetime: parse_lifetime(fields.get("expiresin")),
    })
}

/// Reads `expires_in`: a number, or a number in a string.
fn parse_lifetime(value: Option<&Value>) -> Duration {
    let seconds = match value {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => None,
    };
    match seconds {
        Some(seconds) if seconds > 0.0 => {
            Duration::try_from_secs_f64(seconds).unwrap_or(MAX_LIFETIME).min(MAX_LIFETIME)
        }
        Some(_) | None => DEFAULT_LIFETIME,
    }
}

/// Returns the body's fields under names without casing and underscores.
fn parse_fields(body: &[u8]) -> Option<Map<String, Value>> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        return None;
    };
    let plain = |name: String| name.replace('_', "").to_ascii_lowercase();
    Some(fields.into_iter().map(|(name, value)| (plain(name), value)).collect())
}

fn is_html(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// Life of a token whose answer does not say: Nexudus advises not to assume "more than a few
/// minutes or hours".
const DEFAULT_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Longest life that is believed: 14 days is the longest that was seen.
const MAX_LIFETIME: Duration = Duration::from_secs(14 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn tokens_are_read_in_any_casing() {
        let body = r#"{"AccessToken":"a","RefreshToken":"r","ExpiresIn":"60","token_type":"x"}"#;

        let issued = answered(200, body).unwrap();

        let (access, refresh) = (Secret::new("a"), Some(Secret::new("r")));
        assert_eq!(issued, TokenGrant { access, refresh, lifetime: Duration::from_secs(60) });
        assert_eq!(answered(200, r#"{"access_token":"a"}"#).unwrap().refresh, None);
    }

    #[test]
    fn a_life_is_believed_within_bounds() {
        for (said, seconds) in [
            ("604799", 604_799),
            ("\"86400\"", 86_400),
            ("2.0", 2),
            ("0", 1_800),
            ("-5", 1_800),
            ("null", 1_800),
            ("\"soon\"", 1_800),
            ("\"NaN\"", 1_800),
            ("99999999999", 14 * 86_400),
            ("1e300", 14 * 86_400),
        ] {
            let body = format!(r#"{{"access_token":"a","expires_in":{said}}}"#);
            assert_eq!(answered(200, &body).unwrap().lifetime.as_secs(), seconds, "{said}");
        }
    }

    #[test]
    fn the_body_decides_before_the_status() {
        for status in [200, 400, 401, 403, 500] {
            let failure = |body| answered(status, body).unwrap_err();
            let description = r#"{"error":"x","error_description":"Two_Factor_Auth_Check"}"#;
            assert_eq!(failure(r#"{"error":"two_factor_auth_check"}"#), TokenError::TotpRequired);
            assert_eq!(failure(description), TokenError::TotpRequired);
            assert_eq!(failure(r#"{"Error":"must_reset_password"}"#), TokenError::PasswordReset);
            assert_eq!(failure(r#"{"error":"INVALID_GRANT"}"#), TokenError::Refused);
            for body in
                [r#"{"error":"unsupported_grant_type"}"#, r#"{"error":"temporarily_unavailable"}"#]
            {
                assert!(matches!(failure(body), TokenError::Transient { .. }), "{status} {body}");
            }
        }
    }

    #[test]
    fn a_status_decides_where_the_body_says_nothing() {
        let page = "  <html>Request blocked</html>";
        for (status, body, expected) in [
            (400, "", "refused"),
            (401, page, "refused"),
            (400, r#"{"error":"other"}"#, "refused"),
            (403, r#"{"message":"no"}"#, "refused"),
            (403, page, "passing"),
            (403, "", "unclear"),
            (404, "", "passing"),
            (302, "", "passing"),
            (409, "", "passing"),
            (429, page, "passing"),
            (500, page, "unclear"),
            (501, "", "unclear"),
            (520, "", "unclear"),
            (502, page, "passing"),
            (503, "", "passing"),
            (504, "", "passing"),
        ] {
            let kind = match answered(status, body).unwrap_err() {
                TokenError::Refused => "refused",
                TokenError::Ambiguous(_) => "unclear",
                TokenError::Transient { .. } => "passing",
                other @ (TokenError::TotpRequired | TokenError::PasswordReset) => {
                    panic!("{other:?}")
                }
            };
            assert_eq!(kind, expected, "{status} {body}");
        }
    }

    #[test]
    fn a_success_without_a_usable_token_passes() {
        for body in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":7}"#,
            r#"{"access_token":"a\nb"}"#,
            r#"{"access_token":"é"}"#,
        ] {
            let failure = answered(200, body).unwrap_err();
            assert!(matches!(failure, TokenError::Transient { .. }), "{body}: {failure:?}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            parse_retry_after(&headers)
        };
        assert_eq!(read("3"), Some(Duration::from_secs(3)));
        assert_eq!(read("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(read("-1"), None);
        assert_eq!(read("soon"), None);
    }

    fn answered(status: u16, body: &str) -> Result<TokenGrant, TokenError> {
        let status = StatusCode::from_u16(status).unwrap();
        parse(&TokenResponse { status, retry_after: None, body: body.as_bytes() })
    }
}
