//! The forward proxy: which hosts are ours, which others a tunnel may lead to, and how.
//!
//! For programs that cannot change their base URL and take a proxy from their environment. A
//! `CONNECT`, or a target in absolute form, that names a configured origin is intercepted: its
//! requests take the ordinary path. Any other host is refused, or reached through a tunnel that is
//! not looked into. This module decides and connects; the gateway reads and answers the requests, in
//! the daemon and in `run` alike.

mod connect;
mod copy;
mod dialer;
mod error;
mod host_port;
mod lookups;
mod places;
mod plain;
mod public_address;
mod route;

use std::fmt;
use std::time::Duration;

pub use self::connect::{Interception, InterceptionError, OpenConnect, Tunnel};
pub use self::copy::copy;
pub use self::dialer::Dialer;
pub use self::error::Error;
pub use self::host_port::HostPort;
pub use self::places::{TunnelPlace, TunnelPlaces};
pub use self::plain::PlainBody;
pub use self::route::{ConnectRoute, RequestRoute, is_from_browser};
use crate::ca::LiveAuthorities;
use crate::config::{Config, Origin};

/// The fate of requests for hosts that are not configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunnelPolicy {
    /// They are refused.
    Refuse,
    /// They go through.
    Any,
    /// They go through to these hosts, and to no others.
    Only(Vec<HostPort>),
}

/// The decisions of one forward proxy.
pub struct ForwardProxy {
    /// The hosts whose requests are intercepted.
    origins: Vec<Origin>,
    others: TunnelPolicy,
    authorities: LiveAuthorities,
    /// Longest wait for the authority of a `CONNECT`.
    wait: Duration,
    dialer: Dialer,
    places: TunnelPlaces,
}

impl ForwardProxy {
    /// Intercepts requests for `origins`, which `authorities` prove, and connects to other hosts as `others` says, through
    /// `dialer`.
    pub fn new(
        origins: Vec<Origin>,
        others: TunnelPolicy,
        authorities: LiveAuthorities,
        dialer: Dialer,
        places: TunnelPlaces,
    ) -> Self {
        Self { origins, others, authorities, wait: AUTHORITY_WAIT, dialer, places }
    }

    /// Waits no longer than this for the authority of a `CONNECT`.
    #[must_use]
    pub fn with_wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// Returns the origins that a configuration names, in the order in which they are numbered:
    /// `upstream.origin`, then each `[[host]]`.
    pub fn origins_of(config: &Config) -> Vec<Origin> {
        let hosts = config.hosts.iter().map(|host| &host.origin);
        [&config.upstream.origin].into_iter().chain(hosts).cloned().collect()
    }

    /// Returns the origins whose requests are intercepted.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }
}

impl fmt::Debug for ForwardProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardProxy")
            .field("origins", &self.origins)
            .field("others", &self.others)
            .finish_non_exhaustive()
    }
}

/// Longest wait for an authority, whose key a keychain may hold: as long as a request waits for a first
/// token (the default of `session.wait`).
const AUTHORITY_WAIT: Duration = Duration::from_secs(10);
