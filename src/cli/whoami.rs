//! `whoami`: the user behind the token, asked through the daemon that runs, or directly.

use http::{Method, StatusCode};
use serde_json::{Value as Json, json};

use super::login::next_code;
use super::me::Me;
use super::running::{Answer, Other, Problem, Running, Silence, in_use};
use super::{Failure, Globals, Print, flags::AlsoKeys, serve};
use crate::config::{Config, Loaded, Origin, Paths};
use crate::daemon::{self, Direct, process};
use crate::session::{Cause, Verdict, issuer};

/// What `whoami` takes.
#[derive(clap::Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    keys: AlsoKeys,
}

/// Why it cannot be told who is logged in, where the session itself is well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Whoever serves this profile asks another upstream, and lets this command ask nothing.
    #[error("{other}, and {own} is configured here")]
    OtherUpstream {
        /// Who, and which.
        other: Other,
        /// The configured one.
        own: Origin,
    },
    /// Even a good token is refused.
    #[error("forbidden: the account has no API access")]
    Forbidden,
    /// Nexudus cannot be asked.
    #[error("could not reach Nexudus")]
    Offline(#[source] Cause),
    /// What answered is not what was asked for.
    #[error("Nexudus did not say who is logged in")]
    Unclear(#[source] Cause),
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
pub(super) fn run(options: Options, globals: &Globals, print: Print) -> Result<(), Failure> {
    let Loaded { config, paths, warnings, .. } = globals.load(options.keys.given())?;
    warnings.iter().for_each(|warning| print.warning(warning));
    process::harden();
    let own = config.upstream.origin.clone();
    let (me, through, upstream, other) = serve::control()?.block_on(async {
        let daemon = Running::of(&config, &paths).status().await;
        let other = daemon.as_ref().and_then(|daemon| Other::of(daemon, &own, &paths));
        let config = match daemon {
            Some(daemon) => in_use(&config, &paths, &daemon).0,
            None => config,
        };
        let (me, through) = ask(&config, &own, other.as_ref(), &paths, print).await?;
        Ok::<_, Failure>((me, through, config.upstream.origin, other))
    })?;
    if let Some(other) = &other {
        print.warning(&format!("{other}; {own} is configured here"));
    }
    let has_access = me.api_access != Some(false);
    if !globals.json {
        me.print(&paths.profile, &upstream, print)?;
        return if has_access { Ok(()) } else { Err(Error::Forbidden.into()) };
    }
    let mut said = json!({
        "profile": paths.profile, "through": through, "upstream": upstream.to_string(),
    });
    if let (Json::Object(said), Ok(Json::Object(fields))) = (&mut said, serde_json::to_value(&me)) {
        said.extend(fields);
    }
    match has_access {
        true => print.json(&said),
        false => Err(Failure::Shown { shown: said, failure: Box::new(Error::Forbidden.into()) }),
    }
}

/// Asks as `config` says, which may be what the daemon goes by, and says through what. `own` is the
/// origin that is configured here: a login is given to no `other` one.
pub(super) async fn ask(
    config: &Config,
    own: &Origin,
    other: Option<&Other>,
    paths: &Paths,
    print: Print,
) -> Result<(Me, &'static str), Failure> {
    match Running::of(config, paths).get(ME).await {
        // A daemon may let nobody in without a key; this command has the login itself.
        Ok(answer) => {
            if let Some(me) = through_daemon(&answer)? {
                return Ok((me, "daemon"));
            }
        }
        Err(Silence::NotRunning | Silence::Mute(_)) => {}
    }
    if let Some(other) = other {
        return Err(Error::OtherUpstream { other: other.clone(), own: own.clone() }.into());
    }
    Ok((directly(config, paths, print).await?, "login"))
}

fn through_daemon(answer: &Answer) -> Result<Option<Me>, Error> {
    if let Some(Problem { code, detail, hint }) = answer.problem() {
        let closed = code.starts_with("guard.") || code.starts_with("policy.");
        return if closed { Ok(None) } else { Err(Error::Daemon { code, detail, hint }) };
    }
    read(answer.status.as_u16(), &answer.body).map(Some)
}

async fn directly(config: &Config, paths: &Paths, print: Print) -> Result<Me, Failure> {
    let issuer = daemon::reach(config)?;
    let credentials = daemon::credentials(config, paths);
    let direct = Direct::start(config, paths, credentials, issuer.clone());
    let me = asked(&direct, &issuer, print).await;
    direct.stop().await;
    me
}

/// Asks with the token at hand, and once more with another if it turns out to be dead.
async fn asked(direct: &Direct, issuer: &issuer::Http, print: Print) -> Result<Me, Failure> {
    let bearer = direct.bearer(next_code(print)).await.map_err(Failure::Session)?;
    let (mut status, mut body) = issuer.me(bearer.header()).await.map_err(Error::Offline)?;
    if status == StatusCode::UNAUTHORIZED {
        match direct.session().judge(&bearer, &Method::GET, ME).await {
            Verdict::Replay => {
                let bearer = direct.session().bearer().map_err(Failure::Session)?;
                (status, body) = issuer.me(bearer.header()).await.map_err(Error::Offline)?;
            }
            Verdict::Permission => {}
            Verdict::Unavailable(error) => return Err(Failure::Session(error)),
        }
    }
    Ok(read(status.as_u16(), &body)?)
}

fn read(status: u16, body: &[u8]) -> Result<Me, Error> {
    let unclear = |why: String| Error::Unclear(Cause::new(why));
    match status {
        200 => Me::read(body).ok_or_else(|| unclear("its answer is not a user".to_owned())),
        401 | 403 => Err(Error::Forbidden),
        status => Err(unclear(format!("it answered {status}"))),
    }
}

const ME: &str = "/api/auth/me";
