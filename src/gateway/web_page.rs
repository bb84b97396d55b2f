//! Web pages that a client names: one exact origin, with that client's key in a header.
//!
//! A browser asks first (a preflight), without the key, and shows a page nothing that no CORS header
//! allows. So every response to a named origin carries these headers, errors included, and no response
//! to another one does. No credentials of the browser are allowed: the key is all that counts.

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ORIGIN, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::client_auth::{ClientAuthenticator, ClientIdentity};
use crate::clients::KeyError;
use crate::listen::BrowserHeaders;

/// An origin that some client names.
#[derive(Clone, Debug)]
pub(super) struct NamedOrigin(HeaderValue);

impl NamedOrigin {
    /// Returns the one origin of a request, if a client names it.
    ///
    /// # Errors
    ///
    /// [`KeyError::Changed`]: the clients must be read again first.
    pub(super) fn find(
        headers: &HeaderMap,
        clients: &ClientAuthenticator,
    ) -> Result<Option<Self>, KeyError> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else { return Ok(None) };
        let is_named = clients.names_origin(origin.as_bytes())?;
        Ok(is_named.then(|| Self(origin.clone())))
    }

    /// Says whether the key of this client belongs to pages of this origin.
    pub(super) fn is_of(&self, client: &ClientIdentity) -> bool {
        let ClientIdentity::Client(client) = client else { return false };
        let origin = client.policy().origin.as_ref();
        origin.is_some_and(|origin| origin.as_str().as_bytes() == self.0.as_bytes())
    }

    /// Lets pages of this origin, and no others, read a response.
    pub(super) fn allow<B>(self, response: &mut Response<B>) {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.0);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, ANY);
        headers.append(VARY, VARY_ORIGIN);
    }
}

/// Says whether a script of a page has sent this, and not the browser by itself: no navigation, no
/// form, no image, no WebSocket can carry a key in a header that the page chose.
pub(super) fn is_of_a_script(headers: &HeaderMap, found: BrowserHeaders) -> bool {
    let is_cors = headers.get(SEC_FETCH_MODE).is_none_or(|mode| mode == "cors");
    found.are_of_a_script() && is_cors
}

const ANY: HeaderValue = HeaderValue::from_static("*");
const VARY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
