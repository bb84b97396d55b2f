//! Names to addresses: with a deadline, and the last good answer when the resolver fails.
//!
//! `getaddrinfo` blocks a thread for as long as it likes, so it runs on the control runtime's
//! blocking pool: the data path only waits for a message.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

/// Resolves names on another runtime. Clones share what was learned.
#[derive(Clone, Debug)]
pub struct Resolver {
    control: Handle,
    last_good: Arc<Mutex<HashMap<String, Vec<SocketAddr>>>>,
}

impl Resolver {
    /// Makes a resolver whose blocking calls run on `control`.
    pub fn new(control: Handle) -> Self {
        Self { control, last_good: Arc::default() }
    }

    /// Returns the addresses of `host`, at least one.
    ///
    /// # Errors
    ///
    /// When the name has never been resolved and cannot be resolved within 5 s now.
    pub async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        match self.lookup(host.to_owned(), port).await {
            Ok(found) => {
                self.cache().insert(host.to_owned(), found.clone());
                Ok(found)
            }
            Err(error) => self.cached(host, port).ok_or(error),
        }
    }

    /// Returns the last good answer. Whoever asked for it may have wanted another port, or none.
    fn cached(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        let mut found = self.cache().get(host).cloned()?;
        found.iter_mut().for_each(|address| address.set_port(port));
        Some(found)
    }

    async fn lookup(&self, host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        let asked = self.control.spawn(async move {
            tokio::net::lookup_host((host, port)).await.map(Iterator::collect::<Vec<_>>)
        });
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, asked)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the resolver did not answer"))?
            .map_err(io::Error::other)??;
        match found.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            false => Ok(found),
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<SocketAddr>>> {
        self.last_good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let found = resolver.resolve(name.as_str(), 0).await.map_err(Unresolved)?;
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// A name without an address: told from whatever else keeps the daemon's own client from a
/// connection.
#[derive(Debug, thiserror::Error)]
#[error("the name does not resolve")]
pub struct Unresolved(#[source] io::Error);

/// glibc's resolver gives up after 5 s a server by default; a request should not wait for its
/// second try while an older answer is at hand.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_one_has_learned_serves_another_on_its_own_port() {
        let resolver = Resolver::new(Handle::current());
        assert_eq!(resolver.cached("localhost", 443), None);

        // As the client of the token endpoint asks.
        let found = resolver.resolve("localhost", 0).await.unwrap();

        let again = resolver.cached("localhost", 443).unwrap();
        assert_eq!(again.len(), found.len());
        assert!(again.iter().all(|address| address.port() == 443), "{again:?}");
    }
}
