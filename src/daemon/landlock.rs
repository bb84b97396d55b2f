//! Which ports the daemon can still connect to: those of the configuration, and a name server's.
//!
//! The kernel holds it (Landlock, Linux 6.7), for the thread that asks and every later one, so that
//! not even code that has taken the daemon over can call elsewhere with the token. A program that
//! the daemon runs would inherit it and cannot live with it (`op` calls its own servers): where one
//! is configured, nothing is confined.

use std::collections::BTreeSet;

use landlock::{
    AccessNet, NetPort, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _,
    RulesetError, RulesetStatus,
};

use crate::config::Config;
use crate::upstream::HttpProxy;

/// What came of it, to be told once there is a log.
#[derive(Debug)]
#[must_use]
pub enum Confinement {
    /// To these ports.
    Ports(BTreeSet<u16>),
    /// Not at all: a configured program needs its own.
    Disabled,
    /// Not at all: the kernel is too old.
    Unsupported,
    /// Not at all: the kernel refused.
    Failed(RulesetError),
}

/// Confines this thread and those that it starts. An older kernel confines nothing.
pub fn confine(config: &Config) -> Confinement {
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
    /// Writes it to the log.
    pub fn log(&self) {
        match self {
            Self::Ports(ports) => tracing::debug!(?ports, "connections are confined"),
            Self::Disabled => {
                tracing::debug!("connections are not confined: a configured program needs its own");
            }
            Self::Unsupported => {
                tracing::debug!("connections are not confined: this kernel cannot")
            }
            Self::Failed(error) => tracing::warn!(%error, "could not confine connections"),
        }
    }
}

/// Returns the ports that the daemon calls, unless a program is configured that calls others.
fn allowed_ports(config: &Config) -> Option<BTreeSet<u16>> {
    let commands =
        [&config.credentials.command, &config.session.key_command, &config.notify.command];
    if commands.iter().any(|command| !command.is_empty()) {
        return None;
    }
    let origins = config.hosts.iter().map(|host| &host.origin).chain([&config.upstream.origin]);
    let places = origins.flat_map(|origin| {
        // A proxy that cannot be used ends the start by itself.
        let via = HttpProxy::from_config(&config.upstream.proxy, origin).ok().flatten();
        [Some(origin.port()), via.map(|via| via.port())]
    });
    Some(places.flatten().chain([DNS_PORT]).collect())
}

fn restrict(ports: &BTreeSet<u16>) -> Result<RulesetStatus, RulesetError> {
    let connect = AccessNet::ConnectTcp;
    let ruleset: RulesetCreated = Ruleset::default().handle_access(connect)?.create()?;
    let rules = ports.iter().map(|port| Ok::<_, RulesetError>(NetPort::new(*port, connect)));
    Ok(ruleset.add_rules(rules)?.restrict_self()?.ruleset)
}

/// Long answers of name servers come over TCP.
const DNS_PORT: u16 = 53;

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::{Origin, Proxy};

    #[test]
    fn the_kernel_refuses_every_port_that_is_not_configured() {
        let configured = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let (configured, other) = (configured.local_addr().unwrap(), other.local_addr().unwrap());
        let mut config = Config::default();
        config.upstream.origin = Origin::new("localhost", configured.port());

        // A thread of its own: it is not to be undone.
        let (held, to_configured, to_other, later) = std::thread::spawn(move || {
            let held = restrict(&allowed_ports(&config).unwrap()).unwrap();
            let later = std::thread::spawn(move || TcpStream::connect(other).map(drop));
            let here = (TcpStream::connect(configured), TcpStream::connect(other));
            (held, here.0, here.1.map(drop), later.join().unwrap())
        })
        .join()
        .unwrap();

        to_configured.unwrap();
        // A kernel before 6.7 says that it cannot.
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

        config.notify.command = vec!["notify-send".to_owned()];
        assert_eq!(allowed_ports(&config), None, "a program calls whom it wants");
    }
}
