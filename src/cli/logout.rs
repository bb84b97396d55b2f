//! `logout`: removes every entry and file of the profile, here and in a running daemon, for every
//! origin.

use std::path::PathBuf;

use serde_json::json;

use super::config_flags::ConfigOverrides;
use super::daemon_client::{DaemonReply, post_or_lock};
use super::globals::GlobalArgs;
use super::{CliError, Printer, serve};
use crate::admin::api::SessionReport;
use crate::admin::client as admin;
use crate::clock::Clock;
use crate::config::{LoadedConfig, Origin, Override, Paths};
use crate::credentials::{self, Credentials, verb};
use crate::daemon::{self, process};
use crate::problem::ExitCode;
use crate::session;

/// Logs out.
pub(super) fn run(
    overrides: ConfigOverrides,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let overrides = overrides.into_overrides();
    refuse_origin(&overrides)?;
    let loaded = globals.load_and_warn(overrides, print)?;
    process::harden();
    let done = serve::control_runtime()?.block_on(clear(&loaded, print))?;
    if globals.json {
        return print.json(&done.to_json());
    }
    done.print(print)
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
struct LogoutResult {
    profile: String,
    had_login: bool,
    /// The origins whose login was cleared.
    cleared: Vec<String>,
    /// The sources that still hold a login.
    still: Vec<String>,
    /// The key file, where the configuration names it.
    kept_key: Option<PathBuf>,
    daemon_knows: bool,
}

async fn clear(loaded: &LoadedConfig, print: Printer) -> Result<LogoutResult, CliError> {
    let LoadedConfig { config, paths, .. } = loaded;
    let credentials = daemon::credentials(config, paths);
    let mut origins = session::origins_with_login(&paths.profile_state());
    // First the daemon, because it would write its session again. The lock prevents another from
    // starting.
    let (daemon, _lock) = forget(paths).await;
    let files = session::remove_all(&paths.profile_state(), &Clock::system()).await;
    let sealed = credentials.clear_files();
    let keychain = credentials.clear(&origins).await;
    let still = remaining_sources(&credentials, daemon.as_ref().ok().and_then(Option::as_ref));
    files.map_err(|cause| {
        let message = format!("could not remove the session: {cause}");
        let hint = "Make that directory writable for this user, and log out again.";
        CliError::message(ExitCode::Failed, message, Some(hint))
    })?;
    let sealed = sealed?;
    let had_login = had_login(keychain, print)? || sealed.had_login;
    if had_login && origins.is_empty() {
        // A login from before origins were recorded.
        origins.push(config.upstream.origin.clone());
    }
    if let Err(why) = &daemon {
        print.warning(&format!("could not notify the running daemon: {why}; restart it"));
    }
    Ok(LogoutResult {
        profile: paths.profile.clone(),
        had_login,
        cleared: origins.iter().map(Origin::to_string).collect(),
        still,
        kept_key: sealed.kept_key,
        daemon_knows: daemon.is_ok(),
    })
}

/// Makes a running daemon forget its session, and returns the daemon's status. Without a daemon,
/// returns the profile's lock.
async fn forget(
    paths: &Paths,
) -> (Result<Option<SessionReport>, admin::Error>, Option<daemon::ProfileLock>) {
    match post_or_lock::<SessionReport>(&[paths.admin_socket()], paths, "/v1/forget").await {
        Ok(DaemonReply::Daemon(session)) => (Ok(Some(session)), None),
        Ok(DaemonReply::NotRunning(lock)) => (Ok(None), lock),
        Ok(DaemonReply::NoProfile) => (Ok(None), None),
        Err(error) => (Err(error), None),
    }
}

/// Returns the sources that a restart would read a login from: this process's and the daemon's.
fn remaining_sources(credentials: &Credentials, daemon: Option<&SessionReport>) -> Vec<String> {
    let mut still: Vec<_> =
        credentials.sources_beside_keychain().iter().map(ToString::to_string).collect();
    if let Some(daemon) = daemon {
        let own: Vec<_> =
            daemon.sources.iter().filter(|name| !still.contains(name)).cloned().collect();
        still.extend(own);
    }
    still
}

/// Returns whether the keychain held a login; where there is no keychain, it held none.
fn had_login(
    cleared: Result<bool, credentials::Error>,
    print: Printer,
) -> Result<bool, credentials::Error> {
    cleared.or_else(|error| match error.keychain_absence() {
        Some(why) => {
            print.warning(&format!("no keychain was looked into: {why}"));
            Ok(false)
        }
        None => Err(error),
    })
}

impl LogoutResult {
    fn to_json(&self) -> serde_json::Value {
        json!({
            "profile": self.profile, "had_login": self.had_login, "cleared": self.cleared,
            "still": self.still, "kept_key": self.kept_key, "daemon_knows": self.daemon_knows,
        })
    }

    fn print(&self, print: Printer) -> Result<(), CliError> {
        print.line(&format!("logged out (profile {})", self.profile))?;
        match self.cleared.as_slice() {
            [] => print.note("no login was stored"),
            [one] => print.note(&format!("cleared the login at {one}")),
            several => print.note(&format!("cleared the logins at {}", several.join(" and "))),
        }
        print.note(
            "Nexudus has no way to revoke what it has issued: tokens lapse by themselves, or an \
             administrator deletes them under /api/sys/refreshtokens.",
        );
        if let Some(path) = &self.kept_key {
            print.note(&format!(
                "{} stays, because session.key = \"file\" names it; it opens nothing now",
                path.display()
            ));
        }
        for source in &self.still {
            let holds = verb(source, "holds", "hold");
            print.warning(&format!("the {source} still {holds} a login: a restart uses it again"));
        }
        Ok(())
    }
}
