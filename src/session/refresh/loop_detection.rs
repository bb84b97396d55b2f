//! Responses of the token endpoint that show that the upstream leads back.

use http::HeaderMap;

use crate::session::error::Cause;

/// Says why a response is not of Nexudus: this daemon found its own call in its own listener, or
/// another one responded with a placeholder.
pub(super) fn cause(headers: &HeaderMap, origin: &str) -> Option<Cause> {
    headers.get_all("proxy-status").iter().find_map(|value| {
        let text = value.to_str().ok()?;
        if text.contains(LOOP_DETECTED) {
            return Some(Cause::upstream_loop(origin));
        }
        text.contains(PLACEHOLDER).then(|| Cause::other_proxy(origin))
    })
}

/// The error of RFC 9209 with which this daemon ends a loop.
const LOOP_DETECTED: &str = "nexudus-proxy; error=proxy_loop_detected";

/// Marks a token that has no meaning (RFC 9209): the daemon that receives it as its own token knows
/// that its upstream is another daemon.
pub const PLACEHOLDER: &str = "nexudus-proxy; details=\"placeholder token\"";
