//! What goes over the admin socket: the same shapes for the daemon and for its commands.
//!
//! Fields are added, never renamed or removed, within one [`API_VERSION`]; readers ignore what they do not
//! know. Durations are whole numbers, and end in their unit.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use crate::telemetry::RequestRecord;

/// The version of these shapes: the `1` of `/v1/`.
pub const API_VERSION: u32 = 1;

/// In the query of `POST /v1/login`: the origin that has accepted the login. A daemon that serves
/// another one refuses with [`ORIGIN_MISMATCH_CODE`].
pub const UPSTREAM_PARAM: &str = "upstream";

/// The code of that refusal.
pub const ORIGIN_MISMATCH_CODE: &str = "session.origin";

/// `GET /v1/status`: what the daemon knows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`API_VERSION`].
    pub api: u32,
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Its profile.
    pub profile: String,
    /// What it is doing.
    pub phase: Lifecycle,
    /// Whether a request could be served now, and why not.
    #[serde(flatten)]
    pub readiness: Readiness,
    /// Time since its start.
    pub uptime_s: u64,
    /// Where it listens.
    pub listening: Listening,
    /// Where requests go.
    pub upstream: String,
    /// The proxy on the way there, without its password; `none`: there is none.
    #[serde(default)]
    pub proxy: Option<String>,
    /// Who is believed there, beside whom the system believes.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The token.
    pub session: SessionStatus,
    /// New tokens since its start.
    #[serde(default)]
    pub renewals: u64,
    /// What was asked of it.
    pub requests: RequestCounts,
    /// The named clients, in the order in which they were made; `None`: their file cannot be read,
    /// and every key is refused.
    #[serde(default = "no_clients")]
    pub clients: Option<Vec<ClientStatus>>,
    /// How fast the API may be asked.
    pub throttle: ThrottleStatus,
    /// The same for each `[[host]]`, in order: each counts for itself.
    pub host_throttles: Vec<ThrottleStatus>,
    /// The configuration file, whether it exists or not.
    pub config: PathBuf,
    /// The keys that decide what is let through, as they are in effect.
    #[serde(default)]
    pub settings: BTreeMap<String, serde_json::Value>,
    /// Keys that were changed by a reload and take a restart.
    pub restart_needed: Vec<String>,
    /// Log lines that were lost because nobody read them.
    pub log_dropped: u64,
}

impl Status {
    /// Returns the process, if it is a `run_pid` that serves, on the socket at `run_socket`, and no daemon.
    pub fn run_pid(&self, run_socket: &Path) -> Option<u32> {
        (self.listening.unix.as_deref() == Some(run_socket)).then_some(self.pid)
    }
}

/// A daemon of an older version tells of nobody.
#[allow(clippy::unnecessary_wraps, reason = "as serde wants it")]
fn no_clients() -> Option<Vec<ClientStatus>> {
    Some(vec![])
}

/// `GET /v1/upstream`: what a `run_pid` asks before each connection, so that it takes no time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamInfo {
    /// Where requests go.
    pub upstream: String,
}

/// What the daemon is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifecycle {
    /// It answers requests.
    Serving,
    /// It reads its configuration again, and answers requests.
    Reloading,
    /// It is stopping: requests in flight may finish.
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

/// Why no request could be served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The stable code, that of the answer a request would get.
    pub code: String,
    /// One sentence.
    pub sentence: String,
    /// Why, where more is known.
    #[serde(default)]
    pub cause: Option<String>,
    /// What to do.
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
    /// Health, metrics and events over TCP.
    pub admin_tcp: Option<SocketAddr>,
    /// Whether the service manager opened the sockets: the next request starts a stopped daemon.
    pub activated: bool,
}

/// A `[[host]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostListener {
    /// Where its requests go.
    pub upstream: String,
    /// Its addresses.
    pub tcp: Vec<SocketAddr>,
}

/// The token, and what it takes to have one. Also the event `session`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// In a word: `starting`, `ready`, `waiting`, `locked`, `not-logged-in`, `refused`,
    /// `totp-required`, `password-reset`, `expired`, `credentials-unavailable`.
    pub state: String,
    /// Whether a renewal or a login is in flight.
    pub renewing: bool,
    /// Number of the token: grows by one with each new pair.
    pub generation: u64,
    /// The account, by its e-mail address.
    pub account: Option<String>,
    /// Where the login was last read; after a resumed session, where it would be read now.
    pub source: Option<String>,
    /// Every source beside the keychain that holds a login, as this daemon sees it.
    #[serde(default)]
    pub sources: Vec<String>,
    /// What each source lacks that has half a login, and is passed over.
    #[serde(default)]
    pub halves: Vec<String>,
    /// Whether that login was not needed: the saved session was resumed.
    #[serde(default)]
    pub resumed: bool,
    /// Where the pair is kept: `file` or `memory`.
    pub store: String,
    /// Why there.
    pub store_reason: String,
    /// Time since the newest token was received, valid or not.
    pub age_s: Option<u64>,
    /// Time that it has left.
    pub expires_in_s: Option<u64>,
    /// Time until the next renewal or attempt.
    pub renews_in_s: Option<u64>,
    /// Time until the refresh token lapses, by the daemon's own record.
    pub refresh_token_expires_in_s: Option<u64>,
    /// The last failure since the last success.
    pub error: Option<LastError>,
    /// What is handled, but wrong.
    pub degraded: Option<String>,
    /// `false`: even a new token is refused by the API.
    pub api_access: Option<bool>,
    /// What a person should do, if anything.
    pub advice: Option<String>,
}

/// A failure that passed or will.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// The stable code.
    pub code: String,
    /// What is wrong.
    pub sentence: String,
    /// Why, where more is known.
    pub cause: Option<String>,
    /// What to do.
    pub hint: String,
}

/// What was asked of the daemon since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// Being answered now.
    pub in_flight: u64,
    /// Open connections.
    pub connections: u64,
    /// Answered.
    pub total: u64,
    /// By class of status: `2xx`, …; `none`: the caller left first.
    pub by_status: BTreeMap<String, u64>,
    /// Answers of the daemon's own, by code.
    pub by_code: BTreeMap<String, u64>,
}

/// A named client: never its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// Its name.
    pub name: String,
    /// What it may ask for, in short: `read only, +GET /api/spaces/**`.
    pub may: String,
    /// How often it may call, such as `5/s`.
    pub rate: Option<String>,
    /// When its key stops working (RFC 3339).
    pub expires: Option<String>,
    /// Whether it has.
    pub expired: bool,
    /// How often it may call in all.
    pub max_requests: Option<u64>,
    /// How often it has, across restarts; counted only where that is limited.
    pub used: Option<u64>,
    /// How often it still may.
    pub left: Option<u64>,
    /// Requests let through since the daemon's start.
    pub requests: u64,
    /// Requests refused for its rate or its count since then.
    pub refused: u64,
    /// Time since the last request that was let through.
    pub idle_s: Option<u64>,
}

/// How fast a host may be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleStatus {
    /// GET, HEAD and OPTIONS.
    pub reads: LimiterStatus,
    /// Everything else.
    pub writes: LimiterStatus,
    /// The daemon's own calls, for tokens.
    pub own: LimiterStatus,
}

/// How fast one kind of requests may be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimiterStatus {
    /// For people: `unpaced`, `10/100ms (learned)`, `paused 0.8 s by Nexudus, 14 waiting`.
    pub state: String,
    /// What is paced: `nothing`, `shape` or `all`.
    pub paced: String,
    /// The shape of the paths that are paced, if it is not all.
    pub path: Option<String>,
    /// Time until which Nexudus has asked to wait.
    pub paused_ms: Option<u64>,
    /// Requests waiting for their turn.
    pub waiting: u64,
    /// Callers that they belong to.
    pub callers: u64,
    /// What may be sent, such as `10/100ms`; all of them hold at once.
    pub windows: Vec<String>,
    /// Whether those were learned, and not configured.
    pub learned: bool,
    /// Requests sent this minute.
    pub minute: u64,
    /// Requests sent today (UTC).
    pub day: u64,
    /// Whether today's reach a figure that Nexudus has published. It warns, and blocks nothing.
    pub above_published: bool,
    /// Throttle answers since the start.
    pub throttled: u64,
    /// Requests sent again since the start.
    pub replayed: u64,
    /// Requests refused here since the start.
    pub refused: u64,
    /// Time that requests have waited since the start.
    pub waited_ms: u64,
}

/// `POST /v1/reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadResult {
    /// Keys whose new value is in effect.
    pub applied: Vec<String>,
    /// Keys whose new value takes a restart.
    pub restart_needed: Vec<String>,
}

/// `POST /v1/stop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopResult {
    /// Requests that may still finish.
    pub in_flight: u64,
    /// Whether it is a `run_pid`, whose command goes on.
    #[serde(default)]
    pub run: bool,
}

/// Every answer that is an error (RFC 9457).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:nexudus-proxy:CODE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// In a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// One sentence.
    pub detail: String,
    /// The stable code.
    pub code: String,
    /// What to do.
    pub hint: Option<String>,
    /// More than one thing that is wrong, each with its causes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ErrorDetail>,
}

/// One of several things that are wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// One sentence.
    pub sentence: String,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// What to do.
    #[serde(default)]
    pub hint: Option<String>,
}

/// The events of `GET /v1/events`; `?kinds=ready,session,request` chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// At the beginning and after each change.
    Ready(Readiness),
    /// At the beginning and after each change.
    Session(Box<SessionStatus>),
    /// A request has ended.
    Request(Box<RequestRecord>),
    /// This many requests were not told, because the reader was too slow.
    Lost(u64),
}
