//! A log line for eyes, on a terminal or in the journal.
//!
//! `12:03:22 INFO  listening  address=127.0.0.1:6398`, and one for each request:
//! `12:03:25 DEBUG GET /api/auth/me → 200  12 ms`.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::access_log;

/// How a line begins, and whether it is coloured.
#[derive(Clone, Copy, Debug)]
pub(super) enum HumanFormat {
    /// With the local time.
    Terminal {
        /// Whether it may be coloured.
        colour: bool,
    },
    /// With a priority, as `sd-daemon(3)` wants it; the journal knows the time.
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
        let is_request = event.metadata().target() == access_log::ACCESS_TARGET;
        match is_request.then(|| line.format_request(paint)).flatten() {
            Some(request) => write!(to, "{request}")?,
            None if level <= Level::WARN => write!(to, "{}", paint.apply("1", &line.message))?,
            None => write!(to, "{}", line.message)?,
        }
        let mut gap = "  ";
        for (name, value) in &line.fields {
            let name = paint.apply("2", &format!("{name}="));
            match value.contains(' ') {
                true => write!(to, "{gap}{name}\"{value}\"")?,
                false => write!(to, "{gap}{name}{value}")?,
            }
            gap = " ";
        }
        writeln!(to)
    }
}

/// What an event says, its values made harmless for a terminal.
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

    /// Says what a request was in the order in which one reads it.
    fn format_request(&mut self, paint: Paint) -> Option<String> {
        let (method, path) = (self.take("method")?, self.take("path")?);
        let took = self.take("elapsed_ms").unwrap_or_default();
        let (bytes, peer) = (self.take("bytes"), self.take("peer"));
        drop((bytes, peer));
        let answer = match self.take("status") {
            Some(status) => paint.apply(status_colour(&status), &status),
            None => paint.apply("33", "abandoned"),
        };
        let method = paint.apply("1", &method);
        Some(format!("{method} {path} → {answer}  {}", paint.apply("2", &format!("{took} ms"))))
    }
}

impl Visit for LogLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = String::with_capacity(value.len());
        for c in value.chars() {
            match c.is_control() {
                // A caller or an upstream may have chosen it: it must not move the cursor.
                true => text.extend(c.escape_default()),
                false => text.push(c),
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
        // A String takes whatever is written to it.
        let _ = write!(text, "{value:?}");
        self.record_str(field, &text);
    }
}

/// Colours where they are wanted.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn apply(self, code: &str, text: &str) -> String {
        match self.0 {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
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
    fn a_line_says_when_how_bad_what_and_with_what() {
        let said = said(HumanFormat::Terminal { colour: false }, || {
            tracing::info!(address = %"127.0.0.1:6398", attempt = 2, why = "as told", "listening");
            tracing::debug!(
                target: access_log::ACCESS_TARGET,
                request_id = 7,
                method = %"GET",
                path = "/api/auth/me",
                status = 200,
                elapsed_ms = 12,
                client = None::<&str>,
                "request"
            );
        });

        let lines: Vec<_> = said.lines().map(|line| &line[8..]).collect();
        assert_eq!(
            lines,
            [
                " INFO  listening  address=127.0.0.1:6398 attempt=2 why=\"as told\"",
                " DEBUG GET /api/auth/me → 200  12 ms  request_id=7",
            ]
        );
        assert_eq!(said.as_bytes()[2], b':');
    }

    #[test]
    fn the_journal_gets_a_priority_and_knows_the_time_itself() {
        let said = said(HumanFormat::Journal, || {
            tracing::warn!("could not renew");
            tracing::info!("ready");
        });

        assert_eq!(said, "<4>could not renew\n<6>ready\n");
    }

    #[test]
    fn nothing_in_a_value_moves_the_cursor_or_begins_a_line() {
        let said = said(HumanFormat::Journal, || tracing::info!(path = "a\n<0>b\u{1b}[2J", "seen"));

        assert_eq!(said, "<6>seen  path=a\\n<0>b\\u{1b}[2J\n");
    }

    #[test]
    fn colours_are_for_those_who_ask() {
        let said = said(HumanFormat::Terminal { colour: true }, || tracing::error!("lost"));

        assert!(said.contains("\u{1b}[1;31mERROR\u{1b}[0m \u{1b}[1mlost\u{1b}[0m"), "{said:?}");
    }

    fn said(human: HumanFormat, say: impl FnOnce()) -> String {
        let out = Out::default();
        let writer = out.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .event_format(human)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, say);
        let said = out.0.lock().unwrap().clone();
        String::from_utf8(said).unwrap()
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
