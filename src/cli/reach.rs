//! What every command that speaks to the running daemon shares.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{Failure, Globals, serve};
use crate::admin::client::{Client, Error};
use crate::config::Paths;
use crate::daemon;

/// Finds the daemon and does something with it.
pub(super) fn ask<T>(
    globals: &Globals,
    act: impl AsyncFnOnce(Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let sockets = sockets(globals)?;
    serve::control()?.block_on(async { act(Client::find(&sockets).await?).await })
}

/// Whose answer it was.
pub(super) enum Answered<T> {
    /// The daemon's.
    By(T),
    /// Nobody's, and nobody begins to serve the profile while this is held, if it could be had.
    Nobody(Option<daemon::Lock>),
    /// Nobody's, and nothing is kept of the profile.
    Nothing,
}

/// Has the daemon do what may be done twice, also while one gives its place to another. Nobody who
/// begins to serve meanwhile is missed.
pub(super) async fn post_or_hold<T: DeserializeOwned>(
    sockets: &[PathBuf],
    paths: &Paths,
    path: &str,
) -> Result<Answered<T>, Error> {
    let patience = Instant::now() + PATIENCE;
    loop {
        let asked = async { Client::find(sockets).await?.post(path).await };
        match asked.await {
            Err(Error::NotRunning | Error::Ended(_)) => {}
            answered => return answered.map(Answered::By),
        }
        if !paths.profile_state().is_dir() {
            return Ok(Answered::Nothing);
        }
        match daemon::hold(paths) {
            Err(daemon::Error::AlreadyRunning { .. }) if Instant::now() < patience => {
                tokio::time::sleep(AGAIN).await;
            }
            Err(daemon::Error::AlreadyRunning { .. }) => {
                let source = io::ErrorKind::TimedOut.into();
                return Err(Error::Unreachable { socket: paths.admin_socket(), source });
            }
            held @ (Ok(_) | Err(_)) => return Ok(Answered::Nobody(held.ok())),
        }
    }
}

/// Returns where a daemon may answer: the user's own first, then the system's.
pub(super) fn sockets(globals: &Globals) -> Result<Vec<PathBuf>, Failure> {
    let own = globals.sources(vec![]).paths()?.admin_socket();
    let system = own.file_name().map(|name| PathBuf::from(SYSTEM).join(name));
    Ok(std::iter::once(own).chain(system).collect())
}

/// The runtime directory of the system unit.
const SYSTEM: &str = "/run/nexudus-proxy";

/// Longest wait for whoever serves the profile to open its socket.
const PATIENCE: Duration = Duration::from_secs(5);

const AGAIN: Duration = Duration::from_millis(20);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Admin(error)
    }
}
