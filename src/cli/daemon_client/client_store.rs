//! The named clients: through the daemon that serves, or on the files while none runs.

use super::audit_files::record_without_daemon;
use super::effective_config::effective_config;
use super::profile_files::tokens_remain;
use super::target::{
    FilesReason, FoundDaemon, ServingDaemon, announce_files, find_daemon, require_own_files,
};
use crate::admin::api::{ClientChanged, ClientRecord};
use crate::admin::is_table_used;
use crate::audit::AuditEvent;
use crate::cli::globals::GlobalArgs;
use crate::cli::{CliError, Printer, serve};
use crate::clients::{self, ChangedKeys, ClientChange, ClientStatus, Clients};
use crate::clock::Clock;
use crate::config::{self, AuditFile, Config, LoadedConfig, Paths};
use crate::daemon;
use crate::redact;
use crate::secret::Secret;

/// The clients of the profile.
#[derive(Debug)]
pub(in crate::cli) struct ClientStore {
    paths: Paths,
    daemon: FoundDaemon,
    /// Where changes are recorded that no daemon makes; `None` where the configuration is not valid.
    audit: Option<config::Audit>,
}

impl ClientStore {
    /// Finds the daemon that serves; without one, the files are used.
    pub(in crate::cli) fn open(globals: &GlobalArgs) -> Result<Self, CliError> {
        let paths = globals.sources(vec![]).paths()?;
        let daemon = serve::control_runtime()?.block_on(find_daemon(globals))?;
        let mut audit = None;
        if let FoundDaemon::None(_) = &daemon {
            require_own_files(globals)?;
            // A key can be revoked whatever stands in the configuration.
            audit = globals.load(vec![]).ok().map(|loaded| loaded.config.audit);
        }
        Ok(Self { paths, daemon, audit })
    }

    /// Returns why no daemon serves, if none does.
    pub(in crate::cli) fn files_reason(&self) -> Option<&FilesReason> {
        match &self.daemon {
            FoundDaemon::Serving(_) => None,
            FoundDaemon::None(reason) => Some(reason),
        }
    }

    /// Says whose files were used, where no daemon serves.
    pub(in crate::cli) fn announce(&self, globals: &GlobalArgs, print: Printer) {
        if let Some(reason) = self.files_reason() {
            announce_files(globals, &self.paths, reason, print);
        }
    }

    fn serving(&self) -> Option<&ServingDaemon> {
        match &self.daemon {
            FoundDaemon::Serving(daemon) => Some(daemon),
            FoundDaemon::None(_) => None,
        }
    }

    /// Returns the configuration that requests are judged by: the daemon's, or what is configured.
    pub(in crate::cli) fn config(&self, globals: &GlobalArgs) -> Result<Config, CliError> {
        let LoadedConfig { config, paths, .. } = globals.load(vec![])?;
        Ok(match self.serving() {
            Some(daemon) => effective_config(&config, &paths, &daemon.status).0,
            None => config,
        })
    }

    /// Makes a change, which is recorded.
    pub(in crate::cli) fn apply(
        &self,
        change: ClientChange,
        print: Printer,
    ) -> Result<ChangedKeys, CliError> {
        let Some(daemon) = self.serving() else {
            return self.apply_to_files(change, print);
        };
        let changed = daemon.admin.post_json("/v1/clients", &change);
        let changed: ClientChanged = serve::control_runtime()?.block_on(changed)?;
        Ok(ChangedKeys { new: changed.key.map(Secret::new), replaced: changed.replaced })
    }

    fn apply_to_files(
        &self,
        change: ClientChange,
        print: Printer,
    ) -> Result<ChangedKeys, CliError> {
        let directory = self.paths.profile_state();
        let audit = self.audit.as_ref().filter(|audit| audit.file != AuditFile::Off);
        // A daemon that starts meanwhile would write the same record.
        let lock = audit.map(|_| daemon::lock_profile(&self.paths)).transpose()?;
        let (action, client) = change.action_and_client();
        let client = client.to_owned();
        let may_end = matches!(change, ClientChange::Revoke { .. } | ClientChange::Set { .. });
        let changed = change.apply(&directory)?;
        if let Some(audit) = audit {
            let what = (AuditEvent::Keys, action);
            record_without_daemon(audit, &self.paths, what, Some(&client), print);
        }
        drop(lock);
        if may_end {
            let clients = Clients::new(&directory, Clock::system());
            redact::erase_unused_tokens(&directory, |name| is_table_used(&clients, name))
                .map_err(|error| tokens_remain(&error))?;
        }
        Ok(changed)
    }

    /// Returns every client, with its limits and its use of them.
    pub(in crate::cli) fn list(&self) -> Result<Vec<ClientStatus>, CliError> {
        let Some(daemon) = self.serving() else {
            let directory = self.paths.profile_state();
            // An unreadable file is reported here; the statuses say only that it is unreadable.
            clients::list(&directory)?;
            return Ok(Clients::new(&directory, Clock::system()).statuses().unwrap_or_default());
        };
        let listed = daemon.admin.get::<Vec<ClientRecord>>("/v1/clients");
        let listed = serve::control_runtime()?.block_on(listed)?;
        Ok(listed.into_iter().map(ClientStatus::from).collect())
    }
}
