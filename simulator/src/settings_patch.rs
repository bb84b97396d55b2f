//! Turning settings from the outside: JSON merge and `path.to.setting=value`.

use serde_json::{Map, Value};

use crate::settings::Settings;

impl Settings {
    /// Returns these settings with a JSON merge patch applied (RFC 7396, but `null` is a value).
    ///
    /// # Errors
    ///
    /// A sentence that names the setting, when there is none of that name or the value does not fit.
    pub fn merged(&self, patch: &Value) -> Result<Self, String> {
        let mut value = serde_json::to_value(self).map_err(|error| error.to_string())?;
        merge(&mut value, patch);
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    /// Returns these settings with one turned, as `--set token.access_life=20s` does. The value is
    /// JSON, or else a string.
    ///
    /// # Errors
    ///
    /// As [`merged`](Self::merged), or when there is no `=`.
    pub fn with(&self, assignment: &str) -> Result<Self, String> {
        let (name, text) = assignment.split_once('=').ok_or("expected KNOB=VALUE")?;
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        let patch = name.rsplit('.').fold(value, |inner, key| {
            let mut outer = Map::new();
            outer.insert(key.trim().to_owned(), inner);
            Value::Object(outer)
        });
        self.merged(&patch).map_err(|error| format!("{name}: {error}"))
    }
}

fn merge(into: &mut Value, patch: &Value) {
    match (into.as_object_mut(), patch.as_object()) {
        (Some(fields), Some(changes)) => {
            for (name, change) in changes {
                merge(fields.entry(name.clone()).or_insert(Value::Null), change);
            }
        }
        (Some(_) | None, _) => *into = patch.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_knob_can_be_turned_by_name() {
        let settings = Settings::default().with("token.access_life=20s").unwrap();
        let settings = settings.with("token.expires_in={\"fixed\": 5}").unwrap();

        assert_eq!(settings.token.access_life, Duration::from_secs(20));
        assert_eq!(settings.token.expires_in, crate::ExpiresIn::Fixed(5));
        assert!(settings.with("token.acess_life=20s").unwrap_err().contains("acess_life"));
    }

    #[test]
    fn every_knob_is_in_the_reference() {
        let settings = serde_json::to_value(Settings::default()).unwrap();
        for (section, fields) in settings.as_object().unwrap() {
            let names = fields.as_object().map(|fields| fields.keys().collect::<Vec<_>>());
            for name in names.unwrap_or_default() {
                let line = format!("\n{section}.{name} ");
                assert!(
                    crate::settings_reference::SETTINGS_REFERENCE.contains(&line),
                    "{section}.{name} is missing"
                );
            }
        }
    }
}
