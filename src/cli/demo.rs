//! `demo`: a simulated Nexudus and the proxy in front of it, in one process.

use super::{Code, Failure};

/// What `demo` takes: nothing but what every command takes.
#[derive(clap::Args, Debug)]
pub(super) struct Options {}

/// Runs both until Ctrl-C.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let _ = options;
    Err(Failure::Other {
        sentence: "demo is not available in this version".to_owned(),
        code: Code::Failed,
        hint: None,
    })
}
