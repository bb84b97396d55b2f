//! From an origin to a verified connection: name, TCP, the proxy on the way, TLS, HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::h1_conn::Http1Connection;
use super::h2_conn::Http2Connection;
use super::http_proxy::HttpProxy;
use super::tls_stream::TlsStream;
use super::{Error, Resolver, UnreachableReason, UpstreamOptions};
use crate::config::Origin;

/// Opens connections to one origin.
pub(super) struct Connector {
    origin: Origin,
    tls_error: Arc<rustls::ClientConfig>,
    resolver: Resolver,
    proxy: Option<HttpProxy>,
    connect_timeout: Duration,
}

/// A connection, as both ends agreed to use it.
pub(super) enum Connected {
    /// One request at a time.
    Http1(Http1Connection),
    /// Many at once.
    Http2(Http2Connection),
}

impl Connector {
    pub(super) fn new(
        origin: Origin,
        tls: &rustls::ClientConfig,
        resolver: Resolver,
        terms: &UpstreamOptions,
    ) -> Self {
        let mut tls = tls.clone();
        tls.alpn_protocols = match terms.http2 {
            true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            false => vec![b"http/1.1".to_vec()],
        };
        let proxy = terms.proxy.clone();
        Self {
            origin,
            tls_error: Arc::new(tls),
            resolver,
            proxy,
            connect_timeout: terms.connect_timeout,
        }
    }

    /// Opens one connection within the time limit.
    pub(super) async fn connect(&self) -> Result<Connected, Error> {
        let stream = self.with_timeout(self.connect_tls(self.tls_error.clone())).await?;
        if !stream.is_http2() {
            return Ok(Connected::Http1(Http1Connection::new(stream)));
        }
        let opened = Http2Connection::handshake(stream, &self.origin).await;
        opened.map(Connected::Http2).map_err(|error| {
            let (origin, source) = (self.origin.clone(), error.into());
            Error::Closed { origin, source }
        })
    }

    /// Opens one that speaks HTTP/1.1, whatever else is offered otherwise.
    pub(super) async fn connect_h1(&self) -> Result<Http1Connection, Error> {
        let mut tls = rustls::ClientConfig::clone(&self.tls_error);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        self.with_timeout(self.connect_tls(Arc::new(tls))).await.map(Http1Connection::new)
    }

    async fn with_timeout(
        &self,
        secure: impl Future<Output = Result<TlsStream, Error>>,
    ) -> Result<TlsStream, Error> {
        tokio::time::timeout(self.connect_timeout, secure).await.unwrap_or_else(|_| {
            let source = io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
            Err(self.unreachable_error(UnreachableReason::TimedOut, source))
        })
    }

    async fn connect_tls(&self, tls: Arc<rustls::ClientConfig>) -> Result<TlsStream, Error> {
        let tcp = match &self.proxy {
            None => self.connect_tcp(self.origin.host(), self.origin.port()).await?,
            Some(via) => {
                let tcp = self.connect_tcp(via.host(), via.port()).await?;
                let tunnel = via.connect_tunnel(tcp, &self.origin).await;
                tunnel.map_err(|source| self.unreachable_error(UnreachableReason::Other, source))?
            }
        };
        let name = ServerName::try_from(self.origin.host().to_owned())
            .map_err(|error| self.tls_error(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let secure = TlsStream::connect(tcp, tls, name).await;
        secure.map_err(|source| match source.kind() == io::ErrorKind::InvalidData {
            true => self.tls_error(source),
            // Cut off before the two could disagree about anything.
            false => self.unreachable_error(UnreachableReason::Other, source),
        })
    }

    async fn connect_tcp(&self, host: &str, port: u16) -> Result<TcpStream, Error> {
        let addresses = self
            .resolver
            .resolve(host, port)
            .await
            .map_err(|source| self.unreachable_error(UnreachableReason::Dns, source))?;
        let tcp = happy_eyeballs(addresses).await.map_err(|source| {
            let refused = source.kind() == io::ErrorKind::ConnectionRefused;
            let slow = source.kind() == io::ErrorKind::TimedOut;
            let reason = match (refused, slow) {
                (true, _) => UnreachableReason::Refused,
                (_, true) => UnreachableReason::TimedOut,
                (false, false) => UnreachableReason::Other,
            };
            self.unreachable_error(reason, source)
        })?;
        // Requests are small and wait for an answer: never for another segment.
        tcp.set_nodelay(true)
            .map_err(|source| self.unreachable_error(UnreachableReason::Other, source))?;
        Ok(tcp)
    }

    fn unreachable_error(&self, reason: UnreachableReason, source: io::Error) -> Error {
        Error::Unreachable { origin: self.origin.clone(), reason, source }
    }

    fn tls_error(&self, source: io::Error) -> Error {
        let cause = source.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        let certificate = matches!(cause, Some(rustls::Error::InvalidCertificate(_)));
        Error::Tls { origin: self.origin.clone(), certificate, source }
    }
}

/// Connects to the first address that answers (RFC 8305): each gets [`ATTEMPT_DELAY`] before the next
/// one is tried beside it, and a failure starts the next one at once.
async fn happy_eyeballs(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = interleave_families(addresses).into_iter();
    let mut tries = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        let next = waiting.next();
        let more = next.is_some();
        if let Some(address) = next {
            tries.spawn(TcpStream::connect(address));
        }
        let finished = async {
            match more {
                true => tokio::time::timeout(ATTEMPT_DELAY, tries.join_next()).await.ok(),
                false => Some(tries.join_next().await),
            }
        };
        match finished.await {
            // The head start is over, or one try has failed: on to the next address.
            None => {}
            Some(None) => return Err(last),
            Some(Some(Ok(Ok(stream)))) => return Ok(stream),
            Some(Some(Ok(Err(error)))) => last = error,
            Some(Some(Err(error))) => last = io::Error::other(error),
        }
    }
}

/// Alternates the families, in the resolver's order of preference.
fn interleave_families(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut mixed = vec![];
    loop {
        match (preferred.next(), other.next()) {
            (None, None) => return mixed,
            (one, another) => mixed.extend(one.into_iter().chain(another)),
        }
    }
}

/// RFC 8305 §5: the recommended connection attempt delay.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_alternate_from_the_preferred_one() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mixed = interleave_families(vec![
            parse("[::1]:1"),
            parse("[::2]:1"),
            parse("127.0.0.1:1"),
            parse("127.0.0.2:1"),
        ]);
        let expected = ["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1"].map(parse);
        assert_eq!(mixed, expected);
    }

    #[tokio::test]
    async fn a_dead_address_does_not_stop_a_live_one() {
        let live = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = live.local_addr().unwrap();
        let dead = {
            let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };

        let stream = happy_eyeballs(vec![dead, address]).await.unwrap();

        assert_eq!(stream.peer_addr().unwrap(), address);
    }

    #[tokio::test]
    async fn an_address_that_says_nothing_does_not_hold_up_the_next() {
        // Nobody takes connections off it: beyond those that wait, Linux drops who knocks.
        let mute = tokio::net::TcpSocket::new_v4().unwrap();
        mute.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mute = mute.listen(1).unwrap();
        let address = mute.local_addr().unwrap();
        let mut waiting = vec![];
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
        {
            waiting.push(stream);
        }
        let live = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();

        let begun = std::time::Instant::now();
        let stream = happy_eyeballs(vec![address, live.local_addr().unwrap()]).await.unwrap();

        assert_eq!(stream.peer_addr().unwrap(), live.local_addr().unwrap());
        assert!(begun.elapsed() >= ATTEMPT_DELAY && begun.elapsed() < 10 * ATTEMPT_DELAY);
    }
}
