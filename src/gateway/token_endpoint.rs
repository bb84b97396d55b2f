//! Our own token endpoint, for clients that insist on logging in.
//!
//! The credentials of the client are not forwarded. A client that sends a client key gets that key
//! as its token and authenticates with the key from then on. Any other client gets a placeholder
//! without meaning, which is replaced like any other `Authorization`.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use serde_json::json;

use super::client_auth::{self, ClientAuthenticator, ClientIdentity, KeyLocation};
use super::error::Error;
use super::response_body::ProxyBody;
use super::{error_response, guard};
use crate::clients::PREFIX;
use crate::listen::insert_sandbox_headers;
use crate::upstream::{BodyBuffer, BodyError, ReplayBody};

/// Responds to a request for a token, of any grant type.
pub(super) async fn handle(
    request: Request<Incoming>,
    client: ClientIdentity,
    client_auth: &ClientAuthenticator,
) -> Result<Response<ProxyBody>, Error> {
    let key = client_auth::extract_key(request.headers()).map(Cow::into_owned);
    let buffer = BodyBuffer::new(MAX_GRANT_BYTES, MAX_GRANT_BYTES as u64, GRANT_IDLE_TIMEOUT);
    let form = match buffer.read_or_stream(request.into_body()).await.map_err(Error::Body)? {
        ReplayBody::Empty => Bytes::new(),
        ReplayBody::Buffered(form, _) => form,
        ReplayBody::Streamed(_) => return Err(Error::Body(BodyError::TooLarge)),
    };
    let authenticated = authenticate(&form, client, key, client_auth);
    let (client, key) = authenticated.map_err(|error| Error::Guard(guard::Error::Client(error)))?;
    let token = || match &key {
        Some(key) => String::from_utf8_lossy(key).into_owned(),
        None => placeholder_token(),
    };
    let body = json!({
        "access_token": token(),
        "token_type": "bearer",
        "expires_in": EXPIRES_IN,
        "refresh_token": token(),
    });
    let mut response = Response::new(ProxyBody::full(Bytes::from(body.to_string())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    insert_sandbox_headers(headers);
    error_response::record_client(&mut response, client.name());
    Ok(response)
}

/// Returns the client and its key, given those from the headers: the form may contain the key too.
fn authenticate(
    form: &[u8],
    mut client: ClientIdentity,
    mut key: Option<Vec<u8>>,
    client_auth: &ClientAuthenticator,
) -> Result<(ClientIdentity, Option<Vec<u8>>), client_auth::Error> {
    for (name, value) in form_urlencoded::parse(form) {
        // A client that refreshes sends its key back as the refresh token.
        let may_be_key = matches!(&*name, "password" | "refresh_token");
        if may_be_key && value.starts_with(PREFIX) {
            client = client_auth
                .add_key(client, value.as_bytes())
                .map_err(|error| error.with_location(KeyLocation::LoginForm, value.as_bytes()))?;
            key = Some(value.into_owned().into_bytes());
        } else {
            client_auth::reject_key_in_form_field(&name)?;
            client_auth::reject_key_in_form_field(&value)?;
        }
    }
    if let Some(form) = unescape_json(form) {
        client_auth::reject_key_in_form_field(&form)?;
    }
    client_auth.require_key(&client)?;
    Ok((client, key))
}

/// Decodes the escaped letters of JSON (`\u005f`), if there are any.
fn unescape_json(form: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(form);
    let mut pieces = text.split("\\u");
    let mut out = pieces.next()?.to_owned();
    if out.len() == text.len() {
        return None;
    }
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(4).unwrap_or((piece, ""));
        match u32::from_str_radix(code, 16) {
            // Half of a surrogate pair is no letter, and no key contains one.
            Ok(code) => out.extend([char::from_u32(code).unwrap_or('?')]),
            Err(_) => out.push_str(code),
        }
        out.push_str(rest);
    }
    Some(out)
}

/// Returns a random token, so that no program starts to rely on its value.
fn placeholder_token() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Seven days less a second, as Nexudus documents for its own tokens.
const EXPIRES_IN: u32 = 604_799;

/// A token request has a few hundred bytes.
const MAX_GRANT_BYTES: usize = 64 << 10;

/// A client that logs in sends its form at once.
const GRANT_IDLE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_json_is_found_behind_escapes() {
        const KEY: &str = "nxp\\u005fabcdefghijklmnopqrstuvwxyz234567abcdef";
        let all: String = KEY.replace("\\u005f", "_").chars().map(escape).collect();
        for key in [KEY, &KEY.replace("005f", "005F"), &all, "nxp\\u005fx", "\\u006exp_x"] {
            let text = unescape_json(format!("{{\"password\":\"{key}\"}}").as_bytes()).unwrap();
            assert!(client_auth::reject_key_in_form_field(&text).is_err(), "{key}: {text}");
        }
        for json in [r#"{"a":"\u00e9\u"}"#, r#"{"a":"\ud83d\ude00"}"#, r"\u00", r"\u00é\uzzzz"] {
            assert!(
                client_auth::reject_key_in_form_field(&unescape_json(json.as_bytes()).unwrap())
                    .is_ok(),
                "{json}"
            );
        }
        assert_eq!(unescape_json(b"username=a&password=b"), None);
    }

    fn escape(letter: char) -> String {
        format!("\\u{:04x}", u32::from(letter))
    }
}
