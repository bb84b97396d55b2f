//! The question of a browser, without a key, whether a page of a named origin may send a request.

use std::pin::Pin;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};

use super::error::Error;
use super::guard::{self, Guard};
use super::peer_identity::ConnectionPeer;
use super::response_body::ProxyBody;
use super::web_page::NamedOrigin;
use crate::listen::insert_sandbox_headers;

/// Finds the origin of a web page that a client names; `None` at once for what no browser has sent.
/// Boxed, because few requests come from one.
pub(super) fn page_of<'a>(
    headers: &'a HeaderMap,
    guard: &'a Guard,
) -> Option<Pin<Box<impl Future<Output = Option<NamedOrigin>> + 'a>>> {
    headers.contains_key(ORIGIN).then(|| {
        Box::pin(async move {
            let clients = guard.client_auth();
            if let Ok(found) = NamedOrigin::find(headers, clients) {
                return found;
            }
            clients.reload().await;
            NamedOrigin::find(headers, clients).ok().flatten()
        })
    })
}

/// Says whether a request asks, for a page, what the page may send.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    *request.method() == Method::OPTIONS
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Answers that question.
pub(super) fn answer<B>(
    request: Request<B>,
    sender: &ConnectionPeer,
    guard: &Guard,
) -> Result<Response<ProxyBody>, Error> {
    Ok(response(&guard::admit_preflight(request, sender, guard)?))
}

/// Returns the response to a preflight, but for the origin.
fn response(headers: &HeaderMap) -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::full(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let allowed = response.headers_mut();
    allowed.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    allowed.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    allowed.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    if headers.get(REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true") {
        allowed.insert(ALLOW_PRIVATE_NETWORK, TRUE);
    }
    insert_sandbox_headers(allowed);
    response
}

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");

/// `*` does not stand for `Authorization` (Fetch §3.3.3), and old browsers do not know it.
const HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, Nexudus-Proxy-Key, Prefer, *");

/// How long a browser need not ask again, in seconds. The key is checked with each request.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

const TRUE: HeaderValue = HeaderValue::from_static("true");

// Chromium asks before a page of the internet reaches this machine.
const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");
