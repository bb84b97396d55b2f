//! Our own requests, recognised where they come back to this daemon: then the upstream is a loop.
//!
//! No header is added for it: many servers treat a request that names a proxy worse. A request
//! that carries our token, or a token call with our `client_id`, was sent by us. Under
//! `upstream.auth = "basic"` other programs may send the same login, so that there each of our
//! requests has the `client_id`.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};

use super::handle::Session;
use super::refresh::endpoint::TOKEN_PATH;
use crate::config::UpstreamAuth;

impl Session {
    /// Says whether this request was sent by this daemon: it carries the token of the session, or
    /// asks for one under the session's client id.
    pub fn is_own_request(&self, method: &Method, path: &str, headers: &HeaderMap) -> bool {
        self.has_own_bearer(headers)
            || (self.auth == UpstreamAuth::Basic || method == Method::POST && path == TOKEN_PATH)
                && headers.get_all(CLIENT_ID).iter().any(|it| self.client_id.is(it.as_bytes()))
    }

    /// Says whether a request carries the token of the session. A request without `Authorization`
    /// costs one lookup.
    pub fn has_own_bearer(&self, headers: &HeaderMap) -> bool {
        if self.auth == UpstreamAuth::Basic {
            return false;
        }
        headers.get_all(AUTHORIZATION).iter().any(|value| {
            let latest = self.shared.latest();
            let ours = latest.bearer.as_ref().map(|bearer| bearer.header().as_bytes());
            // The token is a secret: the time of the answer tells nothing of it.
            ours.is_some_and(|ours| verify_slices_are_equal(ours, value.as_bytes()).is_ok())
        })
    }
}

/// The header of a token call.
const CLIENT_ID: &str = "client_id";
