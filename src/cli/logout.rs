//! `logout`: removes every entry and file of the profile, here and in a running daemon, for every
//! origin.

use serde_json::json;

use super::config_flags::ConfigOverrides;
use super::daemon_client::{
    DaemonReply, FilesReason, Revocation, admin_sockets, announce_files, clear_logins, find_daemon,
    origins_with_login, post_or_lock, record_as_configured, remove_authorities, require_own_files,
};
use super::globals::GlobalArgs;
use super::waiting::{DAEMON, say_waiting};
use super::{CliError, Printer, fleet, serve};
use crate::admin::api::{EndedChains, LogoutResult, REVOKING_LOGOUT};
use crate::admin::client::Error;
use crate::admin::format::pluralize;
use crate::audit::AuditEvent;
use crate::config::{LoadedConfig, Origin, Override};
use crate::credentials::{self, Credentials, verb};
use crate::daemon::{self, process};
use crate::problem::ExitCode;
use crate::session::{Cause, RevocationError};

/// The arguments of `logout`.
#[derive(clap::Args, Debug)]
pub(super) struct LogoutArgs {
    /// Also delete this installation's refresh tokens at Nexudus, where the account may
    #[arg(long)]
    revoke: bool,
    /// End the session of all machines that share it without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    keys: ConfigOverrides,
}

/// Logs out.
pub(super) fn run(
    options: LogoutArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let overrides = options.keys.into_overrides();
    refuse_origin(&overrides)?;
    let loaded = globals.load_and_warn(overrides, print)?;
    process::harden();
    fleet::confirm_for_all("ends", options.yes, globals, print)?;
    let done =
        serve::control_runtime()?.block_on(clear(&loaded, options.revoke, globals, print))?;
    if globals.json {
        return print.json(&done.to_json());
    }
    done.print(print)?;
    if let Some(reason) = &done.files {
        announce_files(globals, &loaded.paths, reason, print);
    }
    Ok(())
}

/// `upstream.origin` would promise to clear the login at one origin alone.
fn refuse_origin(overrides: &[Override]) -> Result<(), CliError> {
    match overrides.iter().find(|given| given.entry.path() == "upstream.origin") {
        None => Ok(()),
        Some(given) => Err(CliError::message(
            ExitCode::Usage,
            format!("logout clears the logins of every origin, and {} names one", given.flag),
            Some("Leave it out; the login at one origin cannot be cleared alone."),
        )),
    }
}

/// The result of a logout.
struct LogoutOutcome {
    profile: String,
    result: LogoutResult,
    /// How many refresh tokens were deleted at Nexudus, if that was asked for.
    revoked: Option<Result<usize, RevocationError>>,
    /// The configured origin.
    origin: Origin,
    daemon_knows: bool,
    /// Why no daemon serves, if none does as far as can be told.
    files: Option<FilesReason>,
}

async fn clear(
    loaded: &LoadedConfig,
    revoke: bool,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<LogoutOutcome, CliError> {
    let LoadedConfig { config, paths, .. } = loaded;
    let credentials = daemon::credentials(config, paths);
    let (origins, sockets) = (origins_with_login(paths), admin_sockets(globals)?);
    let is_shared = revoke && is_shared(globals).await?;
    let mut revocation = None;
    if revoke && !is_shared {
        revocation = Some(prepare(loaded, &credentials, globals, print).await);
    }
    let path = if is_shared { REVOKING_LOGOUT } else { "/v1/logout" };
    // First the daemon, which would write its session again. The lock keeps another from starting.
    let reply = post_or_lock::<LogoutResult>(&sockets, paths, path);
    let reply = say_waiting(print, DAEMON, reply).await;
    let revoked = perform(revocation, print).await;
    let outcome = |result: LogoutResult, daemon_knows, files| LogoutOutcome {
        profile: paths.profile.clone(),
        revoked: revoked.or_else(|| of_fleet(&result)),
        result,
        origin: config.upstream.origin.clone(),
        daemon_knows,
        files,
    };
    let (result, daemon_knows, _lock, files) = match reply {
        Ok(DaemonReply::Daemon(result, socket))
            if sockets.first() != Some(&socket) || globals.system =>
        {
            // Another user's files and keychain: the daemon has cleared what there is.
            warn_of_no_keychain(result.no_keychain.as_deref(), print);
            return Ok(outcome(result, true, None));
        }
        Ok(DaemonReply::Daemon(result, _)) => (result, true, None, None),
        Ok(DaemonReply::NotRunning(lock, reason)) => (<_>::default(), true, lock, Some(reason)),
        Ok(DaemonReply::NoProfile(reason)) => (<_>::default(), true, None, Some(reason)),
        Err(error) => {
            let is_told = is_told(error, print)?;
            (<_>::default(), is_told, None, is_told.then_some(FilesReason::NoDaemon))
        }
    };
    if files.is_some() {
        require_own_files(globals)?;
        record_as_configured(globals, paths, (AuditEvent::Login, "logout"), print);
    }
    let result = clear_own(loaded, &credentials, origins, (result, files.is_none()), print).await?;
    Ok(outcome(result, daemon_knows, files))
}

/// Says whether the daemon that serves is in a fleet: only its members know of all chains.
async fn is_shared(globals: &GlobalArgs) -> Result<bool, CliError> {
    let serving = find_daemon(globals).await?.serving();
    Ok(serving.is_some_and(|serving| serving.status.fleet.is_some()))
}

/// Clears the files and the keychain of this user, beside what the daemon has cleared.
async fn clear_own(
    LoadedConfig { config, paths, .. }: &LoadedConfig,
    credentials: &Credentials,
    origins: Vec<Origin>,
    (mut result, is_served): (LogoutResult, bool),
    print: Printer,
) -> Result<LogoutResult, CliError> {
    let cleared = clear_logins(paths, credentials, origins).await?;
    result.had_login |= had_login(cleared.keychain, print)? || cleared.sealed.had_login;
    result.kept_key = cleared.sealed.kept_key.or(result.kept_key);
    add_new(&mut result.cleared, cleared.origins.iter().map(ToString::to_string));
    if result.had_login && result.cleared.is_empty() {
        // A login from before origins were recorded.
        result.cleared.push(config.upstream.origin.to_string());
    }
    if !is_served && result.kept_key.is_none() {
        remove_authorities(paths)?;
    }
    // What a restart would read: this process's sources, then the daemon's.
    let theirs = std::mem::replace(&mut result.still, own_sources(credentials));
    add_new(&mut result.still, theirs);
    Ok(result)
}

/// Gets a token for the deletion of refresh tokens: that of the session that is about to be removed.
async fn prepare(
    loaded: &LoadedConfig,
    credentials: &Credentials,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<Revocation, Cause> {
    if globals.system {
        return Err(Cause::new("the files of the system's service are its own"));
    }
    Revocation::prepare(&loaded.config, &loaded.paths, credentials, print).await
}

/// Deletes the refresh tokens, if that was asked for.
async fn perform(
    prepared: Option<Result<Revocation, Cause>>,
    print: Printer,
) -> Option<Result<usize, RevocationError>> {
    Some(match prepared? {
        Ok(revocation) => revocation.perform(print).await,
        Err(why) => Err(RevocationError::Failed(why)),
    })
}

/// Returns what the daemon of a fleet has deleted, or why not, if that was asked for.
fn of_fleet(result: &LogoutResult) -> Option<Result<usize, RevocationError>> {
    let failed =
        result.not_revoked.as_deref().map(|why| Err(RevocationError::Failed(Cause::new(why))));
    failed.or(result.revoked.map(Ok))
}

/// Judges why the daemon has not done its part; returns whether it knows of the logout all the same.
fn is_told(error: Error, print: Printer) -> Result<bool, Error> {
    match error {
        // The daemon has no keychain to clear, or a locked one; this process may have one.
        Error::Problem(problem) if problem.code.starts_with("credentials.") => Ok(true),
        // Its memory would still serve what the files no longer hold.
        error @ (Error::Unresponsive { .. } | Error::Unfinished { .. }) => Err(error),
        error @ (Error::NotRunning
        | Error::Forbidden { .. }
        | Error::Unreachable { .. }
        | Error::ConnectionClosed(_)
        | Error::Problem(_)
        | Error::VersionMismatch) => {
            print.warning(&format!("could not notify the running daemon: {error}; restart it"));
            Ok(false)
        }
    }
}

fn own_sources(credentials: &Credentials) -> Vec<String> {
    credentials.sources_beside_keychain().iter().map(ToString::to_string).collect()
}

fn add_new(known: &mut Vec<String>, names: impl IntoIterator<Item = String>) {
    for name in names {
        if !known.contains(&name) {
            known.push(name);
        }
    }
}

fn warn_of_no_keychain(why: Option<&str>, print: Printer) {
    if let Some(why) = why {
        print.warning(&format!("no keychain was looked into: {why}"));
    }
}

/// Returns whether the keychain held a login; where there is no keychain, it held none.
fn had_login(
    cleared: Result<bool, credentials::Error>,
    print: Printer,
) -> Result<bool, credentials::Error> {
    cleared.or_else(|error| match error.keychain_absence() {
        Some(why) => {
            warn_of_no_keychain(Some(&why.to_string()), print);
            Ok(false)
        }
        None => Err(error),
    })
}

/// Names the chains of a fleet that have ended.
fn name_chains(chains: EndedChains) -> String {
    let counted = |count: usize, what| pluralize(count as u64, what);
    let mut named = vec![counted(chains.shared, "session")];
    if chains.spares > 0 {
        named.push(counted(chains.spares, "spare pair"));
    }
    if chains.strays > 0 {
        let strays = counted(chains.strays, "session");
        named.push(format!("{strays} of members that were cut off"));
    }
    format!("the fleet ({})", named.join(", "))
}

impl LogoutOutcome {
    fn to_json(&self) -> serde_json::Value {
        let LogoutResult { had_login, cleared, still, kept_key, .. } = &self.result;
        json!({
            "profile": self.profile, "had_login": had_login, "cleared": cleared,
            "still": still, "kept_key": kept_key,
            "revoked": self.revoked.as_ref().and_then(|revoked| revoked.as_ref().ok()),
            "not_revoked": self.not_revoked(), "chains": self.result.chains,
            "daemon_knows": self.daemon_knows,
        })
    }

    /// Returns why refresh tokens are left at Nexudus, if they were to be deleted.
    fn not_revoked(&self) -> Option<String> {
        let why = self.revoked.as_ref()?.as_ref().err()?;
        let origin = &self.origin;
        Some(format!(
            "no refresh token was deleted at {origin}: {why}; they lapse within 15 days, or an \
             administrator deletes them under /api/sys/refreshtokens"
        ))
    }

    fn print(&self, print: Printer) -> Result<(), CliError> {
        print.line(&format!("logged out (profile {})", self.profile))?;
        match self.result.cleared.as_slice() {
            [] => print.note("no login was stored"),
            [one] => print.note(&format!("cleared the login at {one}")),
            several => print.note(&format!("cleared the logins at {}", several.join(" and "))),
        }
        match (&self.revoked, self.not_revoked()) {
            (Some(Ok(count)), _) => print.note(&format!(
                "deleted {} of {} at {}; an access token lapses by itself",
                pluralize(*count as u64, "refresh token"),
                self.result.chains.map_or_else(|| "this installation".to_owned(), name_chains),
                self.origin
            )),
            (_, Some(why)) => print.warning(&why),
            (_, None) => print.note(
                "Nexudus still knows what it has issued: refresh tokens lapse within 15 days. The next \
                 time, `logout --revoke` deletes them where the account may; now an administrator does, \
                 under /api/sys/refreshtokens.",
            ),
        }
        if let Some(path) = &self.result.kept_key {
            print.note(&format!(
                "{} stays, because session.key = \"file\" names it; it opens nothing now",
                path.display()
            ));
        }
        for source in &self.result.still {
            let holds = verb(source, "holds", "hold");
            print.warning(&format!("the {source} still {holds} a login: a restart uses it again"));
        }
        Ok(())
    }
}
