//! The path at which a client asks what it may do.

use http::{Method, Uri};

use super::Error;
use crate::gateway::path_interpretations::PathInterpretations;

/// Says whether a request asks for the guide. No spelling of its path is sent on.
///
/// # Errors
///
/// Another method, or another spelling.
pub(in crate::gateway) fn is_guide(
    method: &Method,
    uri: &Uri,
    path: &PathInterpretations<'_>,
) -> Result<bool, Error> {
    let is_near = |path: &str| {
        let path = path.trim_matches('/');
        path.len() == GUIDE_PATH.len() - 1 && path.eq_ignore_ascii_case(&GUIDE_PATH[1..])
    };
    if !path.any(is_near) {
        return Ok(false);
    }
    match (uri.path() == GUIDE_PATH, method.as_str()) {
        (true, "GET" | "HEAD") => Ok(true),
        (true, _) => Err(Error::GuideMethod),
        (false, _) => Err(Error::GuideSpelling),
    }
}

/// Where the guide is.
pub(in crate::gateway) const GUIDE_PATH: &str = "/.well-known/nexudus-proxy";
