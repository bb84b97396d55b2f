//! `serve`: the daemon in the foreground.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::config_flags::ConfigArgs;
use super::globals::GlobalArgs;
use super::{CliError, Printer, profile};
use crate::config::{self, Config, LoadedConfig, LogFormat, Paths, Sources};
#[cfg(target_os = "linux")]
use crate::daemon::landlock;
use crate::daemon::{self, PlacedError, process, run_loop};
use crate::telemetry::{self, LineFormat};

/// The arguments of `serve`: every key of the configuration.
#[derive(clap::Args, Debug)]
#[command(after_help = "Every key of the configuration is a flag: see --help.")]
#[command(after_long_help = "Lists are given by repeating the flag, or as a TOML array.")]
pub(super) struct ServeArgs {
    #[command(flatten)]
    keys: ConfigArgs,
}

/// Runs the daemon until a signal or a command stops it. A reload reads the same sources again.
pub(super) fn run(args: ServeArgs, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let sources = globals.sources(args.keys.into_overrides());
    let loaded = sources.load()?;
    profile::require_or_login(globals, &loaded)?;
    loaded.warnings.iter().for_each(|warning| print.warning(warning));
    serve(&loaded, &sources, print)
}

fn serve(loaded: &LoadedConfig, sources: &Sources, print: Printer) -> Result<(), CliError> {
    let LoadedConfig { config, paths, .. } = loaded;
    // Before any other thread starts, the log's thread included: only later threads inherit the
    // limit.
    #[cfg(target_os = "linux")]
    let confined = landlock::confine(config);
    let _log = start_log(&config.log, print)?;
    #[cfg(target_os = "linux")]
    confined.log();
    process::harden();
    process::raise_open_files();
    let runtime = control_runtime()?;
    let placed = |error| PlacedError::new(error, loaded);
    let ended = runtime.block_on(async {
        let mut signals = process::Signals::new().map_err(CliError::Runtime)?;
        #[cfg(unix)]
        let daemon = daemon::start(config, paths).await.map_err(placed)?;
        #[cfg(not(unix))]
        let daemon = daemon::Daemon::start(config, paths, daemon::Deps::from_config(config, paths))
            .await
            .map_err(placed)?;
        daemon.describe_config(loaded);
        log_start(config, paths, &daemon);
        Ok(run_loop::run(daemon, Some(sources), &mut signals).await?)
    });
    // A name look-up that hangs has nothing to lose; a write that has begun is waited for.
    runtime.shutdown_timeout(BLOCKING_TASKS_TIMEOUT);
    ended
}

/// Logs where the daemon listens, the state of the session, and where requests are seen: at this
/// level the log has none.
fn log_start(config: &Config, paths: &Paths, daemon: &daemon::Daemon) {
    for address in daemon.addresses() {
        tracing::info!(%address, origin = %config.upstream.origin, "listening");
    }
    if let Some(path) = daemon.socket() {
        tracing::info!(path = %path.display(), "listening");
    }
    for address in &daemon.listening().tls {
        tracing::info!(%address, "listening with TLS");
    }
    if let Some(forward) = &daemon.listening().forward_proxy {
        tracing::info!(address = %forward.tcp, "listening as a forward proxy");
    }
    if let Some(address) = daemon.admin_address() {
        tracing::info!(%address, "listening for health and metrics");
    }
    if let Some(address) = daemon.health_address() {
        tracing::info!(%address, "listening for health probes");
    }
    let listening = daemon.listening();
    let forward = listening.forward_proxy.iter().map(|forward| &forward.tcp);
    log_exposure(config, listening.tcp.iter().chain(forward));
    let state = daemon.session().status().state.as_str();
    let tail = config::with_profile_flag("`nexudus-proxy tail`", &paths.profile);
    tracing::info!(session = state, "{tail} shows requests as they end");
}

/// Longest wait for blocking work after the daemon has ended.
const BLOCKING_TASKS_TIMEOUT: Duration = Duration::from_secs(1);

/// Logs the consequences of an address that other machines can reach.
fn log_exposure<'a>(config: &Config, mut addresses: impl Iterator<Item = &'a SocketAddr>) {
    let exposed = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
    let Some(address) = addresses.find(exposed) else { return };
    tracing::warn!(%address, "keys, requests and responses travel here in plain text");
    if config.listen.hosts.is_empty() {
        tracing::warn!(
            %address,
            "requests by this machine's address or name get 421 until listen.hosts names it"
        );
    }
}

/// Starts the log in the configured shape; dropping the result waits for its last lines.
pub(super) fn start_log(
    log: &config::Log,
    print: Printer,
) -> Result<telemetry::LogGuard, telemetry::Error> {
    let shape = match log.format {
        LogFormat::Auto => LineFormat::detect(),
        LogFormat::Human => LineFormat::Human,
        LogFormat::Json => LineFormat::Json,
        LogFormat::Journald => LineFormat::Journald,
    };
    telemetry::start(&log.level, shape, print.is_stderr_coloured())
}

/// Makes the runtime that everything but the data path runs on.
pub(super) fn control_runtime() -> Result<Runtime, CliError> {
    Builder::new_current_thread()
        .enable_all()
        // Name look-ups, file writes and a credential store: a few at once, gone when idle.
        .max_blocking_threads(8)
        .build()
        .map_err(CliError::Runtime)
}
