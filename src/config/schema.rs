//! The JSON schema of the file, for editors.

use serde_json::{Map, Value as Json, json};

use super::keys::{KEYS, SECTIONS};

/// Returns the JSON schema of the configuration file.
pub fn schema() -> Json {
    let mut sections: Map<String, Json> = SECTIONS
        .iter()
        .map(|(section, doc)| {
            let mut table = object(section);
            table["description"] = json!(doc);
            ((*section).to_owned(), table)
        })
        .collect();
    if let Some(host) = object("")["properties"].as_object() {
        sections.extend(host.clone());
    }
    let profile = json!({
        "type": "object",
        "properties": sections.keys().map(|name| {
            (name.clone(), json!({ "$ref": format!("#/properties/{name}") }))
        }).collect::<Map<_, _>>(),
        "additionalProperties": false,
    });
    sections.insert(
        "profile".to_owned(),
        json!({
            "type": "object",
            "description": "Overrides of one profile: [profile.NAME.SECTION].",
            "propertyNames": { "pattern": "^[a-z0-9][a-z0-9_-]{0,31}$" },
            "additionalProperties": profile,
        }),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "nexudus-proxy configuration",
        "type": "object",
        "properties": sections,
        "additionalProperties": false,
    })
}

fn object(section: &str) -> Json {
    let keys = KEYS.iter().filter(|entry| entry.section == section).map(|entry| {
        let mut schema = entry.value_type.schema();
        schema["description"] = json!(entry.doc);
        schema["default"] = json!(entry.default());
        (entry.name.to_owned(), schema)
    });
    json!({
        "type": "object",
        "properties": keys.collect::<Map<_, _>>(),
        "additionalProperties": false,
    })
}
