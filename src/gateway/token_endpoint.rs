//! `POST /api/token` and `POST /api/sys/users/token`, answered here: for clients that insist on logging in.
//!
//! What the client sent goes nowhere. If there is a local key in it, that key is what the client
//! gets as its token, and shows from then on; otherwise it gets a stand-in that means nothing and
//! is replaced like any other `Authorization`.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use serde_json::json;

use super::client_auth::{self, ClientAuthenticator, ClientIdentity, KeyLocation};
use super::{Error, ProxyBody, error_response, guard};
use crate::clients::PREFIX;
use crate::listen::insert_sandbox_headers;
use crate::upstream::{BodyBuffer, BodyError, ReplayBody};

/// Answers a grant of any kind.
pub(super) async fn handle(
    request: Request<Incoming>,
    mut caller: ClientIdentity,
    keys: &ClientAuthenticator,
) -> Result<Response<ProxyBody>, Error> {
    let mut key = client_auth::extract_key(request.headers()).map(Cow::into_owned);
    let keep = BodyBuffer::new(MAX_GRANT_BYTES, MAX_GRANT_BYTES as u64, GRANT_IDLE_TIMEOUT);
    let form = match keep.read_or_stream(request.into_body()).await.map_err(Error::Body)? {
        ReplayBody::Empty => Bytes::new(),
        ReplayBody::Buffered(form, _) => form,
        ReplayBody::Streamed(_) => return Err(Error::Body(BodyError::TooLarge)),
    };
    let refused = |error| Error::Guard(guard::Error::Client(error));
    for (name, value) in form_urlencoded::parse(&form) {
        // A client that renews sends the key back as what it was given it for.
        let may_be = matches!(&*name, "password" | "refresh_token");
        if may_be && value.starts_with(PREFIX) {
            let about =
                |it: client_auth::Error| it.with_location(KeyLocation::LoginForm, value.as_bytes());
            caller = keys.add_key(caller, value.as_bytes()).map_err(|it| refused(about(it)))?;
            key = Some(value.into_owned().into_bytes());
        } else {
            let fields = [&name, &value];
            fields
                .into_iter()
                .try_for_each(|it| client_auth::reject_key_in_form_field(it))
                .map_err(refused)?;
        }
    }
    if let Some(form) = unescape_json(&form) {
        client_auth::reject_key_in_form_field(&form).map_err(refused)?;
    }
    keys.require_key(&caller).map_err(refused)?;
    let token = |key: &Option<Vec<u8>>| match key {
        Some(key) => String::from_utf8_lossy(key).into_owned(),
        None => placeholder_token(),
    };
    let body = json!({
        "access_token": token(&key),
        "token_type": "bearer",
        "expires_in": EXPIRES_IN,
        "refresh_token": token(&key),
    });
    let mut response = Response::new(ProxyBody::full(Bytes::from(body.to_string())));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    insert_sandbox_headers(fields);
    error_response::record_client(&mut response, caller.name());
    Ok(response)
}

/// Undoes the escapes of letters in JSON (`\u005f`), if there are any.
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
            // Half of a letter beyond the first plane is no letter, and none of a key.
            Ok(code) => out.extend([char::from_u32(code).unwrap_or('?')]),
            Err(_) => out.push_str(code),
        }
        out.push_str(rest);
    }
    Some(out)
}

/// Random, so that nobody takes it for something to compare with.
fn placeholder_token() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Seven days less a second, as Nexudus documents for its own.
const EXPIRES_IN: u32 = 604_799;

/// A grant is a few hundred bytes.
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
