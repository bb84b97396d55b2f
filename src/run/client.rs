//! The named client of one `run`: its key ends with the command.
//!
//! The process that serves makes the key, so that it stands in the record of that process. Only where
//! none serves any longer, the profile's files are changed here.

use crate::admin::api::{ClientChanged, ClientRecord};
use crate::admin::client::{self as admin, AdminClient};
use crate::audit::{Audit, AuditEvent, AuditRecord};
use crate::clients::{self, ClientChange, ClientPolicy};
use crate::config::{self, AuditFile, Config, Paths};
use crate::daemon;
use crate::problem::ProblemKind;
use crate::secret::Secret;

use super::{Error, client_name};

/// A client for as long as this value lives.
#[derive(Debug)]
pub(super) struct EphemeralClient<'a> {
    clients: Clients<'a>,
    name: String,
    is_revoked: bool,
    pub(super) key: Secret,
}

/// Where the client is kept.
#[derive(Debug)]
struct Clients<'a> {
    paths: &'a Paths,
    audit: &'a config::Audit,
    /// With the system's daemon, whose files belong to another user.
    is_system: bool,
}

impl<'a> EphemeralClient<'a> {
    /// Creates the client, and removes those of processes that were killed.
    pub(super) async fn create(
        config: &'a Config,
        paths: &'a Paths,
        is_system: bool,
        policy: ClientPolicy,
    ) -> Result<Self, Error> {
        let clients = Clients { paths, audit: &config.audit, is_system };
        for name in clients.names().await? {
            if client_name::is_left_behind(&name) {
                clients.change(ClientChange::Revoke { name }).await.ok();
            }
        }
        let name = client_name::unique_name();
        let add = ClientChange::Add { name: name.clone(), limits: policy };
        let key = clients.change(add).await?;
        let key = key.ok_or(admin::Error::VersionMismatch)?;
        Ok(Self { clients, name, is_revoked: false, key })
    }

    /// Makes the key worthless.
    pub(super) async fn revoke(mut self) {
        let name = self.name.clone();
        match self.clients.change(ClientChange::Revoke { name }).await {
            // A person may have revoked the key already.
            Ok(_) | Err(Error::Client(clients::Error::Missing { .. })) => {}
            Err(Error::System(admin::Error::Problem(problem)))
                if problem.code == ProblemKind::ClientMissing.code() => {}
            Err(error) => {
                tracing::warn!(%error, name = self.name, "could not revoke the key of this run");
                return;
            }
        }
        self.is_revoked = true;
    }
}

impl Clients<'_> {
    async fn names(&self) -> Result<Vec<String>, Error> {
        if self.is_system {
            let daemon = AdminClient::find(&[self.paths.admin_socket()]).await?;
            let listed: Vec<ClientRecord> = daemon.get("/v1/clients").await?;
            return Ok(listed.into_iter().map(|client| client.name).collect());
        }
        let listed = clients::list(&self.paths.profile_state())?;
        Ok(listed.into_iter().map(|client| client.name.to_string()).collect())
    }

    /// Makes a change, and returns the new key if there is one.
    async fn change(&self, change: ClientChange) -> Result<Option<Secret>, Error> {
        let changed = async {
            let daemon = AdminClient::find(&[self.paths.admin_socket()]).await?;
            daemon.post_json("/v1/clients", &change).await
        };
        let changed: Result<ClientChanged, admin::Error> = changed.await;
        match changed {
            Ok(changed) => Ok(changed.key.map(Secret::new)),
            Err(admin::Error::NotRunning | admin::Error::ConnectionClosed(_))
                if !self.is_system =>
            {
                self.change_files(change)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a change while no process serves the profile, and records it.
    fn change_files(&self, change: ClientChange) -> Result<Option<Secret>, Error> {
        let is_recorded = self.audit.file != AuditFile::Off;
        // With the lock no daemon writes the same record; without it, a daemon has just started.
        let lock = is_recorded.then(|| daemon::lock_profile(self.paths)).and_then(Result::ok);
        let (action, client) = change.action_and_client();
        let record = AuditRecord::without_daemon(AuditEvent::Keys, action, Some(client));
        let directory = self.paths.profile_state();
        let changed = change.apply(&directory)?;
        if lock.is_some()
            && let Err(error) = Audit::append(self.audit, &directory, &record)
        {
            tracing::warn!(%error, "could not record a change of keys in the audit");
        }
        Ok(changed.new)
    }
}

/// Also where the `run` ends in a panic; a key that the system's daemon keeps is then removed by the
/// next `run`.
impl Drop for EphemeralClient<'_> {
    fn drop(&mut self) {
        if self.is_revoked || self.clients.is_system {
            return;
        }
        match clients::revoke(&self.clients.paths.profile_state(), &self.name) {
            Ok(()) | Err(clients::Error::Missing { .. }) => {}
            Err(error) => {
                tracing::warn!(%error, name = self.name, "could not revoke the key of this run");
            }
        }
    }
}
