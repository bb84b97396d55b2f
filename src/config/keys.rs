//! The table of all keys: flags, environment, example, schema and help are made from it.

use super::key::{HOST, Key, key};
use super::threads::MAX_THREADS;
use super::value::ConfigValue;
use super::value_type::ValueType;
use super::{
    AnonymousAccess, FleetDurability, KeyStore, LogFormat, LoginSource, OtherHosts, RedactMode,
    SessionStore, UpstreamAuth,
};

/// Every key of the configuration, in the order of the file.
pub static KEYS: &[Key] = &[
    key!(upstream.origin, ValueType::Origin, "Where requests go; https only").shorthand("upstream"),
    key!(upstream.ca_file, ValueType::File, "Extra trust anchors beside the system's, PEM")
        .shorthand("ca-file"),
    key!(
        upstream.address,
        ValueType::UpstreamAddress,
        "Connect to this IP[:PORT] instead of resolving the name of upstream.origin; empty: resolve"
    ),
    key!(upstream.proxy, ValueType::Proxy, "How to reach the internet: none, system or a URL"),
    key!(
        upstream.auth,
        ValueType::Choice(UpstreamAuth::WORDS),
        "How requests say who sends them: a token, or e-mail and password with each (basic)"
    ),
    key!(upstream.http2, ValueType::Bool, "Offer HTTP/2 to the upstream"),
    key!(
        upstream.user_agent,
        ValueType::Text,
        "Replaces the client's User-Agent; empty: keep the client's"
    )
    .reloadable(),
    key!(
        upstream.trace,
        ValueType::Bool,
        "Forward the client's traceparent and tracestate; the log has the trace either way"
    )
    .reloadable(),
    key!(
        upstream.connect_timeout,
        POSITIVE_DURATION,
        "Longest time for name resolution, TCP and TLS together"
    ),
    key!(
        upstream.header_timeout,
        POSITIVE_DURATION,
        "Longest wait for the head of a response; limits.body_idle bounds its body"
    ),
    key!(upstream.upgrade, ValueType::Bool, "Let WebSocket through, for clients who may write")
        .reloadable(),
    key!(
        upstream.via,
        ValueType::Bool,
        "Name ourselves in Via; many servers then send their responses uncompressed"
    )
    .reloadable(),
    HOST,
    key!(
        listen.tcp,
        ValueType::Addresses,
        "IP:PORT or localhost:PORT (both families); port 0 picks one"
    )
    .shorthand("listen"),
    key!(
        listen.unix,
        ValueType::Socket,
        "auto (proxy.sock in the runtime directory), off, or a path (its directory is made, 0700)"
    )
    .shorthand("socket"),
    key!(listen.users, ValueType::Strings, "Other local users with access, by name or number")
        .reloadable(),
    key!(listen.groups, ValueType::Strings, "Other local groups with access, by name or number")
        .reloadable(),
    key!(
        listen.hosts,
        ValueType::Hostnames,
        "Extra hosts that a Host header may name: name (with any port) or name:port"
    )
    .reloadable(),
    key!(
        listen.tls,
        ValueType::Addresses,
        "Addresses that speak HTTPS, with a certificate of the local CA: IP:PORT or localhost:PORT"
    ),
    key!(
        listen.expose,
        ValueType::Bool,
        "Allow addresses beyond loopback; every request then needs a key"
    ),
    key!(
        forward_proxy.listen,
        ValueType::Address,
        "CONNECT and absolute-form, for programs with a fixed base URL: off or IP:PORT"
    ),
    key!(
        forward_proxy.other_hosts,
        ValueType::Choice(OtherHosts::WORDS),
        "Requests for hosts that are not configured: refuse or tunnel"
    ),
    key!(
        forward_proxy.allow,
        ValueType::Hostnames,
        "Hosts whose port or private address tunnels may use: name (port 443) or name:port"
    ),
    key!(admin.listen, ValueType::Address, "Health and metrics over loopback TCP: off or IP:PORT"),
    key!(
        admin.health_listen,
        ValueType::Address,
        "/healthz and /readyz alone, on any address, for probes of other machines: off or IP:PORT"
    ),
    key!(admin.users, ValueType::Strings, "Other local users with access to admin.sock")
        .reloadable(),
    key!(
        credentials.source,
        ValueType::Choice(LoginSource::WORDS),
        "auto, systemd, command, env, keychain or file (sealed, where there is no keychain)"
    )
    .shorthand("credentials"),
    key!(credentials.email, ValueType::Text, "E-mail, for sources that hold only the password"),
    key!(
        credentials.command,
        ValueType::Argv,
        "Prints the password: [\"op\", \"read\", \"op://Private/Nexudus/password\"]"
    ),
    key!(
        session.store,
        ValueType::Choice(SessionStore::WORDS),
        "The rotating session, encrypted at rest: auto, file or memory"
    )
    .shorthand("store"),
    key!(
        session.key,
        ValueType::Choice(KeyStore::WORDS),
        "The key of its file: auto, keychain, systemd, command, file (0600, beside it) or kernel"
    ),
    key!(session.key_command, ValueType::Argv, "Prints that key"),
    key!(
        session.client_id,
        ValueType::Text,
        "The client_id header; empty: a GUID per installation, profile and account"
    ),
    key!(
        session.wait,
        ValueType::Duration { allow_zero: true },
        "Longest time a request waits for a first token"
    ),
    key!(
        policy.anonymous,
        ValueType::Choice(AnonymousAccess::WORDS),
        "Access of clients without a key: full, read-only or none"
    )
    .reloadable(),
    key!(
        policy.deny,
        ValueType::Rules,
        "Denied for all clients, e.g. [\"DELETE /**\", \"* /api/sys/users/**\"]"
    )
    .reloadable(),
    key!(
        policy.ask,
        ValueType::Rules,
        "Held until a person approves, e.g. [\"DELETE /**\", \"RUN *DELETE* /**\"]"
    )
    .reloadable(),
    key!(
        policy.cookies,
        ValueType::Bool,
        "Relay Cookie and Set-Cookie, but not for clients with limits"
    )
    .reloadable(),
    key!(
        policy.anonymous_redact,
        ValueType::Choice(RedactMode::WORDS),
        "Hidden from clients without a key: off, table (personal values) or all (every text)"
    )
    .reloadable(),
    key!(
        redact.fields,
        ValueType::Strings,
        "Personal fields beside the built-in table, e.g. [\"Coworker.TariffName\"]"
    )
    .reloadable(),
    key!(
        redact.keep,
        ValueType::Strings,
        "Fields that stay under --redact=all, e.g. [\"Resource.Name\"]"
    )
    .reloadable(),
    key!(
        approval.hold,
        ValueType::Duration { allow_zero: true },
        "Longest time a request is held before the answer that it waits for a person"
    )
    .reloadable(),
    key!(
        approval.timeout,
        POSITIVE_DURATION,
        "How long a person may take to decide, and how long a decision is good for"
    )
    .reloadable(),
    key!(
        audit.file,
        ValueType::AuditFile,
        "The record of what clients did: off, auto (audit.jsonl in the state directory) or a path"
    ),
    key!(
        audit.wait,
        ValueType::Duration { allow_zero: true },
        "Longest time a request is held until it can be recorded; what then is not is counted"
    ),
    key!(
        audit.size,
        ValueType::Size { min: 16 << 10, max: 1 << 40 },
        "The size at which a new file is begun"
    ),
    key!(audit.required, ValueType::Bool, "Refuse a write of a client that cannot be recorded"),
    key!(
        fleet.engine,
        ValueType::Engine,
        "Redis or Valkey that several machines share; empty: alone"
    ),
    key!(fleet.username, ValueType::Text, "The engine's user; empty: its default user"),
    key!(fleet.password_command, ValueType::Argv, "Prints the password of the engine's user"),
    key!(fleet.key_command, ValueType::Argv, "Prints the key of all members: 64 hex digits a line"),
    key!(fleet.ca_file, ValueType::File, "The engine's trust anchors beside the system's, PEM"),
    key!(fleet.ports, ValueType::Ports, "Further ports of engines, which Sentinel announces"),
    key!(fleet.share, ValueType::Shares, "What the members share: session, throttle"),
    key!(
        fleet.durability,
        ValueType::Choice(FleetDurability::WORDS),
        "Before a token is spent: auto (in the engine's file, on its replicas) or none"
    ),
    key!(fleet.clients_stale, POSITIVE_DURATION, "Cut off for longer: refuse clients with keys"),
    key!(
        fleet.fail_closed_after,
        ValueType::Duration { allow_zero: true },
        "Cut off for longer: refuse every client; 0s: serve on"
    ),
    key!(fleet.partition_login, ValueType::Bool, "Log in with a 2FA code of its own while cut off"),
    key!(fleet.name, ValueType::Text, "The name of this machine; empty: its host name"),
    key!(
        throttle.wait,
        ValueType::Duration { allow_zero: true },
        "Longest time a request waits in the queue"
    )
    .reloadable(),
    key!(
        throttle.reads,
        ValueType::Rate,
        "auto: unlimited until Nexudus throttles, then learned; or 10/100ms"
    )
    .reloadable(),
    key!(throttle.writes, ValueType::Rate, "The same for writes").reloadable(),
    key!(
        limits.header_bytes,
        ValueType::Size { min: 8 << 10, max: 1 << 20 },
        "Largest request head"
    )
    .reloadable(),
    key!(limits.headers, ValueType::Integer { min: 1, max: 10_000 }, "Most headers of a request")
        .reloadable(),
    key!(
        limits.response_header_bytes,
        ValueType::Size { min: 8 << 10, max: 1 << 20 },
        "Largest response head of Nexudus"
    ),
    key!(
        limits.response_headers,
        ValueType::Integer { min: 1, max: 10_000 },
        "Most headers of a response of Nexudus"
    ),
    key!(
        limits.target_bytes,
        ValueType::Size { min: 1, max: 65_534 },
        "Longest request target, path and query together"
    )
    .reloadable(),
    key!(
        limits.replay_body,
        ValueType::Size { min: 0, max: 1 << 30 },
        "Largest request body read whole before it goes up, so that it can be sent again"
    )
    .reloadable(),
    key!(
        limits.body_bytes,
        ValueType::Size { min: 0, max: u64::MAX },
        "Largest request body; 0: no bound"
    )
    .reloadable(),
    key!(
        limits.connections,
        ValueType::Integer { min: 1, max: 1_000_000 },
        "Most local connections at once; three quarters are the owner's"
    ),
    key!(
        limits.idle_connections,
        ValueType::Integer { min: 1, max: 1_000_000 },
        "Most connections to each Nexudus host kept open without a request"
    ),
    key!(limits.header_timeout, POSITIVE_DURATION, "Longest time for a request head to arrive")
        .reloadable(),
    key!(
        limits.body_idle,
        POSITIVE_DURATION,
        "Longest pause inside a request or response body; event streams may pause, and a WebSocket end is pinged after half of it"
    )
    .reloadable(),
    key!(
        limits.keep_alive,
        POSITIVE_DURATION,
        "Longest time a local connection stays open without a request"
    )
    .reloadable(),
    key!(
        log.level,
        ValueType::Level,
        "A level (off, error, warn, info, debug, trace) or directives"
    )
    .reloadable(),
    key!(
        log.format,
        ValueType::Choice(LogFormat::WORDS),
        "auto: human on a terminal, journald under systemd, else json"
    ),
    key!(
        log.server_timing,
        ValueType::Bool,
        "Add Server-Timing to responses: time for token, queue and upstream"
    )
    .reloadable(),
    key!(
        daemon.drain,
        ValueType::Duration { allow_zero: true },
        "How long requests in flight may take to end after a stop"
    )
    .reloadable(),
    key!(
        daemon.threads,
        ValueType::Threads { max: MAX_THREADS },
        "Threads that serve requests: auto (one per processor, at most 8) or a number"
    )
    .reloadable(),
    key!(
        notify.command,
        ValueType::Argv,
        "Run when a person is needed: refused login, 2FA, degraded store"
    ),
];

const POSITIVE_DURATION: ValueType = ValueType::Duration { allow_zero: false };

/// The sections, each with its description, in the order of the file.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("upstream", "The API host."),
    ("listen", "The local side."),
    ("forward_proxy", "For programs that cannot change their base URL."),
    ("admin", "The control surface."),
    ("credentials", "Where the login is read."),
    ("session", "The token."),
    ("policy", "The requests that are allowed."),
    ("approval", "Requests that wait for a person."),
    ("audit", "The record of what clients did."),
    ("redact", "Which fields are personal."),
    ("fleet", "Machines that share one session."),
    ("throttle", "Rate limits."),
    ("limits", "Bounds on what local clients and Nexudus send."),
    ("log", "The log."),
    ("daemon", "The process."),
    ("notify", "Notifications for a person."),
];

/// Finds a key by its section and name.
pub(super) fn find_key(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|entry| entry.section == section && entry.name == name)
}
