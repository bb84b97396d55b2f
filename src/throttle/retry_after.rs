//! Which responses are throttle responses, and how long they ask to wait.
//!
//! Documented is `409 You must wait before accessing this url again.` with `Retry-After: 1` and no
//! body (developers.nexudus.com/reference/api-limitations); clients also expect 429. The reason
//! phrase is ignored: HTTP/2 has none.

use std::time::{Duration, SystemTime};

use http::header::{CONTENT_LENGTH, DATE, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode};

/// The head of a response, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Whether nothing came after the head.
    pub is_end_of_stream: bool,
}

/// A throttle response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ThrottleResponse {
    /// How long the response asks to wait.
    pub(super) retry_after: Option<Duration>,
}

impl ResponseHead<'_> {
    /// Recognizes a throttle response: every 429, and a 409 with `Retry-After` or without a body. A
    /// 409 with a body and without `Retry-After` is a real conflict.
    pub(super) fn throttle_response(
        &self,
        method: &Method,
        now: impl FnOnce() -> SystemTime,
    ) -> Option<ThrottleResponse> {
        let has_retry_after = || self.headers.contains_key(RETRY_AFTER);
        let throttled = match self.status {
            StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::CONFLICT => has_retry_after() || self.is_empty(method),
            _ => false,
        };
        throttled.then(|| ThrottleResponse { retry_after: parse_retry_after(self.headers, now) })
    }

    /// A response to HEAD never has a body: the announced length decides.
    fn is_empty(&self, method: &Method) -> bool {
        match self.headers.get(CONTENT_LENGTH) {
            Some(length) => length == "0",
            None => self.is_end_of_stream && method != Method::HEAD,
        }
    }
}

/// Parses `Retry-After`: seconds, with a fraction or not, or a date, which is compared with the
/// response's own `Date`, so that neither clock needs to be right. A value that is malformed, zero
/// or in the past counts as missing.
fn parse_retry_after(headers: &HeaderMap, now: impl FnOnce() -> SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => {
            let sent = headers.get(DATE).and_then(|date| date.to_str().ok());
            let sent =
                sent.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(now);
            httpdate::parse_http_date(text).ok()?.duration_since(sent).ok()?
        }
    };
    (!wait.is_zero()).then(|| wait.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER))
}

/// Shorter windows cannot be distinguished from delays of the network.
const MIN_RETRY_AFTER: Duration = Duration::from_millis(50);

/// No published window is longer than a day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_429_and_a_409_with_retry_after_or_without_body_are_throttle_responses() {
        assert_eq!(recognized(429, &[], false), Some(None));
        assert_eq!(recognized(409, &[("retry-after", "1")], false), Some(Some(1_000)));
        assert_eq!(recognized(409, &[("content-length", "0")], true), Some(None));
        assert_eq!(recognized(409, &[], true), Some(None));
    }

    #[test]
    fn a_409_with_a_body_and_other_statuses_are_no_throttle_responses() {
        assert_eq!(recognized(409, &[("content-length", "12")], false), None);
        assert_eq!(recognized(409, &[], false), None);
        for status in [200, 401, 403, 500, 502, 503, 504] {
            assert_eq!(recognized(status, &[("retry-after", "1")], true), None, "{status}");
        }
    }

    #[test]
    fn a_409_to_head_is_recognized_by_the_length_it_announces() {
        let head = |headers| recognized_for(&Method::HEAD, 409, headers, true);
        assert_eq!(head(&[("content-length", "0")]), Some(None));
        assert_eq!(head(&[("content-length", "40")]), None);
        assert_eq!(head(&[]), None);
    }

    #[test]
    fn retry_after_is_read_in_every_form() {
        let retry_after = |text| recognized(429, &[("retry-after", text)], true).unwrap();
        assert_eq!(retry_after("7"), Some(7_000));
        assert_eq!(retry_after(" 0.25 "), Some(250));
        assert_eq!(retry_after("0.001"), Some(50));
        assert_eq!(retry_after("999999999"), Some(86_400_000));
        for nothing in ["0", "-1", "soon", "", "NaN", "1e400", "Thu, 01 Jan 1970 00:00:01 GMT"] {
            assert_eq!(retry_after(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_date_is_compared_with_the_servers_own_clock() {
        let date = ("date", "Tue, 06 Jan 2026 10:00:00 GMT");
        let retry = ("retry-after", "Tue, 06 Jan 2026 10:00:05 GMT");
        assert_eq!(recognized(429, &[date, retry], true), Some(Some(5_000)));
    }

    fn recognized(
        status: u16,
        headers: &[(&'static str, &str)],
        ended: bool,
    ) -> Option<Option<u128>> {
        recognized_for(&Method::GET, status, headers, ended)
    }

    fn recognized_for(
        method: &Method,
        status: u16,
        headers: &[(&'static str, &str)],
        ended: bool,
    ) -> Option<Option<u128>> {
        let pairs = headers.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_str(value).unwrap())
        });
        let headers = pairs.collect();
        let status = StatusCode::from_u16(status).unwrap();
        let response = ResponseHead { status, headers: &headers, is_end_of_stream: ended };
        let throttled = response.throttle_response(method, SystemTime::now)?;
        Some(throttled.retry_after.map(|wait| wait.as_millis()))
    }
}
