//! The verdict of the rules on one request, for each client.

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::find;
use crate::admin::api::{ClientRecord, Status};
use crate::cli::CliError;
use crate::cli::daemon_client::effective_config;
use crate::cli::globals::GlobalArgs;
use crate::cli::policy::{hint, judge_stored, require_command_path};
use crate::clients::ClientStatus;
use crate::config::LoadedConfig;
use crate::gateway::Question;

/// A request that a person asks about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trial {
    method: String,
    path: String,
    command: Option<String>,
}

/// Judges a request for programs without a key, and for each client, by the rules of the daemon.
pub(super) async fn judge(trial: &Trial, globals: &GlobalArgs) -> Result<Json, CliError> {
    require_command_path(&trial.path, trial.command.as_deref())?;
    let daemon = find(globals).await?;
    let status: Status = daemon.get("/v1/status").await?;
    let clients: Vec<ClientRecord> = daemon.get("/v1/clients").await?;
    let LoadedConfig { config, paths, .. } = globals.load(vec![])?;
    let (config, _) = effective_config(&config, &paths, &status);
    let question =
        Question { method: &trial.method, target: &trial.path, command: trial.command.as_deref() };
    let clients = clients.into_iter().map(|client| Some(ClientStatus::from(client)));
    let verdicts = std::iter::once(None).chain(clients).map(|client| {
        let mut explained = judge_stored(question, client.as_ref(), &config);
        explained.hint = hint(&explained, &trial.method);
        json!({
            "client": client.map(|client| client.name),
            "allowed": explained.is_allowed,
            "code": explained.code,
            "rule": explained.rule,
            "reason": explained.reason,
            "hint": explained.hint,
            "note": explained.note,
        })
    });
    Ok(json!({ "verdicts": verdicts.collect::<Vec<_>>() }))
}
