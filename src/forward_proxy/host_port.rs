//! A host and a port as a client names them, in one spelling.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use rustls::pki_types::ServerName;

/// A host and a port: the name in lower case and without the dot at its end, an address without
/// brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    host: Box<str>,
    port: u16,
}

impl HostPort {
    /// Makes one from a host in its one spelling.
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// Reads `HOST[:PORT]` or `[IPv6][:PORT]`; without a port, `default_port` counts.
    ///
    /// Takes nothing else that some URL parser would: no user, no zone (`%`), no port 0, no signs in
    /// a number, no empty port.
    pub fn parse(authority: &str, default_port: Option<u16>) -> Option<Self> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                let address: Ipv6Addr = host.parse().ok()?;
                (IpAddr::V6(address).to_canonical().to_string(), port)
            }
            None => {
                let (host, port) =
                    authority.split_at(authority.find(':').unwrap_or(authority.len()));
                let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
                // An address of IPv6 without brackets ends up in the port, and is refused there.
                ServerName::try_from(host.as_str()).ok().filter(|_| !host.ends_with('.'))?;
                (host, port)
            }
        };
        let port = match port.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
            Some(_) => None,
            None if port.is_empty() => default_port,
            None => None,
        };
        Some(Self { host: host.into(), port: port.filter(|port| *port != 0)? })
    }

    /// Returns the host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns it as `Host` has it: without the port, where that is `default_port`.
    pub fn authority(&self, default_port: u16) -> String {
        let whole = self.to_string();
        let default = format!(":{default_port}");
        if self.port == default_port { whole.trim_end_matches(&default).to_owned() } else { whole }
    }

    /// Returns the address, where the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// As a target of `CONNECT`: the port is always there.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_host_is_one() {
        for (text, host, port) in [
            ("Spaces.Nexudus.com:443", "spaces.nexudus.com", 443),
            ("spaces.nexudus.com.:443", "spaces.nexudus.com", 443),
            ("spaces.nexudus.com", "spaces.nexudus.com", 80),
            ("192.0.2.7:8443", "192.0.2.7", 8443),
            ("[2001:DB8:0::1]:443", "2001:db8::1", 443),
            ("[2001:db8::1]", "2001:db8::1", 80),
            ("[::ffff:127.0.0.1]:443", "127.0.0.1", 443),
            ("[::FFFF:7f00:1]:443", "127.0.0.1", 443),
        ] {
            assert_eq!(HostPort::parse(text, Some(80)), Some(HostPort::new(host, port)), "{text}");
        }
    }

    #[test]
    fn nothing_else_is_a_host() {
        for text in [
            "",
            ":443",
            "a:",
            "a:0",
            "a:+443",
            "a:65536",
            "a:443:443",
            "a..:443",
            "user@a:443",
            "a@b",
            "a b:443",
            "a/b:443",
            "a%2e:443",
            "a\\b:443",
            "a,b:443",
            "\u{e4}:443",
            "::1:443",
            "[::1:443",
            "[::1]443",
            "[fe80::1%eth0]:443",
            "[fe80::1%25eth0]:443",
            "fe80::1%eth0",
            "[127.0.0.1]:443",
            "[v1.fe80::a]:443",
            "-a:443",
            "a:4 3",
            "a:443 ",
        ] {
            assert_eq!(HostPort::parse(text, Some(80)), None, "{text}");
        }
        assert_eq!(HostPort::parse("a", None), None, "CONNECT needs a port");
    }

    #[test]
    fn an_authority_has_no_port_that_every_client_knows() {
        for (host, port, authority) in [
            ("a.test", 80, "a.test"),
            ("a.test", 8080, "a.test:8080"),
            ("2001:db8::80", 80, "[2001:db8::80]"),
            ("2001:db8::1", 8080, "[2001:db8::1]:8080"),
        ] {
            assert_eq!(HostPort::new(host, port).authority(80), authority);
        }
    }
}
