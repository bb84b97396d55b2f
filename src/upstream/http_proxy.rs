//! The proxy on the way to the internet: asked once per connection for a tunnel, then blind.

use std::fmt;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::{Origin, Proxy};

/// An HTTP proxy that lets tunnels through (RFC 9110 §9.3.6).
#[derive(Clone, PartialEq, Eq)]
pub struct HttpProxy {
    host: String,
    port: u16,
    /// `user:password`, as a `Proxy-Authorization` carries it.
    login: Option<String>,
    /// The same as the URL had it.
    url_login: Option<String>,
}

/// Why a proxy cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Only plain HTTP proxies are known here.
    #[error("only http:// proxies can be used for the upstream")]
    UnsupportedScheme,
    /// It is not `http://[user:password@]host[:port]`.
    #[error("the proxy is not of the form http://[user:password@]host[:port]")]
    InvalidUrl,
}

impl HttpProxy {
    /// Returns the proxy on the way to `origin`, if `upstream.proxy` wants one.
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

    /// Reads `http://[user:password@]host[:port]`; without a port it is 80, as in every URL.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without its password.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(Error::UnsupportedScheme);
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (url_login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login.to_owned()), place),
            None => (None, authority),
        };
        let login = url_login.as_deref().map(decoded).transpose()?.map(|login| encoded(&login));
        let (host, port) = match place.strip_prefix('[') {
            Some(inside) => {
                let (host, after) = inside.split_once(']').ok_or(Error::InvalidUrl)?;
                (host, after.strip_prefix(':'))
            }
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = port.map_or(Ok(80), str::parse).map_err(|_| Error::InvalidUrl)?;
        match host.is_empty() {
            true => Err(Error::InvalidUrl),
            false => Ok(Self { host: host.to_owned(), port, login, url_login }),
        }
    }

    /// Returns what `HTTPS_PROXY` and `NO_PROXY` say about `origin`.
    ///
    /// # Errors
    ///
    /// As [`HttpProxy::parse`].
    pub fn from_env(
        origin: &Origin,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, Error> {
        let first = |names: [&str; 4]| {
            names.into_iter().filter_map(&variable).find(|value| !value.is_empty())
        };
        let none = first(["no_proxy", "NO_PROXY", "", ""]).unwrap_or_default();
        if none.split(',').any(|name| covers(name.trim(), origin.host())) {
            return Ok(None);
        }
        let url = first(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]);
        url.map(|url| Self::parse(&url)).transpose()
    }

    /// Returns it as a URL, its login included.
    pub fn url(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        let login = self.url_login.as_ref().map(|login| format!("{login}@")).unwrap_or_default();
        format!("http://{login}{host}:{}", self.port)
    }

    /// Returns its host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks for a tunnel to `origin`; what comes back is as if connected to it.
    ///
    /// # Errors
    ///
    /// What the proxy said instead.
    pub async fn connect_tunnel(
        &self,
        mut tcp: TcpStream,
        origin: &Origin,
    ) -> io::Result<TcpStream> {
        let host = match origin.host().contains(':') {
            true => format!("[{}]:{}", origin.host(), origin.port()),
            false => format!("{}:{}", origin.host(), origin.port()),
        };
        let login = match &self.login {
            Some(login) => format!("Proxy-Authorization: Basic {login}\r\n"),
            None => String::new(),
        };
        let request = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{login}\r\n");
        tcp.write_all(request.as_bytes()).await?;
        let mut head = Vec::with_capacity(256);
        while !head.ends_with(b"\r\n\r\n") {
            // A byte at a time: what follows the head belongs to TLS. Once per connection.
            head.push(tcp.read_u8().await?);
            if head.len() > MOST_HEAD {
                return Err(io::Error::other("the proxy's answer is too long"));
            }
        }
        let status = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        match status {
            [b'2', _, _] => Ok(tcp),
            [a, b, c] if [a, b, c].into_iter().all(u8::is_ascii_digit) => {
                let status = String::from_utf8_lossy(status);
                Err(io::Error::other(format!("the proxy answered {status} to CONNECT")))
            }
            _ => Err(io::Error::other("the proxy does not speak HTTP")),
        }
    }
}

impl fmt::Debug for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Via({}:{})", self.host, self.port)
    }
}

/// Says whether an entry of `NO_PROXY` names a host or a domain above it.
fn covers(entry: &str, host: &str) -> bool {
    let domain = entry.strip_prefix("*.").or(entry.strip_prefix('.')).unwrap_or(entry);
    let (host, domain) = (host.to_ascii_lowercase(), domain.to_ascii_lowercase());
    let above = host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'));
    entry == "*" || (!domain.is_empty() && (host == domain || above))
}

/// Undoes percent-encoding: a password in a URL may need it.
fn decoded(login: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = login.bytes();
    let mut plain = vec![];
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let digits = [bytes.next(), bytes.next()];
                let [Some(high), Some(low)] = digits else { return Err(Error::InvalidUrl) };
                let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(Error::InvalidUrl);
                u8::try_from(digit(high)? * 16 + digit(low)?).map_err(|_| Error::InvalidUrl)?
            }
            byte => byte,
        });
    }
    Ok(plain)
}

/// Base64 as RFC 4648 §4 has it; one use is not worth a dependency.
fn encoded(plain: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in plain.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// A proxy that explains itself at length is a portal, not a proxy.
const MOST_HEAD: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_with_its_login() {
        let via = HttpProxy::parse("http://me:p%40ss@proxy.example:3128/").unwrap();
        assert_eq!((via.host(), via.port()), ("proxy.example", 3128));
        assert_eq!(via.login.as_deref(), Some("bWU6cEBzcw=="));
        assert_eq!(format!("{via:?}"), "Via(proxy.example:3128)");

        assert_eq!(HttpProxy::parse("proxy.example").unwrap().port(), 80);
        assert_eq!(HttpProxy::parse("http://[::1]:3128").unwrap().host(), "::1");
        assert_eq!(HttpProxy::parse("socks5://proxy.example"), Err(Error::UnsupportedScheme));
        assert_eq!(HttpProxy::parse("http://:3128"), Err(Error::InvalidUrl));
    }

    #[test]
    fn the_environment_names_the_proxy_and_the_exceptions() {
        let origin = Origin::new("spaces.nexudus.com", 443);
        let with = |none: &'static str| {
            move |name: &str| match name {
                "HTTPS_PROXY" => Some("http://proxy.example:3128".to_owned()),
                "NO_PROXY" => Some(none.to_owned()),
                _ => None,
            }
        };
        let found = |none| HttpProxy::from_env(&origin, with(none)).unwrap().is_some();

        assert!(found(""));
        assert!(found("localhost, example.com,exudus.com"));
        assert!(!found("localhost,.nexudus.com"));
        assert!(!found("nexudus.com"));
        assert!(!found("*"));
    }
}
