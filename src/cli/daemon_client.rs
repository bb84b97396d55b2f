//! The client of the running daemon.
//!
//! `target.rs` chooses the daemon; commands go to its admin socket. Where none runs, a few commands act
//! on the profile's files: only in this folder, which a test of the layout holds.

mod audit_files;
mod client_store;
mod demo;
mod effective_config;
mod profile_files;
mod revocation;
mod target;

use std::net::SocketAddr;
use std::path::PathBuf;

pub(super) use self::audit_files::{audit_path, record_as_configured, record_login};
pub(super) use self::client_store::ClientStore;
#[cfg(feature = "demo")]
pub(super) use self::demo::DEMO_PREFIX;
pub(super) use self::demo::{RunningDemo, find_demo};
#[cfg(unix)]
pub(super) use self::effective_config::load_effective_config;
pub(super) use self::effective_config::{OtherOrigin, RESTART_HINT, effective_config};
#[cfg(unix)]
pub(super) use self::profile_files::shell_files;
pub(super) use self::profile_files::{
    clear_logins, fetch_user, origins_with_login, persist_lock, remove_authorities,
    self_test_keychain, trust_record,
};
pub(super) use self::revocation::Revocation;
pub(super) use self::target::{
    DaemonReply, FilesReason, FoundDaemon, ServingDaemon, admin_sockets, announce_files, connect,
    end_daemon, find_daemon, post_or_lock, require_own_files, with_daemon,
};
use crate::admin::api::{PROVEN_PARAM, Status, UPSTREAM_PARAM};
use crate::admin::client::{self as admin, AdminClient};
use crate::config::{Config, Origin, Paths, UnixSocket};
use crate::session::SessionStatus;

/// The sockets of the daemon of one profile.
#[derive(Clone, Debug)]
pub(super) struct DaemonClient {
    api: ApiEndpoint,
    admin_socket: PathBuf,
}

#[derive(Clone, Debug)]
enum ApiEndpoint {
    #[cfg(unix)]
    Socket(PathBuf),
    Tcp(SocketAddr),
    Unavailable,
}

impl DaemonClient {
    /// Finds the sockets on which the daemon of this configuration would listen; connects to
    /// nothing yet.
    pub(super) fn new(config: &Config, paths: &Paths) -> Self {
        let tcp = || {
            let known = config.listen.tcp.iter().find(|address| address.port() != 0);
            known.map_or(ApiEndpoint::Unavailable, |address| ApiEndpoint::Tcp(*address))
        };
        let api = match &config.listen.unix {
            #[cfg(unix)]
            UnixSocket::Auto => ApiEndpoint::Socket(paths.proxy_socket()),
            #[cfg(unix)]
            UnixSocket::Path(path) => ApiEndpoint::Socket(path.clone()),
            #[cfg(not(unix))]
            UnixSocket::Auto | UnixSocket::Path(_) => tcp(),
            UnixSocket::Off => tcp(),
        };
        let admin_socket = paths.admin_socket();
        Self { api, admin_socket }
    }

    /// Returns the process of this profile that serves another origin than `own`, if one does.
    ///
    /// # Errors
    ///
    /// [`admin::Error::Unresponsive`] where a daemon listens and answers nothing.
    pub(super) async fn other_origin(
        &self,
        own: &Origin,
        paths: &Paths,
    ) -> Result<Option<OtherOrigin>, admin::Error> {
        match self.status().await {
            Ok(status) => Ok(OtherOrigin::detect(&status, own, paths)),
            Err(error @ admin::Error::Unresponsive { .. }) => Err(error),
            // Another user's daemon, or one of another version, says nothing about its origin.
            Err(_) => Ok(None),
        }
    }

    /// Notifies the daemon that the login stored for `origin` has changed, and waits for the
    /// effect. `is_proven`: the daemon's own record of refusals does not know that Nexudus has accepted
    /// the login. Returns the status of its session, or `None` where no daemon runs.
    ///
    /// # Errors
    ///
    /// Why a running daemon does not know of the change.
    pub(super) async fn notify_login(
        &self,
        origin: &Origin,
        is_proven: bool,
    ) -> Result<Option<SessionStatus>, admin::Error> {
        let proven = if is_proven { PROVEN_PARAM } else { "" };
        let notified = async {
            let daemon = AdminClient::find(std::slice::from_ref(&self.admin_socket)).await?;
            daemon.post(&format!("/v1/login?{UPSTREAM_PARAM}={origin}{proven}")).await
        };
        match notified.await {
            Ok(session) => Ok(Some(session)),
            Err(admin::Error::NotRunning) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn status(&self) -> Result<Status, admin::Error> {
        let daemon = AdminClient::find(std::slice::from_ref(&self.admin_socket)).await?;
        daemon.get("/v1/status").await
    }

    /// Returns whether a process listens for this profile.
    pub(super) async fn is_listening(&self) -> bool {
        match &self.api {
            #[cfg(unix)]
            ApiEndpoint::Socket(path) => tokio::net::UnixStream::connect(path).await.is_ok(),
            ApiEndpoint::Tcp(address) => tokio::net::TcpStream::connect(address).await.is_ok(),
            ApiEndpoint::Unavailable => false,
        }
    }
}
