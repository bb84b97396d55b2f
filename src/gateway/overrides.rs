//! Where a request can say that it is another one than it looks: `_method`, `X-HTTP-Method-Override`.
//!
//! ASP.NET MVC takes the method of a POST from a header, from the query or from a form. The headers
//! never go up. What is in a query or a form goes up unchanged, so that a limited caller may not send
//! it: its rules are about another method. A form is looked through where all of it is here
//! (`limits.replay_body`), in UTF-8 and not compressed; any other form is not known.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::headers;
use super::target;
use crate::upstream::Kept;

/// What a body says of the method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// It is none, or says nothing.
    Plain,
    /// Another one than the request's.
    Overriding,
    /// Nobody can know.
    Unknown,
}

/// Says whether a header field overrides the method or the target.
pub(super) fn in_head(headers: &HeaderMap) -> bool {
    headers.keys().any(headers::overrides)
}

/// Says whether a query has a field that does.
pub(super) fn in_query(query: &str) -> bool {
    query.split(['&', ';', '?', '#']).any(|field| {
        let name = field.split('=').next().unwrap_or_default();
        is_override(name.as_bytes())
    })
}

/// Looks for such a field in the form that a body is.
pub(super) fn in_body(headers: &HeaderMap, body: &Kept) -> Form {
    let types = || headers.get_all(CONTENT_TYPE).iter().map(|value| value.as_bytes());
    let is = |kind: &'static [u8]| {
        types().any(|value| value.get(..kind.len()).is_some_and(|it| it.eq_ignore_ascii_case(kind)))
    };
    let (is_form, is_multipart) = (is(b"application/x-www-form-urlencoded"), is(b"multipart/"));
    if !is_form && !is_multipart {
        return Form::Plain;
    }
    let bytes = match body {
        Kept::Empty => return Form::Plain,
        Kept::Whole(bytes, _) => bytes,
        Kept::Once(_) => return Form::Unknown,
    };
    if headers.contains_key(CONTENT_ENCODING) || types().any(has_odd_charset) {
        return Form::Unknown;
    }
    let found = match is_multipart {
        true => mentions(bytes),
        false => bytes
            .split(|byte| matches!(byte, b'&' | b';'))
            .any(|field| is_override(field.split(|byte| *byte == b'=').next().unwrap_or_default())),
    };
    if found { Form::Overriding } else { Form::Plain }
}

/// Says whether a field of a form or a query has such a name, under every decoding.
fn is_override(name: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii() && !matches!(byte, b'%' | b'+');
    if name.iter().all(is_plain) {
        // As long as the longest; a name that is longer is another.
        let mut lower = [0; 24];
        let Some(lower) = lower.get_mut(..name.trim_ascii().len()) else { return false };
        lower.copy_from_slice(name.trim_ascii());
        lower.make_ascii_lowercase();
        return std::str::from_utf8(lower).is_ok_and(headers::overrides_method);
    }
    target::words(name).iter().any(|name| headers::overrides_method(name.trim()))
}

/// Says whether a body in parts names such a field anywhere: how its heads are read depends on the
/// server.
fn mentions(body: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    body.split(|byte| !is_part(byte)).any(is_override)
}

/// Says whether a form may be in letters of which ASCII is not a part, as UTF-16 and EBCDIC.
fn has_odd_charset(content_type: &[u8]) -> bool {
    let lower = content_type.to_ascii_lowercase();
    let Some(at) = lower.windows(7).position(|word| word == b"charset") else { return false };
    let value = lower[at + 7..].trim_ascii_start().strip_prefix(b"=").unwrap_or_default();
    let value = value.trim_ascii_start();
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    let end = value.iter().position(|byte| matches!(byte, b';' | b'"' | b' ' | b'\t'));
    let is_usual = [&b"utf-8"[..], b"utf8", b"us-ascii", b"iso-8859-1", b"windows-1252"]
        .contains(&&value[..end.unwrap_or(value.len())]);
    // A second one would be as good as the first.
    !is_usual || has_odd_charset(&lower[at + 7..])
}

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
            (URLENCODED, "a=b&_method=DELETE", Form::Overriding),
            ("APPLICATION/X-WWW-Form-Urlencoded; charset=UTF-8", "%5fmethod=PUT", Form::Overriding),
            (URLENCODED, "a=_method&b=c", Form::Plain),
            ("application/x-www-form-urlencoded;charset=\"utf-16\"", "a=b", Form::Unknown),
            (
                "application/x-www-form-urlencoded;charset=utf-8;charset=IBM037",
                "a=b",
                Form::Unknown,
            ),
            (
                PARTS,
                "--x\r\nContent-Disposition: form-data; name=_Method\r\n\r\nPUT\r\n--x--",
                Form::Overriding,
            ),
            (
                PARTS,
                "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--x--",
                Form::Plain,
            ),
            ("application/json", "{\"_method\":\"DELETE\"}", Form::Plain),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, kind.parse().unwrap());
            assert_eq!(in_body(&headers, &whole(body)), found, "{kind}: {body}");
        }
    }

    #[test]
    fn a_form_that_is_compressed_or_too_large_is_not_known() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
        assert_eq!(in_body(&headers, &Kept::Once(None)), Form::Unknown);
        assert_eq!(in_body(&headers, &Kept::Empty), Form::Plain);
        headers.insert(CONTENT_ENCODING, "gzip".parse().unwrap());
        assert_eq!(in_body(&headers, &whole("a=b")), Form::Unknown);
    }

    fn whole(body: &'static str) -> Kept {
        let permit = std::sync::Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        Kept::Whole(Bytes::from_static(body.as_bytes()), permit)
    }
}
