//! `whoami`: the user behind the token, fetched through the running daemon, or directly.

use serde_json::{Value as Json, json};

use super::config_flags::ConfigOverrides;
use super::current_user::CurrentUser;
use super::daemon_client::{
    self, FoundDaemon, OtherOrigin, ServingDaemon, announce_files, find_daemon, require_own_files,
};
use super::globals::GlobalArgs;
use super::login::{NETWORK_HINT, note_code_wait, session_details};
use super::waiting::{NEXUDUS, say_waiting};
use super::{CliError, Printer, serve};
use crate::admin::client as admin;
use crate::config::{Config, LoadedConfig, Origin, Paths};
use crate::daemon::{self, process};
use crate::problem::{Problem, ProblemDetails, Report};
use crate::session::CurrentUserError;

/// Why `whoami` cannot say who is logged in.
#[derive(Debug, thiserror::Error)]
pub(super) enum WhoamiError {
    /// Nexudus did not say.
    #[error(transparent)]
    User(#[from] CurrentUserError),
    /// The configuration does not lead to Nexudus.
    #[error(transparent)]
    Setup(#[from] daemon::Error),
    /// The running daemon gives its own reason, or none.
    #[error(transparent)]
    Daemon(#[from] admin::Error),
}

impl Problem for WhoamiError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::User(
                error @ (CurrentUserError::Unreachable(_) | CurrentUserError::Ambiguous(_)),
            ) => error.details().with_hint(NETWORK_HINT),
            Self::User(CurrentUserError::Session(error)) => session_details(error),
            Self::User(error @ (CurrentUserError::Forbidden | CurrentUserError::Throttled(_))) => {
                error.details()
            }
            Self::Setup(error) => error.details(),
            Self::Daemon(error) => error.details(),
        }
    }

    fn parts(&self) -> Vec<Report> {
        match self {
            Self::Daemon(error) => error.parts(),
            Self::User(_) | Self::Setup(_) => vec![],
        }
    }
}

/// Prints who is logged in; exits as `login` does where that account may not use the API.
pub(super) fn run(
    overrides: ConfigOverrides,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let LoadedConfig { config, paths, .. } =
        globals.load_and_warn(overrides.into_overrides(), print)?;
    process::harden();
    let own = config.upstream.origin.clone();
    let (me, through, upstream, other) = serve::control_runtime()?.block_on(async {
        let (daemon, reason) = match find_daemon(globals).await? {
            FoundDaemon::Serving(daemon) => (Some(*daemon), None),
            FoundDaemon::None(reason) => (None, Some(reason)),
        };
        let other = daemon.as_ref().filter(|daemon| daemon.is_own);
        let other = other.and_then(|it| OtherOrigin::detect(&it.status, &own, &paths));
        if daemon.is_none() {
            require_own_files(globals)?;
        }
        let upstream = daemon.as_ref().and_then(|it| Origin::parse(&it.status.upstream));
        let (me, through) = fetch_user(daemon.as_ref(), &config, &paths, print).await?;
        if let Some(reason) = &reason {
            announce_files(globals, &paths, reason, print);
        }
        let upstream = upstream.unwrap_or_else(|| own.clone());
        Ok::<_, CliError>((me, through, upstream, other))
    })?;
    if let Some(other) = &other {
        print.warning(&format!("{other}; {own} is configured here"));
    }
    show(&me, through, &upstream, &paths, globals, print)
}

/// Prints the user, and how it was asked for.
fn show(
    me: &CurrentUser,
    through: &str,
    upstream: &Origin,
    paths: &Paths,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let has_access = me.has_api_access() != Some(false);
    if !globals.json {
        me.print(&paths.profile, upstream, print)?;
        return if has_access {
            Ok(())
        } else {
            Err(WhoamiError::from(CurrentUserError::Forbidden).into())
        };
    }
    let mut output = json!({
        "profile": paths.profile, "through": through, "upstream": upstream.to_string(),
    });
    if let (Json::Object(output), Ok(Json::Object(fields))) =
        (&mut output, serde_json::to_value(me))
    {
        output.extend(fields);
    }
    if has_access {
        print.json(&output)
    } else {
        Err(CliError::from(WhoamiError::from(CurrentUserError::Forbidden)).with_output(output))
    }
}

/// Fetches the user through the daemon that serves, or with the login itself, and returns the route
/// that was used.
pub(super) async fn fetch_user(
    daemon: Option<&ServingDaemon>,
    config: &Config,
    paths: &Paths,
    print: Printer,
) -> Result<(CurrentUser, &'static str), WhoamiError> {
    let fetched = async {
        match daemon {
            Some(daemon) => Ok((daemon.admin.get("/v1/whoami").await?, "daemon")),
            None => {
                let me = daemon_client::fetch_user(config, paths, note_code_wait(print)).await?;
                Ok((me?, "login"))
            }
        }
    };
    say_waiting(print, NEXUDUS, fetched).await
}
