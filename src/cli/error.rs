//! How a command ends: the only mapping from errors to exit codes and hints.

mod convert;
mod login;

use std::io;
use std::path::PathBuf;

use serde::Serialize;

use super::hint;
use super::print::causes;
use super::usage::usage;
use crate::admin::{api, client};
use crate::config;
use crate::{clients, credentials, daemon, listen, service, session, telemetry};

/// How a command ended, for the program that ran it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// It did what it was asked.
    Done,
    /// It failed.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// Nobody has logged in.
    NotLoggedIn,
    /// Refused, 2FA needed, password reset needed.
    Unauthorized,
    /// No API access.
    Forbidden,
    /// The daemon is not running.
    NotRunning,
    /// Network or upstream unreachable.
    Network,
    /// Credential store locked or missing.
    CredentialStore,
    /// `run` failed before its command could be started.
    Run,
    /// The command that was to be run cannot be executed.
    NotExecutable,
    /// The command that was to be run does not exist.
    NotFound,
    /// As the command that was run.
    Child(u8),
}

impl From<ExitCode> for i32 {
    fn from(code: ExitCode) -> Self {
        match code {
            ExitCode::Done => 0,
            ExitCode::Failed => 1,
            ExitCode::Usage => 2,
            ExitCode::NotLoggedIn => 3,
            ExitCode::Unauthorized => 4,
            ExitCode::Forbidden => 5,
            ExitCode::NotRunning => 6,
            ExitCode::Network => 7,
            ExitCode::CredentialStore => 8,
            ExitCode::Run => 125,
            ExitCode::NotExecutable => 126,
            ExitCode::NotFound => 127,
            ExitCode::Child(code) => code.into(),
        }
    }
}

impl ExitCode {
    /// Returns every code, for the manual page.
    pub(super) const ALL: [Self; 12] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::NotLoggedIn,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotRunning,
        Self::Network,
        Self::CredentialStore,
        Self::Run,
        Self::NotExecutable,
        Self::NotFound,
    ];

    /// Says what it means.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "usage or configuration",
            Self::NotLoggedIn => "not logged in",
            Self::Unauthorized => "unauthorized: refused, 2FA needed, password reset needed",
            Self::Forbidden => "forbidden: no API access",
            Self::NotRunning => "the daemon is not running",
            Self::Network => "network or upstream unreachable",
            Self::CredentialStore => "credential store locked or missing",
            Self::Run => "run: it failed itself",
            Self::NotExecutable => "run: the command cannot be executed",
            Self::NotFound => "run: the command was not found",
            Self::Child(_) => "run: as the command",
        }
    }
}

/// Why a command failed.
#[derive(Debug)]
pub enum CliError {
    /// The command line is wrong, or asks for help.
    Usage(Box<clap::Error>),
    /// The configuration is wrong.
    Config(config::Error),
    /// `config init` would have replaced a file.
    ConfigExists(PathBuf),
    /// A file could not be written.
    WriteFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The result could not be printed.
    Output(io::Error),
    /// The daemon did not start.
    Daemon(daemon::Error),
    /// Nobody could be logged in.
    Login(super::login::LoginError),
    /// It cannot be told who is logged in.
    Whoami(super::whoami::WhoamiError),
    /// There is no token.
    Session(session::Error),
    /// The stored login cannot be read or changed.
    Credentials(credentials::Error),
    /// The named clients could not be read or changed.
    Clients(clients::Error),
    /// `run` failed itself.
    Run(Box<Self>),
    /// The command of `run` could not be started.
    Command {
        /// The command.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It happened in this profile.
    InProfile {
        /// The profile.
        profile: String,
        /// What happened.
        failure: Box<Self>,
    },
    /// There is a result for programs all the same.
    WithOutput {
        /// The result: an object.
        shown: serde_json::Value,
        /// What happened.
        failure: Box<Self>,
    },
    /// The command of `run` ended with this code.
    ChildExited(u8),
    /// All has been said; only the code is left.
    AlreadyPrinted(ExitCode),
    /// The daemon cannot serve yet, or will not by itself.
    NotReady {
        /// What failed.
        sentence: String,
        /// How to exit.
        code: ExitCode,
        /// What the daemon says of it, if it has said anything.
        reason: Option<Box<api::Reason>>,
    },
    /// The daemon was not reached, or refused.
    Admin(client::Error),
    /// The service manager, or what it is asked for.
    Service(service::Error),
    /// The log did not start.
    Log(telemetry::Error),
    /// The system gave no runtime, no signals or no temporary directory.
    Runtime(io::Error),
    /// The simulator did not start.
    #[cfg(feature = "demo")]
    Simulator(nexudus_simulator::StartError),
    /// Anything that is said in place.
    Other {
        /// What failed.
        sentence: String,
        /// How to exit.
        code: ExitCode,
        /// The way out.
        hint: Option<String>,
    },
}

/// One sentence, its causes, the way out.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    #[serde(rename = "sentence")]
    pub(super) message: String,
    pub(super) causes: Vec<String>,
    pub(super) hint: Option<String>,
}

impl CliError {
    /// Returns the exit code.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(error) if error.exit_code() == 0 => ExitCode::Done,
            Self::Usage(_) | Self::Config(_) | Self::Log(_) => ExitCode::Usage,
            Self::ConfigExists(_) | Self::WriteFile { .. } | Self::Output(_) | Self::Runtime(_) => {
                ExitCode::Failed
            }
            #[cfg(feature = "demo")]
            Self::Simulator(_) => ExitCode::Failed,
            Self::Daemon(error) => daemon_code(error),
            Self::Login(error) => login::login_code(error),
            Self::Whoami(error) => login::whoami_code(error),
            Self::Session(error) => login::session_code(error),
            Self::Credentials(error) => login::credentials_code(error),
            Self::Run(_) => ExitCode::Run,
            Self::InProfile { failure, .. } | Self::WithOutput { failure, .. } => {
                failure.exit_code()
            }
            Self::Command { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ExitCode::NotFound
            }
            Self::Command { .. } => ExitCode::NotExecutable,
            Self::ChildExited(code) => ExitCode::Child(*code),
            Self::AlreadyPrinted(code) => *code,
            Self::Clients(clients::Error::Name { .. }) => ExitCode::Usage,
            Self::Clients(_) => ExitCode::Failed,
            Self::Admin(error) => admin_code(error),
            Self::Service(error) => super::service::code(error),
            Self::NotReady { code, .. } | Self::Other { code, .. } => *code,
        }
    }

    /// Returns what it is for a program; `None` where the command of `run` has ended.
    pub(super) fn to_json(&self) -> Option<serde_json::Value> {
        let mut cause = self;
        while let Self::InProfile { failure, .. } | Self::Run(failure) = cause {
            cause = failure;
        }
        let mut json = serde_json::json!({});
        if let Self::ChildExited(_) | Self::AlreadyPrinted(_) = cause {
            return None;
        } else if let Self::WithOutput { shown, .. } = cause {
            json = shown.clone();
        }
        json["exit_code"] = i32::from(self.exit_code()).into();
        json["errors"] = serde_json::json!(self.reports());
        Some(json)
    }

    /// Returns what to tell, one report per problem.
    pub(super) fn reports(&self) -> Vec<Report> {
        let one = |message: String, causes: Vec<String>, hint: Option<String>| {
            vec![Report { message, causes, hint }]
        };
        match self {
            Self::Usage(error) => vec![usage(error)],
            Self::Config(config::Error(problems)) => problems.iter().map(flaw).collect(),
            Self::ConfigExists(path) => one(
                format!("there is a configuration file already: {}", path.display()),
                vec![],
                Some("Edit it, or replace it with --force.".to_owned()),
            ),
            Self::WriteFile { path, source } => {
                one(format!("could not write {}", path.display()), vec![source.to_string()], None)
            }
            Self::Output(source) => {
                one("could not print the result".to_owned(), vec![source.to_string()], None)
            }
            Self::Login(error) => vec![login::login(error)],
            Self::Whoami(error) => vec![login::whoami(error)],
            Self::Session(error) => vec![login::session(error)],
            Self::Credentials(error) => vec![login::credentials(error)],
            Self::Daemon(error) => one(error.to_string(), causes(error), hint::daemon(error)),
            Self::Run(failure) | Self::WithOutput { failure, .. } => failure.reports(),
            Self::InProfile { profile, failure } => in_profile(failure.reports(), profile),
            Self::Command { program, source } => {
                one(format!("could not run `{program}`"), vec![source.to_string()], None)
            }
            // It has said itself what there is to say.
            Self::ChildExited(_) | Self::AlreadyPrinted(_) => vec![],
            Self::Clients(error) => one(error.to_string(), causes(error), hint::clients(error)),
            Self::Admin(client::Error::Problem(problem)) => refused(problem),
            Self::Admin(error) => one(error.to_string(), causes(error), hint::admin(error)),
            Self::Service(error) => one(error.to_string(), causes(error), hint::service(error)),
            Self::NotReady { sentence, reason, .. } => {
                let cause = reason.iter().filter_map(|reason| reason.cause.clone());
                let hint = reason.as_ref().map_or(hint::SILENT, |reason| &reason.hint);
                one(sentence.clone(), cause.collect(), Some(hint.to_owned()))
            }
            Self::Log(error) => one(
                error.to_string(),
                causes(error),
                Some("Write error, warn, info, debug or trace.".to_owned()),
            ),
            Self::Runtime(error) => one(
                "the system refused what every program needs".to_owned(),
                vec![error.to_string()],
                None,
            ),
            #[cfg(feature = "demo")]
            Self::Simulator(error) => one(error.to_string(), causes(error), None),
            Self::Other { sentence, hint, .. } => one(sentence.clone(), vec![], hint.clone()),
        }
    }
}

fn flaw(problem: &config::Diagnostic) -> Report {
    Report { message: problem.to_string(), causes: causes(problem), hint: problem.hint() }
}

/// Names the profile in the commands that the reports advise.
fn in_profile(reports: Vec<Report>, profile: &str) -> Vec<Report> {
    let named = |report: Report| Report {
        hint: report.hint.map(|hint| config::with_profile_flag(&hint, profile)),
        ..report
    };
    reports.into_iter().map(named).collect()
}

fn admin_code(error: &client::Error) -> ExitCode {
    match error {
        client::Error::NotRunning | client::Error::ConnectionClosed(_) => ExitCode::NotRunning,
        client::Error::Problem(problem) => exit_code_of(&problem.code),
        client::Error::Forbidden { .. }
        | client::Error::Unreachable { .. }
        | client::Error::VersionMismatch => ExitCode::Failed,
    }
}

/// Returns how to exit for a code that the daemon answers with.
pub(super) fn exit_code_of(code: &str) -> ExitCode {
    match code {
        "session.not-logged-in" | "session.expired" => ExitCode::NotLoggedIn,
        "session.refused" | "session.totp-required" | "session.password-reset" => {
            ExitCode::Unauthorized
        }
        "session.unavailable" => ExitCode::Network,
        "credentials.locked" | "credentials.unavailable" => ExitCode::CredentialStore,
        "config.invalid" | api::ORIGIN_MISMATCH_CODE => ExitCode::Usage,
        _ => ExitCode::Failed,
    }
}

/// Tells each thing that is wrong, the way out with the last.
fn refused(problem: &api::Problem) -> Vec<Report> {
    let whole = Report { message: problem.detail.clone(), causes: vec![], hint: None };
    let flaw = |flaw: &api::ErrorDetail| Report {
        message: flaw.sentence.clone(),
        causes: flaw.causes.clone(),
        hint: flaw.hint.clone(),
    };
    let mut reports: Vec<_> = problem.problems.iter().map(flaw).collect();
    if reports.is_empty() {
        reports.push(whole);
    }
    if let Some(last) = reports.last_mut() {
        let hints = [last.hint.take(), problem.hint.clone()].into_iter().flatten();
        last.hint = Some(hints.collect::<Vec<_>>().join(" ")).filter(|hint| !hint.is_empty());
    }
    reports
}

/// What is configured wrongly exits like any other configuration error; the rest has failed.
fn daemon_code(error: &daemon::Error) -> ExitCode {
    match error {
        daemon::Error::Trust(_)
        | daemon::Error::NoListeners
        | daemon::Error::UserAgent(_)
        | daemon::Error::OtherUpstream { .. }
        | daemon::Error::Proxy(_)
        | daemon::Error::Listen(
            listen::Error::NoSuchUser { .. } | listen::Error::NoSuchGroup { .. },
        ) => ExitCode::Usage,
        daemon::Error::AlreadyRunning { .. }
        | daemon::Error::Unreachable { .. }
        | daemon::Error::Stopped
        | daemon::Error::State { .. }
        | daemon::Error::Listen(_)
        | daemon::Error::ListenAt { .. }
        | daemon::Error::Client(_)
        | daemon::Error::DataPlane(_) => ExitCode::Failed,
    }
}
