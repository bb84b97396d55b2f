//! From the configuration to what answers: the places to listen on, and a gateway for each origin.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderValue;

use super::Error;
use super::data::Route;
use super::reload::Lane;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::{Anonymous, Config, Origin, Paths};
use crate::gateway::{Gateway, Guard, Keys, Manners, Policy};
use crate::listen::{self, Bound, Users};
use crate::session::Session;
use crate::telemetry::Outage;
use crate::throttle::Throttle;
use crate::upstream::{Keep, Resolver, Terms, Upstream, Via};

/// Everything that is listened on, bound before anything runs.
pub(super) struct Places {
    pub(super) own: Vec<Bound>,
    pub(super) hosts: Vec<Vec<Bound>>,
    #[cfg(target_os = "linux")]
    pub(super) reserved: Vec<listen::Reserved>,
}

impl Places {
    /// Binds what is configured, but takes `tcp` and `unix`, where there are any, in its place.
    pub(super) fn bind(
        config: &Config,
        paths: &Paths,
        users: &Users,
        tcp: Vec<Bound>,
        unix: Vec<Bound>,
    ) -> Result<Self, Error> {
        let mut own = match tcp.is_empty() {
            true => listen::bind_tcp(&config.listen.tcp)?,
            false => tcp,
        };
        match unix.is_empty() {
            true => own.extend(bind_socket(config, paths, users)?),
            false => own.extend(unix),
        }
        if own.is_empty() {
            return Err(Error::Nowhere);
        }
        let hosts = config.hosts.iter().map(|host| {
            let opened = listen::bind_tcp(&host.listen);
            opened.map_err(|source| Error::ListenAt { key: "host.listen", source })
        });
        let hosts: Vec<Vec<Bound>> = hosts.collect::<Result<_, _>>()?;
        #[cfg(target_os = "linux")]
        let reserved = listen::reserve(own.iter().chain(hosts.iter().flatten()))?;
        Ok(Self {
            own,
            hosts,
            #[cfg(target_os = "linux")]
            reserved,
        })
    }
}

#[cfg(unix)]
fn bind_socket(config: &Config, paths: &Paths, users: &Users) -> Result<Option<Bound>, Error> {
    use crate::config::UnixSocket;
    let path = match &config.listen.unix {
        UnixSocket::Auto => paths.proxy_socket(),
        UnixSocket::Path(path) => path.clone(),
        UnixSocket::Off => return Ok(None),
    };
    Ok(Some(listen::bind_unix(&path, users.opening())?))
}

#[cfg(not(unix))]
fn bind_socket(_: &Config, _: &Paths, _: &Users) -> Result<Option<Bound>, Error> {
    Ok(None)
}

pub(super) fn addresses(places: &[Bound]) -> Vec<SocketAddr> {
    places.iter().filter_map(Bound::address).collect()
}

pub(super) fn socket(place: &Bound) -> Option<PathBuf> {
    place.path().map(Path::to_owned)
}

/// Who may call: what a reload leaves as it is.
#[derive(Debug)]
pub(super) struct Callers {
    pub(super) users: Users,
    pub(super) clients: Clients,
}

/// What every route is made of.
pub(super) struct Forward<'a> {
    pub(super) config: &'a Config,
    pub(super) session: &'a Session,
    pub(super) callers: &'a Callers,
    /// The budget of the API. Another host has one of its own: its throttle answers hold up
    /// nobody here.
    pub(super) throttle: &'a Throttle,
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) resolver: Resolver,
    pub(super) clock: Clock,
}

impl Forward<'_> {
    /// Makes what answers at these places: our own, and those of each other host.
    pub(super) fn routes(
        &self,
        own: Vec<Bound>,
        others: Vec<Vec<Bound>>,
    ) -> Result<(Vec<Route>, Vec<Lane>), Error> {
        let mut routes = vec![];
        let mut lanes = vec![];
        let hosts = self.config.hosts.iter().map(|host| &host.origin);
        let origins = std::iter::once(&self.config.upstream.origin).chain(hosts);
        for (origin, places) in origins.zip(std::iter::once(own).chain(others)) {
            let throttle = match lanes.is_empty() {
                true => self.throttle.clone(),
                false => Throttle::new(&self.config.throttle, self.clock.clone()),
            };
            let lane = self.lane(origin, throttle, &places)?;
            routes.extend(places.into_iter().map(|place| (place, lane.gateway.clone())));
            lanes.push(lane);
        }
        Ok((routes, lanes))
    }

    fn lane(&self, origin: &Origin, throttle: Throttle, places: &[Bound]) -> Result<Lane, Error> {
        let config = self.config;
        let terms = Terms {
            http2: config.upstream.http2,
            via: Via::configured(&config.upstream.proxy, origin)?,
            connect: config.upstream.connect_timeout,
            header: config.upstream.header_timeout,
        };
        let (resolver, clock) = (self.resolver.clone(), self.clock.clone());
        let upstream = Upstream::new(origin.clone(), &self.tls, resolver, &terms, clock);
        let addresses = addresses(places);
        let gateway =
            gateway(config, self.session, self.callers, (&throttle, &upstream), &addresses)?;
        let outage = Arc::new(Outage::new(origin.to_string()));
        let gateway = gateway.knowing(outage.clone());
        let gateway = Arc::new(ArcSwap::from_pointee(gateway));
        Ok(Lane { throttle, upstream, addresses, outage, gateway })
    }
}

/// Makes what answers at `addresses`; each reload makes it again.
pub(super) fn gateway(
    config: &Config,
    session: &Session,
    callers: &Callers,
    (throttle, upstream): (&Throttle, &Upstream),
    addresses: &[SocketAddr],
) -> Result<Gateway, Error> {
    let limits = &config.limits;
    let keep = Keep::new(limits.replay_body, most(limits.body_bytes), limits.body_idle);
    let is_key_needed = config.listen.expose || config.policy.anonymous == Anonymous::None;
    let keys = Keys::new(callers.clients.clone(), is_key_needed);
    let users = callers.users.clone();
    let guard = Guard::new(addresses, &config.listen.hosts, limits.target_bytes, users, keys)
        .switching(config.upstream.upgrade);
    let policy = Policy::new(config.policy.deny.clone(), config.policy.anonymous)
        .relaying(config.policy.cookies);
    let user_agent = config.upstream.user_agent.as_deref().map(HeaderValue::from_str);
    let user_agent = user_agent.transpose().map_err(Error::UserAgent)?;
    let manners = Manners { user_agent, trace: config.upstream.trace };
    let session = match *upstream.origin() == config.upstream.origin {
        true => session.clone(),
        false => session.elsewhere(&upstream.origin().to_string()),
    };
    let gateway =
        Gateway::new(guard, policy, keep, session, throttle.clone(), upstream.clone(), manners);
    Ok(gateway.telling_time(config.log.server_timing).of_profile(&config.profile))
}

/// 0 in the configuration means no bound.
fn most(bytes: u64) -> u64 {
    if bytes == 0 { u64::MAX } else { bytes }
}
