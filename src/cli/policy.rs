//! `policy explain`: whether a request would be forwarded, and which rule decides.

use std::time::SystemTime;

use clap::Subcommand;
use serde_json::json;

use super::daemon_client::load_effective_config;
use super::globals::GlobalArgs;
use super::{CliError, Printer};
use crate::clients;
use crate::gateway::explain;
use crate::problem::ProblemKind;

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
    let loaded = globals.load(vec![])?;
    let (config, is_daemon) = load_effective_config(&loaded)?;
    let stored = match &client {
        None => None,
        Some(name) => {
            let all = clients::list(&loaded.paths.profile_state())?;
            let found = all.into_iter().find(|stored| stored.name == *name);
            Some(found.ok_or_else(|| clients::Error::Missing { name: name.clone() })?)
        }
    };
    let limits = stored.as_ref().map(|stored| &stored.limits);
    let mut explained = explain(&method, &path, limits, &config);
    if limits.is_some_and(|limits| limits.is_expired(SystemTime::now())) {
        explained.is_allowed = false;
        explained.code = Some(ProblemKind::KeyRefused.code());
        explained.rule = None;
        explained.reason = clients::KeyError::Expired.to_string();
    }
    if globals.json {
        return print.json(&json!({
            "method": method,
            "path": path,
            "client": client,
            "allowed": explained.is_allowed,
            "code": explained.code,
            "rule": explained.rule,
            "reason": explained.reason,
            "judged": if is_daemon { "daemon" } else { "configuration" },
        }));
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
    Ok(())
}
