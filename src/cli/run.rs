//! `run`: one command with a listener and a key of its own, both gone when it ends.
//!
//! Calls are relayed to whoever serves the profile: a daemon, another `run`, or else this process
//! (`daemon/handover.rs`). Either way the command needs to know nothing but `NEXUDUS_BASE_URL`: whoever
//! calls there is taken for the holder of the key.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::process::{Child, Command};

use super::daemon_client::load_effective_config;
use super::{CliError, GlobalArgs, Printer, client_limits, serve};
use crate::clients;
use crate::config::{Config, LoadedConfig, Paths};
use crate::daemon::{ProfileLeader, RunProxy, process};
use crate::secret::Secret;

/// What `run` takes.
#[derive(clap::Args, Debug)]
#[command(after_help = "Ends as the command does: with its exit code, or 128 and the number of \
    the signal that ended it. 125: run itself failed; 126: the command cannot be executed; 127: \
    it was not found.")]
pub(super) struct RunArgs {
    #[command(flatten)]
    limits: client_limits::LimitArgs,
    /// The command and its arguments, after `--`
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the command.
pub(super) fn run(options: RunArgs, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    run_command(options, globals, print).map_err(|failure| {
        match matches!(failure, CliError::ChildExited(_) | CliError::Command { .. }) {
            true => failure,
            false => CliError::Run(Box::new(failure)),
        }
    })
}

fn run_command(options: RunArgs, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let loaded = globals.load(vec![])?;
    let limits = options.limits.limits(SystemTime::now());
    loaded.warnings.iter().for_each(|warning| print.warning(warning));
    client_limits::check_rules(&limits, &loaded.config, print)?;
    // What the daemon lets through is known to it alone, where one runs.
    let (in_effect, is_served) = load_effective_config(&loaded)?;
    if let Some(wider) =
        client_limits::access_without_key(&limits, &in_effect).filter(|_| !globals.quiet)
    {
        // Where nobody serves, this process does.
        let beside = match is_served {
            true => "a socket or an address of the daemon's own".to_owned(),
            false => format!("the socket {}", loaded.paths.run_socket().display()),
        };
        print.warning(&format!(
            "these limits bind what goes through `$NEXUDUS_BASE_URL` or shows its key; at {beside}, \
             without that key, the command and every other process of this user may still {wider} \
             (policy.anonymous = \"none\" refuses them)"
        ));
    }
    let LoadedConfig { mut config, paths, .. } = loaded;
    if config.log.level == Config::default().log.level {
        // The terminal is the command's.
        config.log.level = "warn".to_owned();
    }
    serve::start_log(&config.log, print)?;
    process::harden();
    let client = EphemeralClient::create(&paths, limits)?;
    serve::control_runtime()?.block_on(async {
        let mut signals = process::ForwardedSignals::new().map_err(CliError::Runtime)?;
        let turn = Arc::new(ProfileLeader::new(&config, &paths));
        // What only a person can repair ends it here, and not each of the command's requests.
        turn.connect().await?;
        let relay = RunProxy::start(turn.clone(), &client.key).await?;
        let child = spawn(&options.command, relay.address(), &client.key);
        let status = match child {
            Ok(mut child) => wait(&mut child, &mut signals).await.map_err(CliError::Runtime),
            Err(failure) => Err(failure),
        };
        drop(relay);
        turn.end().await;
        match child_exit_code(status?) {
            0 => Ok(()),
            code => Err(CliError::ChildExited(code)),
        }
    })
}

/// A client for as long as this lives.
struct EphemeralClient<'a> {
    paths: &'a Paths,
    name: String,
    key: Secret,
}

impl<'a> EphemeralClient<'a> {
    fn create(paths: &'a Paths, limits: clients::ClientPolicy) -> Result<Self, CliError> {
        let directory = paths.profile_state();
        // Those whose process was killed: nobody else knows their keys, but why keep them.
        for kept in clients::list(&directory)? {
            let pid = kept.name.strip_prefix(CLIENT_NAME_PREFIX).and_then(|pid| pid.parse().ok());
            if pid.is_some_and(|pid| !process::is_alive(pid)) {
                clients::revoke(&directory, &kept.name).ok();
            }
        }
        let name = format!("{CLIENT_NAME_PREFIX}{}", std::process::id());
        let key = clients::add(&directory, &name, limits)?;
        Ok(Self { paths, name, key })
    }
}

impl Drop for EphemeralClient<'_> {
    fn drop(&mut self) {
        match clients::revoke(&self.paths.profile_state(), &self.name) {
            // Somebody has revoked it already.
            Ok(()) | Err(clients::Error::Missing { .. }) => {}
            Err(error) => {
                tracing::warn!(%error, name = self.name, "the key of this run stays good");
            }
        }
    }
}

const CLIENT_NAME_PREFIX: &str = "run-";

/// Starts the command with the names that tools look for.
fn spawn(words: &[OsString], address: SocketAddr, key: &Secret) -> Result<Child, CliError> {
    let (program, arguments) = words.split_first().expect("clap wants at least one word");
    let port = address.port();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("NEXUDUS_BASE_URL", format!("http://127.0.0.1:{port}"))
        .env("NEXUDUS_PROXY_KEY", key.expose())
        .env("NEXUDUS_BEARER_TOKEN", key.expose())
        // Tools that insist on logging in do so here, with the key. The real login is not theirs.
        .env("NEXUDUS_EMAIL", PLACEHOLDER_EMAIL)
        .env("NEXUDUS_USERNAME", PLACEHOLDER_EMAIL)
        .env("NEXUDUS_PASSWORD", key.expose())
        .env_remove("NEXUDUS_TOTP");
    for name in ["NO_PROXY", "no_proxy"] {
        // Otherwise HTTP_PROXY would be asked to fetch this from its own loopback.
        let already = std::env::var_os(name).filter(|hosts| !hosts.is_empty());
        let mut hosts = already
            .map_or_else(OsString::new, |hosts| [&hosts, OsStr::new(",")].into_iter().collect());
        hosts.push("127.0.0.1,localhost");
        command.env(name, hosts);
    }
    command.spawn().map_err(|source| CliError::Command {
        program: program.to_string_lossy().into_owned(),
        source,
    })
}

/// Waits for the command; what we are told to do is told to it.
async fn wait(
    child: &mut Child,
    signals: &mut process::ForwardedSignals,
) -> io::Result<ExitStatus> {
    // A terminal sends its own to both of us.
    let has_terminal = io::stdin().is_terminal();
    loop {
        tokio::select! {
            status = child.wait() => return status,
            signal = signals.next() => {
                if let Some(pid) = child.id() {
                    signal.forward(pid, has_terminal);
                }
            }
        }
    }
}

/// As a shell says it.
fn child_exit_code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(128 + signal).unwrap_or(u8::MAX);
    }
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Nobody's: the key beside it says who it is.
const PLACEHOLDER_EMAIL: &str = "run@localhost";
