//! The configuration: one typed value per key, already validated.
//!
//! [`Sources::load`] merges the flags, the environment and the file into one [`Config`], and
//! records the source of each value. [`KEYS`] is the one list of all keys: the flags, the
//! environment names, the example file, the JSON schema and `config show` are made from it. A test
//! builds its own: `Config { limits: …, ..Config::default() }`.

mod commands;
mod defaults;
mod effective;
mod environment;
mod error;
mod example;
mod file;
mod fleet;
mod key;
mod keys;
mod load;
mod log;
mod merge;
mod origin;
mod paths;
mod redact;
#[cfg(test)]
#[path = "tests/roundtrip.rs"]
mod roundtrip;
mod rule;
mod rule_set;
mod runtime_dir;
mod schema;
mod source;
mod supervision;
mod systemd_unit;
#[cfg(test)]
mod tests;
mod threads;
mod units;
mod validate;
mod value;
mod value_type;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use commands::explain_refusal;
pub use environment::Environment;
pub use error::{Diagnostic, Error};
pub use example::example;
pub use fleet::{EngineUrl, FleetConfig, FleetDurability, FleetShare};
pub use key::Key;
pub use keys::KEYS;
pub use load::{EffectiveKey, LoadedConfig, Sources};
pub use log::{Log, LogFormat};
pub use merge::Override;
pub use origin::{Origin, Proxy, UpstreamAddress};
pub use paths::{Paths, with_flags, with_profile_flag};
pub use redact::{Redact, RedactMode};
pub use rule::{COMMAND_SEGMENT, ParseError, Rule, normalize_case};
pub use rule_set::{RuleMatches, RuleSet};
pub use schema::schema;
pub use source::ValueSource;
pub use supervision::{Approval, Audit, AuditFile};
pub use systemd_unit::SystemdUnit;
pub use threads::Threads;
pub use units::{
    format_duration, format_rate, format_size, parse_duration, parse_rate, parse_size,
};
pub use value_type::ValueType;

/// All settings of the daemon. Built once, before anything starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name of this set of values: `default`, `work`, ….
    pub profile: String,
    /// The API host.
    pub upstream: Upstream,
    /// Other hosts that take the same bearer, each on a port of its own.
    pub hosts: Vec<Host>,
    /// The local side.
    pub listen: Listen,
    /// For programs that cannot change their base URL.
    pub forward_proxy: ForwardProxy,
    /// The control surface.
    pub admin: Admin,
    /// Where the login is read.
    pub credentials: Credentials,
    /// The token.
    pub session: Session,
    /// The requests that are allowed.
    pub policy: Policy,
    /// Requests that wait for a person.
    pub approval: Approval,
    /// The record of what clients did.
    pub audit: Audit,
    /// Machines that share one session.
    pub fleet: FleetConfig,
    /// Rate limits.
    pub throttle: Throttle,
    /// Bounds on local requests and connections.
    pub limits: Limits,
    /// The log.
    pub log: Log,
    /// The process.
    pub daemon: Daemon,
    /// Notifications for a person.
    pub notify: Notify,
    /// Which fields are personal.
    pub redact: Redact,
}

/// `[upstream]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Where requests go.
    pub origin: Origin,
    /// Trust anchors beside the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Connect here instead of resolving the name of `origin`.
    pub address: Option<UpstreamAddress>,
    /// How to reach the internet.
    pub proxy: Proxy,
    /// How a request says who sends it.
    pub auth: UpstreamAuth,
    /// Offer HTTP/2.
    pub http2: bool,
    /// Replaces the client's `User-Agent`.
    pub user_agent: Option<String>,
    /// Forward the client's trace headers.
    pub trace: bool,
    /// Longest time for name, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Longest time from the last byte of a request to the head of its response.
    pub header_timeout: Duration,
    /// Forward WebSocket.
    pub upgrade: bool,
    /// Name ourselves in `Via`.
    pub via: bool,
}

/// `upstream.auth`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamAuth {
    /// By an access token, which the login brings (RFC 6750).
    #[default]
    Bearer,
    /// By the login itself (RFC 7617).
    Basic,
}

/// `[[host]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Where requests to these addresses go.
    pub origin: Origin,
    /// Local addresses.
    pub listen: Vec<SocketAddr>,
}

/// `[listen]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// TCP addresses; port 0 picks one for both families.
    pub tcp: Vec<SocketAddr>,
    /// The unix socket.
    pub unix: UnixSocket,
    /// Other local users who are allowed, by name or number.
    pub users: Vec<String>,
    /// Other local groups that are allowed, by name or number.
    pub groups: Vec<String>,
    /// Extra `Host` names, exact, lower case.
    pub hosts: Vec<String>,
    /// Addresses that speak HTTPS; port 0 picks one for both families.
    pub tls: Vec<SocketAddr>,
    /// Allow a non-loopback address.
    pub expose: bool,
}

/// `listen.unix`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnixSocket {
    /// `proxy.sock` in the runtime directory.
    Auto,
    /// None.
    Off,
    /// Here.
    Path(PathBuf),
}

/// `[forward_proxy]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardProxy {
    /// CONNECT and absolute-form requests over TCP; `None` is `off`.
    pub listen: Option<SocketAddr>,
    /// The fate of requests for hosts that are not configured.
    pub other_hosts: OtherHosts,
    /// Hosts that a tunnel may lead to whatever their port and address: `name` or `name:port`.
    pub allow: Vec<String>,
}

/// `forward_proxy.other_hosts`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherHosts {
    /// They are refused.
    Refuse,
    /// They go through a tunnel that is not looked into.
    Tunnel,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Health and metrics over loopback TCP; `None` is `off`.
    pub listen: Option<SocketAddr>,
    /// The two health probes over TCP, on any address; `None` is `off`.
    pub health_listen: Option<SocketAddr>,
    /// Other local users who are allowed.
    pub users: Vec<String>,
}

/// `[credentials]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Which source.
    pub source: LoginSource,
    /// For sources that hold only the password.
    pub email: Option<String>,
    /// Prints the password.
    pub command: Vec<String>,
}

/// `credentials.source`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginSource {
    /// The most explicit source that has a login.
    Auto,
    /// Credentials handed over by systemd.
    Systemd,
    /// An external command.
    Command,
    /// Environment variables.
    Env,
    /// The OS keychain.
    Keychain,
    /// A sealed file in the state directory.
    File,
}

/// `[session]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Where the rotating session is stored.
    pub store: SessionStore,
    /// Where the key of its file is stored.
    pub key: KeyStore,
    /// Prints the key.
    pub key_command: Vec<String>,
    /// The `client_id` header; `None`: one GUID per installation, profile and account.
    pub client_id: Option<String>,
    /// Longest time a request waits for a first token.
    pub wait: Duration,
}

/// `session.store`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStore {
    /// A file when a key can be had, else memory.
    Auto,
    /// An encrypted file.
    File,
    /// Nowhere: gone with the process.
    Memory,
}

/// `session.key`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStore {
    /// The most explicit source that has a key.
    Auto,
    /// The OS keychain.
    Keychain,
    /// The systemd credential `nexudus-key`.
    Systemd,
    /// An external command.
    Command,
    /// A file beside the session's, for this user alone.
    File,
    /// The kernel's keyring: gone after a reboot.
    Kernel,
}

/// `[policy]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Access of clients without a key.
    pub anonymous: AnonymousAccess,
    /// Rules whose requests are denied for all clients.
    pub deny: Vec<Rule>,
    /// Rules whose requests wait for a person.
    pub ask: Vec<Rule>,
    /// Relay `Cookie` and `Set-Cookie`.
    pub cookies: bool,
    /// The values that are hidden from clients without a key.
    pub anonymous_redact: RedactMode,
}

/// `policy.anonymous`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnonymousAccess {
    /// Everything.
    Full,
    /// Reading.
    ReadOnly,
    /// Nothing.
    None,
}

/// `[throttle]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// Longest time a request waits in the queue.
    pub wait: Duration,
    /// Pacing of reads.
    pub reads: Rate,
    /// Pacing of writes.
    pub writes: Rate,
}

/// `throttle.reads`, `throttle.writes`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Unlimited until Nexudus throttles, then learned.
    Auto,
    /// At most `count` in any span of `per`.
    Fixed {
        /// How many.
        count: u32,
        /// In how long.
        per: Duration,
    },
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest request head, in bytes.
    pub header_bytes: usize,
    /// Most headers.
    pub headers: usize,
    /// Largest response head, in bytes.
    pub response_header_bytes: usize,
    /// Most headers of a response.
    pub response_headers: usize,
    /// Longest request target, in bytes.
    pub target_bytes: usize,
    /// Largest request body that is buffered so that it can be sent again, in bytes.
    pub replay_body: usize,
    /// Largest request body, in bytes; 0: no bound.
    pub body_bytes: u64,
    /// Most local connections at once.
    pub connections: usize,
    /// Most connections to Nexudus that are kept open without a request.
    pub idle_connections: usize,
    /// Longest time for a request head to arrive.
    pub header_timeout: Duration,
    /// Longest pause inside the body of a request or of a response.
    pub body_idle: Duration,
    /// Longest time a local connection may stay open without a request.
    pub keep_alive: Duration,
}

/// `[daemon]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// How long requests in flight may take to end after a stop.
    pub drain: Duration,
    /// How many threads serve requests.
    pub threads: Threads,
}

/// `[notify]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// The command to run when a person is needed.
    pub command: Vec<String>,
}
