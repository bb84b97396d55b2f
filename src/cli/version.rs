//! `--version`, for a person and as JSON: what was built, from which commit, and how it came here.

mod installation;

use serde_json::json;

pub(super) use self::installation::Installation;
use super::{CliError, Printer};

/// The version with the commit that it was built from, and that commit's date.
pub(super) const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("BUILD_COMMIT"),
    " ",
    env!("BUILD_COMMIT_DATE"),
    ")"
);

/// Prints the version for a program.
pub(super) fn print_json(print: Printer) -> Result<(), CliError> {
    let features: Vec<_> = env!("BUILD_FEATURES").split_terminator(' ').collect();
    print.json(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "commit": env!("BUILD_COMMIT"),
        "date": env!("BUILD_COMMIT_DATE"),
        "target": env!("BUILD_TARGET"),
        "features": features,
        "installed": Installation::detect(),
    }))
}
