//! From an origin to a verified connection: name, TCP, the proxy on the way, TLS, HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::line::Line;
use super::secure::Secure;
use super::streams::Streams;
use super::via::Via;
use super::{Error, Resolver, Terms, Unreachable};
use crate::config::Origin;

/// Opens connections to one origin.
pub(super) struct Dialer {
    origin: Origin,
    tls: Arc<rustls::ClientConfig>,
    resolver: Resolver,
    via: Option<Via>,
    limit: Duration,
}

/// A connection, as both ends agreed to use it.
pub(super) enum Dialed {
    /// One request at a time.
    Line(Line),
    /// Many at once.
    Streams(Streams),
}

impl Dialer {
    pub(super) fn new(
        origin: Origin,
        tls: &rustls::ClientConfig,
        resolver: Resolver,
        terms: &Terms,
    ) -> Self {
        let mut tls = tls.clone();
        tls.alpn_protocols = match terms.http2 {
            true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            false => vec![b"http/1.1".to_vec()],
        };
        let via = terms.via.clone();
        Self { origin, tls: Arc::new(tls), resolver, via, limit: terms.connect }
    }

    /// Opens one connection within the time limit.
    pub(super) async fn dial(&self) -> Result<Dialed, Error> {
        let stream = self.in_time(self.secure(self.tls.clone())).await?;
        if !stream.speaks_http2() {
            return Ok(Dialed::Line(Line::new(stream)));
        }
        let opened = Streams::open(stream, &self.origin).await;
        opened.map(Dialed::Streams).map_err(|error| {
            let (origin, source) = (self.origin.clone(), error.into());
            Error::Closed { origin, source }
        })
    }

    /// Opens one that speaks HTTP/1.1, whatever else is offered otherwise.
    pub(super) async fn line(&self) -> Result<Line, Error> {
        let mut tls = rustls::ClientConfig::clone(&self.tls);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        self.in_time(self.secure(Arc::new(tls))).await.map(Line::new)
    }

    async fn in_time(
        &self,
        secure: impl Future<Output = Result<Secure, Error>>,
    ) -> Result<Secure, Error> {
        tokio::time::timeout(self.limit, secure).await.unwrap_or_else(|_| {
            let source = io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
            Err(self.unreachable(Unreachable::Slow, source))
        })
    }

    async fn secure(&self, tls: Arc<rustls::ClientConfig>) -> Result<Secure, Error> {
        let tcp = match &self.via {
            None => self.connect(self.origin.host(), self.origin.port()).await?,
            Some(via) => {
                let tcp = self.connect(via.host(), via.port()).await?;
                let tunnel = via.tunnel(tcp, &self.origin).await;
                tunnel.map_err(|source| self.unreachable(Unreachable::Other, source))?
            }
        };
        let name = ServerName::try_from(self.origin.host().to_owned())
            .map_err(|error| self.tls(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let secure = Secure::connect(tcp, tls, name).await;
        secure.map_err(|source| match source.kind() == io::ErrorKind::InvalidData {
            true => self.tls(source),
            // Cut off before the two could disagree about anything.
            false => self.unreachable(Unreachable::Other, source),
        })
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Error> {
        let addresses = self
            .resolver
            .resolve(host, port)
            .await
            .map_err(|source| self.unreachable(Unreachable::Name, source))?;
        let tcp = race(addresses).await.map_err(|source| {
            let refused = source.kind() == io::ErrorKind::ConnectionRefused;
            let slow = source.kind() == io::ErrorKind::TimedOut;
            let reason = match (refused, slow) {
                (true, _) => Unreachable::Refused,
                (_, true) => Unreachable::Slow,
                (false, false) => Unreachable::Other,
            };
            self.unreachable(reason, source)
        })?;
        // Requests are small and wait for an answer: never for another segment.
        tcp.set_nodelay(true).map_err(|source| self.unreachable(Unreachable::Other, source))?;
        Ok(tcp)
    }

    fn unreachable(&self, reason: Unreachable, source: io::Error) -> Error {
        Error::Unreachable { origin: self.origin.clone(), reason, source }
    }

    fn tls(&self, source: io::Error) -> Error {
        let cause = source.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        let certificate = matches!(cause, Some(rustls::Error::InvalidCertificate(_)));
        Error::Tls { origin: self.origin.clone(), certificate, source }
    }
}

/// Connects to the first address that answers (RFC 8305): each gets [`HEAD_START`] before the next
/// one is tried beside it, and a failure starts the next one at once.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = interleaved(addresses).into_iter();
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
                true => tokio::time::timeout(HEAD_START, tries.join_next()).await.ok(),
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
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
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
const HEAD_START: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_alternate_from_the_preferred_one() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mixed = interleaved(vec![
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

        let stream = race(vec![dead, address]).await.unwrap();

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
        let stream = race(vec![address, live.local_addr().unwrap()]).await.unwrap();

        assert_eq!(stream.peer_addr().unwrap(), live.local_addr().unwrap());
        assert!(begun.elapsed() >= HEAD_START && begun.elapsed() < 10 * HEAD_START);
    }
}
