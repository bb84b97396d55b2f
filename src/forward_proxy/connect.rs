//! A `CONNECT`, from its head to the connection that continues behind its response.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Uri};
use rustls::ServerConfig;
use tokio::net::TcpStream;

use super::{ConnectRoute, Error, ForwardProxy, HostPort, TunnelPlace, copy};
use crate::ca::AuthorityKind;
use crate::listen::Stream;

/// The continuation of a connection behind the response to a `CONNECT`.
#[derive(Debug)]
pub enum OpenConnect {
    /// The TLS of the connection ends here.
    Interception(Interception),
    /// The bytes of the connection go to another host.
    Tunnel(Tunnel),
}

/// An origin of ours that a client wants to speak TLS with.
pub struct Interception {
    origin: usize,
    host: Box<str>,
    tls: Arc<ServerConfig>,
}

/// A connection to another host.
#[derive(Debug)]
pub struct Tunnel {
    host: TcpStream,
    _place: TunnelPlace,
}

/// Why an interception has failed. The connection, where there is one, can still carry a response.
#[derive(Debug, thiserror::Error)]
pub enum InterceptionError {
    /// The client does not speak TLS.
    #[error("the connection behind CONNECT begins with something other than TLS")]
    NotTls(Stream),
    /// The handshake names another host than `CONNECT`.
    #[error("the TLS handshake names another host than CONNECT")]
    OtherServerName(Stream),
    /// The handshake has failed: often the client does not trust the certificate.
    #[error("the TLS handshake has failed")]
    Handshake(#[source] io::Error),
}

impl ForwardProxy {
    /// Decides on a `CONNECT` with this target and these headers, and connects where it leads
    /// elsewhere. `is_owner` says whether the client is a process of our own user.
    ///
    /// # Errors
    ///
    /// Why it leads nowhere, or why its host is not reached.
    pub async fn open_connect(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        is_owner: bool,
    ) -> Result<OpenConnect, Error> {
        match self.route_connect(uri, headers)? {
            ConnectRoute::Intercept(origin) => {
                let host = self.origins[origin].host();
                // At the start the key of the authorities may not have been read yet. A program that
                // gets a refusal to its `CONNECT` seldom tries again.
                let issuer = self.authorities.wait(AuthorityKind::Intercept);
                let issuer = tokio::time::timeout(self.wait, issuer).await;
                let issuer = issuer.map_err(|_| Error::NoAuthority)?;
                let tls = issuer.server_config(host).ok_or(Error::NoCertificate)?;
                Ok(OpenConnect::Interception(Interception { origin, host: host.into(), tls }))
            }
            ConnectRoute::Tunnel(to) => {
                self.open_tunnel(&to, is_owner).await.map(OpenConnect::Tunnel)
            }
        }
    }

    async fn open_tunnel(&self, to: &HostPort, is_owner: bool) -> Result<Tunnel, Error> {
        let place = self.places.take(is_owner).ok_or(Error::TooManyTunnels)?;
        Ok(Tunnel { host: self.dialer.connect(to, is_owner).await?, _place: place })
    }
}

impl Interception {
    /// Returns the number of the origin.
    pub fn origin(&self) -> usize {
        self.origin
    }

    /// Proves the origin to the client, whose first bytes may be in `received`, and returns the
    /// connection in plain text.
    ///
    /// # Errors
    ///
    /// As [`InterceptionError`] says. The caller bounds the time.
    pub async fn handshake(
        self,
        stream: Stream,
        received: Bytes,
    ) -> Result<Stream, InterceptionError> {
        let begins = stream.begins_with_tls(&received).await;
        if !begins.map_err(InterceptionError::Handshake)? {
            return Err(InterceptionError::NotTls(stream));
        }
        let mut stream = stream.tls(received, self.tls);
        let name = stream.complete_handshake().await.map_err(InterceptionError::Handshake)?;
        // A client that connects to an address sends no name.
        let is_same = name.is_none_or(|name| {
            name.strip_suffix('.').unwrap_or(&name).eq_ignore_ascii_case(&self.host)
        });
        if is_same { Ok(stream) } else { Err(InterceptionError::OtherServerName(stream)) }
    }
}

impl Tunnel {
    /// Copies bytes both ways until the tunnel ends, or `stop` does and nothing moves any more.
    /// `received` holds what the client has sent already. Returns how many bytes it got.
    ///
    /// # Errors
    ///
    /// As [`copy()`].
    pub async fn run(
        self,
        client: Stream,
        received: Bytes,
        stop: impl Future<Output = ()>,
    ) -> (u64, io::Result<()>) {
        copy(client, self.host, received, stop).await
    }
}

impl fmt::Debug for Interception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interception").field("origin", &self.origin).finish_non_exhaustive()
    }
}
