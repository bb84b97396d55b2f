//! What may fail, as why a command failed.

use super::{Code, Failure};
use crate::cli::{login, whoami};
use crate::config::{self, Problem};
use crate::{clients, daemon, service, telemetry};

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        Self::Usage(Box::new(error))
    }
}

impl From<login::Error> for Failure {
    fn from(error: login::Error) -> Self {
        Self::Login(error)
    }
}

impl From<whoami::Error> for Failure {
    fn from(error: whoami::Error) -> Self {
        Self::Whoami(error)
    }
}

impl From<daemon::Error> for Failure {
    fn from(error: daemon::Error) -> Self {
        Self::Daemon(error)
    }
}

impl From<daemon::life::AtOnce> for Failure {
    fn from(cut: daemon::life::AtOnce) -> Self {
        Self::Other { sentence: cut.to_string(), code: Code::Failed, hint: None }
    }
}

impl From<clients::Error> for Failure {
    fn from(error: clients::Error) -> Self {
        Self::Clients(error)
    }
}

impl From<service::Error> for Failure {
    fn from(error: service::Error) -> Self {
        Self::Service(error)
    }
}

impl From<telemetry::Error> for Failure {
    fn from(error: telemetry::Error) -> Self {
        Self::Log(error)
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Self::Config(error)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Config(problem.into())
    }
}
