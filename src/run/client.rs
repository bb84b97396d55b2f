//! The named client of one `run`: its key ends with the command.

use crate::clients::{self, ClientPolicy};
use crate::config::Paths;
use crate::secret::Secret;

/// A client for as long as this value lives.
#[derive(Debug)]
pub(super) struct EphemeralClient<'a> {
    paths: &'a Paths,
    name: String,
    pub(super) key: Secret,
}

impl<'a> EphemeralClient<'a> {
    /// Creates the client, and removes those of processes that were killed.
    pub(super) fn create(paths: &'a Paths, policy: ClientPolicy) -> Result<Self, clients::Error> {
        let directory = paths.profile_state();
        for client in clients::list(&directory)? {
            let pid = client.name.strip_prefix(NAME_PREFIX).and_then(|pid| pid.parse().ok());
            if pid.is_some_and(|pid| !is_alive(pid)) {
                clients::revoke(&directory, &client.name).ok();
            }
        }
        let name = format!("{NAME_PREFIX}{}", std::process::id());
        let key = clients::add(&directory, &name, policy)?;
        Ok(Self { paths, name, key })
    }
}

impl Drop for EphemeralClient<'_> {
    fn drop(&mut self) {
        match clients::revoke(&self.paths.profile_state(), &self.name) {
            // A person may have revoked the key already.
            Ok(()) | Err(clients::Error::Missing { .. }) => {}
            Err(error) => {
                tracing::warn!(%error, name = self.name, "could not revoke the key of this run");
            }
        }
    }
}

/// Says whether a process of this number exists.
fn is_alive(pid: i32) -> bool {
    use nix::errno::Errno;
    use nix::sys::signal::kill;
    use nix::unistd::Pid;
    pid > 0 && kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

const NAME_PREFIX: &str = "run-";
