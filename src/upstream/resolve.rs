//! Resolves names with a timeout, and with the last good addresses when the resolver fails.
//!
//! `getaddrinfo` can block a thread for any time, so it runs in the blocking pool of the control
//! runtime: the data path only waits for a message.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use super::own_sockets::{OwnSocket, OwnSockets};
use crate::config::{Origin, UpstreamAddress};
use crate::tcp_options::find_local_exhaustion;

/// Resolves names on another runtime. Clones share the addresses found.
#[derive(Clone, Debug)]
pub struct Resolver {
    control: Handle,
    last_good: Arc<Mutex<HashMap<String, Vec<SocketAddr>>>>,
    /// An origin whose name is not looked up, and where it is.
    fixed: Option<Arc<(Origin, SocketAddr)>>,
    own: OwnSockets,
}

impl Resolver {
    /// Makes a resolver whose blocking calls run on `control`.
    pub fn new(control: Handle) -> Self {
        Self { control, last_good: Arc::default(), fixed: None, own: OwnSockets::default() }
    }

    /// Returns `address`, if there is one, for `origin` instead of a lookup.
    #[must_use]
    pub fn with_address(self, origin: &Origin, address: Option<UpstreamAddress>) -> Self {
        let fixed = address.map(|address| Arc::new((origin.clone(), address.endpoint(origin))));
        Self { fixed, ..self }
    }

    /// Refuses names that have one of these addresses: a connection to it would be a loop.
    #[must_use]
    pub fn without(self, own: OwnSockets) -> Self {
        Self { own, ..self }
    }

    /// Returns the sockets that no name may lead to.
    pub fn own_sockets(&self) -> &OwnSockets {
        &self.own
    }

    /// Returns the addresses of `host`, at least one.
    ///
    /// # Errors
    ///
    /// When the name has never been resolved and cannot be resolved within 5 s now; an
    /// [`OwnSocket`] when an address is a socket of this daemon.
    pub async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = self.find(host, port).await?;
        match found.iter().find(|address| self.own.contains(**address)) {
            Some(ours) => Err(io::Error::other(OwnSocket(*ours))),
            None => Ok(found),
        }
    }

    /// Looks a name up once, and remembers nothing: for names that a client chooses. `permit` is
    /// dropped when the system's resolver has ended, which may be long after the caller has.
    ///
    /// # Errors
    ///
    /// When the name cannot be resolved within 5 s.
    pub async fn look_up_once(
        &self,
        host: &str,
        port: u16,
        permit: impl Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        match host.parse::<IpAddr>() {
            Ok(address) => Ok(vec![SocketAddr::new(address, port)]),
            Err(_) => self.lookup(host.to_owned(), port, permit).await,
        }
    }

    async fn find(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Some((origin, address)) = self.fixed.as_deref()
            && origin.host() == host
            && origin.port() == port
        {
            return Ok(vec![*address]);
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        match self.lookup(host.to_owned(), port, ()).await {
            Ok(found) => {
                self.cache().insert(host.to_owned(), found.clone());
                Ok(found)
            }
            // The system's resolver reports a missing descriptor as a name that fails for now.
            Err(error) => {
                self.cached(host, port).ok_or_else(|| find_local_exhaustion().unwrap_or(error))
            }
        }
    }

    /// Returns the last good addresses, with `port` instead of the port of the earlier lookup.
    fn cached(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        let mut found = self.cache().get(host).cloned()?;
        found.iter_mut().for_each(|address| address.set_port(port));
        Some(found)
    }

    async fn lookup(
        &self,
        host: String,
        port: u16,
        permit: impl Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        // A task of its own: the call holds its thread also when its caller has gone.
        let lookup = self.control.spawn(async move {
            let _permit = permit;
            tokio::net::lookup_host((host, port)).await.map(Iterator::collect::<Vec<_>>)
        });
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, lookup)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the resolver did not respond"))?
            .map_err(io::Error::other)??;
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(found)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<SocketAddr>>> {
        self.last_good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A [`Resolver`] for reqwest, which does not say for which port it asks.
#[derive(Clone, Debug)]
pub struct PortResolver {
    resolver: Resolver,
    port: u16,
}

impl PortResolver {
    /// Resolves names for connections to `port`.
    pub fn new(resolver: Resolver, port: u16) -> Self {
        Self { resolver, port }
    }
}

impl reqwest::dns::Resolve for PortResolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let Self { resolver, port } = self.clone();
        Box::pin(async move {
            let found = resolver.resolve(name.as_str(), port).await.map_err(|error| {
                // The type of the innermost error tells a loop from a name without an address.
                match own_socket(&error) {
                    Some(own) => Box::<dyn std::error::Error + Send + Sync>::from(own),
                    None => Unresolved(error).into(),
                }
            })?;
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// Returns the socket of ours that was found instead of an upstream.
pub(super) fn own_socket(error: &io::Error) -> Option<OwnSocket> {
    error.get_ref()?.downcast_ref().copied()
}

/// A name without an address. The type distinguishes this from the other errors that prevent the
/// daemon's own client from connecting.
#[derive(Debug, thiserror::Error)]
#[error("the name does not resolve")]
pub struct Unresolved(#[source] io::Error);

/// Longest lookup. glibc's resolver gives up after 5 s for each server by default, and a request
/// should not wait for the second server while older addresses are known.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
