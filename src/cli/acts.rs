//! `stop`, `reload`, `refresh`, `lock` and `unlock`: ask the daemon, and wait for the effect.

use serde_json::json;

use super::reach::ask;
use super::{Failure, Globals, Print, status};
use crate::admin::wire::{Reloaded, Session, Stopping};

/// Stops the daemon: returns when it has ended.
pub(super) fn stop(globals: &Globals, print: Print) -> Result<(), Failure> {
    let stopping: Stopping = ask(globals, async |daemon| {
        // Whoever listens before the end begins sees when it is over.
        let mut events = daemon.events("ready").await?;
        let stopping = daemon.post("/v1/stop").await?;
        while events.next().await.is_some() {}
        Ok(stopping)
    })?;
    match (globals.json, stopping.in_flight) {
        (true, in_flight) => print.json(&json!({ "stopped": true, "in_flight": in_flight })),
        (false, 0) => print.line("stopped"),
        (false, in_flight) => print.line(&format!("stopped, with {in_flight} requests in flight")),
    }
}

/// Has the configuration read again.
pub(super) fn reload(globals: &Globals, print: Print) -> Result<(), Failure> {
    let reloaded: Reloaded = ask(globals, async |daemon| Ok(daemon.post("/v1/reload").await?))?;
    if globals.json {
        return print.json(&json!(reloaded));
    }
    if !reloaded.restart_needed.is_empty() {
        let keys = reloaded.restart_needed.join(", ");
        print.warning(&format!("these keys take a restart: {keys}"));
    }
    match reloaded.applied.is_empty() {
        true => print.line("reloaded: nothing else has changed"),
        false => print.line(&format!("reloaded: {}", reloaded.applied.join(", "))),
    }
}

/// Has the token renewed.
pub(super) fn refresh(globals: &Globals, print: Print) -> Result<(), Failure> {
    session("/v1/refresh", "renewed", globals, print)
}

/// Has the token dropped, until unlocked.
pub(super) fn lock(globals: &Globals, print: Print) -> Result<(), Failure> {
    session("/v1/lock", "locked", globals, print)
}

/// Has it asked for again.
pub(super) fn unlock(globals: &Globals, print: Print) -> Result<(), Failure> {
    session("/v1/unlock", "unlocked", globals, print)
}

fn session(path: &str, done: &str, globals: &Globals, print: Print) -> Result<(), Failure> {
    let session: Session = ask(globals, async |daemon| Ok(daemon.post(path).await?))?;
    match globals.json {
        true => print.json(&json!(session)),
        false => print.line(&format!("{done}; token: {}", status::token(&session))),
    }
}
