//! The start of a daemon: all parts are built before any of them runs, then all are started.
//!
//! So an error that only a person can repair ends the start while nothing runs yet.

mod fleet_share;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use super::authorities::AuthorityKeeper;
use super::control_plane::{AdminListeners, ControlPlane, split_inherited};
use super::data_plane::{DataListener, DataPlane};
use super::oversight::{Oversight, access_sources, listening_at};
use super::profile_lock::ProfileLock;
use super::reload::ReloadState;
use super::upstream_route::{AccessSources, Listeners, Route, RouteBuilder, tcp_addresses};
use super::{Daemon, Deps, Error, notify_command, socket_access, standalone_session};
use crate::admin::{
    AccessControl, Admin, AdminState, Authorities, DaemonCommand, Heartbeat, RuntimeState,
    ServerInfo, api,
};
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::{self, Config, Host, Origin, OtherHosts, Paths};
use crate::credentials::Credentials;
use crate::fleet::{Fleet, FleetError};
use crate::gateway::Server;
use crate::listen::{self, BoundSocket, DrainController, DrainSignal, InFlightCounter};
use crate::peer::UserAcl;
use crate::session::{Session, SessionTask, endpoint};
use crate::telemetry::Telemetry;
use crate::throttle::Throttle;
use crate::upstream::{self, HttpProxy, OwnSockets};

/// The parts of a daemon that does not run yet.
pub(super) struct DaemonBuilder {
    lock: ProfileLock,
    server: ServerInfo,
    admin_listeners: AdminListeners,
    operators: AccessControl,
    session: Session,
    session_task: SessionTask<endpoint::HttpIssuer>,
    fleet: Option<Fleet>,
    issuer: endpoint::HttpIssuer,
    clock: Clock,
    has_key_outside_keychain: bool,
    credentials: Credentials,
    authorities: (AuthorityKeeper, Authorities),
    clients: Clients,
    throttle: Throttle,
    access: AccessSources,
    data_listeners: Vec<DataListener>,
    routes: Vec<Route>,
    #[cfg(target_os = "linux")]
    port_reservations: Vec<listen::PortReservation>,
}

/// Everything that is built from the configuration alone.
pub(super) struct Prepared {
    tls: Arc<rustls::ClientConfig>,
    pub(super) users: UserAcl,
    pub(super) operators: UserAcl,
    fleet: Option<Fleet>,
}

impl Prepared {
    /// Checks the configuration. Opens and changes nothing.
    pub(super) fn from_config(config: &Config) -> Result<Self, Error> {
        let allowed = &config.listen;
        let hosts = config.hosts.iter().map(|host| &host.origin);
        for origin in hosts.chain([&config.upstream.origin]) {
            HttpProxy::from_config(&config.upstream.proxy, origin)?;
        }
        check_address(config)?;
        Ok(Self {
            users: listen::user_acl(&allowed.users, &allowed.groups, allowed.expose)?,
            operators: listen::user_acl(&config.admin.users, &[], false)?,
            tls: upstream::load_tls_config(config.upstream.ca_file.as_deref())?,
            fleet: None,
        })
    }

    /// Refuses to go on without the member that the configuration asks for: alone, the daemon would
    /// spend what others share.
    fn complete(self, config: &Config) -> Result<Self, Error> {
        if config.fleet.engine.is_some() && self.fleet.is_none() {
            return Err(FleetError::NeedsMember.into());
        }
        Ok(self)
    }

    /// Makes the member of a fleet that the configuration asks for, for which secrets are read.
    pub(super) async fn with_fleet(self, config: &Config, clock: &Clock) -> Result<Self, Error> {
        Ok(Self { fleet: Fleet::from_config(config, clock).await?, ..self })
    }
}

impl DaemonBuilder {
    /// Opens the sockets and builds the parts.
    pub(super) fn new(
        prepared: Prepared,
        lock: ProfileLock,
        config: &Config,
        paths: &Paths,
        Deps { clock, credentials }: Deps,
    ) -> Result<Self, Error> {
        let Prepared { tls, users, operators, fleet } = prepared.complete(config)?;
        let (mut listeners, admin, is_activated) = bind_listeners(config, paths, &users)?;
        let server = server_info(config, paths, &listeners, &admin, is_activated);
        let own = own_sockets(config, &server.listening)?;
        let (resolver, throttle, issuer) = standalone_session::way_out(config, &tls, own, &clock)?;
        let clients = Clients::new(&paths.profile_state(), clock.clone());
        let state = lock.has_state().then(|| paths.profile_state());
        let authorities = AuthorityKeeper::new(config, state.clone(), &credentials, &clock);
        let (session, task) = new_session(config, state, &credentials, &issuer, &clock);
        let access = access_sources(config, paths, (users, &clients), &listeners, (&clock, &lock))?;
        let builder = RouteBuilder {
            config,
            session: &session,
            access: &access,
            throttle: &throttle,
            tls,
            resolver,
            authorities: &authorities.1.live,
            clock: clock.clone(),
        };
        let (data_listeners, routes) = builder.build(&mut listeners)?;
        Ok(Self {
            lock,
            operators: AccessControl::new(operators, admin.address()),
            server,
            admin_listeners: admin,
            session,
            session_task: task.with_fleet(fleet.clone()),
            fleet,
            issuer,
            clock,
            has_key_outside_keychain: credentials.is_key_outside_keychain(&config.session),
            credentials,
            authorities,
            clients,
            throttle,
            access,
            data_listeners,
            routes,
            #[cfg(target_os = "linux")]
            port_reservations: listeners.port_reservations,
        })
    }

    /// Starts the parts. When this returns, every request gets a response.
    pub(super) fn start(self, config: &Config, paths: &Paths) -> Result<Daemon, Error> {
        let (drain, drain_signal) = DrainController::new();
        let (telemetry, heartbeat) = (Arc::<Telemetry>::default(), Heartbeat::default());
        let server = build_server(config, drain_signal.clone(), telemetry.clone());
        let (runtime_state, runtime) = watch::channel(runtime_state(config));
        let (sender, commands) = mpsc::channel(1);
        let channels = AdminChannels { runtime, heartbeat: heartbeat.clone(), commands: sender };
        let admin = self.admin(telemetry.clone(), drain.counter(), channels);
        let upstreams: Vec<_> = self.routes.iter().map(|route| route.upstream.clone()).collect();
        let (listeners, others) = (self.data_listeners, upstreams.clone());
        let watched = (heartbeat.clone(), telemetry.clone());
        let (threads, serving) = (config.daemon.threads.count(), server.clone());
        let data = DataPlane::start(threads, listeners, others, serving, drain_signal, watched)
            .map_err(Error::DataPlane)?;
        let control =
            ControlPlane::start(self.admin_listeners, &admin, &self.session, upstreams, &telemetry)
                .map_err(Error::DataPlane)?;
        log_what_is_missing(config, &self.server.listening, &self.credentials);
        // Spawned last, so that an earlier error leaks no task. Their channels buffer until then.
        let session_task = tokio::spawn(self.session_task.run());
        fleet_share::start(self.fleet.as_ref(), &self.throttle, &self.clients);
        let Self { access, routes, operators, authorities: (keeper, authorities), .. } = self;
        let (keeper, authorities) = (tokio::spawn(keeper.run()), authorities.live);
        let oversight = Oversight::start(config, &access, &self.credentials, &self.session);
        let watched = (&self.session, &authorities, &self.clock, oversight.approvals());
        let alert = notify_command::start(&config.notify, paths, self.credentials, watched);
        let reload_state =
            ReloadState { config: config.clone(), access, operators, routes, server };
        Ok(Daemon {
            listening: self.server.listening,
            session: self.session,
            clients: self.clients,
            oversight,
            throttle: self.throttle,
            drain,
            data: Some(data),
            reload_state: Some(reload_state),
            runtime_state,
            commands,
            heartbeat,
            control,
            session_task,
            alert,
            authorities,
            keeper,
            #[cfg(target_os = "linux")]
            _port_reservations: self.port_reservations,
            _lock: self.lock,
        })
    }

    /// Builds the admin surface.
    fn admin(
        &self,
        telemetry: Arc<Telemetry>,
        in_flight: InFlightCounter,
        channels: AdminChannels,
    ) -> Admin {
        let hosts = self.routes.iter().skip(1);
        let state = AdminState {
            session: self.session.clone(),
            issuer: self.issuer.clone(),
            clock: self.clock.clone(),
            has_key_outside_keychain: self.has_key_outside_keychain,
            credentials: self.credentials.clone(),
            fleet: self.fleet.clone(),
            throttle: self.throttle.clone(),
            host_throttles: hosts.map(|route| route.throttle.clone()).collect(),
            upstreams: self.routes.iter().map(|route| route.upstream.clone()).collect(),
            clients: self.clients.clone(),
            approvals: self.access.approvals.clone(),
            audit: self.access.audit.clone(),
            authorities: self.authorities.1.clone(),
            tokens: self.access.tokens.clone(),
            telemetry,
            in_flight,
            runtime: channels.runtime,
            heartbeat: channels.heartbeat,
            commands: channels.commands,
            access: self.operators.clone(),
        };
        Admin::new(self.server.clone(), state)
    }
}

/// Returns the state of a daemon that has just started.
fn runtime_state(config: &Config) -> RuntimeState {
    RuntimeState {
        lifecycle: api::Lifecycle::Serving,
        settings: config.export(),
        keys: super::config_report::of_config(config),
        redact: config.redact.clone(),
        restart_needed: vec![],
    }
}

/// Checks that there is a name to which `upstream.address` belongs, and that we resolve it.
fn check_address(config: &Config) -> Result<(), Error> {
    let config::Upstream { origin, address, proxy, .. } = &config.upstream;
    if address.is_none() {
        return Ok(());
    }
    if HttpProxy::from_config(proxy, origin)?.is_some() {
        return Err(Error::UnusedAddress("the proxy of upstream.proxy resolves the name"));
    }
    if origin.host().parse::<IpAddr>().is_ok() {
        return Err(Error::UnusedAddress("upstream.origin is an address already"));
    }
    Ok(())
}

/// Returns the addresses that the daemon listens on.
///
/// An upstream that is given as one of them by its number is refused here, where a person sees it.
/// A name may lead elsewhere tomorrow: the resolver refuses it as long as it leads here.
fn own_sockets(config: &Config, listening: &api::Listening) -> Result<OwnSockets, Error> {
    let hosts = listening.hosts.iter().flat_map(|host| &host.tcp);
    let own = listening.tcp.iter().chain(hosts).chain(&listening.tls);
    let own = own.chain(listening.forward_proxy.iter().map(|forward| &forward.tcp));
    let own = own.chain(&listening.admin_tcp).chain(&listening.health);
    let own = OwnSockets::new(own.copied());
    let upstream = &config.upstream;
    let fixed = upstream.address.map(|it| ("upstream.address", it.endpoint(&upstream.origin)));
    let of = |key, origin: &Origin| {
        Some((key, SocketAddr::new(origin.host().parse().ok()?, origin.port())))
    };
    let hosts = config.hosts.iter().filter_map(|host| of("host.origin", &host.origin));
    let mut given = hosts.chain(of("upstream.origin", &upstream.origin)).chain(fixed);
    match given.find(|(_, address)| own.contains(*address)) {
        Some((key, address)) => Err(Error::OwnAddress { key, address }),
        None => Ok(own),
    }
}

/// Logs what a person has yet to add: lines of socket units, halves of a login.
fn log_what_is_missing(config: &Config, listening: &api::Listening, credentials: &Credentials) {
    socket_access::log_notes(config, listening);
    for source in credentials.incomplete_sources() {
        tracing::warn!(error = %source, "a source with an incomplete login is skipped");
    }
}

/// The admin surface's ends of its channels to the daemon.
struct AdminChannels {
    runtime: watch::Receiver<RuntimeState>,
    heartbeat: Heartbeat,
    commands: mpsc::Sender<DaemonCommand>,
}

/// Makes the session, which keeps its files in the profile's state directory, if there is one.
fn new_session(
    config: &Config,
    state: Option<PathBuf>,
    credentials: &Credentials,
    issuer: &endpoint::HttpIssuer,
    clock: &Clock,
) -> (Session, SessionTask<endpoint::HttpIssuer>) {
    Session::new(&config.session, state, credentials.clone(), issuer.clone(), clock.clone())
}

/// Opens every socket, or takes those that the service manager has opened; says which of the two it
/// did.
fn bind_listeners(
    config: &Config,
    paths: &Paths,
    users: &UserAcl,
) -> Result<(Listeners, AdminListeners, bool), Error> {
    let (tcp, unix, admin) = split_inherited(listen::inherited()?);
    let is_activated = !tcp.is_empty() || !unix.is_empty();
    let admin = AdminListeners::bind(config, paths, admin)?;
    let listeners = Listeners::bind(config, paths, users, tcp, unix)?;
    #[cfg(unix)]
    if let Err(error) = listen::restrict_dir(&paths.runtime)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "could not restrict access to the directory of the sockets");
    }
    Ok((listeners, admin, is_activated))
}

/// Builds the server; says if its limit on connections is less than the configured one.
fn build_server(
    config: &Config,
    drain: DrainSignal,
    telemetry: Arc<Telemetry>,
) -> Arc<ArcSwap<Server>> {
    let server = Server::new(&config.limits, drain, telemetry);
    let limit = server.max_connections();
    if limit < config.limits.connections {
        tracing::info!(limit, "the limit on open files allows fewer than limits.connections");
    }
    Arc::new(ArcSwap::from_pointee(server))
}

/// Returns the facts that the admin surface reports unchanged for as long as the daemon runs.
fn server_info(
    config: &Config,
    paths: &Paths,
    listeners: &Listeners,
    admin: &AdminListeners,
    activated: bool,
) -> ServerInfo {
    let host = |(host, sockets): (&Host, &Vec<BoundSocket>)| api::HostListener {
        upstream: host.origin.to_string(),
        tcp: tcp_addresses(sockets),
    };
    let listening = api::Listening {
        tcp: tcp_addresses(&listeners.api),
        unix: listening_at(listeners),
        hosts: config.hosts.iter().zip(&listeners.hosts).map(host).collect(),
        tls: tcp_addresses(&listeners.tls),
        forward_proxy: tcp_addresses(&listeners.forward).first().map(|tcp| api::ForwardListening {
            tcp: *tcp,
            tunnels: config.forward_proxy.other_hosts == OtherHosts::Tunnel,
        }),
        admin: admin.socket(),
        admin_tcp: admin.address(),
        health: admin.health_address(),
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
