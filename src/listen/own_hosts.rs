//! The hosts that are this daemon: names and addresses, in every spelling that a client may use.
//!
//! A web page can make any name lead to this machine (DNS rebinding), so that only known names are
//! accepted. An address cannot be rebound: each spelling of one is the address itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::Origin;

/// The hosts that are ours. The usual spellings are compared without an allocation.
#[derive(Clone, Debug)]
pub struct OwnHosts {
    /// The loopback names, with and without a port.
    usual: Vec<Box<str>>,
    hosts: Vec<OwnHost>,
    /// The ports that we listen on.
    ports: Vec<u16>,
}

#[derive(Clone, Debug)]
struct OwnHost {
    name: HostName,
    ports: HostPorts,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostName {
    Address(IpAddr),
    /// In lower case, without the dot of a fully qualified name.
    Name(Box<str>),
}

/// The ports that a name may come with.
#[derive(Clone, Copy, Debug)]
enum HostPorts {
    /// Those that we listen on, or none.
    Own,
    /// Each, or none: a forwarded port is another one than ours.
    Any,
    One(u16),
}

impl OwnHosts {
    /// Takes the loopback hosts and those that listen on `bound`, and `extra` ones: `name` with any
    /// port, or `name:port`.
    pub fn new(bound: &[SocketAddr], extra: &[String]) -> Self {
        let with_ports = |name: &str| {
            let with_port = bound.iter().map(|bound| format!("{name}:{}", bound.port()));
            std::iter::once(name.to_owned()).chain(with_port).collect::<Vec<_>>()
        };
        let usual = LOOPBACK_HOSTS.into_iter().flat_map(with_ports).map(String::into_boxed_str);
        let loopback = LOOPBACK_HOSTS.into_iter().map(HostName::parse);
        let addresses = bound.iter().map(|bound| bound.ip().to_canonical());
        let addresses = addresses.filter(IpAddr::is_loopback).map(HostName::Address);
        let own = loopback.chain(addresses).map(|name| OwnHost { name, ports: HostPorts::Own });
        Self {
            usual: usual.collect(),
            hosts: own.chain(extra.iter().filter_map(|text| OwnHost::parse(text))).collect(),
            ports: bound.iter().map(SocketAddr::port).collect(),
        }
    }

    /// Takes the host of an origin alone, for requests that a client meant for the origin itself:
    /// with the port of the origin, with that of plain HTTP, or without one.
    pub fn of_origin(origin: &Origin) -> Self {
        let host = origin.host();
        let name = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let usual = [name.clone(), format!("{name}:{}", origin.port())];
        Self {
            usual: usual.map(String::into_boxed_str).to_vec(),
            hosts: vec![OwnHost { name: HostName::parse(&name), ports: HostPorts::Own }],
            ports: vec![origin.port(), HTTP_PORT],
        }
    }

    /// Says whether this is a host of ours: `HOST` or `HOST:PORT`.
    pub fn contains(&self, host: &[u8]) -> bool {
        self.is_usual(host) || self.is_known(host)
    }

    /// Says whether this is one of our hosts in its usual spelling, and so well-formed.
    pub fn is_usual(&self, host: &[u8]) -> bool {
        self.usual.iter().any(|ours| ours.as_bytes().eq_ignore_ascii_case(host))
    }

    fn is_known(&self, host: &[u8]) -> bool {
        let Some((name, port)) = std::str::from_utf8(host).ok().and_then(split_port) else {
            return false;
        };
        let (name, port) = (HostName::parse(name), port.map(str::parse::<u16>));
        let Ok(port) = port.transpose() else { return false };
        self.hosts.iter().any(|ours| {
            ours.name == name
                && match (ours.ports, port) {
                    (HostPorts::Any, _) | (HostPorts::Own, None) => true,
                    (HostPorts::Own, Some(port)) => self.ports.contains(&port),
                    (HostPorts::One(one), port) => one == port.unwrap_or(HTTP_PORT),
                }
        })
    }
}

impl OwnHost {
    /// Reads an entry of `listen.hosts`.
    fn parse(text: &str) -> Option<Self> {
        // An IPv6 address without brackets has no port.
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Some(Self { name: HostName::of(address.into()), ports: HostPorts::Any });
        }
        let (name, port) = split_port(text)?;
        let ports = match port {
            Some(port) => HostPorts::One(port.parse().ok()?),
            None => HostPorts::Any,
        };
        Some(Self { name: HostName::parse(name), ports })
    }
}

impl HostName {
    fn of(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }

    fn parse(name: &str) -> Self {
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let address = match bare {
            Some(bare) => bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => name.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        };
        address.map_or_else(|| Self::Name(plain_name(name)), Self::of)
    }
}

fn plain_name(name: &str) -> Box<str> {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into_boxed_str()
}

/// Splits `HOST[:PORT]`; the host keeps its brackets.
fn split_port(host: &str) -> Option<(&str, Option<&str>)> {
    let end = if host.starts_with('[') {
        host.find(']')? + 1
    } else {
        host.find(':').unwrap_or(host.len())
    };
    let (name, port) = host.split_at(end);
    match port.strip_prefix(':') {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some((name, Some(port))),
        None if port.is_empty() => Some((name, None)),
        Some(_) | None => None,
    }
}

const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The port that a client leaves out.
const HTTP_PORT: u16 = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_our_addresses_is_ours() {
        let bound = ["127.0.0.1:6398", "[::1]:6398", "127.0.0.2:7000"];
        let own = OwnHosts::new(&bound.map(|it| it.parse().unwrap()), &[]);
        for ours in [
            "localhost",
            "LocalHost:6398",
            "localhost.:6398",
            "127.0.0.1:7000",
            "127.0.0.2:7000",
            "[::1]:6398",
            "[0:0:0:0:0:0:0:1]:6398",
            "[0000:0000:0000:0000:0000:0000:0000:0001]",
            "[::ffff:127.0.0.1]:6398",
            "[::FFFF:7f00:1]:6398",
        ] {
            assert!(own.contains(ours.as_bytes()), "{ours}");
        }
        for foreign in [
            "localhost:1",
            "localhost..:6398",
            "127.0.0.3:6398",
            "127.1:6398",
            "2130706433",
            "[::2]:6398",
            "[::1",
            "::1",
            "[::1]6398",
            "localhost:",
            "localhost:+6398",
            "localhost:66000",
            "evil.example:6398",
            "localhost.evil.example",
            "",
        ] {
            assert!(!own.contains(foreign.as_bytes()), "{foreign}");
        }
    }

    #[test]
    fn an_origin_is_its_own_name_and_nothing_of_this_machine() {
        let own = OwnHosts::of_origin(&Origin::new("spaces.nexudus.com", 443));
        for ours in ["spaces.nexudus.com", "Spaces.nexudus.com.:443", "spaces.nexudus.com:80"] {
            assert!(own.contains(ours.as_bytes()), "{ours}");
        }
        for foreign in ["localhost", "127.0.0.1:443", "spaces.nexudus.com:444", "nexudus.com"] {
            assert!(!own.contains(foreign.as_bytes()), "{foreign}");
        }
        let own = OwnHosts::of_origin(&Origin::new("2001:db8::1", 8443));
        assert!(own.contains(b"[2001:db8::1]:8443"));
    }

    #[test]
    fn a_configured_host_has_any_port_or_the_one_that_is_given() {
        let extra = ["nexudus.internal", "localhost:9000", "[2001:db8::7]:80", "2001:db8::8"];
        let own = OwnHosts::new(&["127.0.0.1:6398".parse().unwrap()], &extra.map(str::to_owned));
        for ours in [
            "nexudus.internal",
            "Nexudus.Internal.:1",
            "localhost:9000",
            "[2001:db8::7]",
            "[2001:db8::7]:80",
            "[2001:db8:0::8]:9",
        ] {
            assert!(own.contains(ours.as_bytes()), "{ours}");
        }
        for foreign in ["localhost:9001", "[2001:db8::7]:81", "other.internal", "127.0.0.1:9000"] {
            assert!(!own.contains(foreign.as_bytes()), "{foreign}");
        }
    }
}
