//! `whoami`: the user behind the token, fetched through the running daemon, or directly.

use http::{Method, StatusCode};
use serde_json::{Value as Json, json};

use super::config_flags::ConfigOverrides;
use super::current_user::CurrentUser;
use super::daemon_client::{ApiResponse, ClientError, DaemonClient, OtherOrigin, effective_config};
use super::globals::GlobalArgs;
use super::login::{NETWORK_HINT, note_code_wait, session_details};
use super::waiting::{NEXUDUS, with_note};
use super::{CliError, Printer, serve};
use crate::admin::api;
use crate::config::{Config, LoadedConfig, Origin, Paths};
use crate::daemon::{self, StandaloneSession, process};
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::session::{self, Cause, UnauthorizedCause, endpoint};

/// Why `whoami` cannot say who is logged in.
#[derive(Debug, thiserror::Error)]
pub(super) enum WhoamiError {
    /// The process that serves this profile uses another upstream, and refuses this command.
    #[error("{other}, and {own} is configured here")]
    OtherUpstream {
        /// The process, and its upstream.
        other: OtherOrigin,
        /// The configured upstream.
        own: Origin,
    },
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
    /// The running daemon gives its own reason.
    #[error("{}", .0.detail)]
    Daemon(Box<api::Problem>),
}

impl Problem for WhoamiError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::OtherUpstream { other, .. } => ProblemKind::OtherOrigin.with_hint(other.hint()),
            Self::Forbidden => ProblemKind::NoApiAccess.into(),
            Self::Unreachable(_) => ProblemKind::UpstreamUnreachable.with_hint(NETWORK_HINT),
            Self::Ambiguous(_) => ProblemKind::SessionUnavailable.with_hint(NETWORK_HINT),
            Self::Session(error) => session_details(error),
            Self::Setup(error) => error.details(),
            Self::Daemon(problem) => {
                let kind = ProblemKind::from_code(&problem.code);
                let details = ProblemDetails::from(kind.unwrap_or(ProblemKind::CommandFailed));
                ProblemDetails { hint: problem.hint.clone().map(Into::into), ..details }
            }
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
        let daemon = DaemonClient::new(&config, &paths).status().await;
        let other = daemon.as_ref().and_then(|daemon| OtherOrigin::detect(daemon, &own, &paths));
        let config = match daemon {
            Some(daemon) => effective_config(&config, &paths, &daemon).0,
            None => config,
        };
        let user = fetch_user(&config, &own, other.as_ref(), &paths, print);
        let (me, through) = with_note(print, NEXUDUS, user).await?;
        Ok::<_, WhoamiError>((me, through, config.upstream.origin, other))
    })?;
    if let Some(other) = &other {
        print.warning(&format!("{other}; {own} is configured here"));
    }
    let has_access = me.api_access != Some(false);
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

/// Fetches the user with `config`, which may be the daemon's, and returns the route that was used.
/// `own` is the origin that is configured here: no `other` origin gets a login.
pub(super) async fn fetch_user(
    config: &Config,
    own: &Origin,
    other: Option<&OtherOrigin>,
    paths: &Paths,
    print: Printer,
) -> Result<(CurrentUser, &'static str), WhoamiError> {
    let mut refusal = None;
    match DaemonClient::new(config, paths).get(ME_PATH).await {
        // A daemon may refuse every client without a key; this command may have the login itself.
        Ok(response) => match parse_daemon_response(&response)? {
            DaemonReply::User(me) => return Ok((*me, "daemon")),
            DaemonReply::Refused(problem) => refusal = Some(problem),
        },
        Err(ClientError::NotRunning | ClientError::NoResponse(_)) => {}
    }
    if let Some(other) = other {
        return Err(WhoamiError::OtherUpstream { other: other.clone(), own: own.clone() });
    }
    match (fetch_directly(config, paths, print).await, refusal) {
        // The daemon may be logged in: this command knows only that it has no login of its own.
        (Err(WhoamiError::Session(session::Error::NotLoggedIn(_))), Some(problem)) => {
            Err(WhoamiError::Daemon(problem))
        }
        (me, _) => Ok((me?, "login")),
    }
}

/// What the running daemon replies.
enum DaemonReply {
    User(Box<CurrentUser>),
    /// The daemon refuses callers like this command.
    Refused(Box<api::Problem>),
}

fn parse_daemon_response(response: &ApiResponse) -> Result<DaemonReply, WhoamiError> {
    if let Some(problem) = response.problem() {
        let is_closed = problem.code.starts_with("guard.") || problem.code.starts_with("policy.");
        let problem = Box::new(problem);
        return if is_closed {
            Ok(DaemonReply::Refused(problem))
        } else {
            Err(WhoamiError::Daemon(problem))
        };
    }
    let me = parse_response(response.status.as_u16(), &response.body)?;
    Ok(DaemonReply::User(Box::new(me)))
}

async fn fetch_directly(
    config: &Config,
    paths: &Paths,
    print: Printer,
) -> Result<CurrentUser, WhoamiError> {
    let issuer = daemon::token_client(config)?;
    let credentials = daemon::credentials(config, paths);
    let direct = StandaloneSession::start(config, paths, credentials, issuer.clone());
    let me = fetch_with_retry(&direct, &issuer, print).await;
    direct.stop().await;
    me
}

/// Fetches the user with the token at hand, and once more with another if that token is dead.
async fn fetch_with_retry(
    direct: &StandaloneSession,
    issuer: &endpoint::HttpIssuer,
    print: Printer,
) -> Result<CurrentUser, WhoamiError> {
    let bearer = direct.bearer(note_code_wait(print)).await?;
    let (mut status, mut body) =
        issuer.me(bearer.header()).await.map_err(WhoamiError::Unreachable)?;
    if status == StatusCode::UNAUTHORIZED {
        match direct.session().classify_unauthorized(&bearer, &Method::GET, ME_PATH).await {
            UnauthorizedCause::TokenReplaced => {
                let bearer = direct.session().bearer()?;
                (status, body) =
                    issuer.me(bearer.header()).await.map_err(WhoamiError::Unreachable)?;
            }
            UnauthorizedCause::MissingPermission => {}
            UnauthorizedCause::Unavailable(error) => return Err(error.into()),
        }
    }
    parse_response(status.as_u16(), &body)
}

fn parse_response(status: u16, body: &[u8]) -> Result<CurrentUser, WhoamiError> {
    let ambiguous = |why: String| WhoamiError::Ambiguous(Cause::new(why));
    match status {
        200 => CurrentUser::parse(body)
            .ok_or_else(|| ambiguous("its response is not a user".to_owned())),
        401 | 403 => Err(WhoamiError::Forbidden),
        status => Err(ambiguous(format!("it responded with {status}"))),
    }
}

const ME_PATH: &str = "/api/auth/me";
