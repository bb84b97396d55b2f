//! A command of the service manager, such as `systemctl --user start …`.

use std::io;
use std::process::{Command, Stdio};

use super::{Error, Reporter, ServiceEvent};

/// The words of a command.
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

    /// Runs the command. Its error messages go to our standard error.
    pub(super) fn run(self, report: Reporter<'_>) -> Result<(), Error> {
        let line = self.text();
        let status = self.clone().command().stdout(Stdio::null()).status();
        let status = status.map_err(|source| self.spawn_error(source))?;
        if !status.success() {
            return Err(Error::Failed { line, status });
        }
        report(ServiceEvent::Ran(line));
        Ok(())
    }

    /// Runs the command and returns whether it succeeded, and its output.
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
        if source.kind() == io::ErrorKind::NotFound {
            Error::NoManager
        } else {
            Error::Command { line: self.text(), source }
        }
    }

    pub(super) fn text(&self) -> String {
        self.0.join(" ")
    }
}
