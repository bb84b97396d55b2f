//! Recognises requests of web browsers, and makes a response powerless in one.
//!
//! A browser sends requests here for every page that it shows. No header value tells our own page
//! from a foreign one: a speculative prefetch, and a visit to a foreign address that redirects
//! here, send `Sec-Fetch-Site: none` without an `Origin`, as a typed address does. So the header
//! names alone decide. `Sec-Fetch-Mode` is not among them: Node's `fetch` sends it, and no browser
//! sends it alone.

use std::fmt;

use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, UPGRADE_INSECURE_REQUESTS};
use http::header::{HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};

/// The headers of a request that only browsers send: a set of `BROWSER_HEADERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrowserHeaders(u32);

impl BrowserHeaders {
    /// Finds the headers of a browser among `headers`, whatever their values.
    pub fn find(headers: &HeaderMap) -> Option<Self> {
        let found = headers.keys().filter_map(position).fold(0, |found, at| found | 1 << at);
        (found != 0).then_some(Self(found))
    }

    /// Says whether a script of a page sends no others with a request across origins.
    pub fn are_of_a_script(self) -> bool {
        self.names().all(|name| SCRIPT_HEADERS.contains(&name))
    }

    /// Says whether a browser sends no others before such a request, to ask whether it may.
    pub fn are_of_a_preflight(self) -> bool {
        let asks = |name: &str| name.starts_with("Access-Control-Request-");
        self.names().all(|name| asks(name) || SCRIPT_HEADERS.contains(&name))
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        let found = BROWSER_HEADERS.iter().enumerate();
        found.filter(move |(at, _)| self.0 & (1 << at) != 0).map(|(_, name)| *name)
    }
}

/// Lists the headers: `Origin, Sec-Fetch-Site`.
impl fmt::Display for BrowserHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, name) in self.names().enumerate() {
            f.write_str(if nth == 0 { "" } else { ", " })?;
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// Says whether a browser with these headers requests a page to show.
pub fn is_navigation(headers: &HeaderMap) -> bool {
    let is = |name, value: &[u8]| headers.get(name).is_some_and(|it| it.as_bytes() == value);
    if is(SEC_FETCH_MODE, b"navigate") || is(SEC_FETCH_DEST, b"document") {
        return true;
    }
    // Older browsers have no `Sec-Fetch-Mode`, and send one of these two for pages alone.
    !headers.contains_key(SEC_FETCH_MODE)
        && (headers.contains_key(UPGRADE_INSECURE_REQUESTS)
            || headers.get(ACCEPT).is_some_and(|it| it.as_bytes().starts_with(b"text/html")))
}

/// Forbids a browser to run, frame or embed a response, as HTML or as anything else. Replaces the
/// headers of Nexudus, and distinguishes our responses from hyper's own.
pub fn insert_sandbox_headers(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(RESOURCE_POLICY, SAME_ORIGIN);
    headers.insert(CONTENT_SECURITY_POLICY, SANDBOX);
}

/// Returns which of [`BROWSER_HEADERS`] this is. Servers behind CGI-like layers cannot tell `_`
/// from `-`, and neither do we.
fn position(name: &HeaderName) -> Option<usize> {
    let name = name.as_str().as_bytes();
    // A comparison with each costs a hundred times as much, and hardly any name gets this far.
    let may_be = match name.first() {
        Some(b's') => name.starts_with(b"se") && name != b"sec-fetch-mode",
        Some(b'a') => name.len() >= "access-control-request-".len(),
        Some(b'o' | b'p' | b'x') => name.len() <= "x-purpose".len(),
        Some(b'u') => name.len() == "upgrade-insecure-requests".len(),
        Some(_) | None => false,
    };
    if !may_be {
        return None;
    }
    let is_same = |known: &str, name: &[u8]| {
        let pairs = known.bytes().zip(name);
        known.len() == name.len()
            && pairs.into_iter().all(|(known, byte)| {
                known.to_ascii_lowercase() == if *byte == b'_' { b'-' } else { *byte }
            })
    };
    BROWSER_HEADERS.iter().position(|known| match known.strip_suffix('*') {
        Some(family) => {
            name.get(..family.len()).is_some_and(|start| is_same(family, start))
                && !is_same(SEC_FETCH_MODE.as_str(), name)
        }
        None => is_same(known, name),
    })
}

/// The headers that only browsers send, families after their known members. Fetch forbids scripts
/// to set most of them, so that no library of programs sets them.
const BROWSER_HEADERS: [&str; 18] = [
    "Origin",
    "Sec-Fetch-Site",
    "Sec-Fetch-Dest",
    "Sec-Fetch-User",
    "Sec-Fetch-Storage-Access",
    "Sec-Fetch-*",
    "Sec-Purpose",
    "Purpose",
    "X-Purpose",
    "X-Moz",
    "Service-Worker",
    "Service-Worker-Navigation-Preload",
    "Access-Control-Request-Method",
    "Access-Control-Request-Headers",
    "Access-Control-Request-Private-Network",
    "Access-Control-Request-Local-Network",
    "Access-Control-Request-*",
    "Upgrade-Insecure-Requests",
];

/// Those that go with each request of a script.
const SCRIPT_HEADERS: [&str; 4] =
    ["Origin", "Sec-Fetch-Site", "Sec-Fetch-Dest", "Sec-Fetch-Storage-Access"];

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");

/// An origin of its own for each document, without scripts, forms and plugins, and nothing loaded.
const SANDBOX: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_that_only_a_browser_sends_is_found_however_it_is_written() {
        for known in BROWSER_HEADERS {
            let name = known.to_ascii_lowercase().replace('*', "something-new");
            for name in [name.replace('-', "_"), name] {
                for value in ["", "none", "?1", "\u{e9}"] {
                    let found = BrowserHeaders::find(&headers(&[(&name, value)]));
                    assert_eq!(found.map(|it| it.to_string()).as_deref(), Some(known), "{name}");
                }
            }
        }
        let several = [("sec-fetch-site", "none"), ("accept", "*/*"), ("origin", "x")];
        let found = BrowserHeaders::find(&headers(&several)).unwrap();
        assert_eq!(found.to_string(), "Origin, Sec-Fetch-Site");
    }

    #[test]
    fn the_headers_of_other_programs_are_not_browser_headers() {
        for name in [
            "sec-fetch-mode",
            "sec_fetch_mode",
            "sec-websocket-key",
            "sec-fetch",
            "accept",
            "accept-language",
            "authorization",
            "access-control",
            "user-agent",
            "upgrade",
            "x-origin",
            "origin-x",
            "purposes",
            "service",
            "referer",
            "o",
        ] {
            assert_eq!(BrowserHeaders::find(&headers(&[(name, "navigate")])), None, "{name}");
        }
    }

    #[test]
    fn a_navigation_is_distinguished_from_what_a_page_loads() {
        for navigation in [
            &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")][..],
            &[("sec-fetch-dest", "document")],
            &[("upgrade-insecure-requests", "1")],
            &[("origin", "null"), ("accept", "text/html,application/xhtml+xml,*/*;q=0.8")],
        ] {
            assert!(is_navigation(&headers(navigation)), "{navigation:?}");
        }
        for load in [
            &[("sec-fetch-mode", "cors"), ("accept", "text/html")][..],
            &[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
            &[("origin", "http://localhost"), ("accept", "*/*")],
            &[("access-control-request-method", "PUT")],
        ] {
            assert!(!is_navigation(&headers(load)), "{load:?}");
        }
    }

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }
}
