//! Builds the upstream request: the client's request with our token.

use std::time::Duration;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HOST, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, MAX_FORWARDS, RANGE, USER_AGENT, VIA,
};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::headers::{forwards_request_header, is_trace_header, with_connection_options};
use super::policy::Allowed;
use super::{max_forwards, websocket};
use crate::session::Bearer;
use crate::upstream::{ReplayBody, Reuse, Upstream, UpstreamRequest};

/// Which headers of clients the upstream gets.
#[derive(Clone, Debug, Default)]
pub struct HeaderPolicy {
    /// Replaces the `User-Agent` of clients.
    pub user_agent: Option<HeaderValue>,
    /// Whether the trace of clients is forwarded.
    pub forwards_trace: bool,
    /// Whether `Via` names this proxy.
    pub has_via: bool,
}

impl HeaderPolicy {
    fn via(&self) -> Option<&'static HeaderValue> {
        self.has_via.then_some(&VIA_VALUE)
    }
}

/// Where a request goes, and with which headers.
#[derive(Clone, Copy)]
pub struct Destination<'a> {
    /// The upstream.
    pub upstream: &'a Upstream,
    /// The rules for headers.
    pub header_policy: &'a HeaderPolicy,
}

/// A request to the upstream: the client's method, target bytes and body, our authority and token.
///
/// Borrows all of it, so that the request can be sent again.
pub struct Authorized<'a> {
    allowed: &'a Allowed,
    body: &'a mut ReplayBody,
    bearer: &'a Bearer,
    destination: Destination<'a>,
}

/// Builds the upstream request of an allowed one.
pub fn build<'a>(
    allowed: &'a Allowed,
    body: &'a mut ReplayBody,
    bearer: &'a Bearer,
    destination: Destination<'a>,
) -> Authorized<'a> {
    Authorized { allowed, body, bearer, destination }
}

impl UpstreamRequest for Authorized<'_> {
    fn method(&self) -> &Method {
        self.allowed.method()
    }

    fn target(&self) -> &PathAndQuery {
        path_of(&self.allowed.head().uri)
    }

    fn for_each_header(&self, mut each: impl FnMut(&HeaderName, &HeaderValue)) {
        let Self { allowed, destination: Destination { upstream, header_policy }, .. } = self;
        let headers = &allowed.head().headers;
        // Values can be taken out of complete, plain JSON only; validators describe other bytes.
        let needs_json = allowed.needs_json();
        let prefers_json = needs_json || is_api(allowed.path());
        let is_replaced = |name: &HeaderName| match *name {
            ACCEPT => needs_json || (prefers_json && accepts_anything(headers)),
            ACCEPT_ENCODING | RANGE => needs_json,
            IF_MODIFIED_SINCE | IF_NONE_MATCH | IF_RANGE => allowed.redaction().is_some(),
            USER_AGENT => header_policy.user_agent.is_some(),
            _ => false,
        };
        let max_forwards = max_forwards::remaining(allowed.head()).ok().flatten();
        let max_forwards = max_forwards.map(|left| HeaderValue::from(left.saturating_sub(1)));
        each(&HOST, upstream.authority());
        let nominating = with_connection_options(headers);
        let mut has_accept = false;
        for (name, value) in headers {
            let is_trace = header_policy.forwards_trace && is_trace_header(name, nominating);
            let is_forwarded = forwards_request_header(name, nominating, allowed.has_cookies());
            if (is_trace || is_forwarded) && !is_replaced(name) {
                has_accept |= name == ACCEPT;
                match &max_forwards {
                    Some(fewer) if name == MAX_FORWARDS => each(name, fewer),
                    Some(_) | None => each(name, value),
                }
            }
        }
        if !has_accept && prefers_json {
            each(&ACCEPT, if needs_json { &JSON } else { &PREFERABLY_JSON });
        }
        if needs_json {
            each(&ACCEPT_ENCODING, &IDENTITY);
        }
        if let Some(user_agent) = &header_policy.user_agent {
            each(&USER_AGENT, user_agent);
        }
        // A server may demand a length even where there is no body.
        let needs_length = matches!(*self.method(), Method::POST | Method::PUT | Method::PATCH);
        if needs_length && self.body.length() == Some(0) {
            each(&CONTENT_LENGTH, &ZERO);
        }
        if allowed.is_websocket() {
            websocket::UPGRADE_HEADERS.iter().for_each(|(name, value)| each(name, value));
        }
        header_policy.via().iter().for_each(|value| each(&VIA, value));
        each(&AUTHORIZATION, self.bearer.header());
        self.bearer.client_id().iter().for_each(|id| each(&CLIENT_ID, id));
    }

    fn note_connect(&self, waited: Duration) {
        self.allowed.add_connect(waited);
    }

    fn reuse(&self) -> Reuse<'_> {
        self.allowed.reuse()
    }

    fn body(&self) -> &ReplayBody {
        self.body
    }

    fn body_mut(&mut self) -> &mut ReplayBody {
        self.body
    }
}

/// Returns the bytes of the target as they came, and never its authority.
fn path_of(uri: &Uri) -> &PathAndQuery {
    uri.path_and_query().expect("the guard admits no request without a path")
}

/// Says whether a path is one of the REST API, whose answers are JSON or XML. Elsewhere are pages
/// and documents, for which JSON is the wrong thing to ask.
fn is_api(path: &str) -> bool {
    path.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("/api/"))
}

/// Says whether a client accepts any type, as most tools say by default: Nexudus responds with XML
/// or HTML to a client that does not ask for JSON.
fn accepts_anything(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(ACCEPT).iter();
    lines.next().is_some_and(|line| line == "*/*") && lines.next().is_none()
}

/// The header by which our own requests are known where the credentials do not tell them.
static CLIENT_ID: HeaderName = HeaderName::from_static("client_id");
static JSON: HeaderValue = HeaderValue::from_static("application/json");
static PREFERABLY_JSON: HeaderValue = HeaderValue::from_static("application/json, */*;q=0.1");
static IDENTITY: HeaderValue = HeaderValue::from_static("identity");
static ZERO: HeaderValue = HeaderValue::from_static("0");

/// RFC 9110 §7.6.3: how a gateway names itself in a request that it forwards.
static VIA_VALUE: HeaderValue = HeaderValue::from_static("1.1 nexudus-proxy");

#[cfg(test)]
mod tests {
    use http::header::CONNECTION;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_target_keeps_its_bytes_and_loses_its_authority(target in "/[!\"$-;=?-~]{0,60}") {
            if let Ok(uri) = target.parse::<Uri>() {
                prop_assert_eq!(path_of(&uri).as_str(), &target);
            }
            if let Ok(uri) = format!("http://evil.example{target}").parse::<Uri>() {
                prop_assert_eq!(path_of(&uri).as_str(), target);
            }
        }

        #[test]
        fn no_spelling_of_a_name_speaks_for_the_client(
            name in "(x[-_]forwarded[-_][a-z]{1,8}|client[-_]id|authorization|cookie|sec[-_]fetch[-_][a-z]{1,6})"
        ) {
            let name = HeaderName::try_from(name).unwrap();
            prop_assert!(!forwards_request_header(&name, None, false));
        }

        #[test]
        fn headers_that_connection_names_are_not_forwarded(name in "[a-z][a-z0-9-]{0,12}", pad in "[ \t]{0,2}") {
            let mut all = HeaderMap::new();
            let value = format!("close,{pad}{}{pad}", name.to_uppercase());
            all.insert(CONNECTION, HeaderValue::try_from(value).unwrap());
            let name = HeaderName::try_from(name).unwrap();
            prop_assert!(!forwards_request_header(&name, Some(&all), true));
        }
    }
}
