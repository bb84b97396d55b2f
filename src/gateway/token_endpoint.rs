//! Our own token endpoint, for clients that insist on logging in.
//!
//! The credentials of the client are not forwarded. A client that sends a client key gets that key
//! as its token and authenticates with the key from then on. Any other client gets a placeholder
//! without meaning, which is replaced like any other `Authorization`.
//!
//! `/api/token` takes a form. `/api/sys/users/token` takes JSON with `Email` and `Password`, and
//! responds in the envelope of Nexudus, whose `Value` is the token; the members of the other
//! response are there too, for clients that read both alike.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use serde_json::json;

use super::client_auth::{self, ClientAuthenticator, ClientIdentity, KeyLocation};
use super::error::Error;
use super::response_body::ProxyBody;
use super::{error_response, guard};
use crate::clients::{KeyError, PREFIX};
use crate::json::JsonMembers;
use crate::listen::insert_sandbox_headers;
use crate::session::PLACEHOLDER;
use crate::session::endpoint::TOKEN_PATH;
use crate::upstream::{BodyBuffer, BodyError, ClientBody, ReplayBody};

/// Responds to a request for a token, of any grant type.
pub(super) async fn handle(
    request: Request<ClientBody>,
    client: ClientIdentity,
    client_auth: &ClientAuthenticator,
) -> Result<Response<ProxyBody>, Error> {
    let key = client_auth::extract_key(request.headers()).map(Cow::into_owned);
    let takes_json = request.uri().path() != TOKEN_PATH;
    let buffer = BodyBuffer::new(MAX_GRANT_BYTES, MAX_GRANT_BYTES as u64, GRANT_IDLE_TIMEOUT);
    let body = match buffer.read_or_stream(request.into_body()).await.map_err(Error::Body)? {
        ReplayBody::Empty => Bytes::new(),
        ReplayBody::Buffered(body, _) => body,
        ReplayBody::Streamed(_) => return Err(Error::Body(BodyError::TooLarge)),
    };
    let login = ClientLogin { body: &body, takes_json, client, key };
    let mut authenticated = login.clone().authenticate(client_auth);
    // The file first, then the fleet.
    for _ in 0..2 {
        if let Err(client_auth::Error::InvalidKey(KeyError::Changed)) = authenticated {
            client_auth.reload().await;
            authenticated = login.clone().authenticate(client_auth);
        }
    }
    let (client, key) = authenticated.map_err(|error| Error::Guard(guard::Error::Client(error)))?;
    let body = token_response(key.as_deref(), takes_json);
    let mut response = Response::new(ProxyBody::full(Bytes::from(body.to_string())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if key.is_none() {
        headers.insert("proxy-status", HeaderValue::from_static(PLACEHOLDER));
    }
    insert_sandbox_headers(headers);
    error_response::record_client(&mut response, client.name());
    Ok(response)
}

fn token_response(key: Option<&[u8]>, in_envelope: bool) -> serde_json::Value {
    let token = || match key {
        Some(key) => String::from_utf8_lossy(key).into_owned(),
        None => placeholder_token(),
    };
    let access = token();
    let mut body = json!({
        "access_token": access,
        "token_type": "bearer",
        "expires_in": EXPIRES_IN,
        "refresh_token": token(),
    });
    if in_envelope {
        body["Status"] = 200.into();
        body["Message"] = "OK".into();
        body["Value"] = access.into();
        body["Errors"] = serde_json::Value::Null;
        body["WasSuccessful"] = true.into();
    }
    body
}

/// The login that a client gives.
#[derive(Clone)]
struct ClientLogin<'a> {
    body: &'a [u8],
    takes_json: bool,
    /// The client and its key, from the headers.
    client: ClientIdentity,
    key: Option<Vec<u8>>,
}

impl ClientLogin<'_> {
    /// Returns the client and its key: the body may contain the key too.
    fn authenticate(
        mut self,
        client_auth: &ClientAuthenticator,
    ) -> Result<(ClientIdentity, Option<Vec<u8>>), client_auth::Error> {
        match serde_json::from_slice::<JsonMembers>(self.body) {
            // A second `Password` counts as well as the first.
            Ok(JsonMembers(members)) if self.takes_json => {
                for (name, value) in members {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    self.add_field(&name.to_ascii_lowercase(), &text, client_auth)?;
                }
            }
            Ok(_) | Err(_) => {
                let takes_any_case = self.takes_json;
                for (name, value) in form_urlencoded::parse(self.body) {
                    let lower = takes_any_case.then(|| name.to_ascii_lowercase());
                    self.add_field(lower.as_deref().unwrap_or(&name), &value, client_auth)?;
                }
                if let Some(text) = unescape_json(self.body) {
                    client_auth::reject_key_in_form_field(&text)?;
                }
            }
        }
        client_auth.require_key(&self.client)?;
        Ok((self.client, self.key))
    }

    fn add_field(
        &mut self,
        name: &str,
        value: &str,
        client_auth: &ClientAuthenticator,
    ) -> Result<(), client_auth::Error> {
        // A client that refreshes sends its key back as the refresh token.
        if matches!(name, "password" | "refresh_token") && value.starts_with(PREFIX) {
            self.client = client_auth
                .add_key(self.client.clone(), value.as_bytes())
                .map_err(|error| error.with_location(KeyLocation::LoginForm, value.as_bytes()))?;
            self.key = Some(value.as_bytes().to_vec());
            return Ok(());
        }
        client_auth::reject_key_in_form_field(name)?;
        client_auth::reject_key_in_form_field(value)
    }
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
