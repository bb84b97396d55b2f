//! The state that all handlers share, and the commands that the daemon takes.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use tokio::sync::{mpsc, oneshot, watch};

use super::access::AccessControl;
use super::api::{
    AuthorityReport, ConfigValue, Lifecycle, Listening, Problem, Readiness, ReloadResult,
    SessionReport, StopResult,
};
use super::authority_channels::Authorities;
use super::connection_slots::ConnectionSlots;
use super::health::{Heartbeat, note_stale_keys, readiness};
use super::history::History;
use super::problem::{render, response_for_profile};
use crate::approvals::Approvals;
use crate::audit::{Audit, AuditRecord};
use crate::clients::Clients;
use crate::clock::Clock;
use crate::config::{Redact, with_profile_flag};
use crate::credentials::Credentials;
use crate::fleet::{Fleet, FleetStatus};
use crate::listen::InFlightCounter;
use crate::peer::Peer;
use crate::redact::TokenVault;
use crate::session::{Session, SessionStatus, endpoint::HttpIssuer};
use crate::telemetry::Telemetry;
use crate::throttle::Throttle;
use crate::upstream::Upstream;

/// Facts that do not change while the daemon runs.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// The profile.
    pub profile: String,
    /// When the daemon started.
    pub started: Instant,
    /// Where the daemon listens.
    pub listening: Listening,
    /// Where requests go.
    pub upstream: String,
    /// The proxy on the way there, without its password.
    pub proxy: String,
    /// The certificates that are trusted there beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The configuration file.
    pub config: PathBuf,
}

/// Facts that change while the daemon runs.
#[derive(Clone, Debug)]
pub struct RuntimeState {
    /// The phase of the daemon's life.
    pub lifecycle: Lifecycle,
    /// The effective configuration keys that decide which requests are allowed.
    pub settings: BTreeMap<String, serde_json::Value>,
    /// The configuration in effect.
    pub keys: Arc<[ConfigValue]>,
    /// The fields that are hidden from a reader of requests' content.
    pub redact: Redact,
    /// Keys that a reload has changed and that need a restart.
    pub restart_needed: Vec<String>,
}

impl RuntimeState {
    /// Says whether every caller needs a key.
    pub(super) fn needs_keys(&self) -> bool {
        let is = |key: &str, value: serde_json::Value| self.settings.get(key) == Some(&value);
        is("policy.anonymous", "none".into()) || is("listen.expose", true.into())
    }
}

/// A command to the daemon as a whole.
#[derive(Debug)]
pub enum DaemonCommand {
    /// Drain and end.
    Stop(Reply<StopResult>),
    /// Drain and end, so that another daemon can take over: only a `run` obeys.
    HandOver(Reply<StopResult>),
    /// Read the configuration again.
    Reload(Reply<ReloadResult>),
}

/// Where the result of a command goes.
pub type Reply<T> = oneshot::Sender<Result<T, Box<Problem>>>;

/// The parts of the daemon that the surface reads and commands.
#[derive(Debug)]
pub struct AdminState {
    /// The session with Nexudus.
    pub session: Session,
    /// The calls at Nexudus that are the daemon's own.
    pub issuer: HttpIssuer,
    /// The source of time.
    pub clock: Clock,
    /// Whether the key of the session file is read elsewhere than in the keychain.
    pub has_key_outside_keychain: bool,
    /// The sources of the login.
    pub credentials: Credentials,
    /// The member of a fleet that this machine is.
    pub fleet: Option<Fleet>,
    /// The pace of requests to the API.
    pub throttle: Throttle,
    /// The pace of requests to each `[[host]]`.
    pub host_throttles: Vec<Throttle>,
    /// The clients of the API and of each `[[host]]`.
    pub upstreams: Vec<Upstream>,
    /// The named clients.
    pub clients: Clients,
    /// The calls that wait for a person.
    pub approvals: Approvals,
    /// The record of what clients do, if there is one.
    pub audit: Option<Audit>,
    /// The certificate authorities.
    pub authorities: Authorities,
    /// The values behind the tokens of redacted clients.
    pub tokens: TokenVault,
    /// Counts and records of requests.
    pub telemetry: Arc<Telemetry>,
    /// The number of requests in flight.
    pub in_flight: InFlightCounter,
    /// The facts that change.
    pub runtime: watch::Receiver<RuntimeState>,
    /// Whether the data threads respond.
    pub heartbeat: Heartbeat,
    /// Where the daemon takes commands.
    pub commands: mpsc::Sender<DaemonCommand>,
    /// Which processes have access.
    pub access: AccessControl,
}

/// The state of every handler.
#[derive(Debug)]
pub(super) struct AdminContext {
    pub(super) server: ServerInfo,
    /// The last day.
    pub(super) history: History,
    state: AdminState,
    operator_slots: ConnectionSlots,
    /// A limit of its own, so that read-only peers cannot exhaust operators' connections.
    readonly_slots: ConnectionSlots,
}

impl Deref for AdminContext {
    type Target = AdminState;

    fn deref(&self) -> &AdminState {
        &self.state
    }
}

impl AdminContext {
    pub(super) fn new(server: ServerInfo, state: AdminState) -> Self {
        let (operator_slots, readonly_slots) = (ConnectionSlots::new(), ConnectionSlots::new());
        let history = History::new(state.clock.now().wall);
        Self { server, history, state, operator_slots, readonly_slots }
    }

    /// Returns the connections among which this peer's is counted.
    pub(super) fn slots(&self, peer: &Peer) -> &ConnectionSlots {
        if self.access.is_operator(peer) { &self.operator_slots } else { &self.readonly_slots }
    }

    pub(super) fn runtime_state(&self) -> RuntimeState {
        self.runtime.borrow().clone()
    }

    pub(super) fn readiness(&self, lifecycle: Lifecycle) -> Readiness {
        let mut readiness = readiness(&self.session, lifecycle);
        let needs_keys = self.runtime.borrow().needs_keys();
        note_stale_keys(&mut readiness, &self.clients, needs_keys);
        readiness.reasons.iter_mut().for_each(|reason| reason.hint = self.in_profile(&reason.hint));
        readiness
    }

    /// Describes the fleet, where this machine is in one.
    pub(super) fn fleet_status(&self) -> Option<FleetStatus> {
        self.fleet.as_ref().map(Fleet::status)
    }

    /// Describes the certificate authorities.
    pub(super) fn authority_reports(&self) -> Vec<AuthorityReport> {
        self.authorities.reports(self.clock.now().wall, &self.server.profile)
    }

    /// Returns the status of the session.
    pub(super) fn session_report(&self) -> SessionReport {
        let mut status = SessionStatus::clone(&self.session.status());
        let hints = status.error.iter_mut().map(|error| &mut error.hint);
        hints.chain(&mut status.advice).for_each(|hint| *hint = self.in_profile(hint));
        SessionReport { status, sources: vec![], halves: vec![] }
    }

    /// Returns the same with the present content of the login's sources: only this process sees its
    /// environment.
    pub(super) async fn session_report_with_sources(&self) -> SessionReport {
        let mut session = self.session_report();
        session.sources =
            self.credentials.sources_beside_keychain().iter().map(ToString::to_string).collect();
        session.halves =
            self.credentials.incomplete_sources().iter().map(ToString::to_string).collect();
        if session.status.resumed {
            let source = self.credentials.active_source();
            let source = tokio::time::timeout(CREDENTIALS_TIMEOUT, source).await;
            session.status.source = source.ok().flatten().map(|origin| origin.to_string());
        }
        session
    }

    /// Renders a problem with the commands in its hints for this profile.
    pub(super) fn problem_response(&self, problem: Problem) -> Response {
        render(&problem.for_profile(&self.server.profile))
    }

    /// Renders an error with the commands in its hint for this profile.
    pub(super) fn error_response(&self, error: &impl crate::problem::Problem) -> Response {
        response_for_profile(error, &self.server.profile)
    }

    /// Forgets what requests held: the values behind tokens, and what was captured.
    pub(super) async fn wipe_content(&self) {
        self.telemetry.captures.wipe();
        let tokens = self.tokens.clone();
        // Also on disk, and a panic was told where it happened.
        let _ = tokio::task::spawn_blocking(move || tokens.wipe()).await;
    }

    /// Records what an operator did.
    pub(super) fn record(&self, peer: &Peer, record: AuditRecord) {
        if let Some(audit) = &self.audit {
            audit.event(AuditRecord { uid: peer.uid(), ..record });
        }
    }

    fn in_profile(&self, hint: &str) -> String {
        with_profile_flag(hint, &self.server.profile)
    }
}

/// Longest time to read the keychain, because a status does not depend on it.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(1);
