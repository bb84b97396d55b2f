//! `serve`: the daemon in the foreground.

use super::flags::Keys;
use super::{Code, Failure};
use crate::config::{Config, Paths};

/// What `serve` takes: every key of the configuration.
#[derive(clap::Args, Debug)]
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
