//! Opens verified connections to an origin: name, TCP, the proxy on the way, TLS, HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use h1_client::HeadLimits;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::counters::ConnectionCounters;
use super::h1_conn::Http1Connection;
use super::h2_conn::Http2Connection;
use super::http_proxy::HttpProxy;
use super::resolve::{Resolver, own_socket};
use super::socket;
use super::tickets::TicketStore;
use super::tls_stream::TlsStream;
use super::{Error, UnreachableReason, UpstreamOptions};
use crate::config::Origin;
use crate::tcp_options::is_local_exhaustion;

/// Opens connections to one origin.
pub(super) struct Connector {
    origin: Origin,
    tls: Arc<rustls::ClientConfig>,
    resolver: Resolver,
    proxy: Option<HttpProxy>,
    connect_timeout: Duration,
    counters: Arc<ConnectionCounters>,
    head_limits: HeadLimits,
}

/// A connection of the HTTP version that both ends agreed on.
pub(super) enum Connected {
    /// For one request at a time.
    Http1(Http1Connection),
    /// For many requests at once.
    Http2(Http2Connection),
}

impl Connector {
    pub(super) fn new(
        origin: Origin,
        tls: &rustls::ClientConfig,
        resolver: Resolver,
        options: &UpstreamOptions,
        counters: Arc<ConnectionCounters>,
    ) -> Self {
        let mut tls = tls.clone();
        tls.resumption = Resumption::store(Arc::new(TicketStore::new()));
        tls.alpn_protocols = if options.http2 {
            vec![b"h2".to_vec(), b"http/1.1".to_vec()]
        } else {
            vec![b"http/1.1".to_vec()]
        };
        let UpstreamOptions { proxy, connect_timeout, head_limits, .. } = options.clone();
        let tls = Arc::new(tls);
        Self { origin, tls, resolver, proxy, connect_timeout, counters, head_limits }
    }

    /// Opens a connection, within the timeout.
    pub(super) async fn connect(&self) -> Result<Connected, Error> {
        let stream = self.with_timeout(self.connect_tls(self.tls.clone())).await?;
        if !stream.is_http2() {
            return Ok(Connected::Http1(self.h1(stream)));
        }
        let (origin, is_tunnel) = (&self.origin, self.proxy.is_some());
        let conn = Http2Connection::handshake(stream, is_tunnel, origin, self.head_limits).await;
        conn.map(Connected::Http2).map_err(|error| {
            let (origin, source) = (self.origin.clone(), error.into());
            Error::Closed { origin, source }
        })
    }

    /// Opens a connection that speaks HTTP/1.1, even if HTTP/2 is offered otherwise.
    pub(super) async fn connect_h1(&self) -> Result<Http1Connection, Error> {
        let mut tls = rustls::ClientConfig::clone(&self.tls);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        self.with_timeout(self.connect_tls(Arc::new(tls))).await.map(|stream| self.h1(stream))
    }

    fn h1(&self, stream: TlsStream) -> Http1Connection {
        Http1Connection::new(stream, self.proxy.is_some(), self.head_limits)
    }

    async fn with_timeout(
        &self,
        connecting: impl Future<Output = Result<TlsStream, Error>>,
    ) -> Result<TlsStream, Error> {
        let stream = tokio::time::timeout(self.connect_timeout, connecting).await;
        let stream = stream.unwrap_or_else(|_| {
            let source = io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
            Err(self.unreachable_error(UnreachableReason::TimedOut, source))
        })?;
        self.counters.count_handshake(stream.is_resumed());
        Ok(stream)
    }

    async fn connect_tls(&self, tls: Arc<rustls::ClientConfig>) -> Result<TlsStream, Error> {
        let tcp = match &self.proxy {
            None => self.connect_tcp(self.origin.host(), self.origin.port()).await?,
            Some(proxy) => {
                let tcp = self.connect_tcp(proxy.host(), proxy.port()).await?;
                let tunnel = proxy.connect_tunnel(tcp, &self.origin).await;
                tunnel.map_err(|source| self.unreachable_error(UnreachableReason::Other, source))?
            }
        };
        let name = ServerName::try_from(self.origin.host().to_owned())
            .map_err(|error| self.tls_error(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        TlsStream::connect(tcp, tls, name).await.map_err(|source| {
            if source.kind() == io::ErrorKind::InvalidData {
                self.tls_error(source)
            } else {
                // Cut off before the two ends could disagree.
                self.unreachable_error(UnreachableReason::Other, source)
            }
        })
    }

    async fn connect_tcp(&self, host: &str, port: u16) -> Result<TcpStream, Error> {
        let addresses = self.resolver.resolve(host, port).await.map_err(|source| {
            if let Some(own) = own_socket(&source) {
                return Error::Loop { origin: self.origin.clone(), address: own.0 };
            }
            let is_local = is_local_exhaustion(&source);
            let reason = if is_local { UnreachableReason::Local } else { UnreachableReason::Dns };
            self.unreachable_error(reason, source)
        })?;
        let tcp = happy_eyeballs(addresses).await.map_err(|source| {
            let is = |kind| source.kind() == kind;
            let reason = if is_local_exhaustion(&source) {
                UnreachableReason::Local
            } else if is(io::ErrorKind::ConnectionRefused) {
                UnreachableReason::Refused
            } else if is(io::ErrorKind::TimedOut) {
                UnreachableReason::TimedOut
            } else {
                UnreachableReason::Other
            };
            self.unreachable_error(reason, source)
        })?;
        socket::configure(&tcp)
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

/// Connects to the first of these addresses that accepts, and prepares the socket.
///
/// # Errors
///
/// The last failure.
pub async fn connect_tcp(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let tcp = happy_eyeballs(addresses).await?;
    socket::configure(&tcp)?;
    Ok(tcp)
}

/// Connects to the first address that accepts (RFC 8305). Each has [`ATTEMPT_DELAY`] before the
/// next address is tried too; a failure starts the next attempt at once.
async fn happy_eyeballs(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut untried = interleave_families(addresses).into_iter();
    let mut attempts = JoinSet::new();
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut has_failed = false;
    loop {
        let next = untried.next();
        let has_next = next.is_some();
        if let Some(address) = next {
            attempts.spawn(TcpStream::connect(address));
        }
        let finished = async {
            if has_next {
                tokio::time::timeout(ATTEMPT_DELAY, attempts.join_next()).await.ok()
            } else {
                Some(attempts.join_next().await)
            }
        };
        match finished.await {
            // The delay is over: on to the next address.
            None => {}
            Some(None) => return Err(last_error),
            Some(Some(Ok(Ok(stream)))) => return Ok(stream),
            // A machine without IPv6 has no address to connect from: another failure says more.
            Some(Some(Ok(Err(error)))) if is_local_exhaustion(&error) && has_failed => {}
            Some(Some(Ok(Err(error)))) => {
                last_error = error;
                has_failed = true;
            }
            Some(Some(Err(error))) => last_error = io::Error::other(error),
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

/// The connection attempt delay that RFC 8305 §5 recommends.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
