//! The two authorities, and the names that each covers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use constrained_ca::{Authority, ConstrainedRoot, Error, Names, NotConstrained};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Origin};

/// One of the two authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthorityKind {
    /// Covers the configured hosts. Only files that `run` and `env` name hold its root.
    Intercept,
    /// Covers this machine. A person may trust its root.
    Localhost,
}

impl AuthorityKind {
    /// Both, in the order in which they are shown.
    pub const ALL: [Self; 2] = [Self::Intercept, Self::Localhost];

    /// Returns the name as a person types it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Intercept => "intercept",
            Self::Localhost => "localhost",
        }
    }

    /// Returns the names that the authority has to cover under this configuration.
    pub fn names(self, config: &Config) -> Names {
        match self {
            Self::Intercept => {
                let hosts = config.hosts.iter().map(|host| &host.origin);
                origin_names([&config.upstream.origin].into_iter().chain(hosts))
            }
            Self::Localhost => localhost_names(),
        }
    }

    /// Makes the authority, for [`AUTHORITY_LIFETIME`].
    ///
    /// # Errors
    ///
    /// When a configured host has a name that no certificate can have, or the system has no random
    /// numbers.
    pub fn create(self, config: &Config, now: SystemTime) -> Result<Authority, Error> {
        let label = format!("nexudus-proxy {}", self.name());
        Authority::create(self.names(config), &label, now, AUTHORITY_LIFETIME)
    }

    /// Returns the configured names that `authority` does not cover: those of hosts that were added
    /// after it was made.
    pub fn uncovered(self, authority: &Authority, config: &Config) -> Vec<String> {
        let wanted = self.names(config);
        wanted.iter().filter(|name| !authority.names().covers(name)).collect()
    }
}

impl fmt::Display for AuthorityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn localhost_names() -> Names {
    Names {
        dns: vec!["localhost".to_owned()],
        ip: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
    }
}

/// Reads the root of a localhost authority, whatever process it comes from.
///
/// # Errors
///
/// When it could vouch for anything but this machine.
pub fn localhost_root(pem: &str) -> Result<ConstrainedRoot, NotConstrained> {
    ConstrainedRoot::from_pem(pem, &localhost_names())
}

fn origin_names<'a>(origins: impl Iterator<Item = &'a Origin>) -> Names {
    let mut names = Names::default();
    for host in origins.map(Origin::host) {
        match host.parse::<IpAddr>() {
            Ok(ip) => names.ip.push(ip),
            Err(_) => names.dns.push(host.to_owned()),
        }
    }
    names
}

/// How long an authority lasts: two years. Apple's verifiers refuse server certificates of more than
/// 825 days, and one date for root and leaf is easier to explain.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_secs(2 * 365 * 24 * 60 * 60);

/// How long before its end a person is told: 30 days.
pub const EXPIRY_NOTICE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Host;

    #[test]
    fn a_host_that_was_added_later_is_not_covered() {
        let mut config = Config::default();
        let kind = AuthorityKind::Intercept;
        let authority = kind.create(&config, SystemTime::now()).unwrap();
        assert_eq!(kind.uncovered(&authority, &config), Vec::<String>::new());

        let origin = Origin::parse("https://reports.nexudus.com").unwrap();
        config.hosts.push(Host { origin, listen: vec![] });

        assert_eq!(kind.uncovered(&authority, &config), ["reports.nexudus.com"]);
        assert_eq!(authority.names().iter().collect::<Vec<_>>(), [config.upstream.origin.host()]);
    }

    #[test]
    fn the_localhost_authority_covers_this_machine_alone() {
        let now = SystemTime::now();
        let authority = AuthorityKind::Localhost.create(&Config::default(), now).unwrap();

        let names: Vec<_> = authority.names().iter().collect();

        assert_eq!(names, ["localhost", "127.0.0.1", "::1"]);
        assert!(authority.not_after() >= now + AUTHORITY_LIFETIME - Duration::from_secs(1));
        assert!(authority.root_name().starts_with("nexudus-proxy localhost root "));
    }
}
