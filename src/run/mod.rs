//! The engine of `run`: one command with a listener and a key of its own, both gone when it ends.
//!
//! Requests of the command go to a private listener (`run_proxy.rs`), which adds the key and sends
//! them to the process that serves the profile (`profile_leader.rs`): a daemon, another `run`, or this
//! process. The command needs to know nothing but `NEXUDUS_BASE_URL`.

mod client;
mod command;
mod profile_leader;
mod run_proxy;
pub mod variables;

use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use tokio::task::JoinSet;

use self::client::EphemeralClient;
use self::command::ForwardedSignals;
use crate::admin::client as admin;
use crate::clients::{self, ClientPolicy};
use crate::config::{Config, Paths};
use crate::{children, daemon};

pub use self::profile_leader::ProfileLeader;
pub use self::run_proxy::RunProxy;

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
        /// What the daemon says.
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

/// Runs the command as a client with this policy. Returns its exit code, as a shell reports it.
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
    argv: &[OsString],
) -> Result<u8, Error> {
    let mut signals = ForwardedSignals::new().map_err(Error::Wait)?;
    let client = EphemeralClient::create(paths, is_system, policy).await?;
    // Ends with the command.
    let mut orphans = JoinSet::new();
    orphans.spawn(children::reap_orphans());
    let leader = Arc::new(if is_system {
        ProfileLeader::of_system(config, paths)
    } else {
        ProfileLeader::new(config, paths)
    });
    let mut proxy = None;
    let status = async {
        // An error that only a person can repair ends the run here, and not each request.
        let stream = leader.connect().await?;
        if is_system {
            run_proxy::require_admission(stream, &client.key).await?;
        }
        leader.require_login().await?;
        let proxy = proxy.insert(RunProxy::start(leader.clone(), &client.key)?);
        let mut child = command::spawn(argv, proxy.address(), &client.key)?;
        command::wait(&mut child, &mut signals).await.map_err(Error::Wait)
    };
    let status = status.await;
    // A process that the command left behind may still wait for a response.
    proxy.iter().for_each(RunProxy::stop_accepting);
    leader.stop().await;
    drop(proxy);
    client.revoke().await;
    Ok(command::exit_code(status?))
}
