//! What changes while the daemon runs: validated as a whole, then swapped at once.
//!
//! Connections, the token and the upstream's connections stay. A key that cannot be changed keeps
//! its old value, and is named.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::route::{AccessSources, build_gateway};
use super::{Daemon, Error};
use crate::admin::api::ReloadResult;
use crate::config::{Config, KEYS, Key};
use crate::gateway::{Gateway, Server};
use crate::telemetry::{self, UpstreamErrors};
use crate::throttle::Throttle;
use crate::upstream::Upstream;

/// What a reload needs.
#[derive(Debug)]
pub(super) struct ReloadState {
    /// What is in effect.
    pub(super) config: Config,
    pub(super) access: AccessSources,
    pub(super) routes: Vec<Route>,
    pub(super) connections: Arc<ArcSwap<Server>>,
}

/// One origin, its local addresses, and what answers there at the moment.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) throttle: Throttle,
    pub(super) upstream: Upstream,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) outage: Arc<UpstreamErrors>,
    pub(super) gateway: Arc<ArcSwap<Gateway>>,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    /// A value cannot be used.
    #[error(transparent)]
    Daemon(#[from] Error),
    /// The level is none.
    #[error(transparent)]
    Log(#[from] telemetry::Error),
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

impl Daemon {
    /// Takes over what can be changed of `config`, and says what cannot. On an error all is as it
    /// was.
    pub(super) fn reload(&mut self, config: &Config) -> Result<ReloadResult, ReloadError> {
        let live = self.reload_state.as_mut().ok_or(ReloadError::Stopping)?;
        // What takes a restart must not end with it.
        super::check(config)?;
        let changed = KEYS.iter().filter(|entry| entry.differs(&live.config, config));
        let (applied, restart): (Vec<&Key>, Vec<&Key>) =
            changed.partition(|entry| RELOADABLE_KEYS.contains(&entry.path().as_str()));
        let mut next = live.config.clone();
        applied.iter().for_each(|entry| entry.copy(config, &mut next));

        let level = telemetry::LogFilter::parse(&next.log.level)?;
        let made = live.routes.iter().map(|lane| {
            let to = (&lane.throttle, &lane.upstream);
            let gateway = build_gateway(&next, &self.session, &live.access, to, &lane.addresses)?;
            Ok(gateway.with_outage(lane.outage.clone()))
        });
        let gateways = made.collect::<Result<Vec<_>, Error>>()?;
        let connections = live.connections.load().with_limits(&next.limits);

        // From here on nothing can fail.
        if next.log.level != live.config.log.level {
            telemetry::set_level(level);
        }
        for (lane, gateway) in live.routes.iter().zip(gateways) {
            lane.gateway.store(Arc::new(gateway));
            lane.throttle.reconfigure(&next.throttle);
        }
        live.connections.store(Arc::new(connections));
        let settings = next.export();
        live.config = next;
        let paths = |entries: Vec<&Key>| entries.into_iter().map(Key::path).collect::<Vec<_>>();
        let (applied, restart_needed) = (paths(applied), paths(restart));
        self.runtime_state.send_modify(|now| {
            now.settings = settings;
            now.restart_needed.clone_from(&restart_needed);
        });
        Ok(ReloadResult { applied, restart_needed })
    }
}

/// The keys that a reload can change. `limits.connections` counts what is open already.
const RELOADABLE_KEYS: &[&str] = &[
    "upstream.user_agent",
    "upstream.trace",
    "upstream.upgrade",
    "listen.hosts",
    "policy.anonymous",
    "policy.deny",
    "policy.cookies",
    "throttle.wait",
    "throttle.reads",
    "throttle.writes",
    "limits.header_bytes",
    "limits.headers",
    "limits.target_bytes",
    "limits.replay_body",
    "limits.body_bytes",
    "limits.header_timeout",
    "limits.body_idle",
    "limits.keep_alive",
    "log.level",
    "log.server_timing",
    "daemon.drain",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reload_changes_are_keys() {
        for name in RELOADABLE_KEYS {
            assert!(KEYS.iter().any(|entry| entry.path() == *name), "{name}");
        }
    }
}
