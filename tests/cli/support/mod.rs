//! A home directory of its own for every test, and the real program in it.

#[cfg(all(unix, feature = "demo"))]
pub(crate) mod daemon;
#[cfg(target_os = "linux")]
pub(crate) mod disk;
pub(crate) mod login;
#[cfg(unix)]
pub(crate) mod origins;
#[cfg(target_os = "linux")]
pub(crate) mod parent_proxy;
#[cfg(unix)]
pub(crate) mod run;
#[cfg(all(target_os = "linux", feature = "demo"))]
pub(crate) mod ui;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A home directory that goes away with the test.
pub(crate) struct Home(tempfile::TempDir);

/// Makes an empty home directory.
pub(crate) fn home() -> Home {
    Home(tempfile::tempdir().unwrap())
}

impl Home {
    /// Returns a path in it.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    /// Writes a file in it.
    pub(crate) fn write(&self, below: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes the configuration file.
    pub(crate) fn configure(&self, content: impl AsRef<[u8]>) {
        self.write(CONFIG, content);
    }

    /// Returns the program, with nothing of the environment but this home.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexudus-proxy"));
        command.args(line.split_whitespace()).env_clear().env("HOME", self.0.path());
        command.current_dir(self.0.path());
        command
    }

    /// Returns the program as a service manager starts it: without a terminal that can close.
    #[cfg(all(unix, feature = "demo"))]
    pub(crate) fn detached(&self, line: &str) -> Command {
        if !cfg!(target_os = "linux") {
            return self.command(line);
        }
        let mut command = Command::new("/usr/bin/setsid");
        command.arg(env!("CARGO_BIN_EXE_nexudus-proxy")).args(line.split_whitespace());
        command.env_clear().env("HOME", self.0.path()).current_dir(self.0.path());
        command
    }

    /// Runs a command line and returns its transcript.
    pub(crate) fn run(&self, line: &str) -> String {
        self.transcript(&mut self.command(line))
    }

    /// Runs a command and returns what it printed, stderr behind `! `, and its exit code; the
    /// home directory is `~`.
    pub(crate) fn transcript(&self, command: &mut Command) -> String {
        self.format_output(command.output().unwrap())
    }

    /// Returns the transcript of what has ended.
    pub(crate) fn format_output(&self, Output { status, stdout, stderr }: Output) -> String {
        let mut text = String::from_utf8(stdout).unwrap();
        for line in String::from_utf8(stderr).unwrap().lines() {
            text.push_str(format!("! {line}").trim_end());
            text.push('\n');
        }
        text.push_str(&format!("=> {}\n", status.code().unwrap()));
        text.replace(&self.0.path().display().to_string(), "~")
    }

    /// Returns the home directory itself.
    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }
}

/// Where the configuration file is, below the home directory.
pub(crate) const CONFIG: &str = ".config/nexudus-proxy/config.toml";
