//! Log lines for programs: one JSON object a line.
//!
//! Not the formatter of tracing-subscriber: that one writes fields without a value as empty strings.

use std::fmt;
use std::time::SystemTime;

use serde_json::{Map, Value as Json};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::log_line::LogLine;

/// The format of a line. The fields of its span come from `JsonFields`.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonFormat;

impl<S, N> FormatEvent<S, N> for JsonFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let line = LogLine::from_event(event);
        let time = humantime::format_rfc3339_micros(SystemTime::now());
        let level = event.metadata().level();
        let message = Json::from(line.message);
        write!(to, "{{\"timestamp\":\"{time}\",\"level\":\"{level}\",\"message\":{message}")?;
        for (name, value) in &line.fields {
            write!(to, ",{}:{value}", Json::from(*name))?;
        }
        // Only the innermost span: its `request_id` joins the lines of a request.
        if let Some(span) = context.lookup_current() {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>();
            let fields = fields.and_then(|fields| serde_json::from_str(&fields.fields).ok());
            let mut fields: Map<String, Json> = fields.unwrap_or_default();
            fields.insert("name".to_owned(), span.name().into());
            write!(to, ",\"span\":{}", Json::Object(fields))?;
        }
        writeln!(to, "}}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::Out;
    use super::*;

    #[test]
    fn a_line_has_typed_fields_its_span_and_nothing_empty() {
        let out = Out::default();
        let writer = out.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .json()
            .event_format(JsonFormat)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::info_span!("request", request_id = 7).entered();
            let none = None::<&str>;
            tracing::warn!(retry_in_s = 2.5, why = "a \"b\"\n", empty = "", none, "no token");
        });

        let mut line: Json = serde_json::from_str(&out.text()).unwrap();
        let time = line["timestamp"].take();
        assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
        let expected = serde_json::json!({
            "timestamp": null,
            "level": "WARN",
            "message": "no token",
            "retry_in_s": 2.5,
            "why": "a \"b\"\n",
            "span": { "request_id": 7, "name": "request" },
        });
        assert_eq!(line, expected);
    }
}
