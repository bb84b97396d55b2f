//! Puts our token where the caller's was.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HOST, RANGE, USER_AGENT, VIA,
};
use http::uri::{Parts, Uri};
use http::{HeaderMap, HeaderValue, Method, Request};

use super::headers;
use super::policy::Allowed;
use crate::session::Bearer;
use crate::upstream::{Kept, Payload, Upstream};

/// Where a request goes, and in whose name.
#[derive(Clone, Copy)]
pub(super) struct To<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) user_agent: Option<&'a HeaderValue>,
}

/// Makes the request that goes out: the caller's method, target bytes and body, our authority.
///
/// The caller's fields are copied, not moved: what came in can be sent again.
pub(super) fn with(
    allowed: &Allowed,
    body: &mut Kept,
    bearer: &Bearer,
    to: To<'_>,
) -> Request<Payload> {
    let head = allowed.head();
    let mut headers = HeaderMap::with_capacity(head.headers.len() + 4);
    headers.insert(HOST, to.upstream.authority().clone());
    for (name, value) in &head.headers {
        if headers::goes_up(name, &head.headers) {
            headers.append(name, value.clone());
        }
    }
    if wants_anything(&headers) {
        headers.insert(ACCEPT, JSON);
    }
    if allowed.is_without_tokens() {
        // As JSON that can be read, and all of it.
        headers.insert(ACCEPT, JSON);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.remove(RANGE);
    }
    if let Some(name) = to.user_agent {
        headers.insert(USER_AGENT, name.clone());
    }
    // hyper sends no length for a body that is not there, and a server may insist on one.
    let announces = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
    if announces && matches!(body, Kept::Empty) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    headers.insert(VIA, OURSELVES);
    // The last thing to be set: nothing above can name it, copy it or take it away.
    headers.insert(AUTHORIZATION, bearer.header.clone());

    let mut request = Request::new(body.payload());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = path_only(&head.uri);
    *request.headers_mut() = headers;
    request
}

/// Takes the target's bytes as they came, and never its authority.
fn path_only(uri: &Uri) -> Uri {
    let mut parts = Parts::default();
    parts.path_and_query = uri.path_and_query().cloned();
    Uri::from_parts(parts).expect("a path alone is a complete target")
}

/// Nexudus answers XML or HTML to those who do not ask for JSON.
fn wants_anything(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter();
    match (accepted.next(), accepted.next()) {
        (None, _) => true,
        (Some(only), None) => only == "*/*",
        (Some(_), Some(_)) => false,
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// RFC 9110 §7.6.3: a gateway says that it passed a request on.
const OURSELVES: HeaderValue = HeaderValue::from_static("1.1 nexudus-proxy");
