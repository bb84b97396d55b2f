//! Confines outgoing connections to the configured ports and to DNS.
//!
//! The kernel enforces this (Landlock, Linux 6.7), for the current thread and every later one. So
//! not even code that has taken over the daemon can send the token to another port. A program that
//! the daemon runs would inherit the limit and could not work (`op` connects to its own servers):
//! if one is configured, nothing is confined.

use std::collections::BTreeSet;

use landlock::{
    AccessNet, NetPort, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _,
    RulesetError, RulesetStatus,
};

use crate::config::{Config, OtherHosts};
use crate::upstream::HttpProxy;

/// The outcome, to be logged once there is a log.
#[derive(Debug)]
#[must_use]
pub enum Confinement {
    /// Confined to these ports.
    Ports(BTreeSet<u16>),
    /// Not confined: a configured program may need other ports.
    Disabled,
    /// Not confined: tunnels of the forward proxy lead to any host.
    Tunnels,
    /// Not confined: the kernel is too old.
    Unsupported,
    /// Not confined: the kernel refused.
    Failed(RulesetError),
}

/// Confines this thread and those that it starts, if the kernel can.
pub fn confine(config: &Config) -> Confinement {
    if opens_tunnels(config) {
        return Confinement::Tunnels;
    }
    let Some(ports) = allowed_ports(config) else { return Confinement::Disabled };
    match restrict(&ports) {
        Ok(RulesetStatus::FullyEnforced) => Confinement::Ports(ports),
        Ok(RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced) => {
            Confinement::Unsupported
        }
        Err(error) => Confinement::Failed(error),
    }
}

impl Confinement {
    /// Logs the outcome.
    pub fn log(&self) {
        match self {
            Self::Ports(ports) => tracing::debug!(?ports, "connections are confined"),
            Self::Disabled => {
                tracing::debug!(
                    "connections are not confined: a configured program may need other ports"
                );
            }
            Self::Tunnels => {
                tracing::info!(
                    "connections are not confined to ports: forward_proxy.other_hosts is tunnel"
                );
            }
            Self::Unsupported => {
                tracing::debug!("connections are not confined: this kernel cannot")
            }
            Self::Failed(error) => tracing::warn!(%error, "could not confine connections"),
        }
    }
}

/// Returns the ports that the daemon connects to; `None` if a configured program may need others.
fn allowed_ports(config: &Config) -> Option<BTreeSet<u16>> {
    let commands =
        [&config.credentials.command, &config.session.key_command, &config.notify.command];
    let of_fleet = config.fleet.commands().map(|(_, command)| command);
    if commands.into_iter().chain(of_fleet).any(|command| !command.is_empty()) {
        return None;
    }
    let upstream = &config.upstream;
    let origins = config.hosts.iter().map(|host| &host.origin).chain([&upstream.origin]);
    let places = origins.flat_map(|origin| {
        // An unusable proxy makes the start fail elsewhere.
        let via = HttpProxy::from_config(&upstream.proxy, origin).ok().flatten();
        let address = upstream.address.filter(|_| *origin == upstream.origin);
        let port = address.and_then(|address| address.port()).unwrap_or(origin.port());
        [Some(port), via.map(|via| via.port())]
    });
    let places = places.flatten().chain(config.fleet.engine_ports());
    Some(places.chain([DNS_PORT]).collect())
}

/// Says whether the daemon connects to hosts that its clients choose.
fn opens_tunnels(config: &Config) -> bool {
    let forward = &config.forward_proxy;
    forward.listen.is_some() && forward.other_hosts == OtherHosts::Tunnel
}

fn restrict(ports: &BTreeSet<u16>) -> Result<RulesetStatus, RulesetError> {
    let connect = AccessNet::ConnectTcp;
    let ruleset: RulesetCreated = Ruleset::default().handle_access(connect)?.create()?;
    let rules = ports.iter().map(|port| Ok::<_, RulesetError>(NetPort::new(*port, connect)));
    Ok(ruleset.add_rules(rules)?.restrict_self()?.ruleset)
}

/// DNS uses TCP for long responses.
const DNS_PORT: u16 = 53;

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::{Origin, Proxy, UpstreamAddress};

    #[test]
    fn the_kernel_refuses_every_port_that_is_not_configured() {
        let configured = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let (configured, other) = (configured.local_addr().unwrap(), other.local_addr().unwrap());
        let mut config = Config::default();
        config.upstream.origin = Origin::new("localhost", configured.port());

        // In a thread of its own: the limit cannot be removed again.
        let (held, to_configured, to_other, later) = std::thread::spawn(move || {
            let held = restrict(&allowed_ports(&config).unwrap()).unwrap();
            let later = std::thread::spawn(move || TcpStream::connect(other).map(drop));
            let here = (TcpStream::connect(configured), TcpStream::connect(other));
            (held, here.0, here.1.map(drop), later.join().unwrap())
        })
        .join()
        .unwrap();

        to_configured.unwrap();
        // A kernel before 6.7 does not support it.
        let expected =
            (held == RulesetStatus::FullyEnforced).then_some(ErrorKind::PermissionDenied);
        assert_eq!(to_other.err().map(|error| error.kind()), expected);
        assert_eq!(later.err().map(|error| error.kind()), expected);
    }

    #[test]
    fn the_ports_are_those_of_every_host_and_of_the_proxy() {
        let mut config = Config::default();
        config.upstream.proxy = Proxy::Url("http://proxy.example:3128".to_owned());
        let host = Origin::new("reports.example", 8443);
        config.hosts.push(crate::config::Host { origin: host, listen: vec![] });
        assert_eq!(allowed_ports(&config), Some([53, 443, 3128, 8443].into()));

        config.upstream.address = Some(UpstreamAddress::new([203, 0, 113, 7].into(), Some(9443)));
        assert_eq!(allowed_ports(&config), Some([53, 3128, 8443, 9443].into()));

        config.forward_proxy.listen = Some(([127, 0, 0, 1], 6396).into());
        assert!(!opens_tunnels(&config), "every host that it connects to is configured");
        config.forward_proxy.other_hosts = OtherHosts::Tunnel;
        assert!(opens_tunnels(&config));

        config.notify.command = vec!["notify-send".to_owned()];
        assert_eq!(allowed_ports(&config), None, "a program may need any port");
    }
}
