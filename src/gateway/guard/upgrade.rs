//! Which requests open a WebSocket.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{
    CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING,
    UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::error::{Error, UNSUPPORTED_WEBSOCKET_VERSION, UPGRADE_DISABLED};

/// Says whether the request opens a WebSocket. An offer of any other protocol is dropped with the
/// hop-by-hop headers, and so is every offer in HTTP/1.0 (RFC 9110 §7.8).
pub(super) fn check_upgrade(head: &Parts, is_allowed: bool) -> Result<bool, Error> {
    let headers = &head.headers;
    let is_offered = headers.contains_key(UPGRADE) && headers.contains_key(CONNECTION);
    if !is_offered
        || head.version != Version::HTTP_11
        || !has_token(headers, &UPGRADE, b"websocket")
    {
        return Ok(false);
    }
    if !is_allowed {
        return Err(Error::Upgrade(UPGRADE_DISABLED));
    }
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0");
    let only = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
    };
    // RFC 6455 §4.1, and what a server checks in §4.2.1.
    let checks = [
        (head.method == Method::GET, "the method is not GET"),
        (!has_body, "the request has a body"),
        (has_token(headers, &CONNECTION, b"upgrade"), "Connection does not name Upgrade"),
        (
            only(&SEC_WEBSOCKET_KEY).is_some_and(is_nonce),
            "Sec-WebSocket-Key is not one of 16 bytes",
        ),
        (only(&SEC_WEBSOCKET_VERSION) == Some(b"13"), UNSUPPORTED_WEBSOCKET_VERSION),
    ];
    match checks.iter().find(|(holds, _)| !holds) {
        None => Ok(true),
        Some((_, reason)) => Err(Error::Upgrade(reason)),
    }
}

/// Says whether this is the base64 of 16 bytes.
fn is_nonce(value: &[u8]) -> bool {
    BASE64.decode(value).is_ok_and(|nonce| nonce.len() == 16)
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    let values = headers.get_all(name).iter();
    let mut tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tokens.any(|it| it.trim_ascii().eq_ignore_ascii_case(token))
}
