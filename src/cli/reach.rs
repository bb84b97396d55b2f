//! What every command that speaks to the running daemon shares.

use std::path::PathBuf;

use super::{Failure, Globals, serve};
use crate::admin::client::{Client, Error};

/// Finds the daemon and does something with it.
pub(super) fn ask<T>(
    globals: &Globals,
    act: impl AsyncFnOnce(Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let sockets = sockets(globals)?;
    serve::control()?.block_on(async { act(Client::find(&sockets).await?).await })
}

/// Returns where a daemon may answer: the user's own first, then the system's.
pub(super) fn sockets(globals: &Globals) -> Result<Vec<PathBuf>, Failure> {
    let own = globals.sources(vec![]).paths()?.admin_socket();
    let system = own.file_name().map(|name| PathBuf::from(SYSTEM).join(name));
    Ok(std::iter::once(own).chain(system).collect())
}

/// The runtime directory of the system unit.
const SYSTEM: &str = "/run/nexudus-proxy";

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Admin(error)
    }
}
