//! The reload: a new configuration is validated as a whole, then swapped in at once.
//!
//! Local connections, the token and upstream connections stay. A connection of a user who has lost
//! the access gets 403 with its next request. A key that cannot be changed keeps its old value, and
//! is reported.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::upstream_route::{AccessSources, Route, build_gateway};
use super::{Daemon, Error, socket_access};
use crate::admin::AccessControl;
use crate::admin::api::{Listening, ReloadResult};
use crate::audit::{Audit, AuditEvent, AuditRecord};
use crate::config::{Config, KEYS, Key, SystemdUnit};
use crate::gateway::Server;
use crate::listen;
use crate::peer::UserAcl;
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::telemetry;

/// Everything that a reload needs.
#[derive(Debug)]
pub(super) struct ReloadState {
    /// The configuration in effect.
    pub(super) config: Config,
    pub(super) access: AccessSources,
    pub(super) operators: AccessControl,
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
    /// Applies the keys of `config` that can be changed, and returns those that cannot. An error of
    /// the configuration changes nothing; one of the system, which has no more threads, can leave the
    /// modes of the sockets changed.
    pub(super) fn reload(&mut self, config: &Config) -> Result<ReloadResult, ReloadError> {
        let state = self.reload_state.as_mut().ok_or(ReloadError::Stopping)?;
        // A key that needs a restart must not make that restart fail.
        super::check(config)?;
        let changed = KEYS.iter().filter(|key| key.differs(&state.config, config));
        let (applied, restart): (Vec<&Key>, Vec<&Key>) = changed.partition(|key| key.is_reloadable);
        let mut next = state.config.clone();
        applied.iter().for_each(|key| key.copy(config, &mut next));

        let level = telemetry::LogFilter::parse(&next.log.level)?;
        let (access, operators) = access_for(&next, &state.access)?;
        let gateways = state.routes.iter().map(|route| {
            let to = (&route.throttle, &route.upstream);
            let gateway = build_gateway(&next, &self.session, &access, to, &route.addresses)?;
            Ok(gateway.with_outage(route.errors.clone()))
        });
        let gateways = gateways.collect::<Result<Vec<_>, Error>>()?;
        let server = state.server.load().with_limits(&next.limits);
        socket_access::change(&state.config, &next, &access.users, &self.listening)?;
        let threads = next.daemon.threads.count();
        self.data.iter_mut().try_for_each(|data| data.resize(threads)).map_err(Error::DataPlane)?;

        // From here on nothing can fail.
        if next.log.level != state.config.log.level {
            telemetry::set_level(level);
        }
        for (route, gateway) in state.routes.iter().zip(gateways) {
            route.reconfigure(gateway, &next);
        }
        access.approvals.reconfigure(next.approval.clone());
        if let Some(audit) = &access.audit {
            record_policy(audit, &applied);
        }
        state.access = access;
        state.operators.set_operators(operators);
        state.server.store(Arc::new(server));
        let (settings, redact) = (next.export(), next.redact.clone());
        state.config = next;
        let paths = |keys: Vec<&Key>| keys.into_iter().map(Key::path).collect::<Vec<_>>();
        let (applied, restart_needed) = (paths(applied), paths(restart));
        self.runtime_state.send_modify(|now| {
            now.settings = settings;
            now.redact = redact;
            now.restart_needed.clone_from(&restart_needed);
        });
        let notes = socket_access::notes(&state.config, &self.listening);
        let restart_hint = restart_hint(&restart_needed, &self.listening);
        Ok(ReloadResult { applied, restart_needed, restart_hint, notes })
    }
}

/// Records a change of what clients may do.
fn record_policy(audit: &Audit, applied: &[&Key]) {
    let about = applied.iter().map(|key| key.path());
    let about: Vec<_> =
        about.filter(|key| RECORDED_SECTIONS.iter().any(|it| key.starts_with(it))).collect();
    if !about.is_empty() {
        let (event, detail) = (AuditEvent::Policy, Some(about.join(", ")));
        audit.event(AuditRecord {
            event,
            action: Some("reload"),
            detail,
            ..AuditRecord::default()
        });
    }
}

/// The sections that say what clients may do.
const RECORDED_SECTIONS: [&str; 3] = ["policy.", "approval.", "listen."];

/// Builds the lists of users and operators anew: a user may have another number by now.
fn access_for(next: &Config, now: &AccessSources) -> Result<(AccessSources, UserAcl), Error> {
    let allowed = &next.listen;
    let users = listen::user_acl(&allowed.users, &allowed.groups, allowed.expose)?;
    let users = users.with_members_of(&now.users);
    let operators = listen::user_acl(&next.admin.users, &[], false)?;
    Ok((AccessSources { users, ..now.clone() }, operators))
}

/// Says how to restart this daemon so that these keys count.
fn restart_hint(keys: &[String], listening: &Listening) -> Option<String> {
    if keys.is_empty() {
        return None;
    }
    let moves_sockets = keys.iter().any(|key| matches!(key.as_str(), "listen.tcp" | "listen.unix"));
    Some(match SystemdUnit::own().filter(|_| listening.activated) {
        // The sockets are systemd's: another address takes another unit.
        Some(unit) if moves_sockets => {
            let system = if unit.is_system { " --system" } else { "" };
            format!(
                "Run `nexudus-proxy service install{system}`: it moves the sockets and restarts."
            )
        }
        Some(unit) => format!("Run `{}`: it refuses no request.", unit.restart_command()),
        None if listening.activated => {
            "Run `nexudus-proxy service install`: it moves the sockets and restarts.".to_owned()
        }
        None => "Stop the daemon with `nexudus-proxy stop`, and start it again.".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_advised_only_for_keys_that_need_it() {
        let hint = |keys: &[&str], activated| {
            let keys: Vec<_> = keys.iter().map(|&key| key.to_owned()).collect();
            restart_hint(&keys, &Listening { activated, ..Listening::default() })
        };

        assert_eq!(hint(&[], true), None);
        assert!(hint(&["session.wait"], false).unwrap().contains("`nexudus-proxy stop`"));
        assert!(hint(&["listen.tcp"], true).unwrap().contains("`nexudus-proxy service install`"));
    }
}
