//! Puts our token where the caller's was.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HOST, MAX_FORWARDS, RANGE, USER_AGENT,
    VIA,
};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::policy::Allowed;
use super::{headers, max_forwards, websocket};
use crate::session::Bearer;
use crate::upstream::{ReplayBody, Reuse, Upstream, UpstreamRequest};

/// What is said of callers upstream.
#[derive(Clone, Debug, Default)]
pub struct HeaderPolicy {
    /// In the place of theirs.
    pub user_agent: Option<HeaderValue>,
    /// Whether their trace goes on.
    pub forwards_trace: bool,
}

/// Where a request goes, and in whose name.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) header_policy: &'a HeaderPolicy,
}

/// The request that goes out: the caller's method, target bytes and body, our authority.
///
/// It borrows what came in, which can be sent again.
pub(super) struct Authorized<'a> {
    allowed: &'a Allowed,
    body: &'a mut ReplayBody,
    bearer: &'a Bearer,
    destination: Destination<'a>,
}

/// Makes an allowed request one of ours.
pub(super) fn build<'a>(
    allowed: &'a Allowed,
    body: &'a mut ReplayBody,
    bearer: &'a Bearer,
    to: Destination<'a>,
) -> Authorized<'a> {
    Authorized { allowed, body, bearer, destination: to }
}

impl UpstreamRequest for Authorized<'_> {
    fn method(&self) -> &Method {
        self.allowed.method()
    }

    fn target(&self) -> &PathAndQuery {
        path_of(&self.allowed.head().uri)
    }

    fn for_each_header(&self, mut each: impl FnMut(&HeaderName, &HeaderValue)) {
        let Self { allowed, destination: Destination { upstream, header_policy: manners }, .. } =
            self;
        let theirs = &allowed.head().headers;
        // Asked for as JSON that can be read, and all of it.
        let is_without_tokens = allowed.has_login_material();
        let says_json = is_without_tokens || accepts_anything(theirs);
        let is_replaced = |name: &HeaderName| match *name {
            ACCEPT => says_json,
            ACCEPT_ENCODING | RANGE => is_without_tokens,
            USER_AGENT => manners.user_agent.is_some(),
            _ => false,
        };

        let hops = max_forwards::remaining(allowed.head()).ok().flatten();
        let hops = hops.map(|left| HeaderValue::from(left.saturating_sub(1)));

        each(&HOST, upstream.authority());
        let nominating = headers::with_connection_options(theirs);
        let mut has_accept = false;
        for (name, value) in theirs {
            let is_wanted_trace =
                manners.forwards_trace && headers::is_trace_header(name, nominating);
            let goes_up = headers::forwards_request_header(name, nominating, allowed.has_cookies());
            if (is_wanted_trace || goes_up) && !is_replaced(name) {
                has_accept |= name == ACCEPT;
                match &hops {
                    Some(fewer) if name == MAX_FORWARDS => each(name, fewer),
                    Some(_) | None => each(name, value),
                }
            }
        }
        if !has_accept {
            each(&ACCEPT, &JSON);
        }
        if is_without_tokens {
            each(&ACCEPT_ENCODING, &IDENTITY);
        }
        if let Some(name) = &manners.user_agent {
            each(&USER_AGENT, name);
        }
        // Nothing is said of the length of a body that is not there, and a server may insist on it.
        let announces = matches!(*self.method(), Method::POST | Method::PUT | Method::PATCH);
        if announces && self.body.length() == Some(0) {
            each(&CONTENT_LENGTH, &ZERO);
        }
        if allowed.is_websocket() {
            websocket::UPGRADE_HEADERS.iter().for_each(|(name, value)| each(name, value));
        }
        each(&VIA, &VIA_VALUE);
        each(&AUTHORIZATION, self.bearer.header());
    }

    fn reuse(&self) -> Reuse<'_> {
        self.allowed.reuse()
    }

    fn body(&mut self) -> &mut ReplayBody {
        self.body
    }
}

/// Takes the target's bytes as they came, and never its authority.
fn path_of(uri: &Uri) -> &PathAndQuery {
    uri.path_and_query().expect("the guard lets nothing in that has no path")
}

/// Says whether a caller takes whatever comes, as most tools say of themselves: Nexudus answers XML
/// or HTML to those who do not ask for JSON.
fn accepts_anything(theirs: &HeaderMap) -> bool {
    let mut lines = theirs.get_all(ACCEPT).iter();
    lines.next().is_some_and(|line| line == "*/*") && lines.next().is_none()
}

static JSON: HeaderValue = HeaderValue::from_static("application/json");
static IDENTITY: HeaderValue = HeaderValue::from_static("identity");
static ZERO: HeaderValue = HeaderValue::from_static("0");

/// RFC 9110 §7.6.3: a gateway says that it passed a request on.
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
        fn no_spelling_of_a_name_speaks_for_the_caller(
            name in "(x[-_]forwarded[-_][a-z]{1,8}|client[-_]id|authorization|cookie|sec[-_]fetch[-_][a-z]{1,6})"
        ) {
            let name = HeaderName::try_from(name).unwrap();
            prop_assert!(!headers::forwards_request_header(&name, None, false));
        }

        #[test]
        fn what_connection_names_stays_here(name in "[a-z][a-z0-9-]{0,12}", pad in "[ \t]{0,2}") {
            let mut all = HeaderMap::new();
            let value = format!("close,{pad}{}{pad}", name.to_uppercase());
            all.insert(CONNECTION, HeaderValue::try_from(value).unwrap());
            let name = HeaderName::try_from(name).unwrap();
            prop_assert!(!headers::forwards_request_header(&name, Some(&all), true));
        }
    }
}
