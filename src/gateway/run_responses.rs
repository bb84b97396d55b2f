//! Responses of the private listener of a `run`, which has no gateway.

use std::sync::Arc;

use http::Response;

use super::error::Error;
use super::response_body::ProxyBody;
use super::{error_response, guard};
use crate::forward_proxy;
use crate::listen::OwnHosts;

/// Makes the response to a request that is meant for another host than `ours`, or for none; `None`
/// where the request is for us.
pub fn reject_host(
    profile: &str,
    request: &http::request::Parts,
    ours: &OwnHosts,
) -> Option<Response<ProxyBody>> {
    let error = guard::check_host(request, ours).err()?;
    Some(error_response::render_for_profile(profile, None, &Error::Guard(error)))
}

/// Makes the response to a request that the forward proxy of a command refuses.
pub fn reject_forward(profile: &str, error: forward_proxy::Error) -> Response<ProxyBody> {
    error_response::render_for_profile(profile, None, &Error::Forward(error))
}

/// Makes the response of a command whose daemon, of `profile`, cannot be reached.
pub fn no_daemon_response(
    profile: &str,
    why: impl std::error::Error + Send + Sync + 'static,
    hint: &'static str,
) -> Response<ProxyBody> {
    error_response::render_for_profile(profile, None, &Error::NoDaemon { why: Arc::new(why), hint })
}
