//! One event of the log: its message and its fields, with their types.
//!
//! A field whose name ends in `_s` is a duration in seconds. Programs get the number; a person reads
//! `retry_in=25s`.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::Duration;

use serde_json::{Number, Value as Json};
use tracing::Event;
use tracing::field::{Field, Visit};

/// The message and the fields of an event. Fields without a value are left out.
#[derive(Default)]
pub(super) struct LogLine {
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, Json)>,
}

impl LogLine {
    pub(super) fn from_event(event: &Event<'_>) -> Self {
        let mut line = Self::default();
        event.record(&mut line);
        line
    }

    /// Returns the value of a field.
    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value)
    }

    fn push(&mut self, field: &Field, value: Json) {
        self.fields.push((field.name(), value));
    }
}

impl Visit for LogLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            _ if value.is_empty() => {}
            _ => self.push(field, value.into()),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // What is no number has no value.
        if let Some(number) = Number::from_f64(value) {
            self.push(field, Json::Number(number));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = write!(text, "{value:?}");
        self.record_str(field, &text);
    }
}

/// Returns a field as a person reads it: its name and its value.
pub(super) fn for_person<'a>(name: &'a str, value: &Json) -> (&'a str, String) {
    let seconds = name.strip_suffix(SECONDS).zip(value.as_f64());
    match seconds.and_then(|(name, secs)| Some((name, Duration::try_from_secs_f64(secs).ok()?))) {
        Some((name, duration)) => (name, format_duration(duration)),
        None => (name, text(value)),
    }
}

/// Returns a value as text in which nothing moves the cursor or ends the line: a peer or the
/// upstream may have chosen it.
pub(super) fn text(value: &Json) -> String {
    match value {
        Json::String(text) => escape(text).into_owned(),
        other @ (Json::Null
        | Json::Bool(_)
        | Json::Number(_)
        | Json::Array(_)
        | Json::Object(_)) => other.to_string(),
    }
}

/// Escapes control characters.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped.into()
}

/// Rounds to what a person wants to know: `12ms`, `25s`, `6days 23h`.
fn format_duration(duration: Duration) -> String {
    let rounded = if duration < Duration::from_secs(1) {
        Duration::from_millis(duration.as_millis().try_into().unwrap_or(u64::MAX))
    } else {
        Duration::from_secs((duration + Duration::from_millis(500)).as_secs())
    };
    humantime::format_duration(rounded).to_string()
}

/// The end of the name of a field that is a duration in seconds.
const SECONDS: &str = "_s";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_a_duration_where_a_program_reads_seconds() {
        for (name, value, expected) in [
            ("retry_in_s", Json::from(25), ("retry_in", "25s")),
            ("expires_in_s", 86_399.7.into(), ("expires_in", "1day")),
            ("elapsed_s", 0.0123.into(), ("elapsed", "12ms")),
            ("left_s", (-1).into(), ("left_s", "-1")),
            ("name_s", "x".into(), ("name_s", "x")),
            ("count", 3.into(), ("count", "3")),
        ] {
            let (shown, text) = for_person(name, &value);
            assert_eq!((shown, text.as_str()), expected);
        }
    }
}
