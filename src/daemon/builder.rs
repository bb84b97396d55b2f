//! The start: what a daemon is made of, put together before any of it runs, then set going.
//!
//! What only a person can repair ends it while nothing runs yet.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::control_plane::{self, ControlPlane};
use super::data_plane::{DataListener, DataPlane};
use super::reload::{ReloadState, Route};
use super::route::{AccessSources, Listeners, RouteBuilder, tcp_addresses, unix_path};
use super::{Daemon, Deps, Error, notify_command, profile_lock, standalone};
use crate::admin::{AccessControl, Admin, AdminState, Heartbeat, RuntimeState, ServerInfo, api};
use crate::clients::Clients;
use crate::config::{Config, Paths};
use crate::credentials::Credentials;
use crate::gateway::Server;
use crate::listen::{self, DrainController, UserAcl};
use crate::session::{Session, SessionTask, endpoint};
use crate::telemetry::Telemetry;
use crate::throttle::Throttle;
use crate::upstream::{self, HttpProxy, Resolver};

/// A daemon that does not run yet.
pub(super) struct DaemonBuilder {
    lock: profile_lock::ProfileLock,
    facts: ServerInfo,
    admin: control_plane::AdminListeners,
    shield: AccessControl,
    session: Session,
    keeper: SessionTask<endpoint::HttpIssuer>,
    credentials: Credentials,
    clients: Clients,
    throttle: Throttle,
    access: AccessSources,
    data_listeners: Vec<DataListener>,
    routes: Vec<Route>,
    #[cfg(target_os = "linux")]
    reserved: Vec<listen::PortReservation>,
}

/// What is made of the configuration alone: what cannot be, only a person can repair.
pub(super) struct Prepared {
    tls: Arc<rustls::ClientConfig>,
    users: UserAcl,
    operators: UserAcl,
}

impl Prepared {
    /// Makes it; opens nothing and changes nothing.
    pub(super) fn from_config(config: &Config) -> Result<Self, Error> {
        let listen = &config.listen;
        let hosts = config.hosts.iter().map(|host| &host.origin);
        for origin in hosts.chain([&config.upstream.origin]) {
            HttpProxy::from_config(&config.upstream.proxy, origin)?;
        }
        Ok(Self {
            users: UserAcl::new(&listen.users, &listen.groups, listen.expose)?,
            operators: UserAcl::new(&config.admin.users, &[], false)?,
            tls: upstream::load_tls_config(config.upstream.ca_file.as_deref())?,
        })
    }
}

impl DaemonBuilder {
    /// Puts them together.
    pub(super) fn new(config: &Config, paths: &Paths, setting: Deps) -> Result<Self, Error> {
        let Deps { clock, credentials } = setting;
        let Prepared { tls, users, operators } = Prepared::from_config(config)?;
        let lock = profile_lock::lock_profile(paths)?;
        let resolver = Resolver::new(Handle::current());
        let (places, admin, is_activated) = bind_listeners(config, paths, &users)?;
        let facts = server_info(config, paths, &places, &admin, is_activated);

        let client = standalone::http_client(config, &tls, &resolver)?;
        let throttle = Throttle::new(&config.throttle, clock.clone());
        let issuer =
            endpoint::HttpIssuer::new(client, config.upstream.origin.to_string(), throttle.clone());
        let state = paths.profile_state();
        let clients = Clients::new(&state, clock.clone());
        let (session, keeper) =
            Session::new(&config.session, Some(state), credentials.clone(), issuer, clock.clone());

        let callers = AccessSources { users, clients: clients.clone() };
        let forward = RouteBuilder {
            config,
            session: &session,
            callers: &callers,
            throttle: &throttle,
            tls,
            resolver,
            clock,
        };
        let (routes, lanes) = forward.build(places.own, places.hosts)?;
        Ok(Self {
            lock,
            shield: AccessControl::new(operators, admin.address()),
            facts,
            admin,
            session,
            keeper,
            credentials,
            clients,
            throttle,
            access: callers,
            data_listeners: routes,
            routes: lanes,
            #[cfg(target_os = "linux")]
            reserved: places.reserved,
        })
    }

    /// Sets them going. When it returns, requests are answered.
    pub(super) fn start(self, config: &Config, paths: &Paths) -> Result<Daemon, Error> {
        let (drain, draining) = DrainController::new();
        let record = Arc::<Telemetry>::default();
        let connections = Server::new(&config.limits, draining.clone(), record.clone());
        let connections = Arc::new(ArcSwap::from_pointee(connections));
        let (now, seen) = watch::channel(RuntimeState {
            lifecycle: api::Lifecycle::Serving,
            settings: config.export(),
            restart_needed: vec![],
        });
        let (order, orders) = mpsc::channel(1);
        let (pulse, heart) = Heartbeat::new();
        let listening = self.facts.listening.clone();
        let others = self.routes.iter().skip(1);
        let surface = Admin::new(
            self.facts,
            AdminState {
                session: self.session.clone(),
                credentials: self.credentials.clone(),
                throttle: self.throttle.clone(),
                host_throttles: others.map(|lane| lane.throttle.clone()).collect(),
                clients: self.clients.clone(),
                telemetry: record.clone(),
                in_flight: drain.counter(),
                runtime: seen,
                heartbeat: pulse.clone(),
                commands: order,
                access: self.shield,
            },
        );

        let upstreams: Vec<_> = self.routes.iter().map(|lane| lane.upstream.clone()).collect();
        let data = DataPlane::start(
            self.data_listeners,
            upstreams.clone(),
            connections.clone(),
            draining,
            heart,
        )
        .map_err(Error::DataPlane)?;
        let control = ControlPlane::start(self.admin, &surface, &self.session, upstreams, &record)
            .map_err(Error::DataPlane)?;
        for half in self.credentials.incomplete_sources() {
            tracing::warn!(error = %half, "a source with half a login is passed over");
        }
        // Last, as nobody would end them after an error; what they are told meanwhile waits.
        let keeper = tokio::spawn(self.keeper.run());
        let alert = notify_command::start(&config.notify, paths, &self.session, self.credentials);
        let Self { access: callers, routes: lanes, .. } = self;
        Ok(Daemon {
            is_activated: listening.activated,
            addresses: listening.tcp,
            host_addresses: listening.hosts.into_iter().map(|host| host.tcp).collect(),
            socket: listening.unix,
            admin_address: listening.admin_tcp,
            session: self.session,
            clients: self.clients,
            throttle: self.throttle,
            drain,
            data: Some(data),
            reload_state: Some(ReloadState {
                config: config.clone(),
                access: callers,
                routes: lanes,
                connections,
            }),
            runtime_state: now,
            commands: orders,
            heartbeat: pulse,
            control,
            keeper,
            alert,
            #[cfg(target_os = "linux")]
            _reserved: self.reserved,
            _lock: self.lock,
        })
    }
}

/// Binds every place, or takes those that the service manager has opened; says which it was.
fn bind_listeners(
    config: &Config,
    paths: &Paths,
    users: &UserAcl,
) -> Result<(Listeners, control_plane::AdminListeners, bool), Error> {
    let (tcp, unix, admin) = control_plane::split_inherited(listen::inherited()?);
    let is_activated = !tcp.is_empty() || !unix.is_empty();
    let admin = control_plane::AdminListeners::bind(config, paths, admin)?;
    let places = Listeners::bind(config, paths, users, tcp, unix)?;
    #[cfg(unix)]
    if let Err(error) = listen::restrict_dir(&paths.runtime)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "the sockets' directory may be open to more users than named");
    }
    Ok((places, admin, is_activated))
}

/// What the admin surface tells of us for as long as we run.
fn server_info(
    config: &Config,
    paths: &Paths,
    places: &Listeners,
    admin: &control_plane::AdminListeners,
    activated: bool,
) -> ServerInfo {
    let host = |(host, places): (&crate::config::Host, &Vec<listen::BoundSocket>)| {
        api::HostListener { upstream: host.origin.to_string(), tcp: tcp_addresses(places) }
    };
    let listening = api::Listening {
        tcp: tcp_addresses(&places.own),
        unix: places.own.iter().find_map(unix_path),
        hosts: config.hosts.iter().zip(&places.hosts).map(host).collect(),
        admin: admin.socket(),
        admin_tcp: admin.address(),
        activated,
    };
    ServerInfo {
        profile: config.profile.clone(),
        started: Instant::now(),
        listening,
        upstream: config.upstream.origin.to_string(),
        proxy: config.upstream.proxy.redacted(),
        ca_file: config.upstream.ca_file.clone(),
        config: paths.config.clone(),
    }
}
