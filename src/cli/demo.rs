//! `demo`: a simulated Nexudus and the proxy in front of it, in one process.
//!
//! Nothing is written outside a temporary directory, nothing goes to the network, and tokens live
//! so briefly that their renewal can be watched.

use std::net::SocketAddr;
use std::time::Duration;

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD, Simulator};

use super::config_flags::parse_duration_flag;
use super::{CliError, Printer, serve};
use crate::clock::Clock;
use crate::config::{Config, LogFormat, Origin, Paths, SessionStore};
use crate::credentials::{Credentials, Login};
use crate::daemon::{self, Daemon, Deps, process, run_loop};
use crate::listen;
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::secret::Secret;

/// The arguments of `demo`.
#[derive(clap::Args, Debug)]
pub(super) struct DemoArgs {
    /// How long a token lives; short enough to see two renewals in a minute
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = token_life)]
    token_life: Duration,
}

/// Nexudus gives a lifetime in whole seconds: less would be none at all.
fn token_life(text: &str) -> Result<Duration, &'static str> {
    match parse_duration_flag(text)? {
        life if life < Duration::from_secs(1) => {
            Err("tokens live for whole seconds, and at least for 1s")
        }
        life => Ok(life),
    }
}

/// The simulator belongs to another crate, so its error gets its kind here.
impl Problem for nexudus_simulator::StartError {
    fn details(&self) -> ProblemDetails {
        ProblemKind::CommandFailed.into()
    }
}

/// Runs both until Ctrl-C.
pub(super) fn run(options: &DemoArgs, print: Printer) -> Result<(), CliError> {
    let home = tempfile::Builder::new().prefix("nexudus-proxy-demo-").tempdir();
    let home = home.map_err(CliError::Runtime)?;
    let simulator = Simulator::builder()
        .account(Account::new(DEMO_EMAIL, DEMO_PASSWORD))
        .set(|knobs| knobs.token.access_life = options.token_life)
        .start()?;
    let ca_file = home.path().join("simulator-ca.pem");
    simulator.write_ca(&ca_file).map_err(CliError::Runtime)?;

    let mut config = Config::default();
    config.upstream.origin = Origin::new("localhost", simulator.address().port());
    config.upstream.ca_file = Some(ca_file);
    config.session.store = SessionStore::Memory;
    config.log.level = "debug".to_owned();
    config.log.format = LogFormat::Human;
    let _log = serve::start_log(&config.log, print)?;
    process::harden();
    process::raise_open_files();

    let paths = Paths::rooted_at(home.path());
    serve::control_runtime()?.block_on(async {
        let mut signals = process::Signals::new().map_err(CliError::Runtime)?;
        let daemon = start(&mut config, &paths).await?;
        print.line(&welcome(&daemon, &simulator, options.token_life))?;
        Ok(run_loop::run(daemon, None, &mut signals).await?)
    })
}

/// Starts on the usual port, or on a free one where that is taken.
async fn start(config: &mut Config, paths: &Paths) -> Result<Daemon, daemon::Error> {
    match Daemon::start(config, paths, demo_deps()).await {
        Err(daemon::Error::Listen(listen::Error::InUse { address, holder })) => {
            let holder = holder.map(|holder| holder.to_string());
            tracing::info!(%address, holder, "port in use, taking a free one");
            config.listen.tcp.iter_mut().for_each(|address| address.set_port(0));
            Daemon::start(config, paths, demo_deps()).await
        }
        started => started,
    }
}

fn demo_deps() -> Deps {
    let login = Login {
        email: DEMO_EMAIL.to_owned(),
        password: Secret::new(DEMO_PASSWORD),
        second_factor: None,
    };
    Deps { clock: Clock::system(), credentials: Credentials::in_memory(Some(login)) }
}

fn welcome(daemon: &Daemon, simulator: &Simulator, token_life: Duration) -> String {
    let port = daemon.addresses().first().map_or(0, SocketAddr::port);
    let life = humantime::format_duration(token_life);
    let origin = simulator.origin();
    format!(
        "A simulated Nexudus runs at {origin}, and the proxy in front of it, logged in\n\
         as {DEMO_EMAIL}. Try it from another terminal:\n\
         \n\
         \x20 curl 'http://localhost:{port}/api/auth/me'\n\
         \x20 curl 'http://localhost:{port}/api/spaces/coworkers?size=3'\n\
         \x20 curl -X POST 'http://localhost:{port}/api/spaces/coworkers' \\\n\
         \x20      -H 'Content-Type: application/json' -d '{{\"FullName\": \"Grace Example\"}}'\n\
         \n\
         Tokens live for {life} here: wait a little and call again. Ctrl-C ends it.\n"
    )
}
