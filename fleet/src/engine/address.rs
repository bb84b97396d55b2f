//! Where the engine is: the URL of the configuration, read strictly.

use std::net::IpAddr;
use std::path::PathBuf;

/// Where the engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// One server, or the sentinels that know it.
    pub place: Place,
    /// The number of the database.
    pub database: i64,
}

/// One server, or sentinels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// This server.
    Server(Server),
    /// The primary that the sentinels name.
    Sentinel {
        /// The sentinels: host and port.
        sentinels: Vec<(String, u16)>,
        /// The name of the primary there.
        primary: String,
        /// Whether sentinels and servers speak TLS.
        tls: bool,
    },
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// A host and a port.
    Tcp {
        /// The host: a name or an address.
        host: String,
        /// The port.
        port: u16,
        /// Whether it speaks TLS.
        tls: bool,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// Why a URL is no address of an engine. Says nothing of what stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another scheme.
    #[error("the scheme is none of redis, rediss, redis+unix, redis-sentinel and rediss-sentinel")]
    Scheme,
    /// A user or a password in the URL.
    #[error("the URL holds a user or a password")]
    UserInfo,
    /// No TLS to another machine.
    #[error("redis:// without TLS is only for loopback addresses")]
    Plain,
    /// No host.
    #[error("the host is missing")]
    Host,
    /// A port that is none.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// A database that is none.
    #[error("the database is not a number")]
    Database,
    /// No path of the socket, or a relative one.
    #[error("the socket is not an absolute path")]
    Socket,
    /// No name of the primary.
    #[error("the name of the primary is missing")]
    Primary,
    /// A query or a fragment.
    #[error("the URL has a query or a fragment")]
    Query,
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// An [`AddressError`] for anything that could be meant otherwise.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = url.split_once("://").ok_or(AddressError::Scheme)?;
        if rest.contains(['?', '#']) {
            return Err(AddressError::Query);
        }
        if rest.contains('@') {
            return Err(AddressError::UserInfo);
        }
        match scheme {
            "redis" | "rediss" => Self::server(rest, scheme == "rediss"),
            "redis-sentinel" | "rediss-sentinel" => {
                Self::sentinel(rest, scheme == "rediss-sentinel")
            }
            "redis+unix" if rest.starts_with('/') && rest.len() > 1 => {
                Ok(Self { place: Place::Server(Server::Unix(rest.into())), database: 0 })
            }
            "redis+unix" => Err(AddressError::Socket),
            _ => Err(AddressError::Scheme),
        }
    }

    fn server(rest: &str, tls: bool) -> Result<Self, AddressError> {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = host_and_port(authority, PORT)?;
        if !tls && !is_loopback(&host) {
            return Err(AddressError::Plain);
        }
        let database = database(path)?;
        Ok(Self { place: Place::Server(Server::Tcp { host, port, tls }), database })
    }

    fn sentinel(rest: &str, tls: bool) -> Result<Self, AddressError> {
        let (authority, path) = rest.split_once('/').ok_or(AddressError::Primary)?;
        let (primary, path) = path.split_once('/').unwrap_or((path, ""));
        if primary.is_empty() {
            return Err(AddressError::Primary);
        }
        let sentinels = authority
            .split(',')
            .map(|one| host_and_port(one, SENTINEL_PORT))
            .collect::<Result<Vec<_>, _>>()?;
        if !tls && !sentinels.iter().all(|(host, _)| is_loopback(host)) {
            return Err(AddressError::Plain);
        }
        let place = Place::Sentinel { sentinels, primary: primary.to_owned(), tls };
        Ok(Self { place, database: database(path)? })
    }

    /// Returns the ports that are known from the URL.
    pub fn ports(&self) -> Vec<u16> {
        match &self.place {
            Place::Server(Server::Tcp { port, .. }) => vec![*port],
            Place::Server(Server::Unix(_)) => vec![],
            Place::Sentinel { sentinels, .. } => sentinels.iter().map(|(_, port)| *port).collect(),
        }
    }
}

fn host_and_port(authority: &str, default: u16) -> Result<(String, u16), AddressError> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(AddressError::Host)?;
        (host, rest)
    } else {
        let end = authority.find(':').unwrap_or(authority.len());
        authority.split_at(end)
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(AddressError::Host);
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default,
        None => return Err(AddressError::Host),
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(AddressError::Port)?,
    };
    Ok((host.to_owned(), port))
}

fn database(path: &str) -> Result<i64, AddressError> {
    if path.is_empty() {
        return Ok(0);
    }
    path.parse::<u16>().map(i64::from).map_err(|_not_a_number| AddressError::Database)
}

/// `localhost` counts: it is resolved by this machine, and RFC 6761 keeps it on loopback.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

const PORT: u16 = 6379;

const SENTINEL_PORT: u16 = 26379;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_urls_are_read() {
        let tcp =
            |host: &str, port, tls| Place::Server(Server::Tcp { host: host.to_owned(), port, tls });
        for (url, place, database) in [
            ("rediss://host:6380/0", tcp("host", 6380, true), 0),
            ("rediss://host", tcp("host", 6379, true), 0),
            ("rediss://host/", tcp("host", 6379, true), 0),
            ("redis://127.0.0.1/3", tcp("127.0.0.1", 6379, false), 3),
            ("redis://[::1]:7000", tcp("::1", 7000, false), 0),
            ("redis://localhost", tcp("localhost", 6379, false), 0),
            ("redis+unix:///run/v.sock", Place::Server(Server::Unix("/run/v.sock".into())), 0),
            (
                "rediss-sentinel://h1,h2:1,h3/mymaster",
                Place::Sentinel {
                    sentinels: vec![("h1".into(), 26379), ("h2".into(), 1), ("h3".into(), 26379)],
                    primary: "mymaster".into(),
                    tls: true,
                },
                0,
            ),
        ] {
            assert_eq!(Address::parse(url), Ok(Address { place, database }), "{url}");
        }
    }

    #[test]
    fn what_could_be_meant_otherwise_is_refused() {
        for (url, error) in [
            ("", AddressError::Scheme),
            ("http://host", AddressError::Scheme),
            ("rediss://user:secret@host", AddressError::UserInfo),
            ("rediss://:secret@host", AddressError::UserInfo),
            ("redis://host", AddressError::Plain),
            ("redis://127.0.0.1.example.com", AddressError::Plain),
            ("redis://10.0.0.1", AddressError::Plain),
            ("redis-sentinel://127.0.0.1,host/m", AddressError::Plain),
            ("rediss://", AddressError::Host),
            ("rediss://[::1", AddressError::Host),
            ("rediss://[::1]x", AddressError::Host),
            ("rediss://host:0", AddressError::Port),
            ("rediss://host:70000", AddressError::Port),
            ("rediss://host:", AddressError::Port),
            ("rediss://host/zero", AddressError::Database),
            ("rediss://host/-1", AddressError::Database),
            ("redis+unix://run/v.sock", AddressError::Socket),
            ("redis+unix:///", AddressError::Socket),
            ("rediss-sentinel://h1", AddressError::Primary),
            ("rediss-sentinel://h1/", AddressError::Primary),
            ("rediss://host?db=1", AddressError::Query),
        ] {
            assert_eq!(Address::parse(url), Err(error), "{url}");
        }
    }
}
