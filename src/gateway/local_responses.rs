//! Responses to requests that no upstream should see: loops, and those that only a `run` meets.

use std::sync::Arc;

use http::{Request, Response};

use super::error::Error;
use super::peer_identity::ConnectionPeer;
use super::response_body::ProxyBody;
use super::{Gateway, error_response, guard};
use crate::listen::OwnHosts;

impl Gateway {
    /// Ends a loop at its first turn: a request that this daemon has sent to its upstream.
    ///
    /// Comes before the guard, so that the loop is told and not the `Host` of what leads back here.
    pub(super) fn reject_own<B>(
        &self,
        request: &Request<B>,
        sender: &ConnectionPeer,
    ) -> Result<(), Error> {
        let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
        if !self.session.is_own_request(method, path, headers) {
            return Ok(());
        }
        // The client id alone is no secret: with it, another user could close our connections.
        if sender.is_owner() || self.session.has_own_bearer(headers) {
            self.upstream.stop_loop();
        }
        Err(Error::Loop { origin: self.upstream.origin().to_string().into() })
    }
}

/// Makes the response to a request that is meant for another host than `ours`, or for none; `None`
/// where the request is for us.
pub fn reject_host(
    profile: &str,
    request: &http::request::Parts,
    ours: &OwnHosts,
) -> Option<Response<ProxyBody>> {
    let error = guard::check_host(request, ours).err()?;
    Some(error_response::render_for_profile(profile, &Error::Guard(error)))
}

/// Makes the response of a command whose daemon, of `profile`, cannot be reached.
pub fn no_daemon_response(
    profile: &str,
    why: impl std::error::Error + Send + Sync + 'static,
    hint: &'static str,
) -> Response<ProxyBody> {
    error_response::render_for_profile(profile, &Error::NoDaemon { why: Arc::new(why), hint })
}
