//! The engine of `run`: one command with a listener and a key of its own, both gone when it ends.
//!
//! Requests of the command go to private listeners (`run_proxy.rs`), which add the key and send
//! them to the process that serves the profile (`profile_leader.rs`): a daemon, another `run`, or this
//! process. How the command gets there is its [`Reach`]: by the base URL, by a proxy and a certificate
//! authority that end with it, or because nothing else can be reached (`isolate/`).

mod client;
mod client_name;
mod command;
mod door;
mod environment;
mod intercepted;
#[cfg(target_os = "linux")]
mod isolate;
mod isolated;
mod no_proxy;
mod profile_leader;
mod relay;
mod run_proxy;
mod shell;
mod trust;
pub mod variables;

use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use tokio::process::Child;
use tokio::task::JoinSet;

use self::client::EphemeralClient;
use self::command::ForwardedSignals;
use crate::admin::client as admin;
use crate::clients::{self, ClientPolicy};
use crate::config::{Config, Paths};
use crate::{ca, children, daemon};

pub use self::isolated::run_stage;
pub use self::profile_leader::ProfileLeader;
pub use self::run_proxy::RunProxy;
pub use self::shell::{shell_names, shell_variables};

/// How the requests of the command come to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// By the base URL.
    BaseUrl,
    /// By a proxy and a certificate authority too, which programs read from their environment.
    Intercept,
    /// By every connection that the command can make at all. It also reaches these hosts, each
    /// `name` or `name:port`.
    Isolate(Vec<String>),
}

/// How a command has ended, and what had come from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSummary {
    /// The exit code, as a shell reports it.
    pub exit_code: u8,
    /// Requests for configured hosts.
    pub requests: u64,
    /// Connections to other hosts.
    pub others: u64,
    /// TLS handshakes for configured hosts that failed.
    pub failed_handshakes: u64,
}

/// Why the command was not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client of this run could not be created.
    #[error(transparent)]
    Client(#[from] clients::Error),
    /// No daemon serves the profile, and none could be started.
    #[error(transparent)]
    Daemon(#[from] daemon::Error),
    /// The system's daemon does not answer, or refuses the client of this run.
    #[error(transparent)]
    System(#[from] admin::Error),
    /// The system's daemon refuses the requests of this user.
    #[error("{detail}")]
    NotAdmitted {
        /// The answer of the daemon.
        detail: String,
        /// A way out.
        hint: String,
    },
    /// The process that serves the profile has no login: the command would only get errors.
    #[error("not logged in")]
    NotLoggedIn {
        /// A way out.
        hint: String,
    },
    /// The certificate authority of this run could not be made.
    #[error("could not make the certificate authority of this run")]
    Authority(#[from] ca::Error),
    /// The files of this run could not be written.
    #[error("could not write the files by which programs trust this run")]
    Files(#[source] io::Error),
    /// The system does not isolate the command.
    #[error("could not isolate the command: could not {step}")]
    Isolation {
        /// The step that failed.
        step: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An isolated command finds hosts by their names.
    #[error("could not isolate the command: {0} is an address, and not a name that can lead here")]
    AddressOrigin(String),
    /// `--also` names no host.
    #[error("could not isolate the command: `{0}` is no host with or without a port")]
    MalformedHost(String),
    /// Too many hosts.
    #[error("could not isolate the command: more than {0} addresses to listen at")]
    TooManyHosts(usize),
    /// The audit is in a directory that an isolated command needs.
    #[error("could not isolate the command: it needs the directory of audit.file, {0}")]
    SharedAuditDirectory(std::path::PathBuf),
    /// A descriptor that the command would get leads out of its isolation.
    #[error("could not isolate the command: {0}")]
    Descriptor(String),
    /// The system is none that isolates commands.
    #[error("could not isolate the command: only Linux can")]
    NotLinux,
    /// The command could not be started.
    #[error("could not run `{program}`")]
    Command {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system refused to forward signals, or to wait for the command.
    #[error("could not wait for the command")]
    Wait(#[source] io::Error),
}

/// Runs the command as a client with this policy.
///
/// `is_system`: the system's daemon serves the command and keeps its client; else the process that
/// serves the profile does, or this one.
///
/// # Errors
///
/// Everything that keeps the command from being started.
pub async fn run(
    config: &Config,
    paths: &Paths,
    is_system: bool,
    policy: ClientPolicy,
    reach: &Reach,
    argv: &[OsString],
) -> Result<RunSummary, Error> {
    let mut signals = ForwardedSignals::new().map_err(Error::Wait)?;
    // Ends with the command.
    let mut orphans = JoinSet::new();
    orphans.spawn(children::reap_orphans());
    let leader = Arc::new(find_leader(config, paths, is_system).await?);
    let (mut client, mut started) = (None, None);
    let status = async {
        // An error that only a person can repair ends the run here, and not each request.
        let stream = leader.connect().await?;
        let client =
            &*client.insert(EphemeralClient::create(config, paths, is_system, policy).await?);
        if is_system {
            relay::require_admission(stream, &client.key).await?;
        }
        leader.require_login().await?;
        let start = Start { config, paths, leader: leader.clone(), client, argv };
        let started = started.insert(match reach {
            Reach::BaseUrl => start.with_base_url()?,
            Reach::Intercept => start.intercepted()?,
            Reach::Isolate(also) => start.isolated(also).await?,
        });
        // Only now: the command has the limit of before.
        daemon::process::raise_open_files();
        command::wait(&mut started.child, &mut signals).await.map_err(Error::Wait)
    };
    let status = status.await;
    // A process that the command left behind may still wait for a response.
    started.iter().for_each(|started| started.proxy.stop_accepting());
    if let Some(client) = client {
        // The process that serves takes the key back, also where that is this one.
        client.revoke().await;
    }
    leader.stop().await;
    let (requests, others, failed_handshakes) =
        started.map(|started| started.proxy.traffic().counts()).unwrap_or_default();
    let exit_code = command::exit_code(status?);
    Ok(RunSummary { exit_code, requests, others, failed_handshakes })
}

async fn find_leader(
    config: &Config,
    paths: &Paths,
    is_system: bool,
) -> Result<ProfileLeader, Error> {
    if !is_system {
        return Ok(ProfileLeader::new(config, paths));
    }
    // Whether that daemon runs is told by the socket for commands.
    admin::AdminClient::find(&[paths.admin_socket()]).await?;
    Ok(ProfileLeader::of_system(config, paths))
}

/// The inputs to the start of a command.
struct Start<'a> {
    config: &'a Config,
    paths: &'a Paths,
    leader: Arc<ProfileLeader>,
    client: &'a EphemeralClient<'a>,
    argv: &'a [OsString],
}

/// A command that runs, and what it needs for as long.
struct Started {
    child: Child,
    proxy: RunProxy,
    _files: Option<trust::TrustFiles>,
}

impl Start<'_> {
    fn with_base_url(self) -> Result<Started, Error> {
        let proxy = RunProxy::start(self.leader, &self.client.key)?;
        let base_url = format!("http://127.0.0.1:{}", proxy.address().port());
        let mut command = command::new(self.argv);
        let email = variables::PLACEHOLDER_EMAIL;
        environment::set_names(&mut command, &base_url, email, &self.client.key);
        environment::exempt_loopback(&mut command);
        Ok(Started { child: command::spawn(command)?, proxy, _files: None })
    }
}
