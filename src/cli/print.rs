//! The only printing: results to stdout, everything else to stderr, colour where it is wanted.
//!
//! A reader that went away (`| head`) is no failure.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ColorChoice;
use serde_json::Value as Json;

use super::error::CliError;
use crate::problem::{ExitCode, Report};

/// `--color`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl ColorWhen {
    /// Finds `--color` before anything is parsed, so that errors of parsing are coloured too.
    pub(super) fn from_args(args: &[OsString]) -> Self {
        let words: Vec<_> = args.iter().filter_map(|arg| arg.to_str()).collect();
        let words: Vec<_> = words.into_iter().take_while(|word| *word != "--").collect();
        let joined = words.iter().filter_map(|word| word.strip_prefix("--color="));
        let apart = words.windows(2).filter(|pair| pair[0] == "--color").map(|pair| pair[1]);
        match joined.chain(apart).next_back() {
            Some("always") => Self::Always,
            Some("never") => Self::Never,
            Some(_) | None => Self::Auto,
        }
    }

    fn is_enabled(self, terminal: bool) -> bool {
        let unwanted = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => terminal && !unwanted("NO_COLOR") && !dumb,
        }
    }
}

impl From<ColorWhen> for ColorChoice {
    fn from(when: ColorWhen) -> Self {
        match when {
            ColorWhen::Auto => Self::Auto,
            ColorWhen::Always => Self::Always,
            ColorWhen::Never => Self::Never,
        }
    }
}

/// Returns whether `--json` is among the arguments, before anything is parsed.
pub(super) fn wants_json(args: &[OsString]) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json")
}

/// Whether anything has been printed as a result: a program reads one document, not two.
static HAS_RESULT: AtomicBool = AtomicBool::new(false);

/// Where a command prints.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    stdout_colour: bool,
    stderr_colour: bool,
    is_quiet: bool,
}

impl Printer {
    /// Returns whether only what went wrong is said (`--quiet`).
    pub(super) fn is_quiet(self) -> bool {
        self.is_quiet
    }

    /// Returns whether the log may be coloured.
    pub(super) fn is_stderr_coloured(self) -> bool {
        self.stderr_colour
    }

    /// Returns whether results go to a terminal.
    pub(super) fn is_on_terminal(self) -> bool {
        io::stdout().is_terminal()
    }

    /// Returns whether a person watches what is said beside the result.
    pub(super) fn is_watched(self) -> bool {
        io::stderr().is_terminal()
    }

    pub(super) fn new(when: ColorWhen) -> Self {
        Self {
            stdout_colour: when.is_enabled(io::stdout().is_terminal()),
            stderr_colour: when.is_enabled(io::stderr().is_terminal()),
            is_quiet: false,
        }
    }

    pub(super) fn with_quiet(self, is_quiet: bool) -> Self {
        Self { is_quiet, ..self }
    }

    /// Prints a line of the result.
    ///
    /// # Errors
    ///
    /// [`CliError::Output`] when it cannot be written; the same for the other results.
    pub fn line(self, text: &str) -> Result<(), CliError> {
        self.raw(format!("{text}\n").as_bytes())
    }

    /// Prints a result as it is.
    ///
    /// # Errors
    ///
    /// As [`Printer::line`].
    pub fn raw(self, bytes: &[u8]) -> Result<(), CliError> {
        HAS_RESULT.store(true, Ordering::Relaxed);
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Output(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Prints a line of a result that has no end; returns whether stdout is still read.
    ///
    /// # Errors
    ///
    /// As [`Printer::line`].
    pub(super) fn stream_line(self, text: &str) -> Result<bool, CliError> {
        self.stream(format!("{text}\n").as_bytes())
    }

    /// Prints a part of a result that is too large to be held; returns whether stdout is still
    /// read.
    ///
    /// # Errors
    ///
    /// As [`Printer::line`].
    pub(super) fn stream(self, bytes: &[u8]) -> Result<bool, CliError> {
        HAS_RESULT.store(true, Ordering::Relaxed);
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(CliError::Output(error)),
            Ok(()) => Ok(true),
        }
    }

    /// Colours a part of a result, where results are coloured.
    pub(super) fn style(self, code: &str, text: &str) -> String {
        paint(self.stdout_colour, code, text)
    }

    /// Prints indented JSON. A program that wants one compact line has `jq -c`, so this format
    /// serves people and programs.
    ///
    /// # Errors
    ///
    /// As [`Printer::line`].
    pub fn json(self, value: &Json) -> Result<(), CliError> {
        self.line(&format!("{value:#}"))
    }

    /// Prints aligned columns; rows that end in `usual` are dimmed.
    ///
    /// # Errors
    ///
    /// As [`Printer::line`].
    pub fn table<const N: usize>(self, rows: &[[String; N]], usual: &str) -> Result<(), CliError> {
        let widths: Vec<_> = (0..N)
            .map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default())
            .collect();
        let mut text = String::new();
        for row in rows {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            let dim = self.stdout_colour && row.last().is_some_and(|cell| cell == usual);
            text.push_str(&paint(dim, "2", line.trim_end()));
            text.push('\n');
        }
        self.raw(text.as_bytes())
    }

    /// Warns of something that is no failure.
    pub fn warning(self, text: &str) {
        let text = without_control(text);
        self.write_stderr(&format!("{} {text}\n", paint(self.stderr_colour, "1;33", "warning:")));
    }

    /// Prints a remark that a program does not need.
    pub fn note(self, text: &str) {
        let text = without_control(text);
        self.write_stderr(&format!("{} {text}\n", paint(self.stderr_colour, "1;36", "note:")));
    }

    /// Prints a prompt; the user types on the same line.
    pub(super) fn prompt(self, text: &str) {
        self.write_stderr(text);
    }

    /// Prints a failure for a person; as JSON too, if a program has received no result yet.
    pub(super) fn error(self, error: &CliError, is_json: bool) -> ExitCode {
        // Help and version are results, and clap knows where they go.
        if let Some(help) = error.help() {
            let _ = help.print();
            return error.exit_code();
        }
        if let Some(json) = error.to_json().filter(|_| is_json)
            && !HAS_RESULT.load(Ordering::Relaxed)
        {
            // Where stdout is closed, stderr still says what happened.
            let _ = self.json(&json);
        }
        let texts: Vec<_> =
            error.reports().iter().map(|report| self.format_report(report)).collect();
        self.write_stderr(&texts.join("\n"));
        error.exit_code()
    }

    fn format_report(self, report: &Report) -> String {
        let message = without_control(&report.message);
        let mut text = format!("{} {message}\n", paint(self.stderr_colour, "1;31", "error:"));
        for cause in report.causes.iter().map(|cause| without_control(cause)) {
            text.push_str(&format!("  caused by: {cause}\n"));
        }
        if let Some(hint) = report.hint.as_deref().map(without_control) {
            text.push_str(&format!("{} {hint}\n", paint(self.stderr_colour, "1;36", "hint:")));
        }
        text
    }

    /// Prints a panic in one line.
    pub(super) fn panic(self, info: &PanicHookInfo<'_>) {
        let place = info.location().map(|place| format!("{}:{}", place.file(), place.line()));
        let place = place.unwrap_or_else(|| "an unknown place".to_owned());
        let text = info.payload().downcast_ref::<&str>().copied();
        let text = text.or_else(|| info.payload().downcast_ref::<String>().map(String::as_str));
        let message = text.and_then(|text| text.lines().next()).unwrap_or("no message");
        let label = paint(self.stderr_colour, "1;31", "error:");
        self.write_stderr(&format!(
            "{label} a fault of nexudus-proxy itself at {place}: {message}\n"
        ));
    }

    fn write_stderr(self, text: &str) {
        // If stderr is closed, the panic cannot be reported.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Escapes what could steer a terminal or turn the order of letters: some of these words are those of
/// other people, of Nexudus or of another daemon.
fn without_control(text: &str) -> Cow<'_, str> {
    let steers = |letter: char| {
        let turns = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || (letter.is_control() && !matches!(letter, '\n' | '\t'))
    };
    if !text.contains(steers) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if steers(letter) {
            escaped.extend(letter.escape_unicode());
        } else {
            escaped.push(letter);
        }
    }
    escaped.into()
}

fn paint(wanted: bool, code: &str, text: &str) -> String {
    if wanted { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}
