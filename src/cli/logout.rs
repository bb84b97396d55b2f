//! `logout`: removes every entry and file of the profile, here and in a running daemon, for every
//! origin.

use std::path::PathBuf;

use serde_json::json;

use super::config_flags::ConfigOverrides;
use super::daemon_client::{DaemonReply, post_or_lock};
use super::globals::GlobalArgs;
use super::login::note_code_wait;
use super::waiting::{NEXUDUS, with_note};
use super::{CliError, Printer, serve};
use crate::admin::api::SessionReport;
use crate::admin::client as admin;
use crate::admin::format::pluralize;
use crate::clock::Clock;
use crate::config::{Config, LoadedConfig, Origin, Override, Paths};
use crate::credentials::{self, Credentials, verb};
use crate::daemon::{self, StandaloneSession, process};
use crate::problem::ExitCode;
use crate::session::endpoint::HttpIssuer;
use crate::session::{self, Bearer, Cause, RevocationError};

/// The arguments of `logout`.
#[derive(clap::Args, Debug)]
pub(super) struct LogoutArgs {
    /// Also delete this installation's refresh tokens at Nexudus, where the account may
    #[arg(long)]
    revoke: bool,
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
    let done = serve::control_runtime()?.block_on(clear(&loaded, options.revoke, print))?;
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
    /// How many refresh tokens were deleted at Nexudus, if that was asked for.
    revoked: Option<Result<usize, RevocationError>>,
    /// The configured origin.
    origin: Origin,
    daemon_knows: bool,
}

async fn clear(
    loaded: &LoadedConfig,
    revoke: bool,
    print: Printer,
) -> Result<LogoutResult, CliError> {
    let LoadedConfig { config, paths, .. } = loaded;
    let credentials = daemon::credentials(config, paths);
    let mut origins = session::origins_with_login(&paths.profile_state());
    // With the token of the session that is about to be removed.
    let mut revocation = None;
    if revoke {
        revocation = Some(Revocation::prepare(config, paths, &credentials, print).await);
    }
    // First the daemon, because it would write its session again. The lock prevents another from
    // starting.
    let (daemon, _lock) = forget(paths).await;
    let revoked = perform(revocation, print).await;
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
        revoked,
        origin: config.upstream.origin.clone(),
        daemon_knows: daemon.is_ok(),
    })
}

/// Deletes the refresh tokens, if that was asked for.
async fn perform(
    prepared: Option<Result<Revocation, Cause>>,
    print: Printer,
) -> Option<Result<usize, RevocationError>> {
    Some(match prepared? {
        Ok(revocation) => with_note(print, NEXUDUS, revocation.perform()).await,
        Err(why) => Err(RevocationError::Failed(why)),
    })
}

/// What the deletion of refresh tokens needs, taken before the session is gone.
struct Revocation {
    issuer: HttpIssuer,
    bearer: Bearer,
    client_ids: Vec<String>,
}

impl Revocation {
    async fn prepare(
        config: &Config,
        paths: &Paths,
        credentials: &Credentials,
        print: Printer,
    ) -> Result<Self, Cause> {
        let directory = paths.profile_state();
        let client_ids = session::client_ids(&config.session, &config.upstream.origin, &directory);
        let issuer = daemon::token_client(config).map_err(|error| Cause::new(error.to_string()))?;
        let direct = StandaloneSession::start(config, paths, credentials.clone(), issuer.clone());
        let bearer = with_note(print, NEXUDUS, direct.bearer(note_code_wait(print))).await;
        direct.stop().await;
        let bearer = bearer.map_err(|error| Cause::new(format!("no token for that: {error}")))?;
        Ok(Self { issuer, bearer, client_ids })
    }

    async fn perform(self) -> Result<usize, RevocationError> {
        self.issuer.revoke(self.bearer.header(), &self.client_ids).await
    }
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
            "still": self.still, "kept_key": self.kept_key,
            "revoked": self.revoked.as_ref().and_then(|revoked| revoked.as_ref().ok()),
            "not_revoked": self.not_revoked(), "daemon_knows": self.daemon_knows,
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
        match self.cleared.as_slice() {
            [] => print.note("no login was stored"),
            [one] => print.note(&format!("cleared the login at {one}")),
            several => print.note(&format!("cleared the logins at {}", several.join(" and "))),
        }
        match (&self.revoked, self.not_revoked()) {
            (Some(Ok(count)), _) => print.note(&format!(
                "deleted {} of this installation at {}; an access token lapses by itself",
                pluralize(*count as u64, "refresh token"),
                self.origin
            )),
            (_, Some(why)) => print.warning(&why),
            (_, None) => print.note(
                "Nexudus has no way to revoke what it has issued: tokens lapse by themselves, or an \
                 administrator deletes them under /api/sys/refreshtokens.",
            ),
        }
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
