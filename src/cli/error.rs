//! Why a command failed: as an exit code, as reports for a person, and as JSON for a program.

mod clap_error;

use std::ffi::OsString;
use std::io;

use crate::config;
use crate::problem::{ExitCode, Problem, ProblemKind, Report};

/// Why a command failed.
#[derive(Debug)]
pub enum CliError {
    /// The command line is wrong, or asks for help.
    Usage(Box<clap::Error>),
    /// A problem of the catalogue.
    Problem(Box<dyn Problem>),
    /// A problem that only this command knows.
    Message {
        /// The text for a person.
        report: Report,
        /// How to exit.
        exit_code: ExitCode,
    },
    /// The result could not be printed.
    Output(io::Error),
    /// The system gave no runtime, no signals or no temporary directory.
    Runtime(io::Error),
    /// `run` failed before its command was started.
    Run(Box<Self>),
    /// The command of `run` could not be started.
    Command {
        /// The command.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The failure of a command with these global options.
    AsTyped {
        /// The profile.
        profile: Option<String>,
        /// `--system` or `--user`, if one was given.
        scope: Option<&'static str>,
        /// The failure.
        error: Box<Self>,
    },
    /// The command failed, and has a result for programs all the same.
    WithOutput {
        /// The result: an object.
        output: serde_json::Value,
        /// The failure.
        error: Box<Self>,
    },
    /// The command of `run` ended with this code.
    ChildExited(u8),
    /// Everything is printed; only the exit code is left.
    AlreadyPrinted(ExitCode),
}

impl CliError {
    /// Makes an error that only one command knows.
    pub(super) fn message(
        exit_code: ExitCode,
        message: impl Into<String>,
        hint: Option<&str>,
    ) -> Self {
        let hint = hint.map(str::to_owned);
        Self::Message {
            report: Report { message: message.into(), causes: vec![], hint },
            exit_code,
        }
    }

    /// Adds a result for programs.
    pub(super) fn with_output(self, output: serde_json::Value) -> Self {
        Self::WithOutput { output, error: Box::new(self) }
    }

    /// Returns the exit code.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(error) if error.exit_code() == 0 => ExitCode::Done,
            Self::Usage(_) => ExitCode::Usage,
            Self::Problem(problem) => problem.kind().exit_code(),
            Self::Message { exit_code, .. } | Self::AlreadyPrinted(exit_code) => *exit_code,
            Self::Output(_) | Self::Runtime(_) => ExitCode::Failed,
            Self::Run(_) => ExitCode::Run,
            Self::Command { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ExitCode::NotFound
            }
            Self::Command { .. } => ExitCode::NotExecutable,
            Self::AsTyped { error, .. } | Self::WithOutput { error, .. } => error.exit_code(),
            Self::ChildExited(code) => ExitCode::Child(*code),
        }
    }

    /// Returns the reports for a person, one for each thing that is wrong.
    pub(super) fn reports(&self) -> Vec<Report> {
        match self {
            Self::Usage(error) => vec![clap_error::report(error)],
            Self::Problem(problem) => Report::all(&**problem),
            Self::Message { report, .. } => vec![report.clone()],
            Self::Output(source) => caused("could not print the result".to_owned(), source),
            Self::Runtime(source) => {
                caused("the system refused what every program needs".to_owned(), source)
            }
            Self::Run(error) | Self::WithOutput { error, .. } => error.reports(),
            Self::Command { program, source } => {
                caused(format!("could not run `{program}`"), source)
            }
            Self::AsTyped { profile, scope, error } => {
                as_typed(error.reports(), profile.as_deref(), *scope)
            }
            Self::ChildExited(_) | Self::AlreadyPrinted(_) => vec![],
        }
    }

    /// Returns the error as a program reads it, or `None` where there is nothing left to print.
    pub(super) fn to_json(&self) -> Option<serde_json::Value> {
        let mut cause = self;
        while let Self::AsTyped { error, .. } | Self::Run(error) = cause {
            cause = error;
        }
        let mut json = serde_json::json!({});
        if let Self::ChildExited(_) | Self::AlreadyPrinted(_) = cause {
            return None;
        } else if let Self::WithOutput { output, .. } = cause {
            json = output.clone();
        }
        json["exit_code"] = self.exit_code().number().into();
        json["errors"] = serde_json::json!(self.reports());
        Some(json)
    }

    /// Returns whether clap prints this itself: the help or the version, or the help that is shown
    /// because a command is missing.
    pub(super) fn help(&self) -> Option<&clap::Error> {
        let Self::Usage(error) = self else { return None };
        (error.exit_code() == 0 || clap_error::is_help(error)).then_some(error)
    }
}

/// Errors of the other modules: each knows its place in the catalogue.
impl<E: Problem + 'static> From<E> for CliError {
    fn from(error: E) -> Self {
        Self::Problem(Box::new(error))
    }
}

impl From<clap::Error> for CliError {
    fn from(error: clap::Error) -> Self {
        Self::Usage(Box::new(error))
    }
}

fn caused(message: String, source: &io::Error) -> Vec<Report> {
    vec![Report { message, causes: vec![source.to_string()], hint: None }]
}

/// Repeats the global options in the commands that the reports advise.
fn as_typed(reports: Vec<Report>, profile: Option<&str>, scope: Option<&str>) -> Vec<Report> {
    let named = |report: Report| Report {
        hint: report.hint.map(|hint| config::with_flags(&hint, profile, scope)),
        ..report
    };
    reports.into_iter().map(named).collect()
}

/// Returns how to exit for a code that the daemon has sent.
pub(super) fn exit_code_of(code: &str) -> ExitCode {
    ProblemKind::from_code(code).map_or(ExitCode::Failed, ProblemKind::exit_code)
}

/// Returns the error for a flag of the configuration that stands before the command, if there is one.
pub(super) fn misplaced_flag(args: &[OsString], command: &clap::Command) -> Option<CliError> {
    let report = clap_error::misplaced_flag(args, command)?;
    Some(CliError::Message { report, exit_code: ExitCode::Usage })
}
