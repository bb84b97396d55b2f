//! The log: one line per event on standard error.
//!
//! Other crates are held to warnings: their debug lines print headers and bodies.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `log.level` is neither a level nor a list of directives.
    #[error("log.level `{level}` is not a level such as `info`, nor a list of directives")]
    Level {
        /// What was configured.
        level: String,
        /// Why it was not understood.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
}

/// The shape of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// For eyes.
    Human,
    /// For programs: one JSON object a line.
    Json,
    /// For the journal, which keeps the time itself.
    Journald,
}

impl Shape {
    /// Returns what suits the place that standard error goes to.
    pub fn suitable() -> Self {
        match (std::env::var_os("JOURNAL_STREAM"), stderr().is_terminal()) {
            (Some(_), _) => Self::Journald,
            (None, true) => Self::Human,
            (None, false) => Self::Json,
        }
    }
}

/// Starts the log of this process. A second call changes nothing.
///
/// # Errors
///
/// [`Error::Level`] when `level` cannot be understood.
pub fn start(level: &str, shape: Shape, colour: bool) -> Result<(), Error> {
    let filter = filter(level)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_target(false)
        .with_writer(stderr)
        .with_ansi(colour);
    // An error means that this process has a log already, as every test after the first one has.
    let _already_started = match shape {
        Shape::Json => builder.json().flatten_event(true).try_init(),
        Shape::Journald => builder.without_time().with_ansi(false).try_init(),
        Shape::Human => builder.compact().try_init(),
    };
    Ok(())
}

/// A bare level speaks of us alone.
fn filter(level: &str) -> Result<EnvFilter, Error> {
    let is_bare = level.bytes().all(|byte| byte.is_ascii_alphabetic());
    let directives = match is_bare {
        true => format!("warn,nexudus_proxy={level},nexudus_simulator={level}"),
        false => level.to_owned(),
    };
    EnvFilter::try_new(&directives)
        .map_err(|source| Error::Level { level: level.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_and_directives_are_understood_and_nonsense_is_not() {
        for level in ["info", "debug", "info,nexudus_proxy::session=trace"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        assert!(filter("nexudus_proxy=loud").is_err());
    }
}
