//! The form and the length of a request target.

use http::uri::{Authority, PathAndQuery};
use http::{Method, Uri};

use super::Error;
use crate::listen::encode_non_ascii;

/// Checks that a target is a path on this host.
pub(super) fn check_target(method: &Method, uri: &Uri) -> Result<(), Error> {
    if method == Method::CONNECT {
        return Ok(()); // Refused as a method: its target is an authority by definition.
    }
    match uri.scheme_str() {
        None if uri.authority().is_some() => return Err(Error::Target("it is an authority")),
        None | Some("http") => {}
        Some(_) => return Err(Error::Target("its scheme is not http")),
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Error::Target("it holds user information"));
    }
    if !uri.authority().is_none_or(has_valid_port) {
        return Err(Error::Target("its port is not a number up to 65535"));
    }
    let Some(target) = uri.path_and_query() else { return Err(Error::Target("it is empty")) };
    if !target.as_str().starts_with('/') {
        return Err(Error::Target("it does not begin with a slash"));
    }
    Ok(())
}

/// Percent-encodes what is not ASCII in a target: rules judge it so, and so it is forwarded.
pub(in crate::gateway) fn encode_target(uri: &mut Uri) {
    let target = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let Some(encoded) = encode_non_ascii(target.as_bytes()) else { return };
    let mut parts = uri.clone().into_parts();
    // Encoding makes nothing malformed, but may make the target longer than any may be. Then it
    // stays, and `check_target_length` refuses it.
    let Ok(encoded) = PathAndQuery::try_from(encoded) else { return };
    parts.path_and_query = Some(encoded);
    if let Ok(encoded) = Uri::from_parts(parts) {
        *uri = encoded;
    }
}

pub(super) fn check_target_length(uri: &Uri, max: usize) -> Result<(), Error> {
    // What is not ASCII here was too long to be encoded.
    let is_fitting = |target: &str| target.len() <= max && target.is_ascii();
    let is_too_long = uri.path_and_query().is_some_and(|target| !is_fitting(target.as_str()));
    if is_too_long { Err(Error::TargetTooLong(max)) } else { Ok(()) }
}

/// Says whether the authority has no port or a possible one.
pub(super) fn has_valid_port(authority: &Authority) -> bool {
    authority.port_u16().is_some() || authority.as_str().len() == authority.host().len()
}
