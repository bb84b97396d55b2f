//! Where a request can say that it is another one than it looks: `_method`, `X-HTTP-Method-Override`.
//!
//! ASP.NET MVC takes the method of a POST from a header, from the query or from a form. The headers
//! never go up. What is in a query or a form goes up unchanged, so that a limited caller may not send
//! it: its rules are about another method. A form is looked through where all of it is here
//! (`limits.replay_body`), in UTF-8 and not compressed; any other form is not known.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use memchr::memchr_iter;

use super::headers;
use super::path_interpretations;
use crate::upstream::ReplayBody;

/// What a body says of the method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OverrideScan {
    /// It is none, or says nothing.
    Absent,
    /// Another one than the request's.
    Present,
    /// Nobody can know.
    Unknown,
}

/// Says whether a header field overrides the method or the target.
pub(super) fn in_headers(headers: &HeaderMap) -> bool {
    headers.keys().any(headers::overrides_request)
}

/// Says whether a query has a field that does.
pub(super) fn in_query(query: &str) -> bool {
    let fields = query.split(['&', ';', '?', '#']).map(str::as_bytes);
    // What costs too much to look through is refused as what it may be.
    scan_names(fields) != OverrideScan::Absent
}

/// Looks for such a field in the form that a body is.
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
    match is_multipart {
        true if has_encoded_part_name(bytes) => OverrideScan::Unknown,
        true => scan_multipart(bytes),
        false => scan_names(bytes.split(|byte| matches!(byte, b'&' | b';'))),
    }
}

/// Looks at the name of each of these fields. All of them together cost a bounded amount of work.
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

/// Says whether a field of a form or a query has such a name, under every decoding, or `None` if
/// decoding it takes more work than is `left`.
fn is_override(name: &[u8], left: &mut usize) -> Option<bool> {
    let is_plain = |byte: &u8| byte.is_ascii() && !matches!(byte, b'%' | b'+' | 0);
    if name.iter().all(is_plain) {
        // As long as the longest; a name that is longer is another.
        let mut lower = [0; 24];
        let Some(lower) = lower.get_mut(..name.trim_ascii().len()) else { return Some(false) };
        lower.copy_from_slice(name.trim_ascii());
        lower.make_ascii_lowercase();
        return Some(std::str::from_utf8(lower).is_ok_and(headers::overrides_method));
    }
    let words = path_interpretations::name_variants(name, left)?;
    // To some servers a NUL ends a name.
    let is_it = |name: &str| headers::overrides_method(name.trim());
    Some(words.iter().any(|name| is_it(name) || name.split('\0').any(is_it)))
}

/// Says whether a body in parts names such a field anywhere: how its heads are read depends on the
/// server.
fn scan_multipart(body: &[u8]) -> OverrideScan {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    scan_names(body.split(|byte| !is_part(byte)))
}

/// Says whether a part's name may be encoded in a way of which servers differ: as in mail (RFC 2047),
/// as an extended parameter (RFC 8187), with escapes, in percent-encoding.
fn has_encoded_part_name(body: &[u8]) -> bool {
    let (before, after) = (&b"content"[..], &b"-disposition"[..]);
    // A head that was looked through is not looked through again.
    let mut seen = 0;
    memchr_iter(b'-', body).any(|at| {
        let (head, rest) = body.split_at(at);
        let is_it = at >= seen
            && rest.get(..after.len()).is_some_and(|it| it.eq_ignore_ascii_case(after))
            && head
                .len()
                .checked_sub(before.len())
                .is_some_and(|start| head[start..].eq_ignore_ascii_case(before));
        if !is_it {
            return false;
        }
        let ends = |window: &[u8]| window == b"\n\r\n" || window.starts_with(b"\n\n");
        let end = rest.windows(3).position(ends).unwrap_or(rest.len());
        seen = at + end;
        let fields = &rest[..end];
        // A `*` belongs to an extended parameter, or to one in pieces.
        fields.iter().any(|byte| matches!(byte, b'\\' | b'%' | b'*'))
            || fields.windows(2).any(|pair| pair == b"=?")
    })
}

/// Says whether a form may be in letters of which ASCII is not a part, as UTF-16 and EBCDIC.
fn has_unknown_charset(content_type: &[u8]) -> bool {
    let lower = content_type.to_ascii_lowercase();
    let Some(at) = lower.windows(7).position(|word| word == b"charset") else { return false };
    let value = lower[at + 7..].trim_ascii_start().strip_prefix(b"=").unwrap_or_default();
    let value = value.trim_ascii_start();
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    let end = value.iter().position(|byte| matches!(byte, b';' | b'"' | b' ' | b'\t'));
    let is_usual = [&b"utf-8"[..], b"utf8", b"us-ascii", b"iso-8859-1", b"windows-1252"]
        .contains(&&value[..end.unwrap_or(value.len())]);
    // A second one would be as good as the first.
    !is_usual || has_unknown_charset(&lower[at + 7..])
}

/// The work of decoding the names of one query or form, as `target::words` counts it: a few
/// milliseconds. Plain names cost none of it.
const MAX_DECODING_WORK: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn a_query_is_looked_through_in_every_spelling_of_a_name() {
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
    fn a_form_is_looked_through_where_it_can_be() {
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
    fn a_part_whose_name_may_be_encoded_is_not_known() {
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
    fn a_form_that_is_compressed_or_too_large_is_not_known() {
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
