//! Finds method and target overrides: `_method`, `X-HTTP-Method-Override` and the like.
//!
//! ASP.NET MVC takes the method of a POST from a header, from the query or from a form. Such
//! headers are never forwarded. Queries and forms are forwarded unchanged, so that a limited client
//! may not send an override in them: its rules were checked for another method. A form is searched
//! if all of it is buffered (`limits.replay_body`), in UTF-8 and not compressed; any other form is
//! unknown.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use memchr::memchr_iter;

use super::{headers, path_interpretations};
use crate::upstream::ReplayBody;

/// Whether a body overrides the method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OverrideScan {
    /// The body is no form, or names no other method.
    Absent,
    /// The body names another method.
    Present,
    /// The body cannot be searched.
    Unknown,
}

/// Says whether a header overrides the method or the target.
pub(super) fn in_headers(headers: &HeaderMap) -> bool {
    headers.keys().any(headers::overrides_request)
}

/// Says whether a field of a query overrides the method.
pub(super) fn in_query(query: &str) -> bool {
    let fields = query.split(['&', ';', '?', '#']).map(str::as_bytes);
    // A query that costs too much to search counts as one with an override.
    scan_names(fields) != OverrideScan::Absent
}

/// Searches a form for a field that overrides the method.
pub(super) fn in_body(headers: &HeaderMap, body: &ReplayBody) -> OverrideScan {
    let types = || headers.get_all(CONTENT_TYPE).iter().map(|value| value.as_bytes());
    let is = |kind: &'static [u8]| {
        types().any(|value| value.get(..kind.len()).is_some_and(|it| it.eq_ignore_ascii_case(kind)))
    };
    let (is_form, is_multipart) = (is(b"application/x-www-form-urlencoded"), is(b"multipart/"));
    if !is_form && !is_multipart {
        return OverrideScan::Absent;
    }
    let bytes = match body {
        ReplayBody::Empty => return OverrideScan::Absent,
        ReplayBody::Buffered(bytes, _) => bytes,
        ReplayBody::Streamed(_) => return OverrideScan::Unknown,
    };
    if headers.contains_key(CONTENT_ENCODING) || types().any(has_unknown_charset) {
        return OverrideScan::Unknown;
    }
    if is_multipart {
        return scan_multipart(bytes);
    }
    scan_names(bytes.split(|byte| matches!(byte, b'&' | b';')))
}

/// Checks the name of each of these fields. All of them together cost a bounded amount of work.
fn scan_names<'a>(mut fields: impl Iterator<Item = &'a [u8]>) -> OverrideScan {
    let mut left = MAX_DECODING_WORK;
    let found = fields.find_map(|field| {
        let name = field.split(|byte| *byte == b'=').next().unwrap_or_default();
        match is_override(name, &mut left) {
            Some(false) => None,
            Some(true) => Some(OverrideScan::Present),
            None => Some(OverrideScan::Unknown),
        }
    });
    found.unwrap_or(OverrideScan::Absent)
}

/// Says whether the name of a field overrides the method under any decoding; `None` if decoding
/// takes more work than is `left`.
fn is_override(name: &[u8], left: &mut usize) -> Option<bool> {
    let is_plain = |byte: &u8| byte.is_ascii() && !matches!(byte, b'%' | b'+' | 0);
    if name.iter().all(is_plain) {
        // The length of the longest override; a longer name is none.
        let mut lower = [0; 24];
        let Some(lower) = lower.get_mut(..name.trim_ascii().len()) else { return Some(false) };
        lower.copy_from_slice(name.trim_ascii());
        lower.make_ascii_lowercase();
        return Some(std::str::from_utf8(lower).is_ok_and(headers::overrides_method));
    }
    let variants = path_interpretations::name_variants(name, left)?;
    // To some servers a NUL ends a name.
    let overrides = |name: &str| headers::overrides_method(name.trim());
    Some(variants.iter().any(|name| overrides(name) || name.split('\0').any(overrides)))
}

/// Searches a multipart body for such a name anywhere: servers differ in how they read its heads.
fn scan_multipart(body: &[u8]) -> OverrideScan {
    if has_encoded_part_name(body) {
        return OverrideScan::Unknown;
    }
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    scan_names(body.split(|byte| !is_part(byte)))
}

/// Says whether the name of a part may be encoded in a way that not all servers decode: as in mail
/// (RFC 2047), as an extended parameter (RFC 8187), with escapes, in percent-encoding.
fn has_encoded_part_name(body: &[u8]) -> bool {
    let (before, after) = (&b"content"[..], &b"-disposition"[..]);
    // No head is searched twice.
    let mut seen = 0;
    memchr_iter(b'-', body).any(|at| {
        let (head, rest) = body.split_at(at);
        let is_disposition = at >= seen
            && rest.get(..after.len()).is_some_and(|it| it.eq_ignore_ascii_case(after))
            && head
                .len()
                .checked_sub(before.len())
                .is_some_and(|start| head[start..].eq_ignore_ascii_case(before));
        if !is_disposition {
            return false;
        }
        let ends = |window: &[u8]| window == b"\n\r\n" || window.starts_with(b"\n\n");
        let end = rest.windows(3).position(ends).unwrap_or(rest.len());
        seen = at + end;
        let fields = &rest[..end];
        // A `*` marks an extended parameter, or one in pieces.
        fields.iter().any(|byte| matches!(byte, b'\\' | b'%' | b'*'))
            || fields.windows(2).any(|pair| pair == b"=?")
    })
}

/// Says whether a form may be in a charset that does not contain ASCII, such as UTF-16 and EBCDIC.
pub(super) fn has_unknown_charset(content_type: &[u8]) -> bool {
    let lower = content_type.to_ascii_lowercase();
    let Some(at) = lower.windows(7).position(|word| word == b"charset") else { return false };
    let value = lower[at + 7..].trim_ascii_start().strip_prefix(b"=").unwrap_or_default();
    let value = value.trim_ascii_start();
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    let end = value.iter().position(|byte| matches!(byte, b';' | b'"' | b' ' | b'\t'));
    let is_usual = [&b"utf-8"[..], b"utf8", b"us-ascii", b"iso-8859-1", b"windows-1252"]
        .contains(&&value[..end.unwrap_or(value.len())]);
    // A server may take a second charset as well as the first.
    !is_usual || has_unknown_charset(&lower[at + 7..])
}

/// The work of decoding the names of one query or form, as `name_variants` counts it: a few
/// milliseconds. Plain names cost nothing.
pub(super) const MAX_DECODING_WORK: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn a_query_is_searched_for_every_spelling_of_a_name() {
        for query in [
            "_method=DELETE",
            "a=b&X-HTTP-Method-Override=DELETE",
            "x_http_method=PUT",
            "a;_METHOD=PUT",
            "%5Fmethod=PUT",
            "%255fme%74hod=PUT",
            "+_method=PUT",
            "_method",
            "_m%C3%A9thod=PUT",
            "_meth%E2%80%8Bod=PUT",
            "X-Method-Override=DELETE",
            "_method%00=PUT",
            "_method%2500x=PUT",
        ] {
            assert!(in_query(query), "{query}");
        }
        for query in [
            "",
            "size=100",
            "method=1",
            "Invoice_PaymentMethod=x",
            "q=_method",
            "a%20b=c",
            "destination=x",
        ] {
            assert!(!in_query(query), "{query}");
        }
    }

    #[test]
    fn a_form_is_searched_if_that_is_possible() {
        const URLENCODED: &str = "application/x-www-form-urlencoded";
        const PARTS: &str = "multipart/form-data; boundary=x";
        for (kind, body, found) in [
            (URLENCODED, "a=b&_method=DELETE", OverrideScan::Present),
            (
                "APPLICATION/X-WWW-Form-Urlencoded; charset=UTF-8",
                "%5fmethod=PUT",
                OverrideScan::Present,
            ),
            (URLENCODED, "a=_method&b=c", OverrideScan::Absent),
            ("application/x-www-form-urlencoded;charset=\"utf-16\"", "a=b", OverrideScan::Unknown),
            (
                "application/x-www-form-urlencoded;charset=utf-8;charset=IBM037",
                "a=b",
                OverrideScan::Unknown,
            ),
            (
                PARTS,
                "--x\r\nContent-Disposition: form-data; name=_Method\r\n\r\nPUT\r\n--x--",
                OverrideScan::Present,
            ),
            (
                PARTS,
                "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--x--",
                OverrideScan::Absent,
            ),
            (URLENCODED, "a=b&_method%00=PUT", OverrideScan::Present),
            (URLENCODED, "a=b&_method%00x=PUT", OverrideScan::Present),
            (URLENCODED, "_method\0=PUT", OverrideScan::Present),
            ("application/json", "{\"_method\":\"DELETE\"}", OverrideScan::Absent),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, kind.parse().unwrap());
            assert_eq!(in_body(&headers, &whole(body)), found, "{kind}: {body}");
        }
    }

    #[test]
    fn a_part_with_an_encoded_name_is_unknown() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "multipart/form-data; boundary=x".parse().unwrap());
        let form = |parameters: &str, value: &str| {
            let usual = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n%\\\r\n";
            format!(
                "{usual}--x\r\ncontent-DISPOSITION: form-data; {parameters}\r\n\r\n{value}\r\n--x--"
            )
        };
        for parameters in [
            "name=\"=?utf-8?B?X21ldGhvZA==?=\"",
            "name==?utf-8?Q?=5Fmethod?=",
            "name*=utf-8''%5Fmethod",
            "name*=utf-8''x",
            "name*0=_met; name*1=hod",
            "name=\"_met\\hod\"",
            "name=%5Fmethod",
            "\r\n name=\"%5Fmethod\"",
        ] {
            let body = form(parameters, "PUT");
            assert_eq!(in_body(&headers, &whole(body)), OverrideScan::Unknown, "{parameters}");
        }
        // What is in the parts does not count.
        let body = form("name=\"photo\"; filename=\"a b.png\"", "100% \\ =?x?= a*=b");
        assert_eq!(in_body(&headers, &whole(body)), OverrideScan::Absent);
    }

    #[test]
    fn odd_names_are_decoded_for_a_bounded_amount_of_work() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
        for field in ["%ff&", "%&", "+&", "%25&", "%ef%b7%ba&", "%ef%b7%ba", "%", "%ff"] {
            let form = field.repeat((1 << 20) / field.len());
            path_interpretations::reset_work();
            assert_eq!(in_body(&headers, &whole(form)), OverrideScan::Unknown, "{field}");
            assert!(
                path_interpretations::work() <= MAX_DECODING_WORK,
                "{field}: {}",
                path_interpretations::work()
            );
        }
        assert!(in_query(&"%&".repeat(8 << 10)));
        let plain = "name=%ff&".repeat(100 << 10) + &"Items%5B0%5D.Name=x&".repeat(1000);
        assert_eq!(in_body(&headers, &whole(plain)), OverrideScan::Absent);
        assert!(!in_query(&"Items%5B0%5D.Name=x&".repeat(500)));
    }

    #[test]
    fn a_form_that_is_compressed_or_too_large_is_unknown() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
        assert_eq!(in_body(&headers, &ReplayBody::Streamed(None)), OverrideScan::Unknown);
        assert_eq!(in_body(&headers, &ReplayBody::Empty), OverrideScan::Absent);
        headers.insert(CONTENT_ENCODING, "gzip".parse().unwrap());
        assert_eq!(in_body(&headers, &whole("a=b")), OverrideScan::Unknown);
    }

    fn whole(body: impl Into<Bytes>) -> ReplayBody {
        let permit = std::sync::Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        ReplayBody::Buffered(body.into(), permit)
    }
}
