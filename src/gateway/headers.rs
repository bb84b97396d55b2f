//! Which header fields pass, up and down.
//!
//! Names are compared with `_` read as `-`: servers behind CGI-like layers cannot tell them apart
//! (CVE-2025-64484). Fields that `Connection` names go first, so that no caller can remove what we
//! add (CVE-2025-48865).

use std::borrow::Cow;

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, LOCATION, SET_COOKIE, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::ext::ReasonPhrase;
use zeroize::Zeroizing;

use super::policy::Allowed;
use crate::config::Origin;
use crate::listen::insert_sandbox_headers;
use crate::session::Bearer;
use crate::upstream::{MAX_CONNECTION_OPTIONS, Upstream};

/// Says whether a caller's field goes to the upstream. `with_connection_options` are all its fields, if there is
/// a `Connection` among them.
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

/// Says whether a field is the caller's trace (W3C Trace Context). Never its baggage, which may hold
/// anything.
pub(super) fn is_trace_header(name: &HeaderName, nominating: Option<&HeaderMap>) -> bool {
    matches!(name.as_str(), "traceparent" | "tracestate")
        && !nominating.is_some_and(|all| is_connection_option(name.as_str(), all))
}

/// Fields that say something about this connection, or that the daemon sets itself.
fn is_hop_by_hop(name: &str) -> bool {
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
            // Set again from the body that is really sent.
            | "content-length"
            // Answered here: the body is asked for once the request may go.
            | "expect"
            | "host"
    )
}

/// Fields that would speak for the caller in our name, or change what was judged.
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
            // For our log: they say more of the caller than Nexudus needs. See `is_trace_header`.
            | "traceparent"
            | "tracestate"
            | "baggage"
    ) || is_method_override(name)
        || is_target_override(name)
        || name.starts_with("sec-fetch-")
        || name.starts_with("access-control-request-")
        || is_forwarding_header(name)
}

/// Says whether a field tells a server where a request came from before a proxy took it. Only a proxy
/// that the server knows may say so, and Nexudus does not know us: in a field of the caller's a server
/// would find an address to trust, to limit or to log. Content networks and clouds have many names for
/// the same; what is common to them counts, so that one more of them is no news.
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
    // What ASP.NET and IIS keep of a request that they have rewritten; Azure's front door, its
    // application gateway and its app service; Google's App Engine.
    let is_of_a_proxy = || {
        ["x-forwarded", "x-original-", "x-azure-", "x-arr-", "x-waws-", "x-appengine-"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    // Most names are told by a letter: every request pays for what is looked at here.
    let may_end = name.ends_with(['p', '4', '6', 'r']);
    (may_end && (is_address() || name.ends_with("forwarded-for")))
        || (name.starts_with("x-") && is_of_a_proxy())
}

/// Says whether some server takes another method or target from this field than those that were
/// judged.
pub(super) fn overrides_request(name: &HeaderName) -> bool {
    let name = &*with_dashes(name.as_str());
    is_method_override(name) || is_target_override(name)
}

/// Says the same of the method and of a name that may stand in a query or a form too, in lower case.
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

/// Writes a name as servers read it that cannot tell `_` from `-`.
fn with_dashes(name: &str) -> Cow<'_, str> {
    if name.contains('_') { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) }
}

/// Returns the fields if a `Connection` among them names any that is not dropped anyway.
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

/// Says whether a `Connection` field names it (RFC 9110 §7.6.1).
fn is_connection_option(name: &str, all: &HeaderMap) -> bool {
    connection_options(all).any(|option| is_same_name(option, name.as_bytes()))
}

/// Compares two names as servers do that cannot tell `_` from `-`.
fn is_same_name(one: &[u8], other: &[u8]) -> bool {
    let folded = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| folded(*one) == folded(*other))
}

/// Says whether `Connection` names more than anybody has reason to. Each name is compared with each
/// field: 29,000 of them took 11 ms of the thread that all callers share.
pub(super) fn has_too_many_options(all: &HeaderMap) -> bool {
    has_header(all, &CONNECTION) && connection_options(all).nth(MAX_CONNECTION_OPTIONS).is_some()
}

/// Says whether a field is there: a walk over the few names costs less than to look one up.
fn has_header(all: &HeaderMap, name: &HeaderName) -> bool {
    all.keys().any(|it| it == name)
}

fn connection_options(all: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = all.get_all(CONNECTION).iter();
    let options = fields.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.map(<[u8]>::trim_ascii)
}

/// Makes the head of an upstream answer fit for the caller: same status, our connection.
pub(super) fn sanitize_response(
    head: &mut Parts,
    allowed: &Allowed,
    upstream: &Upstream,
    bearer: &Bearer,
) {
    // Neither side's version is the other's business: hyper answers in the caller's.
    head.version = http::Version::HTTP_11;
    // RFC 9112 §6.3: beside a transfer coding a length says nothing.
    // RFC 9110 §8.6: nor where there is no content.
    if is_bodiless(head.status) || has_header(&head.headers, &TRANSFER_ENCODING) {
        head.headers.remove(CONTENT_LENGTH);
    }
    let nominating = with_connection_options(&head.headers);
    let unwanted: Vec<HeaderName> = head
        .headers
        .iter()
        .filter(|(name, value)| {
            let is_kept_back = *name == SET_COOKIE && !allowed.has_cookies();
            is_kept_back || !forwards_response_header(name, value, nominating, bearer)
        })
        .map(|(name, _)| name.clone())
        .collect();
    for name in unwanted {
        head.headers.remove(name);
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

/// Says whether an answer of this status ends with its head, whatever its fields say.
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
        // Would send the caller around us, to a host that wants the token.
        && text != "alt-svc"
        && !text.starts_with("access-control-")
        && !is_for_browsers(text)
        && (is_length || !nominating.is_some_and(|all| is_connection_option(text, all)))
        && !contains_token(value.as_bytes(), bearer)
        && !contains_token(text.as_bytes(), bearer)
}

/// Fields that have a browser do something beyond showing the answer: report to others, register,
/// prefetch, go elsewhere, forget what other ports of this host have stored. No program heeds them.
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

/// Says whether a text holds the token itself, in whatever case: names of fields have lost theirs.
/// A shorter one cannot, so most cost a comparison; a longer one costs no more than its length.
fn contains_token(text: &[u8], bearer: &Bearer) -> bool {
    let token = bearer.header().as_bytes().strip_prefix(b"Bearer ").unwrap_or_default();
    !token.is_empty() && text.len() >= token.len() && contains_ignoring_case(text, token)
}

/// Says whether `text` holds `part`, in whatever case, in time proportional to both: what a host
/// writes into a field could hold nearly all of the token at each of its bytes.
fn contains_ignoring_case(text: &[u8], part: &[u8]) -> bool {
    // The standard library searches text in that time, and bytes not at all.
    let lower = |bytes: &[u8]| {
        let letters = bytes.iter().map(|byte| char::from(byte.to_ascii_lowercase()));
        Zeroizing::new(letters.collect::<String>())
    };
    lower(text).contains(lower(part).as_str())
}

/// An address on the upstream becomes the same address here; any other is relayed.
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
fn path_on<'a>(origin: &Origin, address: &'a [u8]) -> Option<&'a [u8]> {
    // Without a scheme it is that of the answer: the origin's.
    let rest = match address.split_at_checked(6) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"https:") => rest,
        Some(_) | None => address,
    };
    let rest = rest.strip_prefix(b"//")?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let (host, path) = rest.split_at(end.unwrap_or(rest.len()));
    let host = match origin.port() {
        443 => host.strip_suffix(b":443").unwrap_or(host),
        _ => host,
    };
    host.eq_ignore_ascii_case(origin.authority().as_bytes()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_may_not_say_stays_here() {
        for name in [
            "authorization",
            "cookie",
            "client_id",
            "client-id",
            "x_forwarded_for",
            "x-forwarded-host",
            "forwarded",
            "origin",
            "sec-fetch-site",
            "x-http-method-override",
            "x-original-url",
            "x_original_host",
            "x-forwarded",
            "x-real-ip",
            "x_real_ip",
            "cf-connecting-ip",
            "cf_connecting_ip",
            "cf-connecting-ipv6",
            "cf-pseudo-ipv4",
            "true-client-ip",
            "fastly-client-ip",
            "x-client-ip",
            "x-clientip",
            "x-cluster-client-ip",
            "client-ip",
            "clientip",
            "x-proxyuser-ip",
            "wl-proxy-client-ip",
            "proxy-client-ip",
            "x-remote-ip",
            "x-remote-addr",
            "remote_addr",
            "x-originating-ip",
            "x-azure-clientip",
            "x-azure-socketip",
            "x-azure-fdid",
            "x-arr-clientcert",
            "x-waws-unencoded-url",
            "x-appengine-user-ip",
            "x-appengine-remote-addr",
            "x-vercel-forwarded-for",
            "x-nf-client-connection-ip",
            "x-envoy-external-address",
            "x-http-method",
            "x-method-override",
            "x-method",
            "x_method",
            "_method",
            "x-override-url",
            "x-rewrite-url",
            "x-ms-original-url",
            "aspfiltersessionid",
            "destination",
            "transfer-encoding",
            "te",
            "expect",
        ] {
            assert!(
                !forwards_request_header(&HeaderName::from_static(name), None, false),
                "{name}"
            );
        }
        for name in [
            "accept",
            "content-type",
            "if-none-match",
            "nx-app-version",
            "x_custom",
            "x-membership",
            "x-skip",
            "x-email-address",
            "x-originator",
            "max-forwards",
            "ip",
        ] {
            assert!(forwards_request_header(&HeaderName::from_static(name), None, false), "{name}");
        }
    }

    #[test]
    fn the_port_that_https_has_anyway_changes_no_address() {
        let origin = Origin::new("spaces.nexudus.com", 443);
        let path = |address: &'static str| path_on(&origin, address.as_bytes());

        for address in [
            "https://spaces.nexudus.com/a?b",
            "https://Spaces.Nexudus.com:443/a?b",
            "//spaces.nexudus.com/a?b",
        ] {
            assert_eq!(path(address), Some(&b"/a?b"[..]), "{address}");
        }
        assert_eq!(path("https://spaces.nexudus.com"), Some(&b""[..]));
        for address in [
            "https://spaces.nexudus.com:80/",
            "https://spaces.nexudus.com:4443/",
            "https://spaces.nexudus.com.evil/",
            "http://spaces.nexudus.com/",
            "https:/spaces.nexudus.com/",
            "https://spaces.nexudus.com\\@evil/",
            "spaces.nexudus.com/",
            "https:",
            "",
        ] {
            assert_eq!(path(address), None, "{address}");
        }
    }

    #[test]
    fn more_options_than_anybody_has_reason_for_are_too_many() {
        let options = |fields: &[&str]| {
            let values = fields.iter().map(|it| (CONNECTION, HeaderValue::from_str(it).unwrap()));
            has_too_many_options(&values.collect())
        };
        assert!(!options(&["keep-alive, Upgrade, HTTP2-Settings", "close"]));
        assert!(!options(&[&["x"; MAX_CONNECTION_OPTIONS].join(",")]));
        assert!(options(&[&["x"; MAX_CONNECTION_OPTIONS + 1].join(",")]));
        assert!(options(&["x"; MAX_CONNECTION_OPTIONS + 1]));
        // Empty ones are looked at too.
        assert!(options(&[&",".repeat(MAX_CONNECTION_OPTIONS)]));
    }

    /// With a comparison at each byte this would take minutes.
    #[test]
    fn a_value_that_nearly_holds_the_token_everywhere_costs_no_more_than_its_length() {
        let nearly = [&[b'a'; 200_000][..], b"b"].concat();

        assert!(!contains_ignoring_case(&[b'A'; 1 << 20], &nearly));
        assert!(contains_ignoring_case(&[&[b'A'; 1 << 20][..], b"B", &[0xff]].concat(), &nearly));
    }

    #[test]
    fn every_connection_field_is_read() {
        let mut all = HeaderMap::new();
        all.append(CONNECTION, HeaderValue::from_static("close, X-One"));
        all.append(CONNECTION, HeaderValue::from_static("x-two"));

        assert!(!forwards_request_header(&HeaderName::from_static("x-one"), Some(&all), true));
        assert!(!forwards_request_header(&HeaderName::from_static("x-two"), Some(&all), true));
        assert!(forwards_request_header(&HeaderName::from_static("x-three"), Some(&all), true));
        assert!(!forwards_request_header(&HeaderName::from_static("x_one"), Some(&all), true));
        all.append(CONNECTION, HeaderValue::from_static("X_Four"));
        for name in ["x-four", "x_four"] {
            assert!(
                !forwards_request_header(&HeaderName::from_static(name), Some(&all), true),
                "{name}"
            );
        }
    }
}
