//! `run`: one command with a listener and a key of its own, both gone when it ends.
//!
//! Calls are relayed to whoever serves the profile: a daemon, another `run`, or else this process
//! (`daemon/turn.rs`). Either way the command needs to know nothing but `NEXUDUS_BASE_URL`: whoever
//! calls there is taken for the holder of the key.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::process::{Child, Command};

use super::running::in_effect;
use super::{Failure, Globals, Print, limits, serve};
use crate::clients;
use crate::config::{Config, Loaded, Paths};
use crate::daemon::{Relay, Turn, process};
use crate::secret::Secret;

/// What `run` takes.
#[derive(clap::Args, Debug)]
#[command(after_help = "Ends as the command does: with its exit code, or 128 and the number of \
    the signal that ended it. 125: run itself failed; 126: the command cannot be executed; 127: \
    it was not found.")]
pub(super) struct Options {
    #[command(flatten)]
    limits: limits::Flags,
    /// The command and its arguments, after `--`
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the command.
pub(super) fn run(options: Options, globals: &Globals, print: Print) -> Result<(), Failure> {
    attempt(options, globals, print).map_err(|failure| {
        match matches!(failure, Failure::Ended(_) | Failure::Command { .. }) {
            true => failure,
            false => Failure::Run(Box::new(failure)),
        }
    })
}

fn attempt(options: Options, globals: &Globals, print: Print) -> Result<(), Failure> {
    let loaded = globals.load(vec![])?;
    let limits = options.limits.limits(SystemTime::now());
    loaded.warnings.iter().for_each(|warning| print.warning(warning));
    limits::check(&limits, &loaded.config, print)?;
    // What the daemon lets through is known to it alone, where one runs.
    let (in_effect, is_served) = in_effect(&loaded)?;
    if let Some(wider) = limits::wider_without_key(&limits, &in_effect).filter(|_| !globals.quiet) {
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
    let Loaded { mut config, paths, .. } = loaded;
    if config.log.level == Config::default().log.level {
        // The terminal is the command's.
        config.log.level = "warn".to_owned();
    }
    serve::start_log(&config.log, print)?;
    process::harden();
    let client = OneRun::add(&paths, limits)?;
    serve::control()?.block_on(async {
        let mut signals = process::Passing::new().map_err(Failure::Runtime)?;
        let turn = Arc::new(Turn::new(&config, &paths));
        // What only a person can repair ends it here, and not each of the command's requests.
        turn.call().await?;
        let relay = Relay::start(turn.clone(), &client.key).await?;
        let child = command(&options.command, relay.address(), &client.key);
        let status = match child {
            Ok(mut child) => wait(&mut child, &mut signals).await.map_err(Failure::Runtime),
            Err(failure) => Err(failure),
        };
        drop(relay);
        turn.end().await;
        match code(status?) {
            0 => Ok(()),
            code => Err(Failure::Ended(code)),
        }
    })
}

/// A client for as long as this lives.
struct OneRun<'a> {
    paths: &'a Paths,
    name: String,
    key: Secret,
}

impl<'a> OneRun<'a> {
    fn add(paths: &'a Paths, limits: clients::Limits) -> Result<Self, Failure> {
        let directory = paths.profile_state();
        // Those whose process was killed: nobody else knows their keys, but why keep them.
        for kept in clients::list(&directory)? {
            let pid = kept.name.strip_prefix(PREFIX).and_then(|pid| pid.parse().ok());
            if pid.is_some_and(|pid| !process::is_alive(pid)) {
                clients::revoke(&directory, &kept.name).ok();
            }
        }
        let name = format!("{PREFIX}{}", std::process::id());
        let key = clients::add(&directory, &name, limits)?;
        Ok(Self { paths, name, key })
    }
}

impl Drop for OneRun<'_> {
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

const PREFIX: &str = "run-";

/// Starts the command with the names that tools look for.
fn command(words: &[OsString], address: SocketAddr, key: &Secret) -> Result<Child, Failure> {
    let (program, arguments) = words.split_first().expect("clap wants at least one word");
    let port = address.port();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("NEXUDUS_BASE_URL", format!("http://127.0.0.1:{port}"))
        .env("NEXUDUS_PROXY_KEY", key.expose())
        .env("NEXUDUS_BEARER_TOKEN", key.expose())
        // Tools that insist on logging in do so here, with the key. The real login is not theirs.
        .env("NEXUDUS_EMAIL", LOGIN)
        .env("NEXUDUS_USERNAME", LOGIN)
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
    command.spawn().map_err(|source| Failure::Command {
        program: program.to_string_lossy().into_owned(),
        source,
    })
}

/// Waits for the command; what we are told to do is told to it.
async fn wait(child: &mut Child, signals: &mut process::Passing) -> io::Result<ExitStatus> {
    // A terminal sends its own to both of us.
    let has_terminal = io::stdin().is_terminal();
    loop {
        tokio::select! {
            status = child.wait() => return status,
            signal = signals.next() => {
                if let Some(pid) = child.id() {
                    signal.pass_on(pid, has_terminal);
                }
            }
        }
    }
}

/// As a shell says it.
fn code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(128 + signal).unwrap_or(u8::MAX);
    }
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Nobody's: the key beside it says who it is.
const LOGIN: &str = "run@localhost";
