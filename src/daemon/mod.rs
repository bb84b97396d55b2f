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

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use self::control::Control;
use self::data::Data;
use self::forward::{Callers, Forward, Places, addresses, socket};
use self::reload::Live;
use crate::admin::{self, Admin, Facts, Now, Order, Pulse, Shield, wire};
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::{Config, Paths};
use crate::credentials::Credentials;
use crate::gateway::Connections;
use crate::listen::{self, Drain, Users};
use crate::secret::Secret;
use crate::session::{Session, issuer};
use crate::telemetry::Record;
use crate::throttle::Throttle;
use crate::upstream::{self, Resolver};

pub use self::direct::{Direct, reach};
#[cfg(unix)]
pub use self::relay::Relay;

/// A running daemon. Dropping it aborts what it is doing; [`Daemon::stop`] lets it finish.
#[derive(Debug)]
pub struct Daemon {
    addresses: Vec<SocketAddr>,
    host_addresses: Vec<Vec<SocketAddr>>,
    socket: Option<PathBuf>,
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
    _lock: lock::Lock,
}

/// What may be other than the configuration says: time, and the login.
#[derive(Debug)]
pub struct Setting {
    /// What time it is.
    pub clock: Clock,
    /// Who logs in.
    pub credentials: Credentials,
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

impl Daemon {
    /// Starts everything. When it returns, requests are answered, if only with a 503.
    ///
    /// # Errors
    ///
    /// Everything that only a person can repair; nothing is left running then.
    pub async fn start(config: &Config, paths: &Paths, setting: Setting) -> Result<Self, Error> {
        Self::start_for(config, paths, setting, None).await
    }

    /// Starts everything for one client: whoever calls is taken for the one with this `key`.
    ///
    /// # Errors
    ///
    /// As [`Daemon::start`].
    pub async fn start_for(
        config: &Config,
        paths: &Paths,
        setting: Setting,
        key: Option<Secret>,
    ) -> Result<Self, Error> {
        let lock = lock::take(paths)?;
        let tls = upstream::tls(config.upstream.ca_file.as_deref())?;
        let resolver = Resolver::new(Handle::current());
        let listen = &config.listen;
        let users = Users::new(&listen.users, &listen.groups, listen.expose)?;
        let operators = Users::new(&config.admin.users, &[], false)?;
        let (tcp, unix, admin) = control::split(listen::inherited()?);
        let is_activated = !tcp.is_empty() || !unix.is_empty();
        let admin = control::Places::bind(config, paths, admin)?;
        let places = Places::bind(config, paths, &users, tcp, unix)?;

        let client = direct::client(config, &tls, &resolver)?;
        let credentials = setting.credentials.clone();
        let throttle = Throttle::new(&config.throttle, setting.clock.clone());
        let (session, keeper) = Session::new(
            &config.session,
            Some(paths.profile_state()),
            setting.credentials,
            issuer::Http::new(client, config.upstream.origin.to_string(), throttle.clone()),
            setting.clock.clone(),
        );
        let clients = Clients::new(&paths.profile_state(), setting.clock.clone());

        let (drain, draining) = Drain::new();
        #[cfg(target_os = "linux")]
        let (mut places, mut reserved) = (places, vec![]);
        #[cfg(target_os = "linux")]
        reserved.append(&mut places.reserved);
        let callers = Callers { users, clients: clients.clone(), assumed: key };
        let record = Arc::<Record>::default();
        let facts = facts(config, paths, &places, &admin, is_activated);
        let listening = facts.listening.clone();
        let forward = Forward {
            config,
            session: &session,
            callers: &callers,
            throttle: &throttle,
            tls,
            resolver,
            clock: setting.clock,
        };
        let (routes, lanes) = forward.routes(places)?;
        let host_throttles = lanes.iter().skip(1).map(|lane| lane.throttle.clone()).collect();
        let upstreams: Vec<_> = lanes.iter().map(|lane| lane.upstream.clone()).collect();
        let connections = Connections::new(&config.limits, draining.clone(), record.clone());
        let connections = Arc::new(ArcSwap::from_pointee(connections));

        let (now, seen) =
            watch::channel(Now { phase: wire::Phase::Serving, restart_needed: vec![] });
        let (order, orders) = mpsc::channel(1);
        let (pulse, heart) = Pulse::new();
        let surface = Admin::new(
            facts,
            admin::Sources {
                session: session.clone(),
                throttle: throttle.clone(),
                host_throttles,
                record: record.clone(),
                in_flight: drain.counter(),
                now: seen,
                pulse: pulse.clone(),
                orders: order,
                shield: Shield::new(operators, admin.address()),
            },
        );
        let data = Data::start(routes, upstreams.clone(), connections.clone(), draining, heart)
            .map_err(Error::Data)?;
        let control = Control::start(admin, &surface, &session, upstreams, &record);
        let control = control.map_err(Error::Data)?;
        // Last, as nobody would end them after an error; what they are told meanwhile waits.
        let keeper = tokio::spawn(keeper.run());
        let alert = (!config.notify.command.is_empty()).then(|| {
            let (command, profile) = (config.notify.command.clone(), paths.profile.clone());
            tokio::spawn(alert::watch(session.clone(), credentials, command, profile))
        });
        Ok(Self {
            addresses: listening.tcp,
            host_addresses: listening.hosts.into_iter().map(|host| host.tcp).collect(),
            socket: listening.unix,
            session,
            clients,
            throttle,
            drain,
            data: Some(data),
            live: Some(Live { config: config.clone(), callers, lanes, connections }),
            now,
            orders,
            pulse,
            is_activated,
            control,
            keeper,
            alert,
            #[cfg(target_os = "linux")]
            _reserved: reserved,
            _lock: lock,
        })
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

/// What the admin surface tells of us for as long as we run.
fn facts(
    config: &Config,
    paths: &Paths,
    places: &Places,
    admin: &control::Places,
    activated: bool,
) -> Facts {
    let host = |(host, places): (&crate::config::Host, &Vec<listen::Bound>)| wire::Host {
        upstream: host.origin.to_string(),
        tcp: addresses(places),
    };
    let listening = wire::Listening {
        tcp: addresses(&places.own),
        unix: places.own.iter().find_map(socket),
        hosts: config.hosts.iter().zip(&places.hosts).map(host).collect(),
        admin: admin.socket(),
        admin_tcp: admin.address(),
        activated,
    };
    Facts {
        profile: config.profile.clone(),
        started: Instant::now(),
        listening,
        upstream: config.upstream.origin.to_string(),
        proxy: config.upstream.proxy.redacted(),
        ca_file: config.upstream.ca_file.clone(),
        config: paths.config.clone(),
    }
}
