//! From a configuration to a running daemon and back: what starts first, what stops last.
//!
//! Start: the profile's lock, the trust anchors, the listeners (a port in use ends it here), the
//! session's keeper, the data path. Stop: no new connections, requests in flight, the data path,
//! the keeper once the newest token pair is durable, the lock.
//!
//! The caller's runtime is the control runtime: session and name resolution run there. The data
//! path has a thread and a runtime of its own, so that nothing slow stands between two bytes.

pub mod life;
#[cfg(target_os = "linux")]
pub mod ports;
pub mod process;
#[cfg(unix)]
mod relay;

mod alert;
mod control;
mod data;
mod direct;
mod forward;
mod lock;
mod notify;
mod reload;
mod start;
#[cfg(unix)]
mod turn;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use self::control::Control;
use self::data::Data;
use self::reload::Live;
use self::start::Parts;
use crate::admin::{Now, Order, Pulse, wire};
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::{Config, Paths};
use crate::credentials::Credentials;
use crate::listen::{self, Drain};
use crate::session::Session;
use crate::throttle::Throttle;
use crate::upstream;

pub use self::direct::{Direct, reach};
pub use self::lock::{Lock, hold};
#[cfg(unix)]
pub use self::relay::Relay;
#[cfg(unix)]
pub use self::turn::{Turn, start};

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
    drain: Drain,
    data: Option<Data>,
    live: Option<Live>,
    now: watch::Sender<Now>,
    orders: mpsc::Receiver<Order>,
    pulse: Pulse,
    is_activated: bool,
    control: Control,
    keeper: tokio::task::JoinHandle<()>,
    alert: Option<tokio::task::JoinHandle<()>>,
    #[cfg(target_os = "linux")]
    _reserved: Vec<listen::Reserved>,
    _lock: Lock,
}

/// What may be other than the configuration says: time, and the login.
#[derive(Debug)]
pub struct Setting {
    /// What time it is.
    pub clock: Clock,
    /// Who logs in.
    pub credentials: Credentials,
}

impl Setting {
    /// Takes both as the system and the configuration have them.
    pub fn of(config: &Config, paths: &Paths) -> Self {
        Self { clock: Clock::system(), credentials: credentials(config, paths) }
    }
}

/// Returns where the login for the configured origin is read.
pub fn credentials(config: &Config, paths: &Paths) -> Credentials {
    Credentials::configured(&config.credentials, &config.upstream.origin, &paths.profile)
}

/// Says whether a daemon would start with this configuration, as far as that can be told without
/// starting one: its users, its trust anchors, its proxy.
///
/// # Errors
///
/// As [`Daemon::start`].
pub fn check(config: &Config) -> Result<(), Error> {
    start::Made::of(config).map(drop)
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
    Unheard {
        /// The profile.
        profile: String,
        /// Why.
        why: &'static str,
    },
    /// The process that serves this profile asks another upstream.
    #[error("{} asks {serving}, and {wanted} is configured here", server(profile, *run))]
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
    Trust(#[from] upstream::TrustError),
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
    Nowhere,
    /// `upstream.user_agent` cannot be sent.
    #[error("upstream.user_agent cannot be sent in a header")]
    UserAgent(#[source] http::header::InvalidHeaderValue),
    /// `upstream.proxy`, or the environment that it points to, names no usable proxy.
    #[error("could not use the proxy of upstream.proxy")]
    Proxy(#[from] upstream::ViaError),
    /// The daemon's own HTTP client could not be made.
    #[error("could not make the client for the token endpoint")]
    Client(#[source] reqwest::Error),
    /// The system gave no thread, or no runtime for it.
    #[error("could not start the data path")]
    Data(#[source] io::Error),
}

fn server(profile: &str, run: Option<u32>) -> String {
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
    pub async fn start(config: &Config, paths: &Paths, setting: Setting) -> Result<Self, Error> {
        Parts::new(config, paths, setting)?.run(config, paths)
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
        self.now.send_modify(|now| now.phase = wire::Phase::Draining);
        // Nothing can be reloaded any more; what is held for that would keep the drain waiting.
        self.live = None;
        self.drain.begin();
        if !self.drain.finished(limit).await {
            tracing::warn!(in_flight = self.in_flight(), "requests did not finish in time");
            self.drain.end();
            self.drain.finished(LAST_WORDS).await;
        }
        if let Some(data) = self.data.take() {
            data.join().await;
        }
        self.clients.settle();
        self.session.settle().await;
        self.keeper.abort();
        self.control.end().await;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.keeper.abort();
        self.alert.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// How long a 503 may take to be written, once the time to finish is over.
const LAST_WORDS: Duration = Duration::from_millis(500);
