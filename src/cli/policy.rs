//! `policy explain`: whether a request would be forwarded, and which rule decides.

use std::time::SystemTime;

use clap::Subcommand;
use serde_json::json;

use super::daemon_client::ClientStore;
use super::globals::GlobalArgs;
use super::{CliError, Printer};
use crate::clients;
use crate::gateway::{Explanation, explain};
use crate::problem::{ExitCode, ProblemKind};

/// The arguments of `policy`.
#[derive(clap::Args, Debug)]
pub(super) struct PolicyArgs {
    #[command(subcommand)]
    action: PolicyAction,
}

#[derive(Debug, Subcommand)]
enum PolicyAction {
    /// Say whether a request would be forwarded, and which rule decides
    Explain {
        /// Such as GET
        method: String,
        /// Such as /api/spaces/coworkers
        path: String,
        /// Explain for this client; without it, for a client without a key
        #[arg(long, value_name = "NAME")]
        client: Option<String>,
    },
}

/// Runs it.
pub(super) fn run(
    options: PolicyArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let PolicyAction::Explain { method, path, client } = options.action;
    let store = ClientStore::open(globals)?;
    let is_daemon = store.is_served();
    let explained = judge(&method, &path, client.as_deref(), &store, globals)?;
    let done = || match explained.is_allowed {
        true => Ok(()),
        // The answer is printed; scripts read the exit code.
        false => Err(CliError::AlreadyPrinted(ExitCode::Failed)),
    };
    if globals.json {
        print.json(&json!({
            "method": method,
            "path": path,
            "client": client,
            "allowed": explained.is_allowed,
            "code": explained.code,
            "rule": explained.rule,
            "reason": explained.reason,
            "judged": if is_daemon { "daemon" } else { "configuration" },
        }))?;
        return done();
    }
    let outcome = match explained.code {
        Some(code) => format!("refused ({code}): {}", explained.reason),
        None => format!("allowed: {}", explained.reason),
    };
    print.line(&outcome)?;
    if !globals.quiet {
        print.note(if is_daemon {
            "Judged by the configuration of the running daemon."
        } else {
            "Judged by the configuration: no daemon of this profile runs."
        });
    }
    done()
}

/// Judges a request of a client, or of a program without a key.
fn judge(
    method: &str,
    path: &str,
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
    let limits = stored.as_ref().map(|stored| &stored.limits);
    let mut explained = explain(method, path, limits, &config);
    if limits.is_some_and(|limits| limits.is_expired(SystemTime::now())) {
        explained.is_allowed = false;
        explained.code = Some(ProblemKind::KeyRefused.code());
        explained.rule = None;
        explained.reason = clients::KeyError::Expired.to_string();
    }
    Ok(explained)
}
