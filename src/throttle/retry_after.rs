//! Which responses are throttle responses, and how long they ask to wait.
//!
//! Documented is `409 You must wait before accessing this url again.` with `Retry-After: 1` and no
//! body (developers.nexudus.com/reference/api-limitations); clients also expect 429. The reason
//! phrase is ignored: HTTP/2 has none. Without the header the wait was seen in a sentence of the
//! body: `Wait 1.5 seconds`.

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
    /// The beginning of the body, where [`ResponseHead::needs_text`] asks for it; else empty.
    pub text: &'a [u8],
}

/// A throttle response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ThrottleResponse {
    /// How long the response asks to wait.
    pub(super) retry_after: Option<Duration>,
    /// Whether the response shows that a write was not executed, as far as we infer that at all.
    pub(super) repeats_writes: bool,
}

impl ResponseHead<'_> {
    /// Says whether the body may hold the wait: the status is one of a throttle response, and the
    /// head does not say when to come back.
    pub fn needs_text(&self) -> bool {
        matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT)
            && !self.is_end_of_stream
            && !self.headers.contains_key(RETRY_AFTER)
    }

    /// Recognizes a throttle response: every 429, and a 409 with `Retry-After`, without a body, or
    /// with a wait of at most `max_wait` in its body. Any other 409 is a real conflict.
    pub(super) fn throttle_response(
        &self,
        method: &Method,
        max_wait: Duration,
        now: impl FnOnce() -> SystemTime,
    ) -> Option<ThrottleResponse> {
        let is_conflict = match self.status {
            StatusCode::TOO_MANY_REQUESTS => false,
            StatusCode::CONFLICT => true,
            _ => return None,
        };
        if self.headers.contains_key(RETRY_AFTER) {
            let retry_after = parse_retry_after(self.headers, now);
            return Some(ThrottleResponse { retry_after, repeats_writes: retry_after.is_some() });
        }
        let told = parse_wait_sentence(self.text).filter(|wait| *wait <= max_wait);
        let throttled = !is_conflict || told.is_some() || self.is_empty(method);
        // A sentence may also be about a booking that must wait: a conflict is never repeated for
        // the sake of one.
        let repeats_writes = told.is_some() && !is_conflict;
        throttled.then_some(ThrottleResponse { retry_after: told, repeats_writes })
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

/// Finds the sentence `Wait N seconds`, in any case and with decimals or not. A text that gives two
/// different waits gives none.
fn parse_wait_sentence(text: &[u8]) -> Option<Duration> {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let mut told = None;
    for (at, word) in text.match_indices("wait") {
        let is_word = !text[..at].ends_with(|letter: char| letter.is_alphanumeric());
        let wait = parse_seconds(&text[at + word.len()..]).filter(|_| is_word);
        if wait.is_some() && told.is_some() && told != wait {
            return None;
        }
        told = told.or(wait);
    }
    told
}

/// Parses ` N seconds` at the beginning of a text. Zero is no wait.
fn parse_seconds(text: &str) -> Option<Duration> {
    let from = text.trim_start();
    let rest = from.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let digits = &from[..from.len() - rest.len()];
    let unit = rest.trim_start().strip_prefix("second")?;
    let after = unit.strip_prefix('s').unwrap_or(unit);
    let is_apart = from.len() < text.len() && unit.len() + "second".len() < rest.len();
    let is_whole = !after.starts_with(|letter: char| letter.is_alphanumeric());
    let is_number = digits.starts_with(|letter: char| letter.is_ascii_digit())
        && digits.ends_with(|letter: char| letter.is_ascii_digit());
    let seconds = digits.parse().ok().filter(|_| is_apart && is_whole && is_number)?;
    let wait = Duration::try_from_secs_f64(seconds).ok()?;
    (!wait.is_zero()).then(|| wait.max(MIN_RETRY_AFTER))
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
    fn a_wait_in_the_body_counts_where_the_head_gives_none() {
        let told = |status, text: &str| {
            let headers = HeaderMap::new();
            let status = StatusCode::from_u16(status).unwrap();
            let response = ResponseHead {
                status,
                headers: &headers,
                is_end_of_stream: text.is_empty(),
                text: text.as_bytes(),
            };
            let found =
                response.throttle_response(&Method::POST, Duration::from_secs(20), SystemTime::now);
            found.map(|it| (it.retry_after.map(|wait| wait.as_millis()), it.repeats_writes))
        };
        for (text, millis) in [
            ("Wait 3 seconds", 3_000),
            ("You must wait 1.25 seconds before accessing this url again.", 1_250),
            (
                r#"{"Message":"Please WAIT 0.5 second.","Errors":[{"Message":"wait 0.5 seconds"}]}"#,
                500,
            ),
            ("Wait 20 seconds.", 20_000),
            ("Wait 0.001 seconds", 50),
            ("Zu viele Anfragen \u{2013} wait 2\u{a0}seconds", 2_000),
        ] {
            assert_eq!(told(429, text), Some((Some(millis), true)), "{text}");
            assert_eq!(told(409, text), Some((Some(millis), false)), "{text}");
        }
        for text in [
            "Wait 20.1 seconds",
            "Wait 3600 seconds",
            "Wait 1 seconds. Wait 2 seconds.",
            "Wait 0 seconds",
            "Wait -1 seconds",
            "Wait 1 minute",
            "Wait 1.2.3 seconds",
            "Wait . seconds",
            "Wait 1e3 seconds",
            "Wait3 seconds",
            "Wait 3seconds",
            "Await 3 seconds",
            "Wait 3 secondsets",
            "Wait for 3 seconds",
            "The booking overlaps another one.",
        ] {
            assert_eq!(told(429, text), Some((None, false)), "{text}");
            assert_eq!(told(409, text), None, "{text}");
        }
    }

    #[test]
    fn a_body_is_needed_only_where_the_head_does_not_say_when() {
        let needs = |status, headers: &HeaderMap, is_end_of_stream| {
            let status = StatusCode::from_u16(status).unwrap();
            ResponseHead { status, headers, is_end_of_stream, text: b"" }.needs_text()
        };
        let none = HeaderMap::new();
        let some = HeaderMap::from_iter([(RETRY_AFTER, http::HeaderValue::from_static("1"))]);

        assert!(needs(429, &none, false) && needs(409, &none, false));
        assert!(!needs(429, &some, false) && !needs(429, &none, true));
        assert!(!needs(200, &none, false) && !needs(503, &none, false));
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
        let response =
            ResponseHead { status, headers: &headers, is_end_of_stream: ended, text: b"" };
        let wait = Duration::from_secs(20);
        let throttled = response.throttle_response(method, wait, SystemTime::now)?;
        Some(throttled.retry_after.map(|wait| wait.as_millis()))
    }
}
