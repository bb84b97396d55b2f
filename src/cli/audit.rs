//! `audit`: the record of what clients did, read from its files.

use std::io;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value as Json, json};

use super::daemon_client::audit_path;
use super::globals::GlobalArgs;
use super::visible::visible;
use super::{CliError, Printer};
use crate::admin::format::pluralize;
use crate::audit::{self, VerifyError};

/// The arguments of `audit`.
#[derive(clap::Args, Debug)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    action: AuditAction,
}

#[derive(Debug, Subcommand)]
enum AuditAction {
    /// Check that every line follows the one before; exit 1 if one does not
    Verify {
        /// Another file than the configured one
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print the record
    Show {
        /// Only this named client
        #[arg(long, value_name = "NAME")]
        client: Option<String>,
        /// Another file than the configured one
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// Runs the action.
pub(super) fn run(
    options: AuditArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    match options.action {
        AuditAction::Verify { file } => verify(&path(file, globals)?, globals, print),
        AuditAction::Show { client, file } => {
            show(&path(file, globals)?, client.as_deref(), globals, print)
        }
    }
}

fn path(file: Option<PathBuf>, globals: &GlobalArgs) -> Result<PathBuf, CliError> {
    match file {
        Some(file) => Ok(file),
        None => Ok(audit_path(globals)?.ok_or(VerifyError::Off)?),
    }
}

fn verify(path: &Path, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let verified = audit::verify(path)?;
    if globals.json {
        return print.json(&json!(verified));
    }
    print.line(&format!(
        "{} in {}, {} to {}, unbroken",
        pluralize(verified.lines, "line"),
        pluralize(verified.files.len() as u64, "file"),
        verified.first,
        verified.last
    ))?;
    print.line(&format!("head: {} ({})", verified.head, verified.time))?;
    if verified.damaged > 0 {
        print.warning(&format!("{} damaged by a crash", pluralize(verified.damaged, "line")));
    }
    if verified.lost > 0 {
        print.warning(&format!("{} could not be recorded", pluralize(verified.lost, "call")));
    }
    if verified.first > 1 {
        print.note("older files were removed: what stood there is not checked");
    }
    if !verified.is_end_known {
        print.note(
            "no head is kept beside the files: lines that are missing at their end cannot be seen",
        );
    }
    print.note(
        "the chain alone shows accidents; compare the head with what the system's log has: \
         `journalctl -t nexudus-proxy | grep 'audit head'`",
    );
    Ok(())
}

fn show(
    path: &Path,
    client: Option<&str>,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let files = audit::files(path).map_err(VerifyError::Read)?;
    if files.is_empty() {
        return Err(VerifyError::Missing(path.to_owned()).into());
    }
    let mut is_read = true;
    for file in files {
        let printed = audit::for_each_line(&file, |_, line| {
            let text = String::from_utf8_lossy(line);
            let json: Json = serde_json::from_str(&text).unwrap_or_default();
            let is_wanted = client.is_none_or(|client| json["client"] == client);
            if is_read && is_wanted {
                let line = if globals.json { text.trim_end().to_owned() } else { describe(&json) };
                is_read = print.stream_line(&line).map_err(ShowError::Print)?;
            }
            Ok(())
        });
        match printed {
            Ok(()) => {}
            Err(ShowError::Read(error)) => return Err(VerifyError::Read(error).into()),
            Err(ShowError::Print(error)) => return Err(error),
        }
    }
    Ok(())
}

/// Why no more is shown.
enum ShowError {
    Read(io::Error),
    Print(CliError),
}

impl From<io::Error> for ShowError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// Describes a line for a person: its own members, without the chain.
fn describe(line: &Json) -> String {
    let Json::Object(members) = line else { return "(a damaged line)".to_owned() };
    let text = |value: &Json| match value {
        Json::String(text) => visible(text),
        Json::Array(items) => {
            let items = items.iter().map(|it| it.as_str().map_or_else(|| it.to_string(), visible));
            items.collect::<Vec<_>>().join(",")
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => value.to_string(),
    };
    let first = ["time", "event", "method", "path"].iter().filter_map(|name| members.get(*name));
    let mut parts: Vec<String> = first.map(text).collect();
    let rest = members.iter().filter(|(name, _)| !SHOWN_BEFORE.contains(&name.as_str()));
    parts.extend(rest.map(|(name, value)| format!("{name}={}", text(value))));
    parts.join("  ")
}

/// The members that stand first, or say only where the line stands in the chain.
const SHOWN_BEFORE: [&str; 6] = ["time", "event", "method", "path", "seq", "prev"];
