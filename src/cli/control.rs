//! `stop`, `reload`, `refresh`, `lock` and `unlock`: commands to the daemon, each of which waits
//! for its effect.

use serde_json::json;

use super::daemon_client::{
    DaemonReply, admin_sockets, announce_files, end_daemon, persist_lock, post_or_lock,
    record_as_configured, require_own_files, with_daemon,
};
use super::globals::GlobalArgs;
use super::waiting::{DAEMON, NEXUDUS, say_waiting};
use super::{CliError, Printer, fleet, serve, status};
use crate::admin::api::ReloadResult;
use crate::admin::client::Error;
use crate::admin::format::pluralize;
use crate::audit::AuditEvent;
use crate::config::LoadedConfig;
use crate::credentials::Keychain;
use crate::daemon;
use crate::problem::{ExitCode, ProblemKind};
use crate::session::SessionStatus;

/// Stops the daemon: returns when it has ended.
pub(super) fn stop(globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let stopping = end_daemon(globals)?;
    if stopping.run {
        print
            .note("it was a `run`: its command goes on, and gets 503 until another process serves");
    }
    match (globals.json, stopping.in_flight) {
        (true, in_flight) => print.json(&json!({ "stopped": true, "in_flight": in_flight })),
        (false, 0) => print.line("stopped"),
        (false, in_flight) => {
            print.line(&format!("stopped, with {} in flight", pluralize(in_flight, "request")))
        }
    }
}

/// Has the daemon read its configuration again.
pub(super) fn reload(globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let reloaded: ReloadResult =
        with_daemon(globals, async |daemon| Ok(daemon.post("/v1/reload").await?))?;
    if globals.json {
        let output = json!(reloaded);
        return match not_applied(&reloaded) {
            Ok(()) => print.json(&output),
            Err(error) => Err(error.with_output(output)),
        };
    }
    match (reloaded.applied.as_slice(), reloaded.restart_needed.is_empty()) {
        ([], true) => print.line("reloaded: nothing has changed")?,
        ([], false) => {}
        (applied, _) => print.line(&format!("reloaded: {}", applied.join(", ")))?,
    }
    reloaded.notes.iter().for_each(|note| print.note(note));
    not_applied(&reloaded)
}

/// Fails where a new value is not in effect: a script that changes a rule must not take it for one.
fn not_applied(reloaded: &ReloadResult) -> Result<(), CliError> {
    if reloaded.restart_needed.is_empty() {
        return Ok(());
    }
    let keys = reloaded.restart_needed.join(", ");
    let message = format!("NOT applied until restart: {keys}");
    Err(CliError::message(ExitCode::Failed, message, reloaded.restart_hint.as_deref()))
}

/// Has the daemon renew its token.
pub(super) fn refresh(globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let session: SessionStatus = with_daemon(globals, async |daemon| {
        let renewed = daemon.post("/v1/refresh");
        Ok(say_waiting(print, NEXUDUS, renewed).await?)
    })?;
    let done = if session.is_basic() { "proved the login again" } else { "renewed" };
    print_session(&session, done, globals, print)
}

/// The arguments of `lock`.
#[derive(clap::Args, Debug)]
pub(super) struct LockArgs {
    /// Lock this machine alone, where several share the session
    #[arg(long)]
    here: bool,
    /// Lock all machines that share the session without asking
    #[arg(long)]
    yes: bool,
}

/// Has the daemon drop its token until it is unlocked.
pub(super) fn lock(
    options: &LockArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    if options.here {
        return set_locked("/v1/lock?here=true", "locked here", globals, print);
    }
    fleet::confirm_for_all("locks", options.yes, globals, print)?;
    set_locked("/v1/lock", "locked", globals, print)
}

/// Has the daemon get a token again. A locked keychain is opened first: only a command may show a
/// dialog.
pub(super) fn unlock(globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let keychain = open_keychain(globals, print);
    let done = if keychain.is_ok() { "unlocked" } else { "no longer locked by `lock`" };
    match set_locked("/v1/unlock", done, globals, print) {
        // Without a daemon or a state there was nothing to unlock but the keychain.
        Err(error) if error.exit_code() == ExitCode::NotRunning && keychain.is_err() => {}
        other => other?,
    }
    keychain
}

/// Asks the person to open the keychain, where this profile reads one and it is locked.
fn open_keychain(globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let LoadedConfig { config, paths, .. } = globals.load(vec![])?;
    let credentials = daemon::credentials(&config, &paths);
    let Some(keychain) =
        credentials.keychain().filter(|_| credentials.needs_keychain(&config.session))
    else {
        return Ok(());
    };
    match serve::control_runtime()?.block_on(keychain.unlock()) {
        Ok(true) => print.note(&format!("the {} is open now", Keychain::product_name())),
        Ok(false) => {}
        Err(error) if error.keychain_absence().is_some_and(|why| why.allows_key_file()) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Locks or unlocks the running daemon; without one, stores the flag for the next start.
fn set_locked(
    path: &str,
    done: &str,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let paths = globals.sources(vec![]).paths()?;
    let sockets = admin_sockets(globals)?;
    let locked = path != "/v1/unlock";
    serve::control_runtime()?.block_on(async {
        match say_waiting(print, DAEMON, post_or_lock(&sockets, &paths, path)).await? {
            DaemonReply::Daemon(session, _) => print_session(&session, done, globals, print),
            DaemonReply::NoProfile(reason) => Err(Error::from(reason).into()),
            DaemonReply::NotRunning(_lock, reason) => {
                require_own_files(globals)?;
                persist_lock(locked, &paths).await?;
                let action = if locked { "lock" } else { "unlock" };
                record_as_configured(globals, &paths, (AuditEvent::Lock, action), print);
                announce_files(globals, &paths, &reason, print);
                if globals.json {
                    print.json(&json!({ "locked": locked, "daemon": false }))
                } else {
                    print.line(&format!("{done}; {reason}"))
                }
            }
        }
    })
}

fn print_session(
    session: &SessionStatus,
    done: &str,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    if globals.json {
        return print.json(&json!(session));
    }
    print.line(&format!("{done}; token: {}", status::format_token(session)))?;
    if let Some(degraded) = &session.degraded {
        print.warning(degraded);
    }
    match &session.error {
        Some(error) if error.code != ProblemKind::SessionLocked.code() => {
            print.warning(&format!("{}. {}", error.sentence, globals.as_typed(&error.hint)));
        }
        Some(_) | None => {}
    }
    Ok(())
}
