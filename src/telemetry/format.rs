//! Log lines for people, on a terminal or in the journal.
//!
//! `12:03:22 INFO  listening  address=127.0.0.1:6398`, and one for each request:
//! `12:03:25 DEBUG GET /api/auth/me → 200  12 ms`.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::access_log::ACCESS_TARGET;

/// The format of a line.
#[derive(Clone, Copy, Debug)]
pub(super) enum HumanFormat {
    /// Begins with the local time.
    Terminal {
        /// Whether the line is coloured.
        colour: bool,
    },
    /// Begins with a priority, as `sd-daemon(3)` wants it; the journal records the time.
    Journal,
}

impl<S, N> FormatEvent<S, N> for HumanFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = LogLine::default();
        event.record(&mut line);
        let level = *event.metadata().level();
        let paint = Paint(matches!(self, Self::Terminal { colour: true }));
        match self {
            Self::Terminal { .. } => {
                let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
                let name = format!("{level:<5}");
                write!(
                    to,
                    "{} {} ",
                    paint.apply("2", &time),
                    paint.apply(level_colour(level), &name)
                )?;
            }
            Self::Journal => write!(to, "<{}>", priority(level))?,
        }
        let is_request = event.metadata().target() == ACCESS_TARGET;
        match is_request.then(|| line.format_request(paint)).flatten() {
            Some(request) => write!(to, "{request}")?,
            None if level <= Level::WARN => write!(to, "{}", paint.apply("1", &line.message))?,
            None => write!(to, "{}", line.message)?,
        }
        let mut gap = "  ";
        for (name, value) in &line.fields {
            let name = paint.apply("2", &format!("{name}="));
            if value.contains(' ') {
                write!(to, "{gap}{name}\"{value}\"")?;
            } else {
                write!(to, "{gap}{name}{value}")?;
            }
            gap = " ";
        }
        writeln!(to)
    }
}

/// The message and the fields of an event, made harmless for a terminal.
#[derive(Default)]
struct LogLine {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl LogLine {
    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.fields.iter().position(|(field, _)| *field == name)?;
        Some(self.fields.remove(at).1)
    }

    /// Formats a request: method, path, status, time.
    fn format_request(&mut self, paint: Paint) -> Option<String> {
        let (method, path) = (self.take("method")?, self.take("path")?);
        let took = self.take("elapsed_ms").unwrap_or_default();
        let (bytes, peer) = (self.take("bytes"), self.take("peer"));
        drop((bytes, peer));
        let outcome = match self.take("status") {
            Some(status) => paint.apply(status_colour(&status), &status),
            None => paint.apply("33", "abandoned"),
        };
        let method = paint.apply("1", &method);
        Some(format!("{method} {path} → {outcome}  {}", paint.apply("2", &format!("{took} ms"))))
    }
}

impl Visit for LogLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = String::with_capacity(value.len());
        for c in value.chars() {
            // The peer or the upstream may have chosen the value: it must not move the cursor.
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        match field.name() {
            "message" => self.message = text,
            _ if text.is_empty() => {}
            name => self.fields.push((name, text)),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = write!(text, "{value:?}");
        self.record_str(field, &text);
    }
}

/// Applies colours, or none.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn apply(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

fn level_colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "1;31",
        Level::WARN => "33",
        Level::INFO => "32",
        Level::DEBUG => "34",
        Level::TRACE => "2",
    }
}

fn status_colour(status: &str) -> &'static str {
    match status.as_bytes().first() {
        Some(b'2') => "32",
        Some(b'4') => "33",
        Some(b'5') => "31",
        Some(_) | None => "36",
    }
}

/// The priorities of syslog.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_line_has_time_level_message_and_fields() {
        let output = output(HumanFormat::Terminal { colour: false }, || {
            tracing::info!(address = %"127.0.0.1:6398", attempt = 2, why = "as told", "listening");
            tracing::debug!(
                target: ACCESS_TARGET,
                request_id = 7,
                method = %"GET",
                path = "/api/auth/me",
                status = 200,
                elapsed_ms = 12,
                client = None::<&str>,
                "request"
            );
        });

        let lines: Vec<_> = output.lines().map(|line| &line[8..]).collect();
        assert_eq!(
            lines,
            [
                " INFO  listening  address=127.0.0.1:6398 attempt=2 why=\"as told\"",
                " DEBUG GET /api/auth/me → 200  12 ms  request_id=7",
            ]
        );
        assert_eq!(output.as_bytes()[2], b':');
    }

    #[test]
    fn a_line_for_the_journal_has_a_priority_and_no_time() {
        let output = output(HumanFormat::Journal, || {
            tracing::warn!("could not renew");
            tracing::info!("ready");
        });

        assert_eq!(output, "<4>could not renew\n<6>ready\n");
    }

    #[test]
    fn control_characters_in_values_are_escaped() {
        let output =
            output(HumanFormat::Journal, || tracing::info!(path = "a\n<0>b\u{1b}[2J", "seen"));

        assert_eq!(output, "<6>seen  path=a\\n<0>b\\u{1b}[2J\n");
    }

    #[test]
    fn a_line_is_coloured_on_request() {
        let output = output(HumanFormat::Terminal { colour: true }, || tracing::error!("lost"));

        assert!(output.contains("\u{1b}[1;31mERROR\u{1b}[0m \u{1b}[1mlost\u{1b}[0m"), "{output:?}");
    }

    fn output(human: HumanFormat, say: impl FnOnce()) -> String {
        let out = Out::default();
        let writer = out.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .event_format(human)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, say);
        let output = out.0.lock().unwrap().clone();
        String::from_utf8(output).unwrap()
    }

    #[derive(Clone, Default)]
    struct Out(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
