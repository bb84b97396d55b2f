//! Which answers are throttle answers, and how long they ask to wait.
//!
//! Documented is `409 You must wait before accessing this url again.` with `Retry-After: 1` and no
//! body (developers.nexudus.com/reference/api-limitations); clients also expect 429. The reason
//! phrase is not looked at: HTTP/2 has none.

use std::time::{Duration, SystemTime};

use http::header::{CONTENT_LENGTH, DATE, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode};

/// The head of an answer, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: &'a HeaderMap,
    /// Whether nothing came after the head.
    pub is_end_of_stream: bool,
}

/// A throttle answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ThrottleResponse {
    /// How long it asks to wait.
    pub(super) retry_after: Option<Duration>,
}

impl ResponseHead<'_> {
    /// Tells a throttle answer from any other: every 429, and a 409 that says when to come back or
    /// says nothing at all. A 409 with a body and without `Retry-After` is a real conflict.
    pub(super) fn throttle_response(
        &self,
        method: &Method,
        now: impl FnOnce() -> SystemTime,
    ) -> Option<ThrottleResponse> {
        let told = || self.headers.contains_key(RETRY_AFTER);
        let throttled = match self.status {
            StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::CONFLICT => told() || self.is_empty(method),
            _ => false,
        };
        throttled.then(|| ThrottleResponse { retry_after: parse_retry_after(self.headers, now) })
    }

    /// An answer to HEAD never has a body: what counts is the length it announces.
    fn is_empty(&self, method: &Method) -> bool {
        match self.headers.get(CONTENT_LENGTH) {
            Some(length) => length == "0",
            None => self.is_end_of_stream && method != Method::HEAD,
        }
    }
}

/// Reads `Retry-After`: seconds, with a fraction or not, or a date, which is compared with the
/// answer's own `Date`, so that neither clock needs to be right. Nonsense, zero and the past say
/// as little as a missing field.
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

/// A window shorter than this cannot be told from the network's own hesitation.
const MIN_RETRY_AFTER: Duration = Duration::from_millis(50);

/// No published window is longer than a day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_429_a_409_with_a_date_to_return_and_an_empty_409_are_throttle_answers() {
        assert_eq!(judged(429, &[], false), Some(None));
        assert_eq!(judged(409, &[("retry-after", "1")], false), Some(Some(1_000)));
        assert_eq!(judged(409, &[("content-length", "0")], true), Some(None));
        assert_eq!(judged(409, &[], true), Some(None));
    }

    #[test]
    fn a_conflict_with_words_and_every_other_status_are_not() {
        assert_eq!(judged(409, &[("content-length", "12")], false), None);
        assert_eq!(judged(409, &[], false), None);
        for status in [200, 401, 403, 500, 502, 503, 504] {
            assert_eq!(judged(status, &[("retry-after", "1")], true), None, "{status}");
        }
    }

    #[test]
    fn a_409_to_head_is_judged_by_the_length_it_announces() {
        let head = |fields| judged_for(&Method::HEAD, 409, fields, true);
        assert_eq!(head(&[("content-length", "0")]), Some(None));
        assert_eq!(head(&[("content-length", "40")]), None);
        assert_eq!(head(&[]), None);
    }

    #[test]
    fn retry_after_is_read_in_every_form() {
        let told = |text| judged(429, &[("retry-after", text)], true).unwrap();
        assert_eq!(told("7"), Some(7_000));
        assert_eq!(told(" 0.25 "), Some(250));
        assert_eq!(told("0.001"), Some(50));
        assert_eq!(told("999999999"), Some(86_400_000));
        for nothing in ["0", "-1", "soon", "", "NaN", "1e400", "Thu, 01 Jan 1970 00:00:01 GMT"] {
            assert_eq!(told(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_date_is_compared_with_the_servers_own_clock() {
        let date = ("date", "Tue, 06 Jan 2026 10:00:00 GMT");
        let retry = ("retry-after", "Tue, 06 Jan 2026 10:00:05 GMT");
        assert_eq!(judged(429, &[date, retry], true), Some(Some(5_000)));
    }

    fn judged(status: u16, fields: &[(&'static str, &str)], ended: bool) -> Option<Option<u128>> {
        judged_for(&Method::GET, status, fields, ended)
    }

    fn judged_for(
        method: &Method,
        status: u16,
        fields: &[(&'static str, &str)],
        ended: bool,
    ) -> Option<Option<u128>> {
        let fields = fields.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_str(value).unwrap())
        });
        let headers = fields.collect();
        let status = StatusCode::from_u16(status).unwrap();
        let answer = ResponseHead { status, headers: &headers, is_end_of_stream: ended };
        let throttled = answer.throttle_response(method, SystemTime::now)?;
        Some(throttled.retry_after.map(|wait| wait.as_millis()))
    }
}
