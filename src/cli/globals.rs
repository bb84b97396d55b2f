//! The options that every command takes, and the configuration that they lead to.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::config_flags;
use super::print::{ColorWhen, Printer};
use crate::config::{Environment, Error, LoadedConfig, Override, Sources};

/// The options that every command takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub(super) struct GlobalArgs {
    /// Use the credentials, state and sockets of this profile
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) profile: Option<String>,
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

impl GlobalArgs {
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
        Sources {
            profile: self.profile.clone(),
            file: self.config.clone(),
            environment: Environment::from_process(),
            // A key that is given by name counts more than `-v`.
            flags: verbosity.into_iter().chain(overrides).collect(),
        }
    }
}
