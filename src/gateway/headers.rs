//! Which header fields pass, up and down.
//!
//! Names are compared with `_` read as `-`: servers behind CGI-like layers cannot tell them apart
//! (CVE-2025-64484). Fields that `Connection` names go first, so that no caller can remove what we
//! add (CVE-2025-48865).

use http::header::{CONNECTION, CONTENT_LENGTH, LOCATION, SET_COOKIE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::body::Body;
use super::policy::Allowed;
use crate::session::Bearer;
use crate::upstream::{Relayed, Upstream};

/// Says whether a caller's field goes to the upstream. `nominating` are all its fields, if there is
/// a `Connection` among them.
pub(super) fn goes_up(name: &HeaderName, nominating: Option<&HeaderMap>) -> bool {
    let folded;
    let name = match name.as_str() {
        text if text.contains('_') => {
            folded = text.replace('_', "-");
            folded.as_str()
        }
        text => text,
    };
    !is_hop_by_hop(name)
        && !belongs_to_us(name)
        && !nominating.is_some_and(|all| is_nominated(name, all))
}

/// Says whether a field is the caller's trace (W3C Trace Context). Never its baggage, which may hold
/// anything.
pub(super) fn is_trace(name: &HeaderName, nominating: Option<&HeaderMap>) -> bool {
    matches!(name.as_str(), "traceparent" | "tracestate")
        && !nominating.is_some_and(|all| is_nominated(name.as_str(), all))
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
fn belongs_to_us(name: &str) -> bool {
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
            | "x-real-ip"
            | "x-client-ip"
            | "x-cluster-client-ip"
            | "x-host"
            | "x-original-host"
            | "x-original-method"
            | "x-original-url"
            | "x-rewrite-url"
            | "x-http-method"
            | "x-http-method-override"
            | "x-method-override"
            | "true-client-ip"
            // For our log: they say more of the caller than Nexudus needs. See `is_trace`.
            | "traceparent"
            | "tracestate"
            | "baggage"
    ) || name.starts_with("x-forwarded-")
        || name.starts_with("sec-fetch-")
        || name.starts_with("access-control-request-")
}

/// Says whether a `Connection` field names it (RFC 9110 §7.6.1).
fn is_nominated(name: &str, all: &HeaderMap) -> bool {
    let options = all.get_all(CONNECTION).iter();
    options
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
}

/// Makes an upstream answer fit for the caller: same status and body, our connection.
pub(super) fn clean(
    response: Response<Relayed>,
    allowed: &Allowed,
    upstream: &Upstream,
    bearer: &Bearer,
) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    // Neither side's version is the other's business: hyper answers in the caller's.
    head.version = http::Version::HTTP_11;
    // RFC 9112 §6.3: beside a transfer coding a length says nothing.
    if head.headers.contains_key(TRANSFER_ENCODING) {
        head.headers.remove(CONTENT_LENGTH);
    }
    let nominating = head.headers.contains_key(CONNECTION).then_some(&head.headers);
    let unwanted: Vec<HeaderName> = head
        .headers
        .iter()
        .filter(|(name, value)| !comes_down(name, value, nominating, bearer))
        .map(|(name, _)| name.clone())
        .collect();
    for name in unwanted {
        head.headers.remove(name);
    }
    if let Some(local) = head.headers.get(LOCATION).and_then(|it| localized(it, allowed, upstream))
    {
        head.headers.insert(LOCATION, local);
    }
    shield(&mut head.headers);
    Response::from_parts(head, Body::relayed(body))
}

fn comes_down(
    name: &HeaderName,
    value: &HeaderValue,
    nominating: Option<&HeaderMap>,
    bearer: &Bearer,
) -> bool {
    let text = name.as_str();
    let is_length = text == "content-length";
    let passes = is_length || !is_hop_by_hop(text);
    passes
        && name != SET_COOKIE
        // Would send the caller around us, to a host that wants the token.
        && text != "alt-svc"
        && !text.starts_with("access-control-")
        && (is_length || !nominating.is_some_and(|all| is_nominated(text, all)))
        && !echoes(value, bearer)
}

/// Says whether a field holds the token itself. A shorter one cannot, so most cost a comparison.
fn echoes(value: &HeaderValue, bearer: &Bearer) -> bool {
    let token = bearer.header.as_bytes().strip_prefix(b"Bearer ").unwrap_or_default();
    let value = value.as_bytes();
    !token.is_empty()
        && value.len() >= token.len()
        && value.windows(token.len()).any(|window| window == token)
}

/// An address on the upstream becomes the same address here; any other is relayed.
fn localized(
    location: &HeaderValue,
    allowed: &Allowed,
    upstream: &Upstream,
) -> Option<HeaderValue> {
    let authority = upstream.authority().as_bytes();
    let rest = location.as_bytes().strip_prefix(b"https://")?;
    let (host, path) = rest.split_at_checked(authority.len())?;
    let same = host.eq_ignore_ascii_case(authority);
    let ends = matches!(path.first(), None | Some(b'/' | b'?' | b'#'));
    let here = allowed.head().headers.get(http::header::HOST)?.as_bytes();
    (same && ends)
        .then(|| HeaderValue::from_bytes(&[b"http://", here, path].concat()).ok())
        .flatten()
}

/// Keeps web pages from embedding what they may not read. Also tells our answers from hyper's own.
pub(super) fn shield(headers: &mut HeaderMap) {
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(RESOURCE_POLICY, SAME_ORIGIN);
}

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

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
            "transfer-encoding",
            "te",
            "expect",
        ] {
            assert!(!goes_up(&HeaderName::from_static(name), None), "{name}");
        }
        for name in ["accept", "content-type", "if-none-match", "nx-app-version", "x_custom"] {
            assert!(goes_up(&HeaderName::from_static(name), None), "{name}");
        }
    }

    #[test]
    fn every_connection_field_is_read() {
        let mut all = HeaderMap::new();
        all.append(CONNECTION, HeaderValue::from_static("close, X-One"));
        all.append(CONNECTION, HeaderValue::from_static("x-two"));

        assert!(!goes_up(&HeaderName::from_static("x-one"), Some(&all)));
        assert!(!goes_up(&HeaderName::from_static("x-two"), Some(&all)));
        assert!(goes_up(&HeaderName::from_static("x-three"), Some(&all)));
    }
}
