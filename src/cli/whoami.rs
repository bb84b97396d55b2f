//! `whoami`: the user behind the token, fetched through the running daemon, or directly.

use serde_json::{Value as Json, json};

use super::config_flags::ConfigOverrides;
use super::current_user::CurrentUser;
use super::daemon_client::{
    self, OtherOrigin, ServingDaemon, announce_files, find_daemon, require_own_files,
};
use super::globals::GlobalArgs;
use super::login::{NETWORK_HINT, note_code_wait, session_details};
use super::waiting::{NEXUDUS, say_waiting};
use super::{CliError, Printer, serve};
use crate::admin::client as admin;
use crate::config::{Config, LoadedConfig, Origin, Paths};
use crate::daemon::{self, process};
use crate::problem::{Problem, ProblemDetails, ProblemKind, Report};
use crate::session::{self, Cause, CurrentUserError};

/// Why `whoami` cannot say who is logged in.
#[derive(Debug, thiserror::Error)]
pub(super) enum WhoamiError {
    /// Even a good token is refused.
    #[error("forbidden: the account has no API access")]
    Forbidden,
    /// Nexudus cannot be reached.
    #[error("could not reach Nexudus")]
    Unreachable(#[source] Cause),
    /// The response is not a user.
    #[error("Nexudus did not say who is logged in")]
    Ambiguous(#[source] Cause),
    /// There is no token.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// The configuration does not lead to Nexudus.
    #[error(transparent)]
    Setup(#[from] daemon::Error),
    /// The running daemon gives its own reason, or none.
    #[error(transparent)]
    Daemon(#[from] admin::Error),
}

impl From<CurrentUserError> for WhoamiError {
    fn from(error: CurrentUserError) -> Self {
        match error {
            CurrentUserError::Forbidden => Self::Forbidden,
            CurrentUserError::Unreachable(cause) => Self::Unreachable(cause),
            CurrentUserError::Ambiguous(cause) => Self::Ambiguous(cause),
            CurrentUserError::Session(error) => Self::Session(error),
        }
    }
}

impl Problem for WhoamiError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Forbidden => ProblemKind::NoApiAccess.into(),
            Self::Unreachable(_) => ProblemKind::UpstreamUnreachable.with_hint(NETWORK_HINT),
            Self::Ambiguous(_) => ProblemKind::SessionUnavailable.with_hint(NETWORK_HINT),
            Self::Session(error) => session_details(error),
            Self::Setup(error) => error.details(),
            Self::Daemon(error) => error.details(),
        }
    }

    fn parts(&self) -> Vec<Report> {
        match self {
            Self::Daemon(error) => error.parts(),
            Self::Forbidden
            | Self::Unreachable(_)
            | Self::Ambiguous(_)
            | Self::Session(_)
            | Self::Setup(_) => vec![],
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
        let daemon = find_daemon(globals).await?;
        let other = daemon.as_ref().filter(|daemon| daemon.is_own);
        let other = other.and_then(|it| OtherOrigin::detect(&it.status, &own, &paths));
        if daemon.is_none() {
            require_own_files(globals)?;
        }
        let upstream = daemon.as_ref().and_then(|it| Origin::parse(&it.status.upstream));
        let (me, through) = fetch_user(daemon.as_ref(), &config, &paths, print).await?;
        let upstream = upstream.unwrap_or_else(|| own.clone());
        Ok::<_, CliError>((me, through, upstream, other))
    })?;
    if let Some(other) = &other {
        print.warning(&format!("{other}; {own} is configured here"));
    }
    if through == "login" {
        announce_files(globals, &paths, print);
    }
    let has_access = me.has_api_access() != Some(false);
    if !globals.json {
        me.print(&paths.profile, &upstream, print)?;
        return if has_access { Ok(()) } else { Err(WhoamiError::Forbidden.into()) };
    }
    let mut output = json!({
        "profile": paths.profile, "through": through, "upstream": upstream.to_string(),
    });
    if let (Json::Object(output), Ok(Json::Object(fields))) =
        (&mut output, serde_json::to_value(&me))
    {
        output.extend(fields);
    }
    if has_access {
        print.json(&output)
    } else {
        Err(CliError::from(WhoamiError::Forbidden).with_output(output))
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
