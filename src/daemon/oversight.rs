//! Oversight of the clients: the calls that wait for a person, and the audit of all of them.

use std::io;
use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;

use super::Error;
use super::client_sync::ClientSync;
use super::profile_lock::ProfileLock;
use super::token_keeper::{self, TokenKeeper};
use super::upstream_route::{AccessSources, Listeners, unix_path};
use crate::approvals::Approvals;
use crate::audit::{Audit, AuditEvent, AuditRecord};
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::{Config, Paths, RedactMode};
use crate::credentials::Credentials;
use crate::fleet::Fleet;
use crate::peer::UserAcl;
use crate::problem::{Problem, ProblemDetails, ProblemKind};
use crate::redact::TokenVault;
use crate::session::Session;

/// The parts of a daemon by which a person watches its clients.
#[derive(Debug)]
pub(super) struct Oversight {
    approvals: Approvals,
    audit: Option<Audit>,
    tokens: TokenVault,
    keeper: JoinHandle<()>,
    sync: Option<JoinHandle<()>>,
}

impl Drop for Oversight {
    fn drop(&mut self) {
        self.keeper.abort();
        self.sync.iter().for_each(JoinHandle::abort);
    }
}

/// The record of what clients do cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("could not open the audit at {}", path.display())]
pub struct AuditError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Problem for AuditError {
    fn details(&self) -> ProblemDetails {
        ProblemKind::CommandFailed
            .with_hint("Make the file writable for this user, or set audit.file to another.")
    }
}

impl Oversight {
    /// Takes its parts. From now on it keeps what tokens stand for, and the clients of a fleet the same.
    pub(super) fn start(
        config: &Config,
        access: &AccessSources,
        (credentials, session, fleet): (&Credentials, &Session, Option<Fleet>),
    ) -> Self {
        let (approvals, audit) = (access.approvals.clone(), access.audit.clone());
        let keeper = TokenKeeper {
            tokens: access.tokens.clone(),
            key: credentials.authority_key(),
            session: session.clone(),
            clients: access.clients.clone(),
            redacts_anonymous: config.policy.anonymous_redact != RedactMode::Off,
        };
        let keeper = tokio::spawn(keeper.run());
        let sync = ClientSync::new(fleet, &access.clients, &access.tokens);
        let sync = sync.map(|sync| tokio::spawn(sync.run()));
        Self { approvals, audit, tokens: access.tokens.clone(), keeper, sync }
    }

    /// Returns the calls that wait for a person.
    pub(super) fn approvals(&self) -> &Approvals {
        &self.approvals
    }

    /// Holds no call any longer, because the daemon stops.
    pub(super) fn close(&self) {
        self.approvals.close();
    }

    /// Ends the record, once nothing more can happen.
    pub(super) fn end(&self) {
        if let Err(error) = self.tokens.flush() {
            tracing::warn!(%error, "could not write what tokens stand for");
        }
        if let Some(audit) = &self.audit {
            audit.event(AuditRecord { event: AuditEvent::Stop, ..AuditRecord::default() });
            audit.stop();
        }
    }
}

/// Gathers who has access, and what a person sees of it.
pub(super) fn access_sources(
    config: &Config,
    paths: &Paths,
    (users, clients): (UserAcl, &Clients),
    listeners: &Listeners,
    (clock, lock): (&Clock, &ProfileLock),
) -> Result<AccessSources, Error> {
    // The command of a `run` must not answer what it is asked itself.
    let is_attended = listening_at(listeners) != Some(paths.run_socket());
    let state = lock.has_state().then(|| paths.profile_state());
    Ok(AccessSources {
        users,
        clients: clients.clone(),
        approvals: Approvals::new(config.approval.clone(), is_attended, clock.clone()),
        audit: start_audit(config, &paths.profile_state())?,
        tokens: token_keeper::vault(config, state.as_deref(), clock),
    })
}

/// Returns the unix socket of the API, if there is one.
pub(super) fn listening_at(listeners: &Listeners) -> Option<PathBuf> {
    listeners.api.iter().find_map(unix_path)
}

/// Opens the record, if one is configured.
fn start_audit(config: &Config, state: &Path) -> Result<Option<Audit>, AuditError> {
    let audit = Audit::start(&config.audit, state).map_err(|source| AuditError {
        path: Audit::path(&config.audit, state).unwrap_or_default(),
        source,
    })?;
    if let Some(audit) = &audit {
        let detail = Some(format!("nexudus-proxy {}", env!("CARGO_PKG_VERSION")));
        audit.event(AuditRecord { event: AuditEvent::Start, detail, ..AuditRecord::default() });
    }
    Ok(audit)
}
