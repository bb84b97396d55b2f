//! From a configuration to a running daemon and back: the order of start and stop.
//!
//! Start: the trust anchors, the profile's lock, the listeners (a port in use is an error here),
//! the data plane, the control plane, the session's task. Stop: no new connections, the requests in
//! flight, the data plane, the session's task once its pair is durable, the admin surface, the lock.
//!
//! The session, name resolution and the admin surface run on the runtime that starts the daemon.
//! The data plane has threads and runtimes of its own, so that nothing slow delays a request.

#[cfg(target_os = "linux")]
pub mod landlock;
pub mod process;
pub mod run_loop;

mod authorities;
mod builder;
mod client_sync;
mod config_report;
mod control_plane;
mod data_plane;
mod data_thread;
mod dealer;
#[cfg(unix)]
mod hangup;
mod notify_command;
mod origin_listeners;
mod oversight;
mod placed_error;
mod profile_lock;
mod reload;
mod sd_notify;
mod socket_access;
mod standalone_session;
#[cfg(unix)]
mod takeover;
mod token_keeper;
mod upstream_route;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::builder::{DaemonBuilder, Prepared};
use self::control_plane::ControlPlane;
use self::data_plane::DataPlane;
use self::oversight::Oversight;
use self::reload::ReloadState;
use crate::admin::{DaemonCommand, Heartbeat, RuntimeState, api};
use crate::ca::LiveAuthorities;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::{Config, Paths};
use crate::credentials::Credentials;
use crate::fleet::FleetError;
use crate::listen::{self, DrainController};
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::session::Session;
use crate::throttle::Throttle;
use crate::upstream;

pub use self::placed_error::{PlacedError, check_loaded};
pub use self::profile_lock::{ProfileLock, StartLock, lock_profile};
pub use self::standalone_session::{StandaloneSession, token_client};
#[cfg(unix)]
pub use self::takeover::start;

/// A running daemon. Dropping it aborts requests in flight; [`Daemon::stop`] lets them finish.
#[derive(Debug)]
pub struct Daemon {
    listening: api::Listening,
    session: Session,
    clients: Clients,
    oversight: Oversight,
    throttle: Throttle,
    drain: DrainController,
    data: Option<DataPlane>,
    reload_state: Option<ReloadState>,
    runtime_state: watch::Sender<RuntimeState>,
    commands: mpsc::Receiver<DaemonCommand>,
    heartbeat: Heartbeat,
    control: ControlPlane,
    session_task: JoinHandle<()>,
    alert: Option<JoinHandle<()>>,
    authorities: LiveAuthorities,
    keeper: JoinHandle<()>,
    #[cfg(target_os = "linux")]
    _port_reservations: Vec<listen::PortReservation>,
    _lock: ProfileLock,
}

/// The dependencies that tests replace: the clock and the login.
#[derive(Debug)]
pub struct Deps {
    /// The source of time.
    pub clock: Clock,
    /// The source of the login.
    pub credentials: Credentials,
}

impl Deps {
    /// Takes the system's clock and the configured login.
    pub fn from_config(config: &Config, paths: &Paths) -> Self {
        Self { clock: Clock::system(), credentials: credentials(config, paths) }
    }
}

/// Returns the sources of the login for the configured origin.
pub fn credentials(config: &Config, paths: &Paths) -> Credentials {
    Credentials::from_config(config, &paths.profile_state(), &paths.profile)
}

/// Checks a configuration, without starting a daemon.
fn check(config: &Config) -> Result<(), Error> {
    Prepared::from_config(config).map(drop)
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
    /// The process that serves this profile cannot be connected to.
    #[error("could not connect to the daemon that serves the profile `{profile}`: {why}")]
    Unreachable {
        /// The profile.
        profile: String,
        /// Why.
        why: &'static str,
    },
    /// The process that serves this profile has another upstream.
    #[error("{} has the upstream {serving}, but {wanted} is configured here", describe_server(profile, *run))]
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
    /// A person has stopped the daemon of this `run`.
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
    /// The trust anchors cannot be used.
    #[error(transparent)]
    Trust(#[from] upstream::TlsConfigError),
    /// A socket could not be opened.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// An address of another key than `listen.tcp` could not be opened.
    #[error("could not listen on the address of {key}")]
    ListenAt {
        /// The key.
        key: &'static str,
        /// Why.
        #[source]
        source: listen::Error,
    },
    /// This machine cannot be a member of its fleet.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// Neither an address nor a socket is configured.
    #[error("no address and no socket to listen on is configured")]
    NoListeners,
    /// The upstream is an address of this daemon.
    #[error("{key} leads back to this daemon: it listens on {address} itself")]
    OwnAddress {
        /// The key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// TLS towards local clients could not be prepared.
    #[error("could not prepare the TLS of listen.tls")]
    LocalTls(#[source] rustls::Error),
    /// `upstream.address` would have no effect.
    #[error("upstream.address cannot be used: {0}")]
    UnusedAddress(&'static str),
    /// The record of what clients do cannot be written.
    #[error(transparent)]
    Audit(#[from] oversight::AuditError),
    /// `upstream.user_agent` cannot be sent.
    #[error("upstream.user_agent cannot be sent in a header")]
    UserAgent(#[source] http::header::InvalidHeaderValue),
    /// The client key of a `run` cannot be sent.
    #[error("the client key of this command cannot be sent in a header")]
    ClientKey(#[source] http::header::InvalidHeaderValue),
    /// `upstream.proxy`, or the environment variable that it selects, names no usable proxy.
    #[error("could not use the proxy of upstream.proxy")]
    Proxy(#[from] upstream::HttpProxyError),
    /// The daemon's own HTTP client could not be created.
    #[error("could not create the HTTP client for the token endpoint")]
    Client(#[source] reqwest::Error),
    /// The system provided no thread or no runtime.
    #[error("could not start the data path")]
    DataPlane(#[source] io::Error),
}

impl Problem for Error {
    fn details(&self) -> ProblemDetails {
        let failed = |hint| ProblemKind::CommandFailed.with_hint(hint);
        match self {
            Self::AlreadyRunning { .. } => {
                failed("Use the daemon that runs, stop it first, or choose another --profile.")
            }
            Self::Unreachable { .. } => failed(
                "See `nexudus-proxy status`; give it a socket, stop it, or choose another \
                 --profile.",
            ),
            Self::OtherUpstream { run: Some(_), .. } => ProblemKind::OtherOrigin.with_hint(
                "Wait until it has ended, end what it serves with `nexudus-proxy stop`, or choose \
                 another --profile.",
            ),
            Self::OtherUpstream { run: None, .. } => ProblemKind::OtherOrigin.with_hint(
                "Restart the daemon, so that it serves the upstream.origin that is configured now; \
                 or set NEXUDUS_PROXY_UPSTREAM_ORIGIN to the one that it serves; or choose another \
                 --profile.",
            ),
            Self::State { .. } => failed(
                "Make it writable for this user, or set STATE_DIRECTORY to a directory that is; where \
                 nothing can be written: `nexudus-proxy serve --store memory --socket off`.",
            ),
            Self::Trust(error) => error.details(),
            Self::Listen(error) => error.details(),
            Self::ListenAt { key, .. } => failed(socket_access::hint_for(key)),
            Self::NoListeners => {
                ProblemKind::ConfigInvalid.with_hint("Set listen.tcp or listen.unix.")
            }
            Self::OwnAddress { .. } => ProblemKind::ConfigInvalid
                .with_hint("Give it an address of Nexudus, or listen on another port."),
            Self::UnusedAddress(_) => {
                ProblemKind::ConfigInvalid.with_hint("Leave upstream.address empty.")
            }
            Self::Audit(error) => error.details(),
            Self::Fleet(error) => error.details(),
            Self::UserAgent(_) => ProblemKind::ConfigInvalid.with_hint("Use printable ASCII."),
            Self::Proxy(error) => error.details(),
            Self::Stopped
            | Self::ClientKey(_)
            | Self::Client(_)
            | Self::LocalTls(_)
            | Self::DataPlane(_) => ProblemKind::CommandFailed.into(),
        }
    }
}

fn describe_server(profile: &str, run: Option<u32>) -> String {
    match run {
        Some(pid) => format!("the `run` (pid {pid}) that serves the profile `{profile}`"),
        None => format!("the daemon that serves the profile `{profile}`"),
    }
}

impl Daemon {
    /// Starts a daemon. When this returns, every request gets a response, if only a 503.
    ///
    /// # Errors
    ///
    /// Everything that only a person can repair; nothing is left running.
    pub async fn start(config: &Config, paths: &Paths, deps: Deps) -> Result<Self, Error> {
        let prepared = Prepared::from_config(config)?.with_fleet(config, &deps.clock).await?;
        let lock = match ProfileLock::without_state(config, paths) {
            Some(lock) => lock,
            None => lock_profile(paths)?,
        };
        DaemonBuilder::new(prepared, lock, config, paths, deps)?.start(config, paths)
    }

    /// Starts a daemon as [`Daemon::start`] does, with a lock that was taken already.
    ///
    /// # Errors
    ///
    /// As [`Daemon::start`], but for [`Error::AlreadyRunning`].
    pub async fn start_with_lock(
        lock: ProfileLock,
        config: &Config,
        paths: &Paths,
        deps: Deps,
    ) -> Result<Self, Error> {
        let prepared = Prepared::from_config(config)?.with_fleet(config, &deps.clock).await?;
        DaemonBuilder::new(prepared, lock, config, paths, deps)?.start(config, paths)
    }

    /// Returns the TCP addresses of the API; none if only the unix socket is configured.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.listening.tcp
    }

    /// Returns the TCP addresses of each `[[host]]`, in the order of the configuration.
    pub fn host_addresses(&self) -> Vec<&[SocketAddr]> {
        self.listening.hosts.iter().map(|host| host.tcp.as_slice()).collect()
    }

    /// Returns the unix socket, if there is one.
    pub fn socket(&self) -> Option<&Path> {
        self.listening.unix.as_deref()
    }

    /// Returns every socket.
    pub fn listening(&self) -> &api::Listening {
        &self.listening
    }

    /// Returns the TCP address of the admin surface, if there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.listening.admin_tcp
    }

    /// Returns the TCP address of the health probes, if there is one.
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.listening.health
    }

    /// Returns the session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the throttle of the API.
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// Returns the named clients.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Returns the certificate authorities.
    pub fn authorities(&self) -> &LiveAuthorities {
        &self.authorities
    }

    /// Returns the number of requests in flight.
    pub fn in_flight(&self) -> usize {
        self.drain.in_flight()
    }

    /// Waits for the next command from the admin surface.
    pub async fn next_command(&mut self) -> DaemonCommand {
        match self.commands.recv().await {
            Some(command) => command,
            // The admin surface has ended: no command comes any more.
            None => std::future::pending().await,
        }
    }

    /// Stops the daemon. Requests in flight may take `limit` to finish; the others get a 503.
    pub async fn stop(mut self, limit: Duration) {
        self.runtime_state.send_modify(|now| now.lifecycle = api::Lifecycle::Draining);
        // The state of a reload would keep the drain from ending.
        self.reload_state = None;
        self.drain.begin();
        self.oversight.close();
        if !self.drain.wait_closed(limit).await {
            if self.in_flight() > 0 {
                tracing::warn!(in_flight = self.in_flight(), "requests did not finish in time");
            }
            self.drain.end();
            self.drain.wait_closed(FINAL_RESPONSE_TIMEOUT).await;
        }
        if let Some(data) = self.data.take() {
            data.stop().await;
        }
        self.clients.flush();
        self.session.flush().await;
        self.session_task.abort();
        self.control.stop().await;
        self.oversight.end();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.session_task.abort();
        self.alert.iter().for_each(JoinHandle::abort);
        self.keeper.abort();
    }
}

/// Longest time to write a 503 after the drain's limit.
const FINAL_RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);
