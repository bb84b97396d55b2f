//! `login --system`: the login becomes credentials of systemd, encrypted to this machine, which the
//! system service reads at its start.
//!
//! The service's own files belong to a user who exists only while the daemon runs, and none of them is
//! touched: the login is proved in a directory that is thrown away, and the daemon is told of the proof.

use super::LoginFlow;
use super::place::Place;
use super::report::StoredLogin;
use super::system_store::{ScratchDirectory, SystemLoginError, require_root};
use crate::cli::daemon_client::DaemonClient;
use crate::cli::waiting::{DAEMON, say_waiting};
use crate::cli::{CliError, service};
use crate::config::LoginSource;
use crate::credentials;

impl LoginFlow {
    /// Stores the login for the installed system service, and has the daemon use it. With
    /// `--session-only` the login is proved, and nothing is stored.
    pub(super) async fn log_in_system(mut self) -> Result<(), CliError> {
        let keeps = !self.options.session_only;
        self.prepare_system(keeps).await?;
        self.scratch = Some(ScratchDirectory::create()?);
        let place = Place::System { keeps };
        let user = self.log_in(Some(&place)).await?;
        if keeps {
            service::restart_system(&self.globals)?;
        }
        let origin = &self.config.upstream.origin;
        let daemon = DaemonClient::new(&self.config, &self.paths);
        let daemon = say_waiting(self.print, DAEMON, daemon.notify_login(origin, true)).await;
        let profile = &self.paths.profile;
        StoredLogin { profile, user: &user, place: Some(&place), daemon }
            .print(self.globals.json, self.print)
    }

    /// Proves that the login can be stored before it is asked for.
    async fn prepare_system(&self, keeps: bool) -> Result<(), SystemLoginError> {
        require_root()?;
        if self.options.import_stdin {
            return Err(SystemLoginError::NoSession);
        }
        match self.config.credentials.source {
            LoginSource::Auto | LoginSource::Systemd => {}
            LoginSource::Command | LoginSource::Env | LoginSource::Keychain | LoginSource::File
                if !keeps => {}
            LoginSource::Command | LoginSource::Env | LoginSource::Keychain | LoginSource::File => {
                return Err(SystemLoginError::NotRead { file: self.paths.config.clone() });
            }
        }
        if keeps {
            credentials::test_store_for_service().await.map_err(SystemLoginError::Store)?;
        }
        Ok(())
    }
}
