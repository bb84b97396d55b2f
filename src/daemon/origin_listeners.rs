//! The listeners at which clients mean an origin by its name: HTTPS and the forward proxy.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Error;
use super::data_plane::DataListener;
use crate::ca::{AuthorityKind, LiveAuthorities, LocalTls};
use crate::clock::Clock;
use crate::config::{Config, OtherHosts};
use crate::forward_proxy::{Dialer, ForwardProxy, TunnelPlaces, TunnelPolicy};
use crate::gateway::{ForwardListener, Gateway, ListenerKind, Server, TlsListener};
use crate::listen::BoundSocket;
use crate::upstream::Resolver;

/// The parts that these listeners are built from.
pub(super) struct OriginListeners<'a> {
    pub(super) config: &'a Config,
    pub(super) authorities: &'a LiveAuthorities,
    pub(super) clock: &'a Clock,
    /// Resolves the hosts that clients name.
    pub(super) resolver: Resolver,
    /// The gateways of the origins, in the order of the configuration.
    pub(super) gateways: Vec<Arc<ArcSwap<Gateway>>>,
}

impl OriginListeners<'_> {
    /// Makes listeners of these sockets.
    pub(super) fn build(
        self,
        tls: Vec<BoundSocket>,
        forward: Vec<BoundSocket>,
    ) -> Result<Vec<DataListener>, Error> {
        let mut listeners = vec![];
        if !tls.is_empty() {
            self.authorities.need(AuthorityKind::Localhost);
            let kind = ListenerKind::Https(Arc::new(self.tls_listener()?));
            listeners.extend(tls.into_iter().map(|socket| (socket, kind.clone())));
        }
        if !forward.is_empty() {
            self.authorities.need(AuthorityKind::Intercept);
            let kind = ListenerKind::Forward(Arc::new(self.forward_listener()?));
            listeners.extend(forward.into_iter().map(|socket| (socket, kind.clone())));
        }
        Ok(listeners)
    }

    fn tls_listener(&self) -> Result<TlsListener, Error> {
        let origins = ForwardProxy::origins_of(self.config);
        let tls = LocalTls::new(self.authorities, &origins, self.clock).map_err(Error::LocalTls)?;
        let gateways = self.gateways.iter().cloned();
        let upstream = gateways.clone().next().ok_or(Error::NoListeners)?;
        Ok(TlsListener::new(tls, upstream, origins.into_iter().zip(gateways).collect()))
    }

    fn forward_listener(self) -> Result<ForwardListener, Error> {
        let config = self.config;
        let others = match config.forward_proxy.other_hosts {
            OtherHosts::Refuse => TunnelPolicy::Refuse,
            OtherHosts::Tunnel => TunnelPolicy::Any,
        };
        let dialer = Dialer::new(
            self.resolver,
            config.upstream.proxy.clone(),
            &config.forward_proxy.allow,
            config.upstream.connect_timeout,
        );
        let origins = ForwardProxy::origins_of(config);
        let places = TunnelPlaces::among(Server::max_connections_of(&config.limits));
        let proxy = ForwardProxy::new(origins, others, self.authorities.clone(), dialer, places)
            .with_wait(config.session.wait);
        let mut gateways = self.gateways.into_iter();
        let upstream = gateways.next().ok_or(Error::NoListeners)?;
        Ok(ForwardListener::new(proxy, upstream, gateways.collect()))
    }
}
