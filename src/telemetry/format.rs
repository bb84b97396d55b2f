//! Log lines for people, on a terminal or in the journal.
//!
//! `12:03:22 INFO  listening  address=127.0.0.1:6398`, and one for each request:
//! `12:03:25 DEBUG GET /api/auth/me → 200  12 ms`.

use std::fmt::{self, Write as _};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::access_log::ACCESS_TARGET;
#[cfg(unix)]
use super::journal;
use super::log_line::{LogLine, escape, for_person, text};

/// The format of a line.
#[derive(Clone, Copy, Debug)]
pub(super) enum HumanFormat {
    /// Begins with the local time.
    Terminal {
        /// Whether the line is coloured.
        colour: bool,
    },
    /// Begins with a priority, as `sd-daemon(3)` wants it; the journal records the time.
    JournalStream,
    /// The journal's own protocol, with the same text as its message.
    #[cfg(unix)]
    JournalEntry,
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
        let line = LogLine::from_event(event);
        let level = *event.metadata().level();
        let paint = Paint(matches!(self, Self::Terminal { colour: true }));
        let is_request = event.metadata().target() == ACCESS_TARGET;
        let sentence = sentence(&line, level, is_request, paint);
        match self {
            Self::Terminal { .. } => {
                let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
                let (time, name) = (paint.apply("2", &time), format!("{level:<5}"));
                writeln!(to, "{time} {} {sentence}", paint.apply(level_colour(level), &name))
            }
            Self::JournalStream => writeln!(to, "<{}>{sentence}", priority(level)),
            #[cfg(unix)]
            Self::JournalEntry => {
                to.write_str(&journal::format_entry(priority(level), &sentence, &line))
            }
        }
    }
}

/// Returns the message and the fields on one line.
fn sentence(line: &LogLine, level: Level, is_request: bool, paint: Paint) -> String {
    let message = escape(&line.message);
    let request = is_request.then(|| request_head(line, paint)).flatten();
    let is_told = |name: &str| request.is_some() && REQUEST_HEAD.contains(&name);
    let mut sentence = match &request {
        Some(request) => request.clone(),
        None if level <= Level::WARN => paint.apply("1", &message),
        None => message.into_owned(),
    };
    let mut gap = "  ";
    for (name, value) in line.fields.iter().filter(|(name, _)| !is_told(name)) {
        let (name, value) = for_person(name, value);
        let quote = if value.contains(' ') { "\"" } else { "" };
        let name = paint.apply("2", &format!("{name}="));
        // Writing to a String cannot fail.
        let _ = write!(sentence, "{gap}{name}{quote}{value}{quote}");
        gap = " ";
    }
    sentence
}

/// Formats a request: method, path, status, time.
fn request_head(line: &LogLine, paint: Paint) -> Option<String> {
    let (method, path) = (text(line.get("method")?), text(line.get("path")?));
    let took = line.get("elapsed_s").and_then(serde_json::Value::as_f64).unwrap_or_default();
    let outcome = match line.get("status").map(text) {
        Some(status) => paint.apply(status_colour(&status), &status),
        None => paint.apply("33", "abandoned"),
    };
    let method = paint.apply("1", &method);
    let took = paint.apply("2", &format!("{:.0} ms", took * 1_000.0));
    Some(format!("{method} {path} → {outcome}  {took}"))
}

/// The fields of a request that its line tells already, or that a person does not read.
const REQUEST_HEAD: [&str; 6] = ["method", "path", "status", "elapsed_s", "bytes", "peer"];

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
pub(super) mod tests {
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
                elapsed_s = 0.012,
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
        let output = output(HumanFormat::JournalStream, || {
            tracing::warn!("could not renew");
            tracing::info!("ready");
        });

        assert_eq!(output, "<4>could not renew\n<6>ready\n");
    }

    #[test]
    fn control_characters_in_values_are_escaped() {
        let output = output(HumanFormat::JournalStream, || {
            tracing::info!(path = "a\n<0>b\u{1b}[2J", "seen")
        });

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
        out.text()
    }

    /// Where a test's log goes.
    #[derive(Clone, Default)]
    pub(in crate::telemetry) struct Out(Arc<Mutex<Vec<u8>>>);

    impl Out {
        pub(in crate::telemetry) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

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
