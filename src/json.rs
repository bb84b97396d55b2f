//! The members of a JSON object, each of them: also the second of a name, which a server may read.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;

/// The members of an object, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonMembers(pub Vec<(String, Json)>);

impl<'de> Deserialize<'de> for JsonMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = JsonMembers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonMembers, A::Error> {
                let mut members = vec![];
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(JsonMembers(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_kept_and_only_an_object_has_any() {
        let members: JsonMembers = serde_json::from_str(r#"{"a":1,"b":[2],"a":3}"#).unwrap();
        let expected = [("a", 1.into()), ("b", vec![2].into()), ("a", 3.into())];
        assert_eq!(members.0, expected.map(|(name, value): (&str, Json)| (name.to_owned(), value)));
        for text in ["[]", "1", "\"a\"", "", "{\"a\":1} x"] {
            assert!(serde_json::from_str::<JsonMembers>(text).is_err(), "{text}");
        }
    }
}
