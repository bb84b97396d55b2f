//! The named clients: through the daemon that serves, or on the files while none runs.

use super::effective_config::effective_config;
use super::target::{ServingDaemon, announce_files, find_daemon, require_own_files};
use crate::admin::api::{ClientChanged, ClientRecord};
use crate::cli::globals::GlobalArgs;
use crate::cli::{CliError, Printer, serve};
use crate::clients::{self, ChangedKeys, ClientChange, ClientStatus, Clients};
use crate::clock::Clock;
use crate::config::{Config, LoadedConfig, Paths};
use crate::secret::Secret;

/// The clients of the profile.
#[derive(Debug)]
pub(in crate::cli) struct ClientStore {
    paths: Paths,
    daemon: Option<ServingDaemon>,
}

impl ClientStore {
    /// Finds the daemon that serves; without one, the files are used.
    pub(in crate::cli) fn open(globals: &GlobalArgs) -> Result<Self, CliError> {
        let paths = globals.sources(vec![]).paths()?;
        let daemon = serve::control_runtime()?.block_on(find_daemon(globals))?;
        if daemon.is_none() {
            require_own_files(globals)?;
        }
        Ok(Self { paths, daemon })
    }

    /// Says whether a daemon serves.
    pub(in crate::cli) fn is_served(&self) -> bool {
        self.daemon.is_some()
    }

    /// Says whose files were used, where no daemon serves.
    pub(in crate::cli) fn announce(&self, globals: &GlobalArgs, print: Printer) {
        if !self.is_served() {
            announce_files(globals, &self.paths, print);
        }
    }

    /// Returns the configuration that requests are judged by: the daemon's, or what is configured.
    pub(in crate::cli) fn config(&self, globals: &GlobalArgs) -> Result<Config, CliError> {
        let LoadedConfig { config, paths, .. } = globals.load(vec![])?;
        Ok(match &self.daemon {
            Some(daemon) => effective_config(&config, &paths, &daemon.status).0,
            None => config,
        })
    }

    /// Makes a change.
    pub(in crate::cli) fn apply(&self, change: ClientChange) -> Result<ChangedKeys, CliError> {
        let Some(daemon) = &self.daemon else {
            return Ok(change.apply(&self.paths.profile_state())?);
        };
        let changed = daemon.admin.post_json("/v1/clients", &change);
        let changed: ClientChanged = serve::control_runtime()?.block_on(changed)?;
        Ok(ChangedKeys { new: changed.key.map(Secret::new), replaced: changed.replaced })
    }

    /// Returns every client, with its limits and its use of them.
    pub(in crate::cli) fn list(&self) -> Result<Vec<ClientStatus>, CliError> {
        let Some(daemon) = &self.daemon else {
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
