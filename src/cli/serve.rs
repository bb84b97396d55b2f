//! `serve`: the daemon in the foreground.

use super::flags::Keys;
use super::{Code, Failure};
use crate::config::{Config, Paths};

/// What `serve` takes: every key of the configuration.
#[derive(clap::Args, Debug)]
#[command(after_help = "Every key of the configuration is a flag: see --help.")]
#[command(after_long_help = "Lists are given by repeating the flag, or as a TOML array.")]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) keys: Keys,
}

/// Runs the daemon until it is told to stop.
pub(super) fn run(config: Config, paths: Paths) -> Result<(), Failure> {
    let _ = (config, paths);
    Err(Failure::Other {
        sentence: "serve is not available in this version".to_owned(),
        code: Code::Failed,
        hint: None,
    })
}
