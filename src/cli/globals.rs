//! The options that every command takes, and the configuration that they lead to.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::config_flags;
use super::print::{ColorWhen, Printer};
use crate::config::{Environment, Error, LoadedConfig, Override, Sources, with_flags};

/// The options that every command takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub(super) struct GlobalArgs {
    /// Use the credentials, state and sockets of this profile
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) profile: Option<String>,
    /// Talk to the system's daemon (and no other), or about its files
    #[arg(long, global = true)]
    pub(super) system: bool,
    /// Talk to this user's own daemon (and no other)
    #[arg(long, global = true, conflicts_with = "system")]
    pub(super) user: bool,
    /// Read this configuration file
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print data as JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Increase log verbosity (-vv: trace)
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(super) verbose: u8,
    /// Say only what went wrong
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(super) color: ColorWhen,
}

/// Whose daemon a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DaemonScope {
    /// The user's own, else the system's.
    Any,
    /// The user's own.
    User,
    /// The system's.
    System,
}

impl GlobalArgs {
    /// Returns whose daemon was asked for.
    pub(super) fn scope(&self) -> DaemonScope {
        match (self.system, self.user) {
            (true, _) => DaemonScope::System,
            (false, true) => DaemonScope::User,
            (false, false) => DaemonScope::Any,
        }
    }

    /// Returns where the command prints.
    pub(super) fn printer(&self) -> Printer {
        Printer::new(self.color).with_quiet(self.quiet)
    }

    /// Names the daemon and the profile that were asked for in every command that a sentence advises.
    pub(super) fn as_typed(&self, said: &str) -> String {
        with_flags(said, self.profile_name().as_deref(), self.scope_flag())
    }

    /// Returns the profile, unless it has no valid name.
    pub(super) fn profile_name(&self) -> Option<String> {
        self.sources(vec![]).paths().map(|paths| paths.profile).ok()
    }

    /// Returns `--system` or `--user`, if one was given.
    pub(super) fn scope_flag(&self) -> Option<&'static str> {
        match self.scope() {
            DaemonScope::Any => None,
            DaemonScope::User => Some("--user"),
            DaemonScope::System => Some("--system"),
        }
    }

    /// Merges these overrides with the environment and the file.
    pub(super) fn load(&self, overrides: Vec<Override>) -> Result<LoadedConfig, Error> {
        self.sources(overrides).load()
    }

    /// Does the same, and prints the warnings of the configuration.
    pub(super) fn load_and_warn(
        &self,
        overrides: Vec<Override>,
        print: Printer,
    ) -> Result<LoadedConfig, Error> {
        let loaded = self.load(overrides)?;
        loaded.warnings.iter().for_each(|warning| print.warning(warning));
        Ok(loaded)
    }

    /// Returns where the configuration is read.
    pub(super) fn sources(&self, overrides: Vec<Override>) -> Sources {
        let verbosity = config_flags::verbosity(self.verbose, self.quiet);
        let environment = if self.system {
            // The system's daemon has its own environment, not that of the person who asks.
            Environment::from(SYSTEM_ENVIRONMENT)
        } else {
            Environment::from_process()
        };
        Sources {
            profile: self.profile.clone(),
            file: self.config.clone(),
            environment,
            // A key that is given by name counts more than `-v`.
            flags: verbosity.into_iter().chain(overrides).collect(),
        }
    }
}

/// The directories of the system unit.
const SYSTEM_ENVIRONMENT: [(&str, &str); 3] = [
    ("CONFIGURATION_DIRECTORY", "/etc/nexudus-proxy"),
    ("STATE_DIRECTORY", "/var/lib/nexudus-proxy"),
    ("RUNTIME_DIRECTORY", "/run/nexudus-proxy"),
];
