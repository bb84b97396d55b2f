//! The log: one line per event on standard error, or one entry in the journal, written by a thread
//! of its own.
//!
//! Other crates are held to warnings: their debug lines print headers and bodies.

use std::io::{self, IsTerminal, stderr};
use std::sync::OnceLock;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use super::format::HumanFormat;
use super::json_format::JsonFormat;
use super::nonblocking::{NonBlockingWriter, StreamSink};
use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// The log of this process, while this value lives. When dropped, it waits for the last lines.
#[derive(Debug)]
pub struct LogGuard(&'static LogState);

#[derive(Debug)]
struct LogState {
    writer: NonBlockingWriter,
    level: reload::Handle<Targets, Registry>,
}

/// The log of this process: `tracing` allows one.
static LOG_STATE: OnceLock<LogState> = OnceLock::new();

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `log.level` is neither a level nor a list of directives.
    #[error("log.level `{level}` is not a level such as `info`, nor a list of directives")]
    Level {
        /// The configured value.
        level: String,
        /// Why it could not be parsed.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The system gave no thread.
    #[error("could not start the log")]
    Thread(#[source] io::Error),
}

impl Problem for Error {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Level { .. } => {
                ProblemKind::ConfigInvalid.with_hint("Write error, warn, info, debug or trace.")
            }
            Self::Thread(_) => ProblemKind::CommandFailed.into(),
        }
    }
}

/// A parsed `log.level`.
#[derive(Debug)]
pub struct LogFilter(Targets);

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// For people.
    Human,
    /// For programs: one JSON object a line.
    Json,
    /// For the journal, which records the time itself.
    Journald,
}

impl LineFormat {
    /// Returns the format that suits the destination of standard error.
    pub fn detect() -> Self {
        #[cfg(unix)]
        if super::journal::is_stderr_journal() {
            return Self::Journald;
        }
        if stderr().is_terminal() { Self::Human } else { Self::Json }
    }
}

/// Starts the log of this process. A second call changes nothing.
///
/// # Errors
///
/// [`Error::Level`] when `level` cannot be parsed, [`Error::Thread`].
pub fn start(level: &str, format: LineFormat, colour: bool) -> Result<LogGuard, Error> {
    let LogFilter(filter) = LogFilter::parse(level)?;
    if let Some(log) = LOG_STATE.get() {
        return Ok(LogGuard(log));
    }
    let (writer, journal_format) = open(format).map_err(Error::Thread)?;
    let (filter, level) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(writer.clone());
    let lines = match format {
        LineFormat::Json => {
            // `json()` keeps the fields of spans as JSON.
            lines.json().event_format(JsonFormat).boxed()
        }
        LineFormat::Journald => lines.event_format(journal_format).boxed(),
        LineFormat::Human => lines.event_format(HumanFormat::Terminal { colour }).boxed(),
    };
    // An error means that other code, such as a test, has started a log.
    let _already_started = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Ok(LogGuard(LOG_STATE.get_or_init(|| LogState { writer, level })))
}

/// Opens where the lines go; returns the format for the journal too. What is no journal gets the
/// lines that `sd-daemon(3)` describes: another program may pass them on.
fn open(format: LineFormat) -> io::Result<(NonBlockingWriter, HumanFormat)> {
    #[cfg(unix)]
    {
        use super::journal::{JournalSink, is_stderr_journal};
        if format == LineFormat::Journald && is_stderr_journal() {
            let writer = NonBlockingWriter::start(JournalSink::new()?)?;
            return Ok((writer, HumanFormat::JournalEntry));
        }
    }
    #[cfg(not(unix))]
    let _ = format;
    Ok((NonBlockingWriter::start(StreamSink(stderr()))?, HumanFormat::JournalStream))
}

/// Changes the level from now on.
pub fn set_level(LogFilter(filter): LogFilter) {
    if let Some(started) = LOG_STATE.get() {
        // An error means that other code has started the log: the level is its own.
        let _ = started.level.reload(filter);
    }
}

/// Returns how many lines were lost because standard error was full.
pub fn dropped() -> u64 {
    LOG_STATE.get().map_or(0, |started| started.writer.dropped())
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.writer.flush();
    }
}

impl LogFilter {
    /// Parses a level or directives. A bare level holds for this program alone.
    ///
    /// # Errors
    ///
    /// [`Error::Level`].
    pub fn parse(level: &str) -> Result<Self, Error> {
        let is_bare = level.bytes().all(|byte| byte.is_ascii_alphabetic());
        let directives = if is_bare {
            format!("warn,nexudus_proxy={level},nexudus_simulator={level}")
        } else {
            level.to_owned()
        };
        let targets = directives.parse::<Targets>();
        targets.map(Self).map_err(|source| Error::Level { level: level.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_and_directives_can_be_parsed() {
        for level in ["info", "debug", "info,nexudus_proxy::session=trace"] {
            assert!(LogFilter::parse(level).is_ok(), "{level}");
        }
        assert!(LogFilter::parse("nexudus_proxy=loud").is_err());
    }
}
