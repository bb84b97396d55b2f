//! Which response headers the client gets, and in which form.

use http::header::{CONTENT_LENGTH, LOCATION, SET_COOKIE, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use hyper::ext::ReasonPhrase;
use zeroize::Zeroizing;

use super::headers::{
    has_header, is_connection_option, is_hop_by_hop, with_connection_options, with_dashes,
};
use super::policy::Allowed;
use crate::config::Origin;
use crate::listen::insert_sandbox_headers;
use crate::session::Bearer;
use crate::upstream::Upstream;

/// Turns the head of an upstream response into one for the client: same status, our connection.
pub fn sanitize_response(
    head: &mut Parts,
    allowed: &Allowed,
    upstream: &Upstream,
    bearer: &Bearer,
) {
    // The versions of the two sides are independent: hyper responds in the client's.
    head.version = Version::HTTP_11;
    // RFC 9112 §6.3: a length means nothing beside a transfer coding.
    // RFC 9110 §8.6: nor in a response without content.
    if is_bodiless(head.status) || has_header(&head.headers, &TRANSFER_ENCODING) {
        head.headers.remove(CONTENT_LENGTH);
    }
    let nominating = with_connection_options(&head.headers);
    let mut is_named = false;
    let unwanted: Vec<HeaderName> = head
        .headers
        .iter()
        .filter(|(name, value)| {
            is_named |= **name == PROXY_STATUS && names_us(value);
            let is_dropped = *name == SET_COOKIE && !allowed.has_cookies();
            is_dropped || !forwards_response_header(name, value, nominating, bearer)
        })
        .map(|(name, _)| name.clone())
        .collect();
    for name in unwanted {
        head.headers.remove(name);
    }
    if is_named {
        rename_us(&mut head.headers);
    }
    if has_header(&head.headers, &LOCATION)
        && let Some(location) = head.headers.get(LOCATION)
        && let Some(local) = rewrite_location(location, allowed, upstream)
    {
        head.headers.insert(LOCATION, local);
    }
    let reason = head.extensions.get::<ReasonPhrase>();
    if reason.is_some_and(|reason| contains_token(reason.as_bytes(), bearer)) {
        head.extensions.remove::<ReasonPhrase>();
    }
    insert_sandbox_headers(&mut head.headers);
}

/// Says whether a response of this status ends with its head, whatever its headers say.
fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn forwards_response_header(
    name: &HeaderName,
    value: &HeaderValue,
    nominating: Option<&HeaderMap>,
    bearer: &Bearer,
) -> bool {
    let text = name.as_str();
    let is_length = text == "content-length";
    let passes = is_length || !is_hop_by_hop(&with_dashes(text));
    passes
        // Would send the client past this proxy, to a host that wants the token.
        && text != "alt-svc"
        && !text.starts_with("access-control-")
        && !is_for_browsers(text)
        && (is_length || !nominating.is_some_and(|all| is_connection_option(text, all)))
        && !contains_token(value.as_bytes(), bearer)
        && !contains_token(text.as_bytes(), bearer)
}

/// Says whether a text has our name in it, in any case.
fn names_us(value: &HeaderValue) -> bool {
    value.as_bytes().windows(OWN_NAME.len()).any(|part| part.eq_ignore_ascii_case(OWN_NAME))
}

/// Renames us in the `Proxy-Status` of the upstream (RFC 9209). Only the daemon itself speaks under
/// its name: `nexudus-proxy api` tells by it an error of the daemon from a response of Nexudus. The
/// upstream may be another nexudus-proxy, or this one in a loop, so that the members stay.
fn rename_us(headers: &mut HeaderMap) {
    let renamed = |value: &HeaderValue| {
        let (mut rest, mut text) = (value.as_bytes(), vec![]);
        while let Some(byte) = rest.first() {
            let is_us =
                rest.get(..OWN_NAME.len()).is_some_and(|it| it.eq_ignore_ascii_case(OWN_NAME));
            let (prefix, length) = if is_us { (RELAYED, OWN_NAME.len()) } else { (&b""[..], 1) };
            text.extend_from_slice(prefix);
            text.extend_from_slice(if is_us { OWN_NAME } else { std::slice::from_ref(byte) });
            rest = &rest[length..];
        }
        HeaderValue::from_bytes(&text).ok()
    };
    let values: Vec<_> = headers.get_all(PROXY_STATUS).iter().filter_map(renamed).collect();
    headers.remove(PROXY_STATUS);
    for value in values {
        headers.append(PROXY_STATUS, value);
    }
}

/// Headers that make a browser do more than show the response: report to others, register,
/// prefetch, go elsewhere, delete what other ports of this host have stored. No other program heeds
/// them.
fn is_for_browsers(name: &str) -> bool {
    matches!(
        name,
        "clear-site-data"
            | "content-security-policy-report-only"
            | "nel"
            | "refresh"
            | "report-to"
            | "reporting-endpoints"
            | "service-worker-allowed"
            | "sourcemap"
            | "speculation-rules"
            | "strict-transport-security"
            | "supports-loading-mode"
            | "timing-allow-origin"
            | "x-sourcemap"
    )
}

/// Says whether a text contains the token itself, in any case: header names come in lower case.
///
/// A text shorter than the token costs one comparison, a longer one no more than its length.
fn contains_token(text: &[u8], bearer: &Bearer) -> bool {
    let token = bearer.credential();
    !token.is_empty() && text.len() >= token.len() && contains_ignoring_case(text, token)
}

/// Says whether `text` contains `part`, in any case, in time proportional to both: a header of a
/// malicious host could contain nearly all of the token at each of its bytes.
fn contains_ignoring_case(text: &[u8], part: &[u8]) -> bool {
    // The standard library searches text in that time, and has no search for bytes.
    let lower = |bytes: &[u8]| {
        let letters = bytes.iter().map(|byte| char::from(byte.to_ascii_lowercase()));
        Zeroizing::new(letters.collect::<String>())
    };
    lower(text).contains(lower(part).as_str())
}

/// Rewrites an address on the upstream to the same address on this proxy. Others stay as they are.
fn rewrite_location(
    location: &HeaderValue,
    allowed: &Allowed,
    upstream: &Upstream,
) -> Option<HeaderValue> {
    let path = path_on(upstream.origin(), location.as_bytes())?;
    let here = allowed.head().headers.get(http::header::HOST)?.as_bytes();
    HeaderValue::from_bytes(&[b"http://", here, path].concat()).ok()
}

/// Returns what follows the authority in an address on `origin`.
///
/// A server behind a TLS end takes itself for one of plain HTTP, on port 80 or on its own: an
/// address with `http:` on the same host means the same place.
fn path_on<'a>(origin: &Origin, address: &'a [u8]) -> Option<&'a [u8]> {
    let colon = address.iter().position(|byte| matches!(byte, b':' | b'/'))?;
    let (scheme, rest) = match &address[..colon] {
        // An address without a scheme has the scheme of the response: the origin's.
        b"" => (&b"https"[..], address),
        scheme => (scheme, address[colon..].strip_prefix(b":")?),
    };
    let rest = rest.strip_prefix(b"//")?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let (host, path) = rest.split_at(end.unwrap_or(rest.len()));
    let is_http = scheme.eq_ignore_ascii_case(b"http");
    let (name, port) = split_port(host);
    let is_port = match port {
        None => is_http || origin.port() == 443,
        Some(port) => port == origin.port() || (is_http && port == 80),
    };
    let authority = origin.authority();
    let own_name = authority.strip_suffix(&format!(":{}", origin.port())).unwrap_or(&authority);
    let is_scheme = is_http || scheme.eq_ignore_ascii_case(b"https");
    (is_scheme && is_port && name.eq_ignore_ascii_case(own_name.as_bytes())).then_some(path)
}

/// Splits an authority into name and port. What is no port stays in the name, which then is no
/// name of ours.
fn split_port(host: &[u8]) -> (&[u8], Option<u16>) {
    let colon = host.iter().rposition(|byte| *byte == b':');
    let port = colon.and_then(|at| str::from_utf8(&host[at + 1..]).ok()?.parse().ok());
    match (colon, port) {
        (Some(at), Some(port)) => (&host[..at], Some(port)),
        _ => (host, None),
    }
}

/// The identifier in our own `Proxy-Status`.
const OWN_NAME: &[u8] = b"nexudus-proxy";

/// The prefix that our own name gets in a `Proxy-Status` of the upstream.
const RELAYED: &[u8] = b"relayed-";

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

#[cfg(test)]
mod tests;
