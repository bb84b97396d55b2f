//! A command of the service manager's, word by word.

use std::io;
use std::process::{Command, Stdio};

use super::{Error, Reporter, ServiceEvent};

/// A command of the service manager's.
#[derive(Clone, Debug)]
pub(super) struct ServiceCommand(Vec<String>);

impl ServiceCommand {
    pub(super) fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        Self(words.into_iter().map(str::to_owned).collect())
    }

    pub(super) fn args<'a>(mut self, words: impl IntoIterator<Item = &'a str>) -> Self {
        self.0.extend(words.into_iter().map(str::to_owned));
        self
    }

    /// Runs it; what it says of a failure goes to our own standard error.
    pub(super) fn run(self, tell: Reporter<'_>) -> Result<(), Error> {
        let line = self.text();
        let status = self.clone().command().stdout(Stdio::null()).status();
        let status = status.map_err(|source| self.spawn_error(source))?;
        if !status.success() {
            return Err(Error::Failed { line, status });
        }
        tell(ServiceEvent::Ran(line));
        Ok(())
    }

    /// Runs it for what it prints; how it ended is part of the answer.
    pub(super) fn output(self) -> Result<(bool, String), Error> {
        let output = self.clone().command().stderr(Stdio::null()).output();
        let output = output.map_err(|source| self.spawn_error(source))?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    pub(super) fn command(self) -> Command {
        let mut command = Command::new(&self.0[0]);
        command.args(&self.0[1..]).stdin(Stdio::null());
        command
    }

    pub(super) fn spawn_error(&self, source: io::Error) -> Error {
        match source.kind() == io::ErrorKind::NotFound {
            true => Error::NoManager,
            false => Error::Command { line: self.text(), source },
        }
    }

    pub(super) fn text(&self) -> String {
        self.0.join(" ")
    }
}
