//! What may fail, as why a command failed.

use super::{CliError, ExitCode};
use crate::cli::{login, whoami};
use crate::config::{self, Diagnostic};
use crate::{clients, daemon, service, telemetry};

impl From<clap::Error> for CliError {
    fn from(error: clap::Error) -> Self {
        Self::Usage(Box::new(error))
    }
}

impl From<login::LoginError> for CliError {
    fn from(error: login::LoginError) -> Self {
        Self::Login(error)
    }
}

impl From<whoami::WhoamiError> for CliError {
    fn from(error: whoami::WhoamiError) -> Self {
        Self::Whoami(error)
    }
}

impl From<daemon::Error> for CliError {
    fn from(error: daemon::Error) -> Self {
        Self::Daemon(error)
    }
}

impl From<daemon::run_loop::ForcedExit> for CliError {
    fn from(cut: daemon::run_loop::ForcedExit) -> Self {
        Self::Other { sentence: cut.to_string(), code: ExitCode::Failed, hint: None }
    }
}

impl From<clients::Error> for CliError {
    fn from(error: clients::Error) -> Self {
        Self::Clients(error)
    }
}

impl From<service::Error> for CliError {
    fn from(error: service::Error) -> Self {
        Self::Service(error)
    }
}

impl From<telemetry::Error> for CliError {
    fn from(error: telemetry::Error) -> Self {
        Self::Log(error)
    }
}

impl From<config::Error> for CliError {
    fn from(error: config::Error) -> Self {
        Self::Config(error)
    }
}

impl From<Diagnostic> for CliError {
    fn from(problem: Diagnostic) -> Self {
        Self::Config(problem.into())
    }
}
