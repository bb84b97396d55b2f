//! What every command that speaks to the running daemon shares.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{CliError, GlobalArgs, serve};
use crate::admin::client::{AdminClient, Error};
use crate::config::Paths;
use crate::daemon;

/// Finds the daemon and does something with it.
pub(super) fn with_daemon<T>(
    globals: &GlobalArgs,
    act: impl AsyncFnOnce(AdminClient) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let sockets = admin_sockets(globals)?;
    serve::control_runtime()?.block_on(async { act(AdminClient::find(&sockets).await?).await })
}

/// Whose answer it was.
pub(super) enum DaemonReply<T> {
    /// The daemon's.
    Daemon(T),
    /// Nobody's, and nobody begins to serve the profile while this is held, if it could be had.
    NotRunning(Option<daemon::ProfileLock>),
    /// Nobody's, and nothing is kept of the profile.
    NoProfile,
}

/// Has the daemon do what may be done twice, also while one gives its place to another. Nobody who
/// begins to serve meanwhile is missed.
pub(super) async fn post_or_lock<T: DeserializeOwned>(
    sockets: &[PathBuf],
    paths: &Paths,
    path: &str,
) -> Result<DaemonReply<T>, Error> {
    let patience = Instant::now() + SOCKET_OPEN_TIMEOUT;
    loop {
        let asked = async { AdminClient::find(sockets).await?.post(path).await };
        match asked.await {
            Err(Error::NotRunning | Error::ConnectionClosed(_)) => {}
            answered => return answered.map(DaemonReply::Daemon),
        }
        if !paths.profile_state().is_dir() {
            return Ok(DaemonReply::NoProfile);
        }
        match daemon::lock_profile(paths) {
            Err(daemon::Error::AlreadyRunning { .. }) if Instant::now() < patience => {
                tokio::time::sleep(LOCK_POLL_INTERVAL).await;
            }
            Err(daemon::Error::AlreadyRunning { .. }) => {
                let source = io::ErrorKind::TimedOut.into();
                return Err(Error::Unreachable { socket: paths.admin_socket(), source });
            }
            held @ (Ok(_) | Err(_)) => return Ok(DaemonReply::NotRunning(held.ok())),
        }
    }
}

/// Returns where a daemon may answer: the user's own first, then the system's.
pub(super) fn admin_sockets(globals: &GlobalArgs) -> Result<Vec<PathBuf>, CliError> {
    let own = globals.sources(vec![]).paths()?.admin_socket();
    let system = own.file_name().map(|name| PathBuf::from(SYSTEM_RUNTIME_DIR).join(name));
    Ok(std::iter::once(own).chain(system).collect())
}

/// The runtime directory of the system unit.
const SYSTEM_RUNTIME_DIR: &str = "/run/nexudus-proxy";

/// Longest wait for whoever serves the profile to open its socket.
const SOCKET_OPEN_TIMEOUT: Duration = Duration::from_secs(5);

const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(20);

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        Self::Admin(error)
    }
}
