//! The HTTP proxy on the way to the upstream: each connection requests one tunnel.
//!
//! hyper-util's matcher reads the proxy's URL and `NO_PROXY`. Its `Tunnel` is not used: it accepts
//! only the status 200, and does not say which other status came, which a user must know. A tunnel
//! is one request of our own HTTP/1.1 client.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use h1_client::Connection;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderValue, Request, Uri};
use http_body_util::Empty;
use hyper_util::client::proxy::matcher::Matcher;
use tokio::net::TcpStream;

use crate::config::{Origin, Proxy};
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::secret::{SecretFlaw, SecretInput, UnusableSecret};

/// An HTTP proxy that opens tunnels (RFC 9110 §9.3.6).
#[derive(Clone, PartialEq, Eq)]
pub struct HttpProxy {
    /// The URL as it was given, its login included.
    url: String,
    host: String,
    port: u16,
    /// The value of `Proxy-Authorization`.
    login: Option<HeaderValue>,
}

/// Why a proxy cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The URL has another scheme than `http`.
    #[error("only http:// proxies can be used for the upstream")]
    UnsupportedScheme,
    /// The URL is not `http://[user:password@]host[:port]`.
    #[error("the proxy is not of the form http://[user:password@]host[:port]")]
    InvalidUrl,
    /// The text cannot be a URL with a password.
    #[error("the proxy's URL {0}")]
    Unusable(SecretFlaw),
}

/// The status of a proxy that opens no tunnel. The type distinguishes it from a connection that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proxy responded with {0} to CONNECT")]
pub struct TunnelRefused(pub u16);

impl Problem for Error {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::UnsupportedScheme | Self::InvalidUrl | Self::Unusable(_) => {
                ProblemKind::ConfigInvalid
                    .with_hint("Write it as http://proxy.example:3128, or use none.")
            }
        }
    }
}

impl HttpProxy {
    /// Returns the proxy on the way to `origin`, if `upstream.proxy` names one.
    ///
    /// # Errors
    ///
    /// As [`HttpProxy::parse`].
    pub fn from_config(proxy: &Proxy, origin: &Origin) -> Result<Option<Self>, Error> {
        match proxy {
            Proxy::None => Ok(None),
            Proxy::Url(url) => Self::parse(url).map(Some),
            Proxy::System => Self::from_env(origin, |name| std::env::var(name).ok()),
        }
    }

    /// Parses `http://[user:password@]host[:port]`; the port is 80 if none is given, as in every
    /// URL.
    ///
    /// # Errors
    ///
    /// When the scheme or the form is wrong. The error does not repeat the URL, which may hold a
    /// password.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let text = SecretInput::new("the proxy's URL", url).line();
        let text = text.map_err(|UnusableSecret { flaw, .. }| {
            if flaw == SecretFlaw::Empty { Error::InvalidUrl } else { Error::Unusable(flaw) }
        })?;
        let url = text.expose();
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(Error::UnsupportedScheme);
        }
        let matcher = Matcher::builder().all(url).build();
        let proxy = matcher.intercept(&Uri::from_static("https://any")).ok_or(Error::InvalidUrl)?;
        let authority = proxy.uri().authority().ok_or(Error::InvalidUrl)?;
        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str() == authority.host() => 80,
            // There is a port, and it is no number.
            None => return Err(Error::InvalidUrl),
        };
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(Error::InvalidUrl);
        }
        let login = proxy.basic_auth().cloned();
        Ok(Self { url: format!("http://{rest}"), host: host.to_owned(), port, login })
    }

    /// Returns the proxy that `HTTPS_PROXY` or `ALL_PROXY` names, unless `NO_PROXY` excepts
    /// `origin`.
    ///
    /// # Errors
    ///
    /// As [`HttpProxy::parse`].
    pub fn from_env(
        origin: &Origin,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, Error> {
        let first = |names: &[&str]| {
            names.iter().filter_map(|name| variable(name)).find(|value| !value.is_empty())
        };
        let exceptions = first(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
        if is_excepted(origin, &exceptions) {
            return Ok(None);
        }
        let url = first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]);
        url.map(|url| Self::parse(&url)).transpose()
    }

    /// Returns the proxy on the way to a host that is asked over plain HTTP: `HTTP_PROXY` names it
    /// where the environment does.
    ///
    /// # Errors
    ///
    /// As [`HttpProxy::parse`].
    pub fn for_plain_http(proxy: &Proxy, host: &Origin) -> Result<Option<Self>, Error> {
        let https = ["https_proxy", "HTTPS_PROXY"];
        match proxy {
            Proxy::None | Proxy::Url(_) => Self::from_config(proxy, host),
            Proxy::System => Self::from_env(host, |name| {
                let name = https
                    .iter()
                    .position(|it| *it == name)
                    .map_or(name, |at| ["http_proxy", "HTTP_PROXY"][at]);
                std::env::var(name).ok()
            }),
        }
    }

    /// Returns the value of `Proxy-Authorization`, if the URL holds a login.
    pub fn login(&self) -> Option<&HeaderValue> {
        self.login.as_ref()
    }

    /// Returns the proxy as a URL, its login included.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns its host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Requests a tunnel to `origin` from the proxy at the other end of `tcp`, and returns the
    /// tunnel.
    ///
    /// # Errors
    ///
    /// When the proxy refuses, does not speak HTTP, or closes the connection.
    pub async fn connect_tunnel(&self, tcp: TcpStream, origin: &Origin) -> io::Result<TcpStream> {
        let target = if origin.host().contains(':') {
            format!("[{}]:{}", origin.host(), origin.port())
        } else {
            format!("{}:{}", origin.host(), origin.port())
        };
        let mut request = Request::connect(&target).header(HOST, &target);
        if let Some(login) = &self.login {
            request = request.header(PROXY_AUTHORIZATION, login);
        }
        let mut request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
        let mut connection = Connection::new(tcp);
        let response = connection.send_request(&mut request, TUNNEL_TIMEOUT).await;
        let status = response.map_err(|failed| tunnel_error(failed.error))?.status();
        if !status.is_success() {
            return Err(io::Error::other(TunnelRefused(status.as_u16())));
        }
        let (tcp, ahead) = connection.into_parts();
        // In TLS the client speaks first.
        if !ahead.is_empty() {
            return Err(io::Error::other("the proxy sent data of its own through the tunnel"));
        }
        Ok(tcp)
    }
}

impl fmt::Debug for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpProxy({}:{})", self.host, self.port)
    }
}

/// Returns whether `exceptions`, the value of `NO_PROXY`, name `origin`: by its name, by a domain
/// above it, by its address, or by a network around that; each for all ports or for one.
fn is_excepted(origin: &Origin, exceptions: &str) -> bool {
    // curl and the matcher write a domain as `.example.com`; other tools, as `*.example.com`.
    let exceptions: Vec<&str> = exceptions
        .split([',', ' '])
        .filter_map(|exception| without_port(exception.trim(), origin.port()))
        .map(|exception| exception.trim_start_matches("*."))
        .collect();
    let Ok(url) = Uri::try_from(format!("https://{}", origin.authority())) else { return false };
    let matcher = Matcher::builder().all("http://any").no(exceptions.join(",")).build();
    matcher.intercept(&url).is_none()
}

/// Removes the port of an exception (Go, Python's requests and wget take one; the matcher does not).
/// Returns `None` if that is another port than `port`.
fn without_port(exception: &str, port: u16) -> Option<&str> {
    let (host, named) = match exception.rsplit_once(':') {
        Some((host, named)) if host.starts_with('[') && host.ends_with(']') => {
            (host.trim_matches(['[', ']']), named)
        }
        // More colons belong to an address of IPv6 without a port.
        Some((host, named)) if !host.contains(':') => (host, named),
        Some(_) | None => return Some(exception.trim_matches(['[', ']'])),
    };
    match named.parse::<u16>() {
        Ok(named) => (named == port).then_some(host),
        // No port: the matcher decides what this is.
        Err(_) => Some(exception),
    }
}

/// Says in a user's terms why a request for a tunnel failed.
fn tunnel_error(error: h1_client::Error<std::convert::Infallible>) -> io::Error {
    use h1_client::Error as E;

    match error {
        E::Io(error) => error,
        E::Malformed(_) => io::Error::other("the proxy does not speak HTTP"),
        E::Closed | E::Truncated => io::ErrorKind::UnexpectedEof.into(),
        E::TimedOut => io::ErrorKind::TimedOut.into(),
        E::BodyLength | E::Body(_) => io::ErrorKind::InvalidData.into(),
    }
}

/// Longest wait for a proxy. The timeout of the whole connection, 10 s by default, is over before.
const TUNNEL_TIMEOUT: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
