//! What is wrong with a command line, in the shape of our own errors.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::error::Report;
use super::flags::env_variable;

/// Says whether the error is the help itself, shown because a command is missing.
pub(super) fn is_help(error: &clap::Error) -> bool {
    error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// Tells what clap found in the shape of our own errors.
pub(super) fn usage(error: &clap::Error) -> Report {
    let text = error.render().to_string();
    let mut parts = text.split("\n\n");
    let sentence = parts.next().unwrap_or_default().trim_start_matches("error: ");
    let sentence = sentence.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let tip = parts.find_map(|part| part.trim().strip_prefix("tip: "));
    let tip = tip.and_then(|tip| tip.lines().next()).map(|tip| format!("{}.", capital(tip)));
    let hint =
        configured(error).or(tip).or_else(|| Some("--help lists what can be given.".to_owned()));
    Report { message: sentence, causes: vec![], hint }
}

/// Returns the hint for a flag of `serve` that this command does not take: the tip of clap would pass
/// it on as a word.
fn configured(error: &clap::Error) -> Option<String> {
    let flag = match (error.kind(), error.get(ContextKind::InvalidArg)?) {
        (ErrorKind::UnknownArgument, ContextValue::String(flag)) => flag.strip_prefix("--")?,
        _ => return None,
    };
    let variable = env_variable(flag.split('=').next().unwrap_or(flag))?;
    Some(format!(
        "This command takes no keys of the configuration as flags: set {variable} in its environment."
    ))
}

fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}
