//! `whoami`: the user behind the token, asked through the daemon that runs, or directly.

use http::{Method, StatusCode};
use serde_json::{Value as Json, json};

use super::daemon_client::{
    ApiResponse, ClientError, DaemonClient, OtherOrigin, ReceivedProblem, effective_config,
};
use super::login::note_code_wait;
use super::user::CurrentUser;
use super::{CliError, GlobalArgs, Printer, flags::ConfigOverrides, serve};
use crate::config::{Config, LoadedConfig, Origin, Paths};
use crate::daemon::{self, StandaloneSession, process};
use crate::session::{Cause, UnauthorizedCause, endpoint};

/// What `whoami` takes.
#[derive(clap::Args, Debug)]
pub(super) struct WhoamiArgs {
    #[command(flatten)]
    keys: ConfigOverrides,
}

/// Why it cannot be told who is logged in, where the session itself is well.
#[derive(Debug, thiserror::Error)]
pub enum WhoamiError {
    /// Whoever serves this profile asks another upstream, and lets this command ask nothing.
    #[error("{other}, and {own} is configured here")]
    OtherUpstream {
        /// Who, and which.
        other: OtherOrigin,
        /// The configured one.
        own: Origin,
    },
    /// Even a good token is refused.
    #[error("forbidden: the account has no API access")]
    Forbidden,
    /// Nexudus cannot be asked.
    #[error("could not reach Nexudus")]
    Unreachable(#[source] Cause),
    /// What answered is not what was asked for.
    #[error("Nexudus did not say who is logged in")]
    Ambiguous(#[source] Cause),
    /// The daemon that runs gives its own reason.
    #[error("{detail}")]
    Daemon {
        /// Its stable code.
        code: String,
        /// What it says.
        detail: String,
        /// What it advises.
        hint: Option<String>,
    },
}

/// Tells who is logged in; exits as `login` does where that account may not use the API.
pub(super) fn run(
    options: WhoamiArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    let LoadedConfig { config, paths, warnings, .. } =
        globals.load(options.keys.into_overrides())?;
    warnings.iter().for_each(|warning| print.warning(warning));
    process::harden();
    let own = config.upstream.origin.clone();
    let (me, through, upstream, other) = serve::control_runtime()?.block_on(async {
        let daemon = DaemonClient::new(&config, &paths).status().await;
        let other = daemon.as_ref().and_then(|daemon| OtherOrigin::detect(daemon, &own, &paths));
        let config = match daemon {
            Some(daemon) => effective_config(&config, &paths, &daemon).0,
            None => config,
        };
        let (me, through) = fetch_user(&config, &own, other.as_ref(), &paths, print).await?;
        Ok::<_, CliError>((me, through, config.upstream.origin, other))
    })?;
    if let Some(other) = &other {
        print.warning(&format!("{other}; {own} is configured here"));
    }
    let has_access = me.api_access != Some(false);
    if !globals.json {
        me.print(&paths.profile, &upstream, print)?;
        return if has_access { Ok(()) } else { Err(WhoamiError::Forbidden.into()) };
    }
    let mut said = json!({
        "profile": paths.profile, "through": through, "upstream": upstream.to_string(),
    });
    if let (Json::Object(said), Ok(Json::Object(fields))) = (&mut said, serde_json::to_value(&me)) {
        said.extend(fields);
    }
    match has_access {
        true => print.json(&said),
        false => Err(CliError::WithOutput {
            shown: said,
            failure: Box::new(WhoamiError::Forbidden.into()),
        }),
    }
}

/// Asks as `config` says, which may be what the daemon goes by, and says through what. `own` is the
/// origin that is configured here: a login is given to no `other` one.
pub(super) async fn fetch_user(
    config: &Config,
    own: &Origin,
    other: Option<&OtherOrigin>,
    paths: &Paths,
    print: Printer,
) -> Result<(CurrentUser, &'static str), CliError> {
    match DaemonClient::new(config, paths).get(ME_PATH).await {
        // A daemon may let nobody in without a key; this command has the login itself.
        Ok(answer) => {
            if let Some(me) = parse_daemon_response(&answer)? {
                return Ok((me, "daemon"));
            }
        }
        Err(ClientError::NotRunning | ClientError::NoResponse(_)) => {}
    }
    if let Some(other) = other {
        return Err(WhoamiError::OtherUpstream { other: other.clone(), own: own.clone() }.into());
    }
    Ok((fetch_directly(config, paths, print).await?, "login"))
}

fn parse_daemon_response(answer: &ApiResponse) -> Result<Option<CurrentUser>, WhoamiError> {
    if let Some(ReceivedProblem { code, detail, hint }) = answer.problem() {
        let closed = code.starts_with("guard.") || code.starts_with("policy.");
        return if closed { Ok(None) } else { Err(WhoamiError::Daemon { code, detail, hint }) };
    }
    parse_response(answer.status.as_u16(), &answer.body).map(Some)
}

async fn fetch_directly(
    config: &Config,
    paths: &Paths,
    print: Printer,
) -> Result<CurrentUser, CliError> {
    let issuer = daemon::token_client(config)?;
    let credentials = daemon::credentials(config, paths);
    let direct = StandaloneSession::start(config, paths, credentials, issuer.clone());
    let me = fetch_with_retry(&direct, &issuer, print).await;
    direct.stop().await;
    me
}

/// Asks with the token at hand, and once more with another if it turns out to be dead.
async fn fetch_with_retry(
    direct: &StandaloneSession,
    issuer: &endpoint::HttpIssuer,
    print: Printer,
) -> Result<CurrentUser, CliError> {
    let bearer = direct.bearer(note_code_wait(print)).await.map_err(CliError::Session)?;
    let (mut status, mut body) =
        issuer.me(bearer.header()).await.map_err(WhoamiError::Unreachable)?;
    if status == StatusCode::UNAUTHORIZED {
        match direct.session().classify_unauthorized(&bearer, &Method::GET, ME_PATH).await {
            UnauthorizedCause::TokenReplaced => {
                let bearer = direct.session().bearer().map_err(CliError::Session)?;
                (status, body) =
                    issuer.me(bearer.header()).await.map_err(WhoamiError::Unreachable)?;
            }
            UnauthorizedCause::MissingPermission => {}
            UnauthorizedCause::Unavailable(error) => return Err(CliError::Session(error)),
        }
    }
    Ok(parse_response(status.as_u16(), &body)?)
}

fn parse_response(status: u16, body: &[u8]) -> Result<CurrentUser, WhoamiError> {
    let unclear = |why: String| WhoamiError::Ambiguous(Cause::new(why));
    match status {
        200 => {
            CurrentUser::parse(body).ok_or_else(|| unclear("its answer is not a user".to_owned()))
        }
        401 | 403 => Err(WhoamiError::Forbidden),
        status => Err(unclear(format!("it answered {status}"))),
    }
}

const ME_PATH: &str = "/api/auth/me";
