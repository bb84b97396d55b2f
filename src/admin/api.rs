//! The JSON of the admin socket: the same types for the daemon and for its commands.
//!
//! Within one [`API_VERSION`] fields are added, never renamed or removed, and readers ignore
//! unknown ones. Durations are whole numbers, and their names end in the unit.

mod authorities;
mod content;
mod history;
mod records;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::authorities::{AuthorityReport, AuthorityRoot, AuthorityState, AuthorityTrouble};
pub use self::content::{BodyContent, MessageContent, NamedValue, RequestContent};
pub use self::history::{HistoryReport, SessionEvent};
pub use self::records::{
    ApprovalDecision, ClientChanged, ClientRecord, ConfigValue, EffectiveConfig, LogoutResult,
    REVOKING_LOGOUT, SelfCheck,
};
pub use crate::approvals::{ApprovalPhase, ApprovalRecord, StandingRecord, WaitingCalls};
use crate::clients::BudgetStatus;
pub use crate::fleet::{EndedChains, FleetMember, FleetRole, FleetStatus, LanePace};
use crate::problem::Report;
use crate::session::SessionStatus;
pub use crate::telemetry::{RequestRecord, RequestTimes};
pub use crate::throttle::{LimiterStatus, ThrottleStatus};

/// The version of these types: the `1` of `/v1/`.
pub const API_VERSION: u32 = 1;

/// The parameter of `POST /v1/login` that names the origin that has accepted the login. A daemon of
/// another origin refuses with `session.origin`.
pub const UPSTREAM_PARAM: &str = "upstream";

/// The parameter of `POST /v1/login` by which a command says that Nexudus has just accepted the login,
/// which the daemon may have seen refused.
pub const PROVEN_PARAM: &str = "&proven=true";

/// `GET /v1/status`: the state of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`API_VERSION`].
    pub api: u32,
    /// The daemon's version.
    pub version: String,
    /// The process of the daemon.
    pub pid: u32,
    /// The profile of the daemon.
    pub profile: String,
    /// Whether the daemon serves, reloads or drains.
    pub phase: Lifecycle,
    /// Whether a request could be served now, and why not.
    #[serde(flatten)]
    pub readiness: Readiness,
    /// Time since the start of the daemon.
    pub uptime_s: u64,
    /// Where the daemon listens.
    pub listening: Listening,
    /// Where requests go.
    pub upstream: String,
    /// The proxy on the way there, without its password; `none` without a proxy.
    #[serde(default)]
    pub proxy: Option<String>,
    /// The certificates that are trusted there beside the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The token.
    pub session: SessionReport,
    /// New tokens since the start of the daemon.
    #[serde(default)]
    pub renewals: u64,
    /// Requests since the start of the daemon.
    pub requests: RequestCounts,
    /// The named clients, in the order of their creation; `None`: their file cannot be read, and
    /// every key is refused.
    #[serde(default = "no_clients")]
    pub clients: Option<Vec<ClientStatus>>,
    /// The pace of requests to the API.
    pub throttle: ThrottleStatus,
    /// The same for each `[[host]]`, in order, with counters of its own.
    pub host_throttles: Vec<ThrottleStatus>,
    /// The machines that share the session; `None`: this one is alone.
    #[serde(default)]
    pub fleet: Option<FleetStatus>,
    /// The two certificate authorities.
    #[serde(default)]
    pub authorities: Vec<AuthorityReport>,
    /// The configuration file, whether it exists or not.
    pub config: PathBuf,
    /// The effective configuration keys that decide which requests are allowed.
    #[serde(default)]
    pub settings: BTreeMap<String, serde_json::Value>,
    /// Keys that a reload has changed and that need a restart.
    pub restart_needed: Vec<String>,
    /// Log lines that were lost because standard error was full.
    pub log_dropped: u64,
}

impl Status {
    /// Returns the process if a `run` serves, on the socket at `run_socket`, and no daemon.
    pub fn run_pid(&self, run_socket: &Path) -> Option<u32> {
        (self.listening.unix.as_deref() == Some(run_socket)).then_some(self.pid)
    }
}

/// Returns the clients of a daemon of an older version, which does not list them.
#[allow(clippy::unnecessary_wraps, reason = "as serde wants it")]
fn no_clients() -> Option<Vec<ClientStatus>> {
    Some(vec![])
}

/// `GET /v1/upstream`: small, because `run` requests it before each connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamInfo {
    /// Where requests go.
    pub upstream: String,
}

/// A phase of the daemon's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifecycle {
    /// The daemon responds to requests.
    Serving,
    /// The daemon reads its configuration again, and responds to requests.
    Reloading,
    /// The daemon is stopping: requests in flight may finish.
    Draining,
}

/// `GET /readyz`, and the event `ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether a request could be served now.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<Reason>,
}

/// Why no request can be served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The stable code, that of the response to a request.
    pub code: String,
    /// One sentence.
    pub sentence: String,
    /// Why, where more is known.
    #[serde(default)]
    pub cause: Option<String>,
    /// A way out.
    pub hint: String,
}

/// Where a daemon listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// The API over TCP.
    pub tcp: Vec<SocketAddr>,
    /// The API over a unix socket.
    pub unix: Option<PathBuf>,
    /// Each `[[host]]`.
    pub hosts: Vec<HostListener>,
    /// The admin socket.
    pub admin: Option<PathBuf>,
    /// Addresses that speak HTTPS.
    #[serde(default)]
    pub tls: Vec<SocketAddr>,
    /// The forward proxy.
    #[serde(default)]
    pub forward_proxy: Option<ForwardListening>,
    /// Health, metrics and events over TCP.
    pub admin_tcp: Option<SocketAddr>,
    /// The two health probes, for other machines.
    #[serde(default)]
    pub health: Option<SocketAddr>,
    /// Whether the service manager opened the sockets: the next request starts a stopped daemon.
    pub activated: bool,
}

/// The forward proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardListening {
    /// The address of the listener.
    pub tcp: SocketAddr,
    /// Whether requests for other hosts go through.
    pub tunnels: bool,
}

/// A `[[host]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostListener {
    /// Where its requests go.
    pub upstream: String,
    /// The addresses of the listener.
    pub tcp: Vec<SocketAddr>,
}

/// The session with Nexudus, and what the daemon's sources of a login hold. Also the event
/// `session`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// The session itself. After a resumed session, `source` is its source now.
    #[serde(flatten)]
    pub status: SessionStatus,
    /// Every source beside the keychain in which this daemon finds a login.
    #[serde(default)]
    pub sources: Vec<String>,
    /// The missing part of each source that holds half a login and is skipped.
    #[serde(default)]
    pub halves: Vec<String>,
}

/// Requests since the start of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// Requests in flight.
    pub in_flight: u64,
    /// Open connections.
    pub connections: u64,
    /// Requests that have ended.
    pub total: u64,
    /// Requests by class of status: `2xx`, …; `none`: the client left first.
    pub by_status: BTreeMap<String, u64>,
    /// Responses of the daemon's own, by code.
    pub by_code: BTreeMap<String, u64>,
}

/// A named client: never its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// The name of the client.
    pub name: String,
    /// The allowed requests, in short: `read only, +GET /api/spaces/**`.
    pub may: String,
    /// The allowed rate, such as `5/s`.
    pub rate: Option<String>,
    /// When the key expires (RFC 3339).
    pub expires: Option<String>,
    /// Whether the key has expired.
    pub expired: bool,
    /// The allowed number of requests in all.
    pub max_requests: Option<u64>,
    /// Requests so far, across restarts; counted only where their number is limited.
    pub used: Option<u64>,
    /// Requests that are left of the allowed number.
    pub left: Option<u64>,
    /// Requests allowed since the start of the daemon.
    pub requests: u64,
    /// Requests refused since then, because of the rate or the number.
    pub refused: u64,
    /// Time since the last request that was allowed.
    pub idle_s: Option<u64>,
    /// The used part of each budget.
    #[serde(default)]
    pub budgets: Vec<BudgetStatus>,
}

/// `POST /v1/reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadResult {
    /// Keys whose new value is in effect.
    pub applied: Vec<String>,
    /// Keys whose new value needs a restart.
    pub restart_needed: Vec<String>,
    /// How to restart, where keys need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_hint: Option<String>,
    /// The steps left to a person, so that the new values have their effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// `POST /v1/stop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopResult {
    /// Requests that may still finish.
    pub in_flight: u64,
    /// Whether the process is a `run`, whose command goes on.
    #[serde(default)]
    pub run: bool,
}

/// Every error response (RFC 9457).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:nexudus-proxy:CODE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The reason phrase of the status.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// One sentence.
    pub detail: String,
    /// The stable code.
    pub code: String,
    /// A way out.
    pub hint: Option<String>,
    /// Several errors, each with its causes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Report>,
}

/// The events of `GET /v1/events`; `?kinds=ready,session,request,approval` chooses, and
/// `&content=headers,queries,bodies` adds the content of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// At the beginning and after each change.
    Ready(Readiness),
    /// At the beginning and after each change.
    Session(Box<SessionReport>),
    /// The captured content of the request whose record follows.
    Content(Box<RequestContent>),
    /// A request has ended.
    Request(Box<RequestRecord>),
    /// A call waits for a person, or was decided: the number of changes so far.
    Approval(u64),
    /// This many requests were lost because the reader was too slow.
    Lost(u64),
}
