//! Removes tokens from responses to limited clients.
//!
//! Only two small responses contain tokens. They are requested as plain JSON, buffered whole, and
//! changed in nothing but the values of `AccessToken`. A response in any other form is not
//! forwarded.

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, ETAG};
use http_body_util::{BodyExt as _, Limited};
use serde::de::IgnoredAny;

use super::error::Error;
use super::policy;
use super::response_body::ProxyBody;

/// Empties every `AccessToken` in the response.
pub(super) async fn remove(response: Response<ProxyBody>) -> Result<Response<ProxyBody>, Error> {
    let (mut head, body) = response.into_parts();
    let rejected = || Error::Policy(policy::Error::LoginMaterialInResponse);
    let is_plain = head.headers.get_all(CONTENT_ENCODING).iter().all(|it| it == "identity");
    let whole = Limited::new(body, MAX_BODY).collect().await.ok().map(|body| body.to_bytes());
    let clean = match whole {
        Some(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => Some(bytes),
        Some(bytes) if is_plain => remove_from_json(&bytes).map(Bytes::from),
        Some(_) | None => None,
    };
    let clean = match clean {
        Some(clean) => clean,
        // The status of an error response suffices: its text can be dropped.
        None if !head.status.is_success() => Bytes::new(),
        None => return Err(rejected()),
    };
    // Both describe the bytes before the change.
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(ETAG);
    Ok(Response::from_parts(head, ProxyBody::full(clean)))
}

/// Empties the values of `AccessToken` in JSON; `None` if the text is no JSON.
fn remove_from_json(json: &[u8]) -> Option<Vec<u8>> {
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    serde_json::from_slice::<IgnoredAny>(json).ok()?;
    let mut out = Vec::with_capacity(json.len());
    let mut rest = json;
    // In valid JSON a quotation mark outside of a string begins one.
    while let Some(at) = rest.iter().position(|byte| *byte == b'"') {
        let (before, from) = rest.split_at(at);
        out.extend_from_slice(before);
        let (name, length) = parse_value::<String>(from)?;
        let (text, after) = from.split_at(length);
        out.extend_from_slice(text);
        rest = after;
        let colon = after.iter().position(|byte| !byte.is_ascii_whitespace());
        let is_key = colon.is_some_and(|at| after.get(at) == Some(&b':'));
        if let Some(colon) = colon.filter(|_| is_key && is_token_name(&name)) {
            let behind = &after[colon + 1..];
            let (_, length) = parse_value::<IgnoredAny>(behind)?;
            out.extend_from_slice(b":\"\"");
            rest = &behind[length..];
        }
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// `AccessToken`, `access_token` and the like, and what renews one.
fn is_token_name(name: &str) -> bool {
    let letters = name.chars().filter(|letter| letter.is_alphanumeric());
    let name: String = letters.flat_map(char::to_lowercase).collect();
    matches!(name.as_str(), "accesstoken" | "refreshtoken")
}

/// Reads one value and returns how many bytes it took.
fn parse_value<'a, T: serde::Deserialize<'a>>(json: &'a [u8]) -> Option<(T, usize)> {
    let mut values = serde_json::Deserializer::from_slice(json).into_iter::<T>();
    let value = values.next()?.ok()?;
    Some((value, values.byte_offset()))
}

/// Largest response that is buffered, in bytes: the real ones have less than 8 KiB.
const MAX_BODY: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_tokens_is_changed() {
        let json = br#"{ "Id" : 1.10, "AccessToken" : "secret", "x":{"accesstoken":null,
            "Acc\u0065ssToken":{"a":["secret"]}}, "y":"AccessToken", "big":12345678901234567890 }"#;
        let expected = r#"{ "Id" : 1.10, "AccessToken":"", "x":{"accesstoken":"",
            "Acc\u0065ssToken":""}, "y":"AccessToken", "big":12345678901234567890 }"#;

        assert_eq!(String::from_utf8(remove_from_json(json).unwrap()).unwrap(), expected);
    }

    #[test]
    fn text_that_is_not_json_is_not_accepted() {
        for text in ["", "<User><AccessToken>secret</AccessToken></User>", "{\"a\":", "{} {}"] {
            assert_eq!(remove_from_json(text.as_bytes()), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_response_that_cannot_be_read_is_not_forwarded() {
        for (status, encoding, body, whole) in [
            (200, "identity", "{\"AccessToken\":\"secret\"}", Some("{\"AccessToken\":\"\"}")),
            (200, "gzip", "{}", None),
            (200, "identity", "secret", None),
            (500, "identity", "secret", Some("")),
            (304, "identity", "", Some("")),
        ] {
            let response = Response::builder().status(status).header(CONTENT_ENCODING, encoding);
            let response =
                response.body(ProxyBody::full(Bytes::from_static(body.as_bytes()))).unwrap();

            let response = remove(response).await.ok();

            let bytes = match response {
                Some(response) => Some(response.into_body().collect().await.unwrap().to_bytes()),
                None => None,
            };
            assert_eq!(bytes.as_deref(), whole.map(str::as_bytes), "{status} {encoding} {body}");
        }
    }

    #[tokio::test]
    async fn an_endless_response_is_not_buffered() {
        let large = Bytes::from(format!("[\"{}\"]", "x".repeat(MAX_BODY)));
        assert!(remove(Response::new(ProxyBody::full(large))).await.is_err());
    }
}
