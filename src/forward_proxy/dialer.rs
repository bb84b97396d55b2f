//! Connects to hosts that a client names: the name is resolved once, each of its addresses is
//! checked, and a checked one is dialled.
//!
//! Without the checks, any program that takes URLs from others (and so any web page that such a
//! program reads) could reach this machine's own services, its network, and the metadata of its
//! cloud. Where a parent proxy is configured, that one resolves names and decides for itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::lookups::Lookups;
use super::public_address::{is_of_this_machine, is_public};
use super::{Error, HostPort};
use crate::config::{Origin, Proxy};
use crate::upstream::{HttpProxy, OwnSockets, Resolver, TunnelRefused, connect_tcp};

/// Connects to hosts that a client names.
pub struct Dialer {
    lookup: Lookup,
    lookups: Lookups,
    /// The sockets of this program.
    own: OwnSockets,
    /// The proxy on the way.
    proxy: Proxy,
    /// Hosts that a person has named, which are not checked.
    named: Vec<HostPort>,
    timeout: Duration,
}

enum Lookup {
    System(Resolver),
    #[cfg(test)]
    Fixed(FixedLookup),
}

#[cfg(test)]
type FixedLookup = Box<dyn Fn(&str) -> Vec<std::net::IpAddr> + Send + Sync>;

impl Dialer {
    /// Resolves names with `resolver` and goes through `proxy`, within `timeout`. Refuses ports that
    /// are not usual and addresses that are not of the internet, but not for hosts in `allow`; the
    /// sockets that `resolver` knows as our own, always.
    pub fn new(resolver: Resolver, proxy: Proxy, allow: &[String], timeout: Duration) -> Self {
        let named = allow.iter().filter_map(|text| HostPort::parse(text, Some(443))).collect();
        let (own, lookups) = (resolver.own_sockets().clone(), Lookups::new());
        Self { lookup: Lookup::System(resolver), lookups, own, proxy, named, timeout }
    }

    /// Checks what needs no lookup: the port, and an address that is written as one.
    pub(super) fn check(&self, to: &HostPort, usual_port: u16) -> Result<(), Error> {
        if to.port() != usual_port && !self.named.contains(to) {
            return Err(Error::Port(to.port()));
        }
        match to.address() {
            Some(address) => self.check_address(SocketAddr::new(address, to.port()), to),
            None => Ok(()),
        }
    }

    /// Checks an address of `to`. No name makes a way to ourselves.
    fn check_address(&self, address: SocketAddr, to: &HostPort) -> Result<(), Error> {
        if self.own.contains(address) {
            return Err(Error::OwnAddress);
        }
        if self.named.contains(to) {
            return Ok(());
        }
        // A service of this machine may be hidden from the internet by a firewall alone.
        let is_reachable = is_public(address.ip()) && !is_of_this_machine(address.ip());
        if is_reachable { Ok(()) } else { Err(Error::PrivateAddress) }
    }

    /// Connects to `to`, through a tunnel of the parent proxy if there is one.
    pub(super) async fn connect(&self, to: &HostPort, is_owner: bool) -> Result<TcpStream, Error> {
        let origin = Origin::new(to.host(), to.port());
        let parent = HttpProxy::from_config(&self.proxy, &origin).map_err(Error::Parent)?;
        let Some(parent) = parent else { return self.connect_directly(to, is_owner).await };
        let tunnel = async {
            let tcp = self.connect_parent(&parent, is_owner).await?;
            parent.connect_tunnel(tcp, &origin).await.map_err(tunnel_error)
        };
        timeout(self.timeout, tunnel).await.unwrap_or(Err(Error::ParentTimeout))
    }

    /// Connects to `to`, or to the parent proxy, which takes one request for it.
    pub(super) async fn connect_plain(
        &self,
        to: &HostPort,
        is_owner: bool,
    ) -> Result<(TcpStream, Option<HttpProxy>), Error> {
        let origin = Origin::new(to.host(), to.port());
        let parent = HttpProxy::for_plain_http(&self.proxy, &origin).map_err(Error::Parent)?;
        let Some(parent) = parent else {
            return Ok((self.connect_directly(to, is_owner).await?, None));
        };
        let connecting = timeout(self.timeout, self.connect_parent(&parent, is_owner)).await;
        Ok((connecting.unwrap_or(Err(Error::ParentTimeout))?, Some(parent)))
    }

    async fn connect_directly(&self, to: &HostPort, is_owner: bool) -> Result<TcpStream, Error> {
        let connecting = async {
            let addresses = self.look_up(to.host(), to.port(), is_owner).await;
            let addresses = addresses.map_err(Error::Resolve)?;
            // All of them: one of the internet among them must not make the others reachable.
            addresses.iter().try_for_each(|address| self.check_address(*address, to))?;
            connect_tcp(addresses).await.map_err(connect_error)
        };
        timeout(self.timeout, connecting).await.unwrap_or_else(|_| {
            Err(connect_error(io::Error::new(io::ErrorKind::TimedOut, "no connection in time")))
        })
    }

    /// Connects to the parent proxy, which is often a program on this machine.
    async fn connect_parent(&self, parent: &HttpProxy, is_owner: bool) -> Result<TcpStream, Error> {
        let addresses = self.look_up(parent.host(), parent.port(), is_owner).await;
        let addresses = addresses.map_err(Error::ParentUnreachable)?;
        if addresses.iter().any(|address| self.own.contains(*address)) {
            return Err(Error::OwnAddress);
        }
        connect_tcp(addresses).await.map_err(|error| Error::ParentUnreachable(Arc::new(error)))
    }

    async fn look_up(
        &self,
        host: &str,
        port: u16,
        is_owner: bool,
    ) -> Result<Vec<SocketAddr>, Arc<io::Error>> {
        let permit = self.lookups.acquire(is_owner).await.ok_or_else(|| {
            io::Error::new(io::ErrorKind::TimedOut, "the resolver is busy with other names")
        })?;
        let found = match &self.lookup {
            Lookup::System(resolver) => resolver.look_up_once(host, port, permit).await,
            #[cfg(test)]
            Lookup::Fixed(addresses) => {
                Ok(addresses(host).into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
            }
        };
        found.map_err(Arc::new)
    }
}

fn connect_error(error: io::Error) -> Error {
    Error::Connect(Arc::new(error))
}

/// Says why the parent proxy has opened no tunnel.
fn tunnel_error(error: io::Error) -> Error {
    let refused = error.get_ref().and_then(|cause| cause.downcast_ref::<TunnelRefused>());
    match refused {
        Some(TunnelRefused(PROXY_LOGIN_STATUS)) => Error::ParentLogin,
        Some(TunnelRefused(status)) => Error::ParentRefused(*status),
        None => Error::ParentUnreachable(Arc::new(error)),
    }
}

/// 407 Proxy Authentication Required.
pub(super) const PROXY_LOGIN_STATUS: u16 = 407;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_name_is_resolved_once_and_each_of_its_addresses_is_checked() {
        let asked = Arc::new(AtomicUsize::new(0));
        for (addresses, is_own) in [
            (&["127.0.0.1"][..], false),
            (&["169.254.169.254"], false),
            (&["1.1.1.1", "10.0.0.1"], false),
            (&["1.1.1.1", "::ffff:10.0.0.1"], false),
            (&["64:ff9b::a00:1", "1.1.1.1"], false),
            (&["203.0.113.9"], true),
        ] {
            let (count, found) = (asked.clone(), addresses.to_vec());
            let dialer = dialer(&[], move |_| {
                count.fetch_add(1, Ordering::Relaxed);
                found.iter().map(|address| address.parse().unwrap()).collect()
            });
            let before = asked.load(Ordering::Relaxed);
            let to = HostPort::new("rebound.test", 443);

            dialer.check(&to, 443).unwrap();
            let refused = dialer.connect(&to, true).await.unwrap_err();

            assert_eq!(matches!(refused, Error::OwnAddress), is_own, "{addresses:?}: {refused}");
            assert!(is_own || matches!(refused, Error::PrivateAddress), "{addresses:?}: {refused}");
            assert_eq!(asked.load(Ordering::Relaxed), before + 1, "{addresses:?}");
        }
    }

    #[tokio::test]
    async fn a_named_host_is_reached_at_the_address_that_was_found() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let dialer = dialer(&[&format!("intranet.test:{port}")], move |_| {
            // A second answer would lead elsewhere.
            match count.fetch_add(1, Ordering::Relaxed) {
                0 => vec![[127, 0, 0, 1].into()],
                _ => vec![[192, 0, 2, 1].into()],
            }
        });
        let to = HostPort::new("intranet.test", port);

        dialer.check(&to, 443).unwrap();
        let (mut near, (mut far, _)) = tokio::try_join!(
            async { dialer.connect(&to, true).await.map_err(io::Error::other) },
            server.accept()
        )
        .unwrap();

        near.write_all(b"x").await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), b'x');
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn what_is_written_as_an_address_is_checked_before_anything_is_sent() {
        let dialer = dialer(&["127.0.0.1:9443", "[::1]:9443"], |_| vec![]);
        for (host, port) in
            [("127.0.0.1", 443), ("169.254.169.254", 443), ("::1", 443), ("10.0.0.1", 443)]
        {
            let refused = dialer.check(&HostPort::new(host, port), 443).unwrap_err();
            assert!(matches!(refused, Error::PrivateAddress), "{host}: {refused}");
        }
        for host in ["127.0.0.1", "::1"] {
            dialer.check(&HostPort::new(host, 9443), 443).unwrap();
        }
        let own = HostPort::new("203.0.113.9", 443);
        for allow in [&[][..], &["203.0.113.9:443"]] {
            let refused = self::dialer(allow, |_| vec![]).check(&own, 443).unwrap_err();
            assert!(matches!(refused, Error::OwnAddress), "{allow:?}: {refused}");
        }
    }

    /// The system's resolver cannot be cancelled: what counts is its thread, and not its caller.
    #[test]
    fn a_lookup_keeps_its_permit_until_its_thread_is_free() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (resume, resumed) = std::sync::mpsc::channel::<()>();
            let slow = tokio::task::spawn_blocking(move || resumed.recv());
            let resolver = Resolver::new(tokio::runtime::Handle::current());
            let dialer = Dialer::new(resolver, Proxy::None, &[], Duration::from_secs(60));
            let (to, all) = (HostPort::new("localhost", 443), dialer.lookups.available());

            for _ in 0..all {
                let before = dialer.lookups.available();
                let begun = async {
                    while dialer.lookups.available() == before {
                        tokio::task::yield_now().await;
                    }
                    // As much as the lookup needs to get to its thread.
                    tokio::task::yield_now().await;
                };
                tokio::select! {
                    biased;
                    _ = dialer.connect(&to, true) => panic!("its thread is taken"),
                    () = begun => {}
                }
            }
            assert_eq!(
                dialer.lookups.available(),
                0,
                "the callers have gone, and no thread is free"
            );

            resume.send(()).unwrap();
            slow.await.unwrap().unwrap();
            while dialer.lookups.available() < all {
                tokio::task::yield_now().await;
            }
        });
    }

    fn dialer(
        allow: &[&str],
        lookup: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static,
    ) -> Dialer {
        let own = OwnSockets::new(["203.0.113.9:443".parse().unwrap()]);
        let allow: Vec<_> = allow.iter().map(|&it| it.to_owned()).collect();
        let resolver = Resolver::new(tokio::runtime::Handle::current()).without(own);
        let dialer = Dialer::new(resolver, Proxy::None, &allow, Duration::from_secs(10));
        Dialer { lookup: Lookup::Fixed(Box::new(lookup)), ..dialer }
    }
}
