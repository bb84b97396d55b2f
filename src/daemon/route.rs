//! From the configuration to what answers: the places to listen on, and a gateway for each origin.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderValue;

use super::Error;
use super::data_plane::DataListener;
use super::reload::Route;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::{AnonymousAccess, Config, Origin, Paths};
use crate::gateway::{ClientAuthenticator, Gateway, Guard, HeaderPolicy, Policy};
use crate::listen::{self, BoundSocket, UserAcl};
use crate::session::Session;
use crate::telemetry::UpstreamErrors;
use crate::throttle::Throttle;
use crate::upstream::{BodyBuffer, HttpProxy, Resolver, Upstream, UpstreamOptions};

/// Everything that is listened on, bound before anything runs.
pub(super) struct Listeners {
    pub(super) own: Vec<BoundSocket>,
    pub(super) hosts: Vec<Vec<BoundSocket>>,
    #[cfg(target_os = "linux")]
    pub(super) reserved: Vec<listen::PortReservation>,
}

impl Listeners {
    /// Binds what is configured, but takes `tcp` and `unix`, where there are any, in its place.
    pub(super) fn bind(
        config: &Config,
        paths: &Paths,
        users: &UserAcl,
        tcp: Vec<BoundSocket>,
        unix: Vec<BoundSocket>,
    ) -> Result<Self, Error> {
        let mut own = match tcp.is_empty() {
            true => listen::bind_tcp(&config.listen.tcp)?,
            false => tcp,
        };
        match unix.is_empty() {
            true => own.extend(bind_unix_socket(config, paths, users)?),
            false => own.extend(unix),
        }
        if own.is_empty() {
            return Err(Error::NoListeners);
        }
        let hosts = config.hosts.iter().map(|host| {
            let opened = listen::bind_tcp(&host.listen);
            opened.map_err(|source| Error::ListenAt { key: "host.listen", source })
        });
        let hosts: Vec<Vec<BoundSocket>> = hosts.collect::<Result<_, _>>()?;
        #[cfg(target_os = "linux")]
        let reserved = listen::reserve_other_family(own.iter().chain(hosts.iter().flatten()))?;
        Ok(Self {
            own,
            hosts,
            #[cfg(target_os = "linux")]
            reserved,
        })
    }
}

#[cfg(unix)]
fn bind_unix_socket(
    config: &Config,
    paths: &Paths,
    users: &UserAcl,
) -> Result<Option<BoundSocket>, Error> {
    use crate::config::UnixSocket;
    let path = match &config.listen.unix {
        UnixSocket::Auto => paths.proxy_socket(),
        UnixSocket::Path(path) => path.clone(),
        UnixSocket::Off => return Ok(None),
    };
    Ok(Some(listen::bind_unix(&path, users.socket_access())?))
}

#[cfg(not(unix))]
fn bind_unix_socket(_: &Config, _: &Paths, _: &UserAcl) -> Result<Option<BoundSocket>, Error> {
    Ok(None)
}

pub(super) fn tcp_addresses(places: &[BoundSocket]) -> Vec<SocketAddr> {
    places.iter().filter_map(BoundSocket::address).collect()
}

pub(super) fn unix_path(place: &BoundSocket) -> Option<PathBuf> {
    place.path().map(Path::to_owned)
}

/// Who may call: what a reload leaves as it is.
#[derive(Debug)]
pub(super) struct AccessSources {
    pub(super) users: UserAcl,
    pub(super) clients: Clients,
}

/// What every route is made of.
pub(super) struct RouteBuilder<'a> {
    pub(super) config: &'a Config,
    pub(super) session: &'a Session,
    pub(super) callers: &'a AccessSources,
    /// The budget of the API. Another host has one of its own: its throttle answers hold up
    /// nobody here.
    pub(super) throttle: &'a Throttle,
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) resolver: Resolver,
    pub(super) clock: Clock,
}

impl RouteBuilder<'_> {
    /// Makes what answers at these places: our own, and those of each other host.
    pub(super) fn build(
        &self,
        own: Vec<BoundSocket>,
        others: Vec<Vec<BoundSocket>>,
    ) -> Result<(Vec<DataListener>, Vec<Route>), Error> {
        let mut routes = vec![];
        let mut lanes = vec![];
        let hosts = self.config.hosts.iter().map(|host| &host.origin);
        let origins = std::iter::once(&self.config.upstream.origin).chain(hosts);
        for (origin, places) in origins.zip(std::iter::once(own).chain(others)) {
            let throttle = match lanes.is_empty() {
                true => self.throttle.clone(),
                false => Throttle::new(&self.config.throttle, self.clock.clone()),
            };
            let lane = self.build_route(origin, throttle, &places)?;
            routes.extend(places.into_iter().map(|place| (place, lane.gateway.clone())));
            lanes.push(lane);
        }
        Ok((routes, lanes))
    }

    fn build_route(
        &self,
        origin: &Origin,
        throttle: Throttle,
        places: &[BoundSocket],
    ) -> Result<Route, Error> {
        let config = self.config;
        let terms = UpstreamOptions {
            http2: config.upstream.http2,
            proxy: HttpProxy::from_config(&config.upstream.proxy, origin)?,
            connect_timeout: config.upstream.connect_timeout,
            header_timeout: config.upstream.header_timeout,
        };
        let (resolver, clock) = (self.resolver.clone(), self.clock.clone());
        let upstream = Upstream::new(origin.clone(), &self.tls, resolver, &terms, clock);
        let addresses = tcp_addresses(places);
        let gateway =
            build_gateway(config, self.session, self.callers, (&throttle, &upstream), &addresses)?;
        let outage = Arc::new(UpstreamErrors::new(origin.to_string()));
        let gateway = gateway.with_outage(outage.clone());
        let gateway = Arc::new(ArcSwap::from_pointee(gateway));
        Ok(Route { throttle, upstream, addresses, outage, gateway })
    }
}

/// Makes what answers at `tcp_addresses`; each reload makes it again.
pub(super) fn build_gateway(
    config: &Config,
    session: &Session,
    callers: &AccessSources,
    (throttle, upstream): (&Throttle, &Upstream),
    addresses: &[SocketAddr],
) -> Result<Gateway, Error> {
    let limits = &config.limits;
    let keep =
        BodyBuffer::new(limits.replay_body, zero_as_unlimited(limits.body_bytes), limits.body_idle);
    let is_key_needed = config.listen.expose || config.policy.anonymous == AnonymousAccess::None;
    let keys = ClientAuthenticator::new(callers.clients.clone(), is_key_needed);
    let users = callers.users.clone();
    let guard = Guard::new(addresses, &config.listen.hosts, limits.target_bytes, users, keys)
        .with_websockets(config.upstream.upgrade);
    let policy = Policy::new(config.policy.deny.clone(), config.policy.anonymous)
        .with_cookies(config.policy.cookies);
    let user_agent = config.upstream.user_agent.as_deref().map(HeaderValue::from_str);
    let user_agent = user_agent.transpose().map_err(Error::UserAgent)?;
    let manners = HeaderPolicy { user_agent, forwards_trace: config.upstream.trace };
    let session = match *upstream.origin() == config.upstream.origin {
        true => session.clone(),
        false => session.with_host(&upstream.origin().to_string()),
    };
    let gateway =
        Gateway::new(guard, policy, keep, session, throttle.clone(), upstream.clone(), manners);
    Ok(gateway.with_server_timing(config.log.server_timing).with_profile(&config.profile))
}

/// 0 in the configuration means no bound.
fn zero_as_unlimited(bytes: u64) -> u64 {
    if bytes == 0 { u64::MAX } else { bytes }
}
