//! The reload: a new configuration is validated as a whole, then swapped in at once.
//!
//! Local connections, the token and upstream connections stay. A key that cannot be changed keeps
//! its old value, and is reported.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::upstream_route::{AccessSources, Route, build_gateway};
use super::{Daemon, Error};
use crate::admin::api::ReloadResult;
use crate::config::{Config, KEYS, Key};
use crate::gateway::Server;
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::telemetry;

/// Everything that a reload needs.
#[derive(Debug)]
pub(super) struct ReloadState {
    /// The configuration in effect.
    pub(super) config: Config,
    pub(super) access: AccessSources,
    pub(super) routes: Vec<Route>,
    pub(super) server: Arc<ArcSwap<Server>>,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    /// A value cannot be used.
    #[error(transparent)]
    Daemon(#[from] Error),
    /// The log level is not valid.
    #[error(transparent)]
    Log(#[from] telemetry::Error),
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

impl Problem for ReloadError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Daemon(error) => error.details(),
            Self::Log(error) => error.details(),
            Self::Stopping => ProblemKind::DaemonStopping.into(),
        }
    }
}

impl Daemon {
    /// Applies the keys of `config` that can be changed, and returns those that cannot. An error
    /// changes nothing.
    pub(super) fn reload(&mut self, config: &Config) -> Result<ReloadResult, ReloadError> {
        let state = self.reload_state.as_mut().ok_or(ReloadError::Stopping)?;
        // A key that needs a restart must not make that restart fail.
        super::check(config)?;
        let changed = KEYS.iter().filter(|key| key.differs(&state.config, config));
        let (applied, restart): (Vec<&Key>, Vec<&Key>) =
            changed.partition(|key| RELOADABLE_KEYS.contains(&key.path().as_str()));
        let mut next = state.config.clone();
        applied.iter().for_each(|key| key.copy(config, &mut next));

        let level = telemetry::LogFilter::parse(&next.log.level)?;
        let gateways = state.routes.iter().map(|route| {
            let to = (&route.throttle, &route.upstream);
            let gateway = build_gateway(&next, &self.session, &state.access, to, &route.addresses)?;
            Ok(gateway.with_outage(route.errors.clone()))
        });
        let gateways = gateways.collect::<Result<Vec<_>, Error>>()?;
        let server = state.server.load().with_limits(&next.limits);

        // From here on nothing can fail.
        if next.log.level != state.config.log.level {
            telemetry::set_level(level);
        }
        for (route, gateway) in state.routes.iter().zip(gateways) {
            route.gateway.store(Arc::new(gateway));
            route.throttle.reconfigure(&next.throttle);
            route.upstream.reconfigure(next.limits.body_idle);
        }
        state.server.store(Arc::new(server));
        let settings = next.export();
        state.config = next;
        let paths = |keys: Vec<&Key>| keys.into_iter().map(Key::path).collect::<Vec<_>>();
        let (applied, restart_needed) = (paths(applied), paths(restart));
        self.runtime_state.send_modify(|now| {
            now.settings = settings;
            now.restart_needed.clone_from(&restart_needed);
        });
        Ok(ReloadResult { applied, restart_needed })
    }
}

/// The keys that a reload can change. `limits.connections` is not one: it counts open connections.
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
    fn every_reloadable_key_exists() {
        for name in RELOADABLE_KEYS {
            assert!(KEYS.iter().any(|entry| entry.path() == *name), "{name}");
        }
    }
}
