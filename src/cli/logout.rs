//! `logout`: removes every entry and file of the profile, here and in a running daemon, whichever
//! origin they are for.

use serde_json::json;

use super::reach::{DaemonReply, post_or_lock};
use super::{CliError, ExitCode, GlobalArgs, Printer, flags::ConfigOverrides, serve};
use crate::admin::api::SessionStatus;
use crate::clock::Clock;
use crate::config::LoadedConfig;
use crate::credentials::verb;
use crate::daemon::{self, process};
use crate::session;

/// What `logout` takes.
#[derive(clap::Args, Debug)]
pub(super) struct LogoutArgs {
    #[command(flatten)]
    keys: ConfigOverrides,
}

/// Logs out.
pub(super) fn run(
    options: LogoutArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let keys = options.keys.into_overrides();
    if let Some(given) = keys.iter().find(|given| given.entry.path() == "upstream.origin") {
        return Err(CliError::Other {
            sentence: format!(
                "logout clears the logins of every origin, and {} names one",
                given.flag
            ),
            code: ExitCode::Usage,
            hint: Some("Leave it out; the login at one origin cannot be cleared alone.".to_owned()),
        });
    }
    let LoadedConfig { config, paths, warnings, .. } = globals.load(keys)?;
    warnings.iter().for_each(|warning| print.warning(warning));
    process::harden();
    serve::control_runtime()?.block_on(async {
        let credentials = daemon::credentials(&config, &paths);
        let others = session::origins_with_login(&paths.profile_state());
        // First the daemon: it would write its session again.
        let daemon =
            post_or_lock::<SessionStatus>(&[paths.admin_socket()], &paths, "/v1/forget").await;
        let (told, _alone) = match daemon {
            Ok(DaemonReply::Daemon(session)) => (Ok(Some(session)), None),
            Ok(DaemonReply::NotRunning(alone)) => (Ok(None), alone),
            Ok(DaemonReply::NoProfile) => (Ok(None), None),
            Err(error) => (Err(error), None),
        };
        let files = session::remove_all(&paths.profile_state(), &Clock::system()).await;
        let cleared = credentials.clear(&others).await;
        let mut still: Vec<_> =
            credentials.sources_beside_keychain().iter().map(ToString::to_string).collect();
        if let Ok(Some(daemon)) = &told {
            let own: Vec<_> =
                daemon.sources.iter().filter(|name| !still.contains(name)).cloned().collect();
            still.extend(own);
        }

        files.map_err(|cause| CliError::Other {
            sentence: format!("could not remove the session: {cause}"),
            code: ExitCode::Failed,
            hint: Some("Make that directory writable for this user, and log out again.".to_owned()),
        })?;
        let had_login = match cleared {
            Ok(had_login) => had_login,
            Err(error) => match error.keychain_absence() {
                Some(trouble) => {
                    print.warning(&format!("no keychain was looked into: {trouble}"));
                    false
                }
                None => return Err(CliError::Credentials(error)),
            },
        };
        let mut origins = others;
        if had_login && origins.is_empty() {
            // From before origins were noted.
            origins.push(config.upstream.origin.clone());
        }
        let origins: Vec<_> = origins.iter().map(ToString::to_string).collect();
        let knows = told.is_ok();
        if let Err(why) = told {
            print.warning(&format!("the running daemon could not be told: {why}; restart it"));
        }
        let profile = &paths.profile;
        if globals.json {
            return print.json(&json!({
                "profile": profile, "had_login": had_login, "cleared": origins, "still": still,
                "daemon_knows": knows,
            }));
        }
        print.line(&format!("logged out (profile {profile})"))?;
        match origins.as_slice() {
            [] => print.note("no login was stored"),
            [one] => print.note(&format!("cleared the login at {one}")),
            several => print.note(&format!("cleared the logins at {}", several.join(" and "))),
        }
        print.note(
            "Nexudus has no way to revoke what it has issued: tokens lapse by themselves, or an \
             administrator deletes them under /api/sys/refreshtokens.",
        );
        for origin in still {
            let holds = verb(&origin, "holds", "hold");
            print.warning(&format!("the {origin} still {holds} a login: a restart uses it again"));
        }
        Ok(())
    })
}
