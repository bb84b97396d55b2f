//! The named client of one `run`: its key ends with the command.

use crate::admin::api::{ClientChanged, ClientRecord};
use crate::admin::client::AdminClient;
use crate::clients::{self, ClientChange, ClientPolicy};
use crate::config::Paths;
use crate::secret::Secret;

use super::{Error, client_name};

/// A client for as long as this value lives.
#[derive(Debug)]
pub(super) struct EphemeralClient<'a> {
    clients: Clients<'a>,
    name: String,
    pub(super) key: Secret,
}

/// Where the client is kept.
#[derive(Debug)]
enum Clients<'a> {
    /// In the profile's files, which are this user's.
    Files(&'a Paths),
    /// With the system's daemon, whose files belong to another user.
    System(AdminClient),
}

impl<'a> EphemeralClient<'a> {
    /// Creates the client, and removes those of processes that were killed.
    pub(super) async fn create(
        paths: &'a Paths,
        is_system: bool,
        policy: ClientPolicy,
    ) -> Result<Self, Error> {
        let clients = if is_system {
            Clients::System(AdminClient::find(&[paths.admin_socket()]).await?)
        } else {
            Clients::Files(paths)
        };
        for name in clients.names().await? {
            if client_name::is_left_behind(&name) {
                clients.change(ClientChange::Revoke { name }).await.ok();
            }
        }
        let name = client_name::unique_name();
        let add = ClientChange::Add { name: name.clone(), limits: policy, here: true };
        let key = clients.change(add).await?;
        let key = key.ok_or(crate::admin::client::Error::VersionMismatch)?;
        Ok(Self { clients, name, key })
    }

    /// Makes the key worthless.
    pub(super) async fn revoke(self) {
        if let Clients::System(_) = &self.clients {
            let name = self.name.clone();
            if let Err(error) = self.clients.change(ClientChange::Revoke { name }).await {
                tracing::warn!(%error, name = self.name, "could not revoke the key of this run");
            }
        }
    }
}

impl Clients<'_> {
    async fn names(&self) -> Result<Vec<String>, Error> {
        Ok(match self {
            Self::Files(paths) => {
                let listed = clients::list(&paths.profile_state())?;
                listed.into_iter().map(|client| client.name.to_string()).collect()
            }
            Self::System(daemon) => {
                let listed: Vec<ClientRecord> = daemon.get("/v1/clients").await?;
                listed.into_iter().map(|client| client.name).collect()
            }
        })
    }

    /// Makes a change, and returns the new key if there is one.
    async fn change(&self, change: ClientChange) -> Result<Option<Secret>, Error> {
        Ok(match self {
            Self::Files(paths) => change.apply(&paths.profile_state())?.new,
            Self::System(daemon) => {
                let changed: ClientChanged = daemon.post_json("/v1/clients", &change).await?;
                changed.key.map(Secret::new)
            }
        })
    }
}

/// Also where the `run` ends in a panic; a key that the system's daemon keeps is then removed by the
/// next `run`.
impl Drop for EphemeralClient<'_> {
    fn drop(&mut self) {
        let Clients::Files(paths) = &self.clients else { return };
        match clients::revoke(&paths.profile_state(), &self.name) {
            // A person may have revoked the key already.
            Ok(()) | Err(clients::Error::Missing { .. }) => {}
            Err(error) => {
                tracing::warn!(%error, name = self.name, "could not revoke the key of this run");
            }
        }
    }
}
