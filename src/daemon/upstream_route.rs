//! The routes of the data plane: the sockets, and a gateway for each upstream origin.

use std::iter;
use std::mem;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderValue;

use super::Error;
use super::data_plane::DataListener;
use super::origin_listeners::OriginListeners;
use crate::approvals::Approvals;
use crate::audit::Audit;
use crate::ca::LiveAuthorities;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::{AnonymousAccess, Config, Origin, Paths};
use crate::gateway::{ClientAuthenticator, Gateway, Guard, HeaderPolicy, ListenerKind, Policy};
use crate::listen::{self, BoundSocket};
use crate::peer::UserAcl;
use crate::redact::{FieldRules, Redactor, TokenVault};
use crate::session::Session;
use crate::telemetry::UpstreamErrors;
use crate::throttle::Throttle;
use crate::upstream::{BodyBuffer, HeadLimits, HttpProxy, Resolver, Upstream, UpstreamOptions};

/// The sockets of the data plane, opened before anything runs.
pub(super) struct Listeners {
    pub(super) api: Vec<BoundSocket>,
    pub(super) hosts: Vec<Vec<BoundSocket>>,
    pub(super) tls: Vec<BoundSocket>,
    pub(super) forward: Vec<BoundSocket>,
    #[cfg(target_os = "linux")]
    pub(super) port_reservations: Vec<listen::PortReservation>,
}

impl Listeners {
    /// Opens the configured sockets. `tcp` and `unix`, unless empty, replace them.
    pub(super) fn bind(
        config: &Config,
        paths: &Paths,
        users: &UserAcl,
        tcp: Vec<BoundSocket>,
        unix: Vec<BoundSocket>,
    ) -> Result<Self, Error> {
        let mut api = if tcp.is_empty() { listen::bind_tcp(&config.listen.tcp)? } else { tcp };
        if unix.is_empty() {
            api.extend(bind_unix_socket(config, paths, users)?);
        } else {
            api.extend(unix);
        }
        if api.is_empty() {
            return Err(Error::NoListeners);
        }
        let open = |key, addresses: &[SocketAddr]| {
            listen::bind_tcp(addresses).map_err(|source| Error::ListenAt { key, source })
        };
        let hosts = config.hosts.iter().map(|host| open("host.listen", &host.listen));
        let hosts: Vec<Vec<BoundSocket>> = hosts.collect::<Result<_, _>>()?;
        let tls = open("listen.tls", &config.listen.tls)?;
        let forward = open("forward_proxy.listen", config.forward_proxy.listen.as_slice())?;
        #[cfg(target_os = "linux")]
        let port_reservations = {
            let all = api.iter().chain(hosts.iter().flatten()).chain(&tls).chain(&forward);
            listen::reserve_other_family(all)?
        };
        Ok(Self {
            api,
            hosts,
            tls,
            forward,
            #[cfg(target_os = "linux")]
            port_reservations,
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
    Ok(Some(listen::bind_unix(&path, listen::SocketAccess::for_users(users))?))
}

#[cfg(not(unix))]
fn bind_unix_socket(_: &Config, _: &Paths, _: &UserAcl) -> Result<Option<BoundSocket>, Error> {
    Ok(None)
}

pub(super) fn tcp_addresses(sockets: &[BoundSocket]) -> Vec<SocketAddr> {
    sockets.iter().filter_map(BoundSocket::address).collect()
}

pub(super) fn unix_path(socket: &BoundSocket) -> Option<PathBuf> {
    socket.path().map(Path::to_owned)
}

/// The users and clients with access, and what a person sees of their calls.
#[derive(Clone, Debug)]
pub(super) struct AccessSources {
    pub(super) users: UserAcl,
    pub(super) clients: Clients,
    pub(super) approvals: Approvals,
    pub(super) audit: Option<Audit>,
    pub(super) tokens: TokenVault,
}

/// One upstream origin, its local addresses, and the gateway that serves them at the moment.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) throttle: Throttle,
    pub(super) upstream: Upstream,
    /// The addresses whose ports a `Host` may name.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) errors: Arc<UpstreamErrors>,
    pub(super) gateway: Arc<ArcSwap<Gateway>>,
}

impl Route {
    /// Serves with another gateway and other limits from now on.
    pub(super) fn reconfigure(&self, gateway: Gateway, config: &Config) {
        self.gateway.store(Arc::new(gateway));
        self.throttle.reconfigure(&config.throttle);
        self.upstream.reconfigure(config.limits.body_idle);
    }
}

/// The parts that every route is built from.
pub(super) struct RouteBuilder<'a> {
    pub(super) config: &'a Config,
    pub(super) session: &'a Session,
    pub(super) access: &'a AccessSources,
    /// The throttle of the API. Every `[[host]]` has one of its own, so that its throttle responses
    /// delay no other requests.
    pub(super) throttle: &'a Throttle,
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) resolver: Resolver,
    pub(super) authorities: &'a LiveAuthorities,
    pub(super) clock: Clock,
}

impl RouteBuilder<'_> {
    /// Builds a route for the sockets of the API, one for those of each `[[host]]`, and what serves
    /// the others.
    pub(super) fn build(
        &self,
        sockets: &mut Listeners,
    ) -> Result<(Vec<DataListener>, Vec<Route>), Error> {
        let (api, hosts) = (mem::take(&mut sockets.api), mem::take(&mut sockets.hosts));
        let mut listeners = vec![];
        let mut routes = vec![];
        let origins = self.config.hosts.iter().map(|host| &host.origin);
        let origins = iter::once(&self.config.upstream.origin).chain(origins);
        let tls = tcp_addresses(&sockets.tls);
        for (origin, sockets) in origins.zip(iter::once(api).chain(hosts)) {
            let throttle = if routes.is_empty() {
                self.throttle.clone()
            } else {
                Throttle::new(&self.config.throttle, self.clock.clone())
            };
            let mut addresses = tcp_addresses(&sockets);
            if routes.is_empty() {
                // HTTPS for the names of this machine leads to the API too.
                addresses.extend(&tls);
            }
            let route = self.build_route(origin, throttle, addresses)?;
            let kind = ListenerKind::Http(route.gateway.clone());
            listeners.extend(sockets.into_iter().map(|socket| (socket, kind.clone())));
            routes.push(route);
        }
        let (tls, forward) = (mem::take(&mut sockets.tls), mem::take(&mut sockets.forward));
        let named = OriginListeners {
            config: self.config,
            authorities: self.authorities,
            clock: &self.clock,
            resolver: self.resolver.clone(),
            gateways: routes.iter().map(|route| route.gateway.clone()).collect(),
        };
        listeners.extend(named.build(tls, forward)?);
        Ok((listeners, routes))
    }

    fn build_route(
        &self,
        origin: &Origin,
        throttle: Throttle,
        addresses: Vec<SocketAddr>,
    ) -> Result<Route, Error> {
        let config = self.config;
        let options = UpstreamOptions {
            http2: config.upstream.http2,
            proxy: HttpProxy::from_config(&config.upstream.proxy, origin)?,
            connect_timeout: config.upstream.connect_timeout,
            header_timeout: config.upstream.header_timeout,
            body_idle: config.limits.body_idle,
            idle_connections: config.limits.idle_connections,
            head_limits: HeadLimits {
                bytes: config.limits.response_header_bytes,
                headers: config.limits.response_headers,
            },
        };
        let (resolver, clock) = (self.resolver.clone(), self.clock.clone());
        let upstream = Upstream::new(origin.clone(), &self.tls, resolver, &options, clock);
        let gateway =
            build_gateway(config, self.session, self.access, (&throttle, &upstream), &addresses)?;
        let errors = Arc::new(UpstreamErrors::new(origin.to_string()));
        let gateway = gateway.with_outage(errors.clone());
        let gateway = Arc::new(ArcSwap::from_pointee(gateway));
        Ok(Route { throttle, upstream, addresses, errors, gateway })
    }
}

/// Builds the gateway for `addresses`; each reload builds a new one.
pub(super) fn build_gateway(
    config: &Config,
    session: &Session,
    access: &AccessSources,
    (throttle, upstream): (&Throttle, &Upstream),
    addresses: &[SocketAddr],
) -> Result<Gateway, Error> {
    let limits = &config.limits;
    let body_buffer =
        BodyBuffer::new(limits.replay_body, zero_as_unlimited(limits.body_bytes), limits.body_idle);
    let is_key_needed = config.listen.expose || config.policy.anonymous == AnonymousAccess::None;
    let keys = ClientAuthenticator::new(access.clients.clone(), is_key_needed);
    let users = access.users.clone();
    let guard = Guard::new(addresses, &config.listen.hosts, limits.target_bytes, users, keys)
        .with_origin(upstream.origin())
        .with_websockets(config.upstream.upgrade);
    let policy = Policy::new(config.policy.deny.clone(), config.policy.anonymous)
        .with_ask(config.policy.ask.clone())
        .with_cookies(config.policy.cookies)
        .with_redaction(redactor(config, access, upstream), config.policy.anonymous_redact);
    let user_agent = config.upstream.user_agent.as_deref().map(HeaderValue::from_str);
    let user_agent = user_agent.transpose().map_err(Error::UserAgent)?;
    let (forwards_trace, has_via) = (config.upstream.trace, config.upstream.via);
    let headers = HeaderPolicy { user_agent, forwards_trace, has_via };
    let session = if *upstream.origin() == config.upstream.origin {
        session.clone()
    } else {
        session.with_host(&upstream.origin().to_string())
    };
    let (throttle, upstream) = (throttle.clone(), upstream.clone());
    let gateway = Gateway::new(guard, policy, body_buffer, session, throttle, upstream, headers);
    let gateway = gateway.with_approvals(access.approvals.clone()).with_audit(access.audit.clone());
    Ok(gateway.with_server_timing(config.log.server_timing).with_profile(&config.profile))
}

fn redactor(config: &Config, access: &AccessSources, upstream: &Upstream) -> Redactor {
    let fields = FieldRules::new(&config.redact.fields, &config.redact.keep);
    Redactor::new(access.tokens.clone(), fields, upstream.origin())
}

/// 0 in the configuration means no limit.
fn zero_as_unlimited(bytes: u64) -> u64 {
    if bytes == 0 { u64::MAX } else { bytes }
}
