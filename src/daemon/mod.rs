//! From a configuration to a running daemon and back: what starts first, what stops last.
//!
//! Start: the profile's lock, the trust anchors, the listeners (a port in use ends it here), the
//! session's keeper, the data path. Stop: no new connections, requests in flight, the data path,
//! the keeper once the newest token pair is durable, the lock.
//!
//! The caller's runtime is the control runtime: session and name resolution run there. The data
//! path has a thread and a runtime of its own, so that nothing slow stands between two bytes.

#[cfg(target_os = "linux")]
pub mod landlock;
pub mod process;
pub mod run_loop;
#[cfg(unix)]
mod run_proxy;

mod builder;
mod control_plane;
mod data_plane;
#[cfg(unix)]
mod handover;
mod notify_command;
mod profile_lock;
mod reload;
mod route;
mod sd_notify;
mod standalone;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use self::builder::DaemonBuilder;
use self::control_plane::ControlPlane;
use self::data_plane::DataPlane;
use self::reload::ReloadState;
use crate::admin::{DaemonCommand, Heartbeat, RuntimeState, api};
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::{Config, Paths};
use crate::credentials::Credentials;
use crate::listen::{self, DrainController};
use crate::session::Session;
use crate::throttle::Throttle;
use crate::upstream;

#[cfg(unix)]
pub use self::handover::{ProfileLeader, start};
pub use self::profile_lock::{ProfileLock, lock_profile};
#[cfg(unix)]
pub use self::run_proxy::RunProxy;
pub use self::standalone::{StandaloneSession, token_client};

/// A running daemon. Dropping it aborts what it is doing; [`Daemon::stop`] lets it finish.
#[derive(Debug)]
pub struct Daemon {
    addresses: Vec<SocketAddr>,
    host_addresses: Vec<Vec<SocketAddr>>,
    socket: Option<PathBuf>,
    admin_address: Option<SocketAddr>,
    session: Session,
    clients: Clients,
    throttle: Throttle,
    drain: DrainController,
    data: Option<DataPlane>,
    reload_state: Option<ReloadState>,
    runtime_state: watch::Sender<RuntimeState>,
    commands: mpsc::Receiver<DaemonCommand>,
    heartbeat: Heartbeat,
    is_activated: bool,
    control: ControlPlane,
    keeper: tokio::task::JoinHandle<()>,
    alert: Option<tokio::task::JoinHandle<()>>,
    #[cfg(target_os = "linux")]
    _reserved: Vec<listen::PortReservation>,
    _lock: ProfileLock,
}

/// What may be other than the configuration says: time, and the login.
#[derive(Debug)]
pub struct Deps {
    /// What time it is.
    pub clock: Clock,
    /// Who logs in.
    pub credentials: Credentials,
}

impl Deps {
    /// Takes both as the system and the configuration have them.
    pub fn from_config(config: &Config, paths: &Paths) -> Self {
        Self { clock: Clock::system(), credentials: credentials(config, paths) }
    }
}

/// Returns where the login for the configured origin is read.
pub fn credentials(config: &Config, paths: &Paths) -> Credentials {
    Credentials::from_config(&config.credentials, &config.upstream.origin, &paths.profile)
}

/// Says whether a daemon would start with this configuration, as far as that can be told without
/// starting one: its users, its trust anchors, its proxy.
///
/// # Errors
///
/// As [`Daemon::start`].
pub fn check(config: &Config) -> Result<(), Error> {
    builder::Prepared::from_config(config).map(drop)
}

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another daemon serves this profile.
    #[error("another daemon is already serving the profile `{profile}`")]
    AlreadyRunning {
        /// The profile.
        profile: String,
    },
    /// Whoever serves this profile cannot be called.
    #[error("the daemon that serves the profile `{profile}` cannot be called: {why}")]
    Unreachable {
        /// The profile.
        profile: String,
        /// Why.
        why: &'static str,
    },
    /// The process that serves this profile asks another upstream.
    #[error("{} asks {serving}, and {wanted} is configured here", describe_server(profile, *run))]
    OtherUpstream {
        /// The profile.
        profile: String,
        /// The upstream of the daemon.
        serving: String,
        /// The upstream of this process.
        wanted: String,
        /// The process, if it is a `run`.
        run: Option<u32>,
    },
    /// A person has stopped what this process serves.
    #[error("it was stopped")]
    Stopped,
    /// The state directory cannot be used.
    #[error("could not use the state directory {}", path.display())]
    State {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody can be believed.
    #[error(transparent)]
    Trust(#[from] upstream::TlsConfigError),
    /// A place could not be listened on.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// Nor what another key than `listen.tcp` names.
    #[error("could not listen where {key} says")]
    ListenAt {
        /// The key.
        key: &'static str,
        /// Why.
        #[source]
        source: listen::Error,
    },
    /// Neither an address nor a socket is configured.
    #[error("there is nothing to listen on")]
    NoListeners,
    /// `upstream.user_agent` cannot be sent.
    #[error("upstream.user_agent cannot be sent in a header")]
    UserAgent(#[source] http::header::InvalidHeaderValue),
    /// `upstream.proxy`, or the environment that it points to, names no usable proxy.
    #[error("could not use the proxy of upstream.proxy")]
    Proxy(#[from] upstream::HttpProxyError),
    /// The daemon's own HTTP client could not be made.
    #[error("could not make the client for the token endpoint")]
    Client(#[source] reqwest::Error),
    /// The system gave no thread, or no runtime for it.
    #[error("could not start the data path")]
    DataPlane(#[source] io::Error),
}

fn describe_server(profile: &str, run: Option<u32>) -> String {
    match run {
        Some(pid) => format!("the `run` (pid {pid}) that serves the profile `{profile}`"),
        None => format!("the daemon that serves the profile `{profile}`"),
    }
}

impl Daemon {
    /// Starts everything. When it returns, requests are answered, if only with a 503.
    ///
    /// # Errors
    ///
    /// Everything that only a person can repair; nothing is left running then.
    pub async fn start(config: &Config, paths: &Paths, setting: Deps) -> Result<Self, Error> {
        DaemonBuilder::new(config, paths, setting)?.start(config, paths)
    }

    /// Returns the TCP addresses of the API, at least one unless only the socket is listened on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns the TCP addresses of each `[[host]]`, in the order of the configuration.
    pub fn host_addresses(&self) -> &[Vec<SocketAddr>] {
        &self.host_addresses
    }

    /// Returns the unix socket, if there is one.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Returns the TCP address of the admin surface, if it has one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Returns the session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the budget of the API.
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// Returns the named clients.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Returns how many requests are being answered.
    pub fn in_flight(&self) -> usize {
        self.drain.in_flight()
    }

    /// Stops: lets requests in flight finish for `limit`, then answers them with a 503, then ends.
    pub async fn stop(mut self, limit: Duration) {
        self.runtime_state.send_modify(|now| now.lifecycle = api::Lifecycle::Draining);
        // Nothing can be reloaded any more; what is held for that would keep the drain waiting.
        self.reload_state = None;
        self.drain.begin();
        if !self.drain.wait_closed(limit).await {
            tracing::warn!(in_flight = self.in_flight(), "requests did not finish in time");
            self.drain.end();
            self.drain.wait_closed(FINAL_RESPONSE_TIMEOUT).await;
        }
        if let Some(data) = self.data.take() {
            data.stop().await;
        }
        self.clients.flush();
        self.session.flush().await;
        self.keeper.abort();
        self.control.stop().await;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.keeper.abort();
        self.alert.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// How long a 503 may take to be written, once the time to finish is over.
const FINAL_RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);
