//! `policy explain`: whether a request would be forwarded, and which rule decides.

use std::time::SystemTime;

use clap::Subcommand;
use serde_json::json;

use super::daemon_client::{ClientStore, FilesReason};
use super::globals::GlobalArgs;
use super::{CliError, Printer};
use crate::clients;
use crate::config::{COMMAND_SEGMENT, Config};
use crate::gateway::{Explanation, Question, explain, explain_use};
use crate::problem::{ExitCode, ProblemKind};

/// The arguments of `policy`.
#[derive(clap::Args, Debug)]
pub(super) struct PolicyArgs {
    #[command(subcommand)]
    action: PolicyAction,
}

#[derive(Debug, Subcommand)]
enum PolicyAction {
    /// Say whether a request would be forwarded, and which rule decides; exit 1 unless allowed
    Explain {
        /// Such as GET
        method: String,
        /// Such as /api/spaces/coworkers
        path: String,
        /// Explain for this client; without it, for a client without a key
        #[arg(long, value_name = "NAME")]
        client: Option<String>,
        /// The command of Nexudus that the request runs, such as COWORKER_DELETE
        #[arg(long, value_name = "KEY")]
        command: Option<String>,
    },
}

/// Runs it.
pub(super) fn run(
    options: PolicyArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let PolicyAction::Explain { method, path, client, command } = options.action;
    require_command_path(&path, command.as_deref())?;
    let store = ClientStore::open(globals)?;
    let files_reason = store.files_reason();
    let is_daemon = files_reason.is_none();
    let question = Question { method: &method, target: &path, command: command.as_deref() };
    let mut explained = judge(question, client.as_deref(), &store, globals)?;
    explained.hint = hint(&explained, &method);
    if globals.json {
        print.json(&json!({
            "method": method,
            "path": path,
            "command": command,
            "client": client,
            "allowed": explained.is_allowed,
            "asked": explained.is_asked,
            "code": explained.code,
            "rule": explained.rule,
            "reason": explained.reason,
            "hint": explained.hint,
            "note": explained.note,
            "judged": if is_daemon { "daemon" } else { "configuration" },
        }))?;
    } else if !globals.quiet {
        show(&explained, files_reason, print)?;
    }
    // The verdict is printed; scripts read the exit code.
    let refused = CliError::AlreadyPrinted(ExitCode::Failed);
    if explained.is_allowed { Ok(()) } else { Err(refused) }
}

fn show(
    explained: &Explanation,
    files_reason: Option<&FilesReason>,
    print: Printer,
) -> Result<(), CliError> {
    let outcome = match explained.code {
        Some(code) if explained.is_asked => {
            format!("would be asked ({code}): {}", explained.reason)
        }
        Some(code) => format!("refused ({code}): {}", explained.reason),
        None => format!("allowed: {}", explained.reason),
    };
    print.line(&outcome)?;
    explained.hint.iter().chain(&explained.note).for_each(|note| print.note(note));
    print.note(&match files_reason {
        None => "Judged by the configuration of the running daemon.".to_owned(),
        Some(FilesReason::NoDaemon) => {
            "Judged by the configuration: no daemon of this profile runs.".to_owned()
        }
        Some(reason @ FilesReason::Refused { .. }) => {
            format!("Judged by the configuration of this user: {reason}.")
        }
    });
    Ok(())
}

/// Returns what to do about a request that is refused for its form, whatever the rules say. What is
/// refused by a rule is the answer to the question.
pub(super) fn hint(explained: &Explanation, method: &str) -> Option<String> {
    if explained.code? != ProblemKind::MethodNotForwarded.code() {
        let is_form = explained.code?.starts_with("request.");
        return explained.hint.clone().filter(|_| is_form);
    }
    let capitals = method.to_ascii_uppercase();
    if METHODS.contains(&&*capitals) && capitals != method {
        return Some(format!("Methods are written in capitals: {capitals}."));
    }
    Some(format!("The methods that are forwarded: {}.", METHODS.join(" ")))
}

/// The methods that are forwarded, in the order of the Allow header.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Refuses a command on a path that takes none: the verdict would leave the command out.
pub(super) fn require_command_path(path: &str, command: Option<&str>) -> Result<(), CliError> {
    let path = path.split('?').next().unwrap_or_default().trim_end_matches('/');
    let takes_commands = |last: &str| last.eq_ignore_ascii_case(COMMAND_SEGMENT);
    if command.is_none() || path.rsplit('/').next().is_some_and(takes_commands) {
        return Ok(());
    }
    let message = format!("commands go to …/{COMMAND_SEGMENT}, and the path is another");
    let hint = format!("Did you mean {path}/{COMMAND_SEGMENT}?");
    Err(CliError::message(ExitCode::Usage, message, Some(&hint)))
}

/// Judges a request of a client, or of a program without a key.
fn judge(
    question: Question<'_>,
    client: Option<&str>,
    store: &ClientStore,
    globals: &GlobalArgs,
) -> Result<Explanation, CliError> {
    let config = store.config(globals)?;
    let stored = match client {
        None => None,
        Some(name) => {
            let found = store.list()?.into_iter().find(|stored| stored.name == name);
            Some(found.ok_or_else(|| clients::Error::Missing { name: name.to_owned() })?)
        }
    };
    Ok(judge_stored(question, stored.as_ref(), &config))
}

/// Judges a request of a client as it is stored, or of a program without a key.
pub(super) fn judge_stored(
    question: Question<'_>,
    stored: Option<&clients::ClientStatus>,
    config: &Config,
) -> Explanation {
    let limits = stored.map(|stored| &stored.limits);
    let mut explained = explain(question, limits, config);
    if limits.is_some_and(|limits| limits.is_expired(SystemTime::now())) {
        explained.is_allowed = false;
        explained.is_asked = false;
        explained.code = Some(ProblemKind::KeyRefused.code());
        explained.rule = None;
        explained.hint = None;
        explained.reason = clients::KeyError::Expired.to_string();
    }
    match stored {
        Some(stored) => explain_use(explained, question, stored),
        None => explained,
    }
}
