//! The TLS of `listen.tls`: which certificate a client gets, by the name that it asks for.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::kind::AuthorityKind;
use super::leaf_issuer::tls_config;
use super::live::LiveAuthorities;
use crate::clock::Clock;
use crate::config::Origin;

/// The configurations of TLS for this machine's own names.
pub struct LocalTls {
    /// For a client that asks for no name, by the address that it has connected to.
    by_address: [(IpAddr, Arc<ServerConfig>); 2],
    other: Arc<ServerConfig>,
}

/// Signs with the localhost authority, but for the names of origins, which a line in `/etc/hosts` can
/// lead here: the intercept authority signs those.
struct NamedCertificates {
    authorities: LiveAuthorities,
    origins: Arc<[Origin]>,
    /// The name of the certificate for a client that asks for none, or for a name that is not ours.
    default_name: String,
}

impl LocalTls {
    /// Signs with `authorities`; the names of `origins` too.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers.
    pub fn new(
        authorities: &LiveAuthorities,
        origins: &[Origin],
        clock: &Clock,
    ) -> Result<Self, rustls::Error> {
        let origins: Arc<[Origin]> = origins.into();
        let tickets = Ticketer::new()?;
        let config = |default_name: String| {
            let (authorities, origins) = (authorities.clone(), origins.clone());
            let resolver = NamedCertificates { authorities, origins, default_name };
            tls_config(Arc::new(resolver), clock, Some(&tickets)).map(Arc::new)
        };
        let by_address = |ip: IpAddr| Ok::<_, rustls::Error>((ip, config(ip.to_string())?));
        let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        Ok(Self {
            by_address: [by_address(v4)?, by_address(v6)?],
            other: config("localhost".to_owned())?,
        })
    }

    /// Returns the configuration for a connection to this address of ours.
    pub fn config(&self, local: Option<IpAddr>) -> Arc<ServerConfig> {
        let found = self.by_address.iter().find(|(ip, _)| Some(*ip) == local);
        found.map_or(&self.other, |(_, config)| config).clone()
    }
}

impl ResolvesServerCert for NamedCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or(&self.default_name);
        let is_origin = self.origins.iter().any(|it| it.host().eq_ignore_ascii_case(name));
        let config = if is_origin {
            // Made on demand: without a line in the hosts file no client comes here for this name.
            self.authorities.need(AuthorityKind::Intercept);
            self.authorities.intercept()?.server_config(name)?
        } else {
            let issuer = self.authorities.localhost()?;
            // A client that asks for another name decides itself what it makes of ours.
            issuer.server_config(name).or_else(|| issuer.server_config(&self.default_name))?
        };
        config.cert_resolver.resolve(hello)
    }
}

impl fmt::Debug for LocalTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTls").finish_non_exhaustive()
    }
}

impl fmt::Debug for NamedCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedCertificates")
            .field("origins", &self.origins)
            .field("default_name", &self.default_name)
            .finish_non_exhaustive()
    }
}
