//! Which command of Nexudus a request is about: the `Key` in its body, and in its query.
//!
//! `POST …/runcommand` with `{"Ids":[1],"Key":"COWORKER_DELETE"}` deletes a coworker: most
//! deletions of Nexudus are such commands. Its server compares names without regard to case, and
//! may take a value from the query as well as from the body. So each key counts that some server
//! may find, and a body in which servers may find different ones is not read: one that is no JSON
//! object, or is encoded in any way, or has a second `Key`.

use std::fmt;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use serde::Deserializer as _;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};

use crate::config::normalize_case;
use crate::gateway::method_override::{MAX_DECODING_WORK, has_unknown_charset};
use crate::gateway::path_interpretations::name_variants;
use crate::upstream::ReplayBody;

/// Returns the keys of the commands that a server may find in a request, or why they cannot be
/// read.
pub(super) fn keys(head: &Parts, body: &ReplayBody) -> Result<Vec<String>, &'static str> {
    let mut keys = keys_in_query(head.uri.query().unwrap_or_default())?;
    keys.extend(key_in_body(&head.headers, body)?);
    // The keys of Nexudus are plain words: what looks different may be taken for one of them.
    let is_plain = |key: &String| key.bytes().all(|byte| byte.is_ascii_graphic());
    if keys.iter().all(is_plain) { Ok(keys) } else { Err("its key is not a plain word") }
}

/// Returns the keys of the commands that a server may find in a query.
pub(in crate::gateway) fn in_query(query: Option<&str>) -> Result<Vec<String>, &'static str> {
    keys_in_query(query.unwrap_or_default())
}

fn key_in_body(headers: &HeaderMap, body: &ReplayBody) -> Result<Option<String>, &'static str> {
    let json = match body {
        ReplayBody::Empty => return Ok(None),
        ReplayBody::Buffered(bytes, _) => bytes,
        ReplayBody::Streamed(_) => return Err("the body is too long"),
    };
    if headers.contains_key(CONTENT_ENCODING) {
        return Err("the body is compressed");
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter().map(HeaderValue::as_bytes);
    match (types.next(), types.next()) {
        (Some(kind), None) if !is_json(kind) => return Err("the body is not announced as JSON"),
        (Some(kind), None) if has_unknown_charset(kind) => return Err("the body is not in UTF-8"),
        (_, Some(_)) => return Err("the body is announced in two ways"),
        (Some(_) | None, None) => {}
    }
    let text = std::str::from_utf8(json).map_err(|_| "the body is not in UTF-8")?;
    let mut json = serde_json::Deserializer::from_str(text);
    let key = json.deserialize_map(TopLevelKey).map_err(|error| {
        if error.is_data() {
            "the body is no JSON object with one `Key`"
        } else {
            "the body is no JSON"
        }
    })?;
    json.end().map_err(|_| "the body is more than one JSON object")?;
    Ok(key.map(|key| key.trim().to_owned()))
}

/// Says whether a media type is `application/json`, `text/json` or `…/…+json`.
fn is_json(kind: &[u8]) -> bool {
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let kind = kind.to_ascii_lowercase();
    matches!(&*kind, b"application/json" | b"text/json") || kind.ends_with(b"+json")
}

/// Reads the one member `Key` of an object, in any case; its value is a text or null.
struct TopLevelKey;

impl<'de> Visitor<'de> for TopLevelKey {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found: Option<Option<String>> = None;
        while let Some(name) = members.next_key::<String>()? {
            if !is_key(&name) {
                members.next_value::<IgnoredAny>()?;
            } else if found.is_some() {
                return Err(A::Error::duplicate_field("Key"));
            } else {
                found = Some(members.next_value()?);
            }
        }
        Ok(found.flatten())
    }
}

/// Returns the values of each field of a query that a server may bind to `Key`, under every
/// decoding.
fn keys_in_query(query: &str) -> Result<Vec<String>, &'static str> {
    let mut left = MAX_DECODING_WORK;
    let mut keys = vec![];
    for field in query.split(['&', ';', '?', '#']) {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        let too_odd = "its query is encoded too often";
        let names = name_variants(name.as_bytes(), &mut left).ok_or(too_odd)?;
        if names.iter().any(|name| is_key(name)) {
            let values = name_variants(value.as_bytes(), &mut left).ok_or(too_odd)?;
            keys.extend(values.iter().map(|value| value.trim().to_owned()));
        }
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// Says whether a server may bind a member or a field of this name to `Key`: in any case, and in a
/// query as a part of the model (`command.Key`, `command[Key]`).
fn is_key(name: &str) -> bool {
    let end = |letter: char| letter.is_whitespace() || letter.is_control() || letter == ']';
    let name = name.trim_matches(end);
    let last = name.rsplit(['.', '[']).next().unwrap_or_default();
    normalize_case(last.trim_matches(end)) == "key"
}

#[cfg(test)]
mod tests;
