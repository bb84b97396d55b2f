//! Which request headers the upstream gets, and what header names mean to this proxy.
//!
//! Names are compared with `_` read as `-`: servers behind CGI-like layers cannot distinguish them
//! (CVE-2025-64484). Headers that `Connection` names are dropped first, so that no client can
//! remove a header that we add (CVE-2025-48865).

use std::borrow::Cow;

use http::header::{CONNECTION, COOKIE};
use http::{HeaderMap, HeaderName};

use crate::upstream::MAX_CONNECTION_OPTIONS;

/// Says whether the upstream gets this header of a client. `nominating` comes from
/// [`with_connection_options`].
pub(super) fn forwards_request_header(
    name: &HeaderName,
    nominating: Option<&HeaderMap>,
    has_cookies: bool,
) -> bool {
    if has_cookies && name == COOKIE {
        return !nominating.is_some_and(|all| is_connection_option(name.as_str(), all));
    }
    let name = &*with_dashes(name.as_str());
    !is_hop_by_hop(name)
        && !is_reserved(name)
        && !nominating.is_some_and(|all| is_connection_option(name, all))
}

/// Says whether a header is the client's trace (W3C Trace Context). Never its baggage, which may
/// hold anything.
pub(super) fn is_trace_header(name: &HeaderName, nominating: Option<&HeaderMap>) -> bool {
    matches!(name.as_str(), "traceparent" | "tracestate")
        && !nominating.is_some_and(|all| is_connection_option(name.as_str(), all))
}

/// Headers about this connection only, or set by the daemon itself.
pub(super) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            // Set anew from the body that is sent.
            | "content-length"
            // Handled here: the daemon requests the body once the request may be sent.
            | "expect"
            | "host"
    )
}

/// Headers by which a client would speak in our name, or change the request that was checked.
fn is_reserved(name: &str) -> bool {
    matches!(
        name,
        "authorization"
            | "client-id"
            | "cookie"
            | "nexudus-proxy-key"
            | "forwarded"
            | "origin"
            | "referer"
            | "proxy"
            | "via"
            | "x-host"
            | "x-envoy-external-address"
            | "cloudfront-viewer-address"
            // For our log: they tell more about the client than Nexudus needs. See
            // `is_trace_header`.
            | "traceparent"
            | "tracestate"
            | "baggage"
    ) || is_method_override(name)
        || is_target_override(name)
        || name.starts_with("sec-fetch-")
        || name.starts_with("access-control-request-")
        || is_forwarding_header(name)
}

/// Says whether a header tells a server where a request came from before a proxy took it.
///
/// Only a proxy that the server knows may say so, and Nexudus does not know us: in a client's
/// header a server would find an address to trust, to limit or to log. Content networks and clouds
/// have many names for such headers. The check looks at what the names have in common, so that the
/// next one is covered too.
fn is_forwarding_header(name: &str) -> bool {
    // The address: `X-Real-IP`, `CF-Connecting-IP`, `X-ProxyUser-Ip`, `X-Azure-SocketIP`, …
    let is_address = || {
        ["ip", "ipv4", "ipv6", "addr"].iter().any(|end| {
            let before = name.strip_suffix(end);
            before.is_some_and(|before| {
                ["-", "client", "socket", "real", "remote"].iter().any(|it| before.ends_with(it))
            })
        })
    };
    // The headers in which ASP.NET and IIS record a request that they have rewritten; those of
    // Azure's front door, its application gateway and its app service; those of Google's App
    // Engine.
    let is_of_a_proxy = || {
        ["x-forwarded", "x-original-", "x-azure-", "x-arr-", "x-waws-", "x-appengine-"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    // A letter or three rule out most names: every header of every request pays for this check.
    let bytes = name.as_bytes();
    let may_end = matches!(bytes, [.., b'p' | b'4' | b'6' | b'r']);
    let may_start = matches!(bytes, [b'x', b'-', b'f' | b'o' | b'a' | b'w', ..]);
    (may_end && (is_address() || name.ends_with("forwarded-for"))) || (may_start && is_of_a_proxy())
}

/// Says whether some server would take another method or target from this header than those that
/// were checked.
pub(super) fn overrides_request(name: &HeaderName) -> bool {
    let name = &*with_dashes(name.as_str());
    is_method_override(name) || is_target_override(name)
}

/// Says whether a name in lower case, which may also stand in a query or a form, overrides the
/// method.
pub(super) fn overrides_method(name: &str) -> bool {
    is_method_override(&with_dashes(name))
}

/// ASP.NET MVC and Web API, OData, and frameworks that may stand before them.
fn is_method_override(name: &str) -> bool {
    matches!(
        name,
        "-method"
            | "http-method-override"
            | "x-http-method"
            | "x-http-method-override"
            | "x-method"
            | "x-method-override"
            | "x-original-method"
    )
}

/// ASP.NET's cookieless filter, IIS (URL Rewrite, App Service), WebDAV.
fn is_target_override(name: &str) -> bool {
    matches!(
        name,
        "aspfiltersessionid"
            | "destination"
            | "x-http-destinationurl"
            | "x-http-path-override"
            | "x-ms-original-url"
            | "x-original-uri"
            | "x-original-url"
            | "x-override-url"
            | "x-rewrite-url"
            | "x-waws-unencoded-url"
    )
}

/// Returns a name as servers read it that cannot tell `_` from `-`.
pub(super) fn with_dashes(name: &str) -> Cow<'_, str> {
    if name.contains('_') { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) }
}

/// Returns the headers if `Connection` names any among them that is not dropped anyway.
pub(super) fn with_connection_options(all: &HeaderMap) -> Option<&HeaderMap> {
    if !has_header(all, &CONNECTION) {
        return None;
    }
    let is_usual = |option: &[u8]| {
        option.eq_ignore_ascii_case(b"keep-alive") || option.eq_ignore_ascii_case(b"close")
    };
    let is_nominating = connection_options(all).any(|option| !is_usual(option));
    is_nominating.then_some(all)
}

/// Says whether `Connection` names this header (RFC 9110 §7.6.1).
pub(super) fn is_connection_option(name: &str, all: &HeaderMap) -> bool {
    connection_options(all).any(|option| is_same_name(option, name.as_bytes()))
}

/// Compares two names as servers do that cannot tell `_` from `-`.
fn is_same_name(one: &[u8], other: &[u8]) -> bool {
    let folded = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| folded(*one) == folded(*other))
}

/// Says whether `Connection` names more options than any client needs. Each option is compared with
/// each header: 29,000 options took 11 ms of the thread that all clients share.
pub(super) fn has_too_many_options(all: &HeaderMap) -> bool {
    has_header(all, &CONNECTION) && connection_options(all).nth(MAX_CONNECTION_OPTIONS).is_some()
}

/// Says whether a header is there. A walk over the few names costs less than a lookup.
pub(super) fn has_header(all: &HeaderMap, name: &HeaderName) -> bool {
    all.keys().any(|it| it == name)
}

fn connection_options(all: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = all.get_all(CONNECTION).iter();
    let options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests;
