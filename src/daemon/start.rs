//! The start: what a daemon is made of, put together before any of it runs, then set going.
//!
//! What only a person can repair ends it while nothing runs yet.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::control::{self, Control};
use super::data::{Data, Route};
use super::forward::{Callers, Forward, Places, addresses, socket};
use super::reload::{Lane, Live};
use super::{Daemon, Error, Setting, alert, direct, lock};
use crate::admin::{Admin, Facts, Now, Pulse, Shield, Sources, wire};
use crate::clients::Clients;
use crate::config::{Config, Paths};
use crate::credentials::Credentials;
use crate::gateway::Connections;
use crate::listen::{self, Drain, Users};
use crate::session::{Keeper, Session, issuer};
use crate::telemetry::Record;
use crate::throttle::Throttle;
use crate::upstream::{self, Resolver, Via};

/// A daemon that does not run yet.
pub(super) struct Parts {
    lock: lock::Lock,
    facts: Facts,
    admin: control::Places,
    shield: Shield,
    session: Session,
    keeper: Keeper<issuer::Http>,
    credentials: Credentials,
    clients: Clients,
    throttle: Throttle,
    callers: Callers,
    routes: Vec<Route>,
    lanes: Vec<Lane>,
    #[cfg(target_os = "linux")]
    reserved: Vec<listen::Reserved>,
}

/// What is made of the configuration alone: what cannot be, only a person can repair.
pub(super) struct Made {
    tls: Arc<rustls::ClientConfig>,
    users: Users,
    operators: Users,
}

impl Made {
    /// Makes it; opens nothing and changes nothing.
    pub(super) fn of(config: &Config) -> Result<Self, Error> {
        let listen = &config.listen;
        let hosts = config.hosts.iter().map(|host| &host.origin);
        for origin in hosts.chain([&config.upstream.origin]) {
            Via::configured(&config.upstream.proxy, origin)?;
        }
        Ok(Self {
            users: Users::new(&listen.users, &listen.groups, listen.expose)?,
            operators: Users::new(&config.admin.users, &[], false)?,
            tls: upstream::tls(config.upstream.ca_file.as_deref())?,
        })
    }
}

impl Parts {
    /// Puts them together.
    pub(super) fn new(config: &Config, paths: &Paths, setting: Setting) -> Result<Self, Error> {
        let Setting { clock, credentials } = setting;
        let Made { tls, users, operators } = Made::of(config)?;
        let lock = lock::hold(paths)?;
        let resolver = Resolver::new(Handle::current());
        let (places, admin, is_activated) = bind(config, paths, &users)?;
        let facts = facts(config, paths, &places, &admin, is_activated);

        let client = direct::client(config, &tls, &resolver)?;
        let throttle = Throttle::new(&config.throttle, clock.clone());
        let issuer =
            issuer::Http::new(client, config.upstream.origin.to_string(), throttle.clone());
        let state = paths.profile_state();
        let clients = Clients::new(&state, clock.clone());
        let (session, keeper) =
            Session::new(&config.session, Some(state), credentials.clone(), issuer, clock.clone());

        let callers = Callers { users, clients: clients.clone() };
        let forward = Forward {
            config,
            session: &session,
            callers: &callers,
            throttle: &throttle,
            tls,
            resolver,
            clock,
        };
        let (routes, lanes) = forward.routes(places.own, places.hosts)?;
        Ok(Self {
            lock,
            shield: Shield::new(operators, admin.address()),
            facts,
            admin,
            session,
            keeper,
            credentials,
            clients,
            throttle,
            callers,
            routes,
            lanes,
            #[cfg(target_os = "linux")]
            reserved: places.reserved,
        })
    }

    /// Sets them going. When it returns, requests are answered.
    pub(super) fn run(self, config: &Config, paths: &Paths) -> Result<Daemon, Error> {
        let (drain, draining) = Drain::new();
        let record = Arc::<Record>::default();
        let connections = Connections::new(&config.limits, draining.clone(), record.clone());
        let connections = Arc::new(ArcSwap::from_pointee(connections));
        let (now, seen) = watch::channel(Now {
            phase: wire::Phase::Serving,
            settings: config.told(),
            restart_needed: vec![],
        });
        let (order, orders) = mpsc::channel(1);
        let (pulse, heart) = Pulse::new();
        let listening = self.facts.listening.clone();
        let others = self.lanes.iter().skip(1);
        let surface = Admin::new(
            self.facts,
            Sources {
                session: self.session.clone(),
                credentials: self.credentials.clone(),
                throttle: self.throttle.clone(),
                host_throttles: others.map(|lane| lane.throttle.clone()).collect(),
                clients: self.clients.clone(),
                record: record.clone(),
                in_flight: drain.counter(),
                now: seen,
                pulse: pulse.clone(),
                orders: order,
                shield: self.shield,
            },
        );

        let upstreams: Vec<_> = self.lanes.iter().map(|lane| lane.upstream.clone()).collect();
        let data =
            Data::start(self.routes, upstreams.clone(), connections.clone(), draining, heart)
                .map_err(Error::Data)?;
        let control = Control::start(self.admin, &surface, &self.session, upstreams, &record)
            .map_err(Error::Data)?;
        for half in self.credentials.halves() {
            tracing::warn!(error = %half, "a source with half a login is passed over");
        }
        // Last, as nobody would end them after an error; what they are told meanwhile waits.
        let keeper = tokio::spawn(self.keeper.run());
        let alert = alert::start(&config.notify, paths, &self.session, self.credentials);
        let Self { callers, lanes, .. } = self;
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
            live: Some(Live { config: config.clone(), callers, lanes, connections }),
            now,
            orders,
            pulse,
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
fn bind(
    config: &Config,
    paths: &Paths,
    users: &Users,
) -> Result<(Places, control::Places, bool), Error> {
    let (tcp, unix, admin) = control::split(listen::inherited()?);
    let is_activated = !tcp.is_empty() || !unix.is_empty();
    let admin = control::Places::bind(config, paths, admin)?;
    let places = Places::bind(config, paths, users, tcp, unix)?;
    #[cfg(unix)]
    if let Err(error) = listen::shut(&paths.runtime)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "the sockets' directory may be open to more users than named");
    }
    Ok((places, admin, is_activated))
}

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
