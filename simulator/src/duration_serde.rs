//! Durations in settings: `"100ms"`, `"20s"`, `"15d"`, or a plain number of seconds.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// Reads a duration: `100ms`, `20s`, `15d`; without a unit, seconds.
///
/// # Errors
///
/// A sentence that names the text, when it is not a duration.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let parsed = match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    parsed.ok_or_else(|| format!("not a duration: {text:?}"))
}

/// Writes a duration so that [`parse`] reads it back.
pub fn render(span: Duration) -> String {
    if span.subsec_nanos() == 0 {
        format!("{}s", span.as_secs())
    } else {
        format!("{}ms", span.as_secs_f64() * 1_000.0)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Text(String),
}

impl Written {
    fn span(self) -> Result<Duration, String> {
        match self {
            Self::Number(seconds) => Duration::try_from_secs_f64(seconds)
                .map_err(|_| format!("not a duration: {seconds}")),
            Self::Text(text) => parse(&text),
        }
    }
}

pub(crate) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&render(*span))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    Written::deserialize(from)?.span().map_err(D::Error::custom)
}

/// The same for a setting that may be off (`null`).
pub(crate) mod option {
    use super::{Deserialize, Deserializer, Duration, Serializer, Written};
    use serde::de::Error as _;

    #[expect(clippy::ref_option, reason = "serde's `with` passes the field by reference")]
    pub(crate) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => super::serialize(span, to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let written = Option::<Written>::deserialize(from)?;
        written.map(Written::span).transpose().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rendered_can_be_read_back() {
        for text in ["0s", "250ms", "20s", "1296000s"] {
            assert_eq!(render(parse(text).unwrap()), text);
        }
        assert_eq!(parse("15d").unwrap(), Duration::from_secs(15 * 86_400));
        assert_eq!(parse("7").unwrap(), Duration::from_secs(7));
        assert!(parse("soon").is_err());
        assert!(parse("-1s").is_err());
    }
}
