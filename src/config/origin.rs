//! Addresses of other hosts: where requests go, and the proxy on the way there.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use rustls::pki_types::ServerName;

/// An `https` origin: scheme, host and port, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    host: String,
    port: u16,
}

/// `upstream.proxy`
#[derive(Clone, PartialEq, Eq)]
pub enum Proxy {
    /// Connect directly, whatever the environment says.
    None,
    /// As `HTTPS_PROXY` and `NO_PROXY` say.
    System,
    /// This one; may hold a password.
    Url(String),
}

/// `upstream.address`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamAddress {
    ip: IpAddr,
    /// `None`: the port of the origin.
    port: Option<u16>,
}

/// Why a text is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OriginError {
    /// The scheme is `http`.
    PlainHttp,
    /// A part does not belong into an origin.
    ExtraPart(&'static str),
    /// The text is no URL.
    Shape,
}

impl Origin {
    /// Makes an origin of a host name (or an IP address without brackets) and a port.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// Returns the origin of Nexudus itself, the default of `upstream.origin`. A session that was
    /// stored before origins were recorded counts as issued by it.
    pub fn nexudus() -> Self {
        Self::new("spaces.nexudus.com", 443)
    }

    /// Reads an origin as [`Origin`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::try_parse(text).ok()
    }

    /// Returns the host name, or the IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the value of a `Host` header: the port is left out where it is 443.
    pub fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == 443 { host } else { format!("{host}:{}", self.port) }
    }

    /// Reads `https://HOST[:PORT]`; a slash at the end, as browsers copy it, is ignored.
    pub(super) fn try_parse(text: &str) -> Result<Self, OriginError> {
        let (scheme, rest) = text.split_once("://").ok_or(OriginError::Shape)?;
        if scheme.eq_ignore_ascii_case("http") {
            return Err(OriginError::PlainHttp);
        }
        if !scheme.eq_ignore_ascii_case("https") {
            return Err(OriginError::Shape);
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        for (mark, what) in
            [('@', "a user name"), ('?', "a query"), ('#', "a fragment"), ('/', "a path")]
        {
            if authority.contains(mark) {
                return Err(OriginError::ExtraPart(what));
            }
        }
        let (host, port) = split_authority(authority).ok_or(OriginError::Shape)?;
        // One spelling for one address: origins are compared, and sessions bound to them.
        if let Ok(address) = host.parse::<std::net::Ipv6Addr>() {
            return Ok(Self::new(address.to_string(), port));
        }
        match ServerName::try_from(host) {
            Ok(_) if !host.ends_with('.') => Ok(Self::new(host.to_ascii_lowercase(), port)),
            Ok(_) | Err(_) => Err(OriginError::Shape),
        }
    }
}

/// Says whether a text is a host name or an address, with a port or without.
pub(super) fn is_host_with_port(text: &str) -> bool {
    let is_name = |name: &str| ServerName::try_from(name).is_ok();
    is_name(text) || split_authority(text).is_some_and(|(host, _)| is_name(host))
}

/// Splits `HOST[:PORT]` or `[IPv6][:PORT]`.
fn split_authority(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
        None if port.is_empty() => 443,
        None => return None,
    };
    (port != 0).then_some((host, port))
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

impl UpstreamAddress {
    /// Makes an address; without a port, that of the origin counts.
    pub fn new(ip: IpAddr, port: Option<u16>) -> Self {
        Self { ip, port }
    }

    /// Reads `IP[:PORT]`; an IPv6 address may have brackets, and needs them before a port.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return (address.port() != 0)
                .then(|| Self { ip: address.ip(), port: Some(address.port()) });
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let ip = match bare {
            Some(bare) => IpAddr::V6(bare.parse().ok()?),
            None => text.parse().ok()?,
        };
        Some(Self { ip, port: None })
    }

    /// Returns the port, if it is not the origin's.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Returns where connections to `origin` go.
    pub fn endpoint(&self, origin: &Origin) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(origin.port()))
    }
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

impl Proxy {
    /// Reads `none`, `system` or a URL.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "system" => Some(Self::System),
            url => {
                let (scheme, rest) = url.split_once("://")?;
                let known = ["http", "https", "socks5", "socks5h"].contains(&scheme);
                (known && !rest.is_empty() && !rest.contains(char::is_whitespace))
                    .then(|| Self::Url(url.to_owned()))
            }
        }
    }

    /// Reads a value that [`Proxy::redacted`] wrote: enough to show that there is a proxy.
    pub fn from_redacted(redacted: &str) -> Self {
        Self::parse(redacted).unwrap_or(Self::None)
    }

    /// Returns the value as the file has it, password included.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::None => "none",
            Self::System => "system",
            Self::Url(url) => url,
        }
    }

    /// Returns the value without the user name and password that a URL may hold.
    pub fn redacted(&self) -> String {
        let text = self.as_str();
        let hidden = text.split_once("://").and_then(|(scheme, rest)| {
            let (_, host) = rest.rsplit_once('@')?;
            Some(format!("{scheme}://***@{host}"))
        });
        hidden.unwrap_or_else(|| text.to_owned())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.redacted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_as_it_is_written() {
        for (text, host, port, shown) in [
            ("https://spaces.nexudus.com", "spaces.nexudus.com", 443, "https://spaces.nexudus.com"),
            (
                "https://Spaces.Nexudus.com/",
                "spaces.nexudus.com",
                443,
                "https://spaces.nexudus.com",
            ),
            ("HTTPS://localhost:8443", "localhost", 8443, "https://localhost:8443"),
            ("https://127.0.0.1:1", "127.0.0.1", 1, "https://127.0.0.1:1"),
            ("https://[::1]:8443", "::1", 8443, "https://[::1]:8443"),
            ("https://[::1]", "::1", 443, "https://[::1]"),
            ("https://[0:0::0:1]:443", "::1", 443, "https://[::1]"),
            (
                "https://SPACES.nexudus.com:443/",
                "spaces.nexudus.com",
                443,
                "https://spaces.nexudus.com",
            ),
        ] {
            let origin = Origin::try_parse(text).unwrap();
            assert_eq!((origin.host(), origin.port()), (host, port));
            assert_eq!(origin.to_string(), shown);
        }
    }

    #[test]
    fn a_text_that_is_not_an_https_origin_is_refused() {
        for (text, error) in [
            ("http://spaces.nexudus.com", OriginError::PlainHttp),
            ("HTTP://localhost", OriginError::PlainHttp),
            ("spaces.nexudus.com", OriginError::Shape),
            ("ftp://spaces.nexudus.com", OriginError::Shape),
            ("https://", OriginError::Shape),
            ("https://:443", OriginError::Shape),
            ("https://host:0", OriginError::Shape),
            ("https://host:", OriginError::Shape),
            ("https://host:+443", OriginError::Shape),
            ("https://host:65536", OriginError::Shape),
            ("https://host.", OriginError::Shape),
            ("https://bücher.example", OriginError::Shape),
            ("https://ho st", OriginError::Shape),
            ("https://ho\\st", OriginError::Shape),
            ("https://[::1", OriginError::Shape),
            ("https://[host]", OriginError::Shape),
            ("https://me:secret@host", OriginError::ExtraPart("a user name")),
            ("https://host/api", OriginError::ExtraPart("a path")),
            ("https://host//", OriginError::ExtraPart("a path")),
            ("https://host?x", OriginError::ExtraPart("a query")),
            ("https://host#x", OriginError::ExtraPart("a fragment")),
        ] {
            assert_eq!(Origin::try_parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn an_address_has_a_port_of_its_own_or_the_origins() {
        let origin = Origin::new("nexudus.example", 8443);
        for (text, shown, endpoint) in [
            ("203.0.113.7", "203.0.113.7", "203.0.113.7:8443"),
            ("203.0.113.7:1", "203.0.113.7:1", "203.0.113.7:1"),
            ("2001:db8::7", "2001:db8::7", "[2001:db8::7]:8443"),
            ("[2001:db8:0::7]", "2001:db8::7", "[2001:db8::7]:8443"),
            ("[2001:db8::7]:1", "[2001:db8::7]:1", "[2001:db8::7]:1"),
        ] {
            let address = UpstreamAddress::parse(text).expect(text);
            assert_eq!(address.to_string(), shown);
            assert_eq!(UpstreamAddress::parse(shown), Some(address));
            assert_eq!(address.endpoint(&origin).to_string(), endpoint);
        }
        for text in
            ["", "localhost", "203.0.113.7:0", "203.0.113.7:", "[203.0.113.7]", "[::1", "::1]:1"]
        {
            assert_eq!(UpstreamAddress::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_proxy_never_prints_its_password() {
        let proxy = Proxy::parse("http://me:p@ss@proxy.example:3128").unwrap();

        assert_eq!(proxy.redacted(), "http://***@proxy.example:3128");
        assert_eq!(format!("{proxy:?}"), "Proxy(http://***@proxy.example:3128)");
    }
}
