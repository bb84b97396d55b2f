//! Errors of the command line, as reports like every other.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::config_flags::env_variable;
use crate::problem::Report;

/// Returns whether the error is the help itself, shown because a command is missing.
pub(super) fn is_help(error: &clap::Error) -> bool {
    error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// Reports what clap found.
pub(super) fn report(error: &clap::Error) -> Report {
    let text = error.render().to_string();
    let mut parts = text.split("\n\n");
    let message = parts.next().unwrap_or_default().trim_start_matches("error: ");
    let message = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let tip = parts.find_map(|part| part.trim().strip_prefix("tip: "));
    let tip = tip.and_then(|tip| tip.lines().next()).map(|tip| format!("{}.", capitalize(tip)));
    let hint = config_flag_hint(error)
        .or(tip)
        .unwrap_or_else(|| "--help lists what can be given.".to_owned());
    Report { message, causes: vec![], hint: Some(hint) }
}

/// Returns the hint for a flag of `serve` that this command does not take: the tip of clap would
/// pass the flag on as a word.
fn config_flag_hint(error: &clap::Error) -> Option<String> {
    let flag = match (error.kind(), error.get(ContextKind::InvalidArg)?) {
        (ErrorKind::UnknownArgument, ContextValue::String(flag)) => flag.strip_prefix("--")?,
        _ => return None,
    };
    let variable = env_variable(flag.split('=').next().unwrap_or(flag))?;
    Some(format!(
        "This command takes no keys of the configuration as flags: set {variable} in its environment."
    ))
}

/// Returns the error for a flag of the configuration before the command: only global options stand
/// there. The value of the flag is not repeated.
pub(super) fn misplaced_flag(args: &[OsString], command: &clap::Command) -> Option<Report> {
    let words: Vec<_> = args.iter().skip(1).map_while(|arg| arg.to_str()).collect();
    let names: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
    let at = words.iter().position(|word| names.contains(word)).unwrap_or(words.len());
    let is_key = |word: &&&str| {
        let flag = word.strip_prefix("--").and_then(|flag| flag.split('=').next());
        flag.is_some_and(|flag| env_variable(flag).is_some())
    };
    let flag = words[..at].iter().find(is_key)?.split('=').next()?;
    let name = words.get(at).unwrap_or(&"COMMAND");
    Some(Report {
        message: format!("`{flag}` stands before the command"),
        causes: vec![],
        hint: Some(format!("Write it behind: `nexudus-proxy {name} {flag} …`.")),
    })
}

fn capitalize(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}
