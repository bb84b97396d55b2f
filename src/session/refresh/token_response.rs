//! The meaning of the token endpoint's responses (RFC 6749 §5).
//!
//! The JSON's `error` and `error_description` decide first, the status second: Nexudus documents
//! 400 for a refused login, one of its pages says 401, and 500 has been seen. Field names are
//! read in any casing, and no text of a response ever becomes part of a message.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use crate::secret::Secret;
use crate::session::error::Cause;
use crate::session::token::TokenGrant;

/// A response as it came.
#[derive(Debug)]
pub(crate) struct TokenResponse<'a> {
    /// The status.
    pub(crate) status: StatusCode,
    /// When to come back, if the response says so.
    pub(crate) retry_after: Option<Duration>,
    /// The body.
    pub(crate) body: &'a [u8],
}

/// Why no tokens came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Nexudus does not accept what was offered.
    Refused,
    /// The account needs a 2FA code, or the code offered is wrong.
    TotpRequired,
    /// The account must set a new password first.
    PasswordReset,
    /// Nexudus may have checked what was offered, which may be wrong.
    Ambiguous(Cause),
    /// Nexudus did not check what was offered.
    Transient {
        /// When to come back, if the response says so.
        retry_after: Option<Duration>,
        /// The reason.
        cause: Cause,
    },
    /// A gateway responded in Nexudus's place, or the response is nonsense: a refresh token may be
    /// spent, and its successor lost.
    Unavailable {
        /// When to come back, if the response says so.
        retry_after: Option<Duration>,
        /// The reason.
        cause: Cause,
    },
}

impl TokenError {
    /// The token endpoint could not be reached, and why.
    pub(crate) fn unreachable(why: &str) -> Self {
        let cause = Cause::new(format!("the token endpoint cannot be reached: {why}"));
        Self::Transient { retry_after: None, cause }
    }

    /// The token endpoint is this daemon itself.
    pub(crate) fn looped(origin: &str) -> Self {
        Self::Transient { retry_after: None, cause: Cause::upstream_loop(origin) }
    }
}

/// Reads a response.
///
/// # Errors
///
/// One variant per kind of response that carries no tokens.
pub(crate) fn parse(response: &TokenResponse<'_>) -> Result<TokenGrant, TokenError> {
    let fields = parse_fields(response.body);
    if let Some(failure) = fields.as_ref().and_then(|fields| error_in_body(fields, response)) {
        return Err(failure);
    }
    let passing = |cause: &str| TokenError::Transient {
        retry_after: response.retry_after,
        cause: Cause::new(cause),
    };
    let unavailable = |cause: &str| TokenError::Unavailable {
        retry_after: response.retry_after,
        cause: Cause::new(cause),
    };
    let status = response.status;
    Err(match status.as_u16() {
        200..=299 => {
            let issued = fields.as_ref().and_then(parse_grant);
            let no_token = "the token endpoint's response holds no token";
            return issued.ok_or_else(|| unavailable(no_token));
        }
        // A firewall's page, such as CloudFront's "Request blocked".
        403 if is_html(response.body) => {
            passing("a web firewall in front of Nexudus blocks the request (403)")
        }
        403 if fields.is_none() => TokenError::Ambiguous(Cause::new(
            "the token endpoint responded with 403 without a reason",
        )),
        400 | 401 | 403 => TokenError::Refused,
        409 | 429 => passing("the token endpoint asks to slow down"),
        502..=504 => unavailable(&format!("the token endpoint is not available ({status})")),
        500..=599 => TokenError::Ambiguous(Cause::new(format!(
            "the token endpoint failed ({status}), which may also mean a wrong login"
        ))),
        _ => unavailable(&format!("the token endpoint gave an unexpected response ({status})")),
    })
}

/// Reads `Retry-After`: seconds, with a fraction or not, or a date.
pub(crate) fn parse_retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Returns the failure that the body names, whatever the status.
fn error_in_body(fields: &Map<String, Value>, response: &TokenResponse<'_>) -> Option<TokenError> {
    let text = |name| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let said = format!("{} {}", text("error"), text("errordescription")).to_lowercase();
    let passing = |cause: &str| TokenError::Transient {
        retry_after: response.retry_after,
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
    // A byte order mark is no part of JSON, and some servers send one (RFC 8259 §8.1).
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        return None;
    };
    let plain = |name: String| name.replace('_', "").to_ascii_lowercase();
    Some(fields.into_iter().map(|(name, value)| (plain(name), value)).collect())
}

fn is_html(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// Life of a token whose response gives none: Nexudus advises not to assume "more than a few
/// minutes or hours".
const DEFAULT_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Longest life that is believed: 14 days is the longest that was seen.
const MAX_LIFETIME: Duration = Duration::from_secs(14 * 24 * 60 * 60);

#[cfg(test)]
mod tests;
