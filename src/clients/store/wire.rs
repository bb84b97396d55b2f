//! The limits of a client as JSON: the same fields as in the file, so that a limit is described once.

use std::time::UNIX_EPOCH;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
use serde_json::Value as Json;

use super::entry::{ClientEntry, Sharing, to_unix_seconds};
use super::{ClientPolicy, KeyHash, StoredClient};

/// Writes the limits, for `#[serde(with = …)]`.
pub fn serialize<S: Serializer>(limits: &ClientPolicy, to: S) -> Result<S::Ok, S::Error> {
    let client = StoredClient {
        id: String::new(),
        name: String::new(),
        hash: no_hash().ok_or_else(|| S::Error::custom("no hash"))?,
        created: UNIX_EPOCH,
        limits: limits.clone(),
        key_changed: 0,
        limits_changed: 0,
        sharing: Sharing::default(),
    };
    let mut json =
        serde_json::to_value(ClientEntry::from_client(&client)).map_err(S::Error::custom)?;
    if let Json::Object(fields) = &mut json {
        IDENTITY.iter().for_each(|name| drop(fields.remove(*name)));
    }
    json.serialize(to)
}

/// Reads the limits, for `#[serde(with = …)]`.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ClientPolicy, D::Error> {
    let mut fields = serde_json::Map::deserialize(from)?;
    if IDENTITY.iter().any(|name| fields.contains_key(*name)) {
        return Err(D::Error::custom("limits have no name and no key"));
    }
    let hash = no_hash().ok_or_else(|| D::Error::custom("no hash"))?.to_hex();
    let identity = ["".into(), "".into(), hash.into(), to_unix_seconds(UNIX_EPOCH).into()];
    fields.extend(IDENTITY.into_iter().map(str::to_owned).zip(identity));
    let entry: ClientEntry =
        serde_json::from_value(Json::Object(fields)).map_err(D::Error::custom)?;
    let client = entry.into_client().ok_or_else(|| D::Error::custom("these are no limits"))?;
    Ok(client.limits)
}

/// The hash of no key.
fn no_hash() -> Option<KeyHash> {
    KeyHash::from_hex(&"0".repeat(64))
}

/// The fields of the file that say which client it is.
const IDENTITY: [&str; 4] = ["id", "name", "key_sha256", "created"];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Rate, Rule};

    #[test]
    fn limits_travel_as_the_file_has_them_and_without_a_key() {
        let limits = ClientPolicy {
            read_only: true,
            allow: vec![Rule::parse("GET /api/x").unwrap()].into(),
            expires: Some(UNIX_EPOCH + Duration::from_secs(9)),
            rate: Some(Rate::Fixed { count: 5, per: Duration::from_secs(1) }),
            max_requests: Some(3),
            origin: Some("http://localhost:5173".to_owned().try_into().unwrap()),
            ..ClientPolicy::default()
        };

        let json = serialize(&limits, serde_json::value::Serializer).unwrap();

        assert_eq!(json["allow"], serde_json::json!(["GET /api/x"]));
        assert_eq!(json["origin"], "http://localhost:5173");
        assert!(IDENTITY.iter().all(|name| json.get(name).is_none()), "{json}");
        assert_eq!(deserialize(json).unwrap(), limits);
        assert!(deserialize(serde_json::json!({ "name": "a" })).is_err());
    }
}
