//! `run`: one command with a listener and a key of its own, both gone when it ends.
//!
//! Where a daemon serves the profile already, calls are relayed to it; otherwise one runs in this
//! process for as long as the command does. Either way the command needs to know nothing but
//! `NEXUDUS_BASE_URL`: whoever calls there is taken for the holder of the key.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::time::SystemTime;

use tokio::process::{Child, Command};

use super::running::Running;
use super::{Failure, Globals, Print, limits, serve};
use crate::clients;
use crate::clock::Clock;
use crate::config::{Config, Loaded, Paths, UnixSocket};
use crate::credentials::Credentials;
use crate::daemon::{self, Daemon, Relay, Setting, process};
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
    let Loaded { mut config, paths, warnings, .. } = globals.load(vec![])?;
    let limits = options.limits.limits(SystemTime::now());
    warnings.iter().for_each(|warning| print.warning(warning));
    limits::check(&limits, &config, print)?;
    if config.log.level == Config::default().log.level {
        // The terminal is the command's.
        config.log.level = "warn".to_owned();
    }
    serve::start_log(&config.log, print)?;
    process::harden();
    let client = OneRun::add(&paths, limits)?;
    serve::control()?.block_on(async {
        let mut signals = process::Passing::new().map_err(Failure::Runtime)?;
        let door = Door::open(&mut config, &paths, &client.key).await?;
        let mut child = command(&options.command, door.address(), &client.key)?;
        let status = wait(&mut child, &mut signals).await;
        door.close(&config).await;
        match code(status.map_err(Failure::Runtime)?) {
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
        if let Err(error) = clients::revoke(&self.paths.profile_state(), &self.name) {
            tracing::warn!(%error, name = self.name, "the key of this run stays good");
        }
    }
}

const PREFIX: &str = "run-";

/// Where the command's calls come in.
enum Door {
    Own(Box<Daemon>),
    Relayed(Relay),
}

impl Door {
    async fn open(config: &mut Config, paths: &Paths, key: &Secret) -> Result<Self, Failure> {
        let socket = match &config.listen.unix {
            UnixSocket::Path(path) => path.clone(),
            UnixSocket::Auto | UnixSocket::Off => paths.proxy_socket(),
        };
        let any = |ip: [u8; 4]| SocketAddr::from((ip, 0));
        config.listen.tcp = vec![any([127, 0, 0, 1])];
        config.listen.unix = UnixSocket::Off;
        config.listen.expose = false;
        config.hosts.clear();
        let setting = Setting {
            clock: Clock::system(),
            credentials: Credentials::configured(&config.credentials, &paths.profile),
        };
        match Daemon::start_for(config, paths, setting, Some(key.clone())).await {
            Ok(daemon) => Ok(Self::Own(Box::new(daemon))),
            Err(daemon::Error::AlreadyRunning { .. }) => {
                // Where it was started with another socket than is configured, it says so.
                let serving = Running::of(config, paths).status().await;
                let socket = serving.and_then(|serving| serving.listening.unix).unwrap_or(socket);
                Ok(Self::Relayed(Relay::start(socket, key).await?))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Own(daemon) => daemon.addresses().first().copied(),
            Self::Relayed(relay) => Some(relay.address()),
        }
    }

    async fn close(self, config: &Config) {
        match self {
            Self::Own(daemon) => daemon.stop(config.daemon.drain).await,
            Self::Relayed(relay) => drop(relay),
        }
    }
}

/// Starts the command with the names that tools look for.
fn command(
    words: &[OsString],
    address: Option<SocketAddr>,
    key: &Secret,
) -> Result<Child, Failure> {
    let (program, arguments) = words.split_first().expect("clap wants at least one word");
    let port = address.map_or(0, |address| address.port());
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
