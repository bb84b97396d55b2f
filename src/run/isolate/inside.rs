//! The names that lead somewhere inside, each to a loopback address of its own.
//!
//! With an address for each name, the address alone says which certificate to show and which tunnel to
//! open, also to a client that sends no server name.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::Origin;

/// The loopback addresses of some hosts.
#[derive(Clone, Debug, Default)]
pub(in crate::run) struct Names(Vec<(String, Ipv4Addr)>);

impl Names {
    /// Returns the addresses at which a host is found inside; none for an address of another machine,
    /// which no name leads to.
    pub(in crate::run) fn addresses(&mut self, host: &str, port: u16) -> Vec<SocketAddr> {
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        if host == "localhost" {
            return both.map(|ip| (ip, port).into()).to_vec();
        }
        match host.parse::<IpAddr>() {
            Ok(ip) if ip.is_loopback() => vec![(ip, port).into()],
            Ok(_) => vec![],
            Err(_) => vec![(self.address(host), port).into()],
        }
    }

    fn address(&mut self, host: &str) -> Ipv4Addr {
        if let Some((_, address)) = self.0.iter().find(|(name, _)| name == host) {
            return *address;
        }
        // 127.0.0.1 stays what it is for each program.
        let number = u16::try_from(self.0.len() + 1).unwrap_or(u16::MAX).to_be_bytes();
        let address = Ipv4Addr::new(127, 1, number[0], number[1]);
        self.0.push((host.to_owned(), address));
        address
    }

    /// Writes the file that takes the place of `/etc/hosts`. The machine's own name leads to itself:
    /// Java asks for it.
    pub(in crate::run) fn hosts_file(&self, machine: &str) -> String {
        let mut lines = format!("127.0.0.1 localhost {machine}\n::1 localhost ip6-localhost\n");
        for (name, address) in &self.0 {
            writeln!(lines, "{address} {name}").expect("a String takes everything");
        }
        lines
    }
}

/// Chooses a port of 127.0.0.1 for the base URL, which no origin has.
pub(in crate::run) fn base_url_port(origins: &[Origin]) -> u16 {
    let is_free = |port: &u16| origins.iter().all(|origin| origin.port() != *port);
    (FIRST_PORT..u16::MAX).find(is_free).unwrap_or(FIRST_PORT)
}

/// The port of a daemon, which scripts may have written down.
const FIRST_PORT: u16 = 6398;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_one_address_and_the_loopback_keeps_its_own() {
        let mut names = Names::default();
        let text =
            |found: Vec<SocketAddr>| found.iter().map(ToString::to_string).collect::<Vec<_>>();

        assert_eq!(text(names.addresses("spaces.nexudus.com", 443)), ["127.1.0.1:443"]);
        assert_eq!(text(names.addresses("pypi.org", 443)), ["127.1.0.2:443"]);
        assert_eq!(text(names.addresses("spaces.nexudus.com", 80)), ["127.1.0.1:80"]);
        assert_eq!(text(names.addresses("localhost", 7000)), ["127.0.0.1:7000", "[::1]:7000"]);
        assert_eq!(text(names.addresses("127.0.0.9", 1)), ["127.0.0.9:1"]);
        assert!(names.addresses("10.0.0.1", 443).is_empty());
        assert_eq!(
            names.hosts_file("box"),
            "127.0.0.1 localhost box\n::1 localhost ip6-localhost\n\
             127.1.0.1 spaces.nexudus.com\n127.1.0.2 pypi.org\n"
        );
    }

    #[test]
    fn the_base_url_has_a_port_that_no_origin_has() {
        assert_eq!(base_url_port(&[Origin::nexudus()]), 6398);
        assert_eq!(base_url_port(&[Origin::new("localhost", 6398)]), 6399);
    }
}
