//! Every key there is: the one list that the rest is made from.

use super::field::Field;
use super::keys::{Entry, HOST, Kind, entry};

/// Every key of the configuration, in the order of the file.
pub static KEYS: &[Entry] = &[
    entry!(upstream.origin, Kind::Origin, "Where requests go; https only").shorthand("upstream"),
    entry!(upstream.ca_file, Kind::File, "Extra trust anchors beside the system's, PEM")
        .shorthand("ca-file"),
    entry!(upstream.proxy, Kind::Proxy, "How to reach the internet: none, system or a URL"),
    entry!(upstream.http2, Kind::Switch, "Offer HTTP/2 to the upstream"),
    entry!(upstream.user_agent, Kind::Text, "Replaces the client's User-Agent; \"\": let it be"),
    entry!(
        upstream.trace,
        Kind::Switch,
        "Send the caller's traceparent and tracestate on; the log has the trace either way"
    ),
    entry!(
        upstream.connect_timeout,
        POSITIVE,
        "Longest time for name resolution, TCP and TLS together"
    ),
    entry!(
        upstream.header_timeout,
        POSITIVE,
        "Longest wait for the head of an answer, and for more of its body"
    ),
    entry!(upstream.upgrade, Kind::Switch, "Let WebSocket through, for callers who may write"),
    HOST,
    entry!(
        listen.tcp,
        Kind::Addresses,
        "IP:PORT or localhost:PORT (both families); port 0 picks one"
    )
    .shorthand("listen"),
    entry!(
        listen.unix,
        Kind::Socket,
        "auto (proxy.sock in the runtime directory), off, or a path (its directory is made, 0700)"
    )
    .shorthand("socket"),
    entry!(listen.users, Kind::Words, "Other local users let in, by name or number"),
    entry!(listen.groups, Kind::Words, "Other local groups let in, by name or number"),
    entry!(listen.hosts, Kind::Names, "Extra names that a Host header may have, exact"),
    entry!(
        listen.expose,
        Kind::Switch,
        "Allow addresses beyond loopback; every request then needs a key"
    ),
    entry!(
        admin.listen,
        Kind::Address,
        "Health, metrics and events over loopback TCP: off or IP:PORT"
    ),
    entry!(admin.users, Kind::Words, "Other local users let in to admin.sock"),
    entry!(
        credentials.source,
        Kind::Choice(&["auto", "systemd", "command", "env", "keychain"]),
        "auto, systemd, command, env or keychain"
    )
    .shorthand("credentials"),
    entry!(credentials.email, Kind::Text, "E-mail, for sources that hold only the password"),
    entry!(
        credentials.command,
        Kind::Command,
        "Prints the password: [\"op\", \"read\", \"op://Private/Nexudus/password\"]"
    ),
    entry!(
        session.store,
        Kind::Choice(&["auto", "file", "memory"]),
        "The rotating session, encrypted at rest: auto, file or memory"
    )
    .shorthand("store"),
    entry!(
        session.key,
        Kind::Choice(&["auto", "keychain", "systemd", "command", "kernel"]),
        "The key of its file: auto, keychain, systemd, command or kernel"
    ),
    entry!(session.key_command, Kind::Command, "Prints that key"),
    entry!(
        session.client_id,
        Kind::Text,
        "The client_id header; \"\": a GUID per installation, profile and account"
    ),
    entry!(
        session.wait,
        Kind::Duration { zero: true },
        "Longest time a request waits for a first token"
    ),
    entry!(
        policy.anonymous,
        Kind::Choice(&["full", "read-only", "none"]),
        "Callers without a client key may: full, read-only or none"
    ),
    entry!(
        policy.deny,
        Kind::Rules,
        "Rules that nobody passes, e.g. [\"DELETE /**\", \"* /api/sys/users/**\"]"
    ),
    entry!(
        policy.cookies,
        Kind::Switch,
        "Relay Cookie and Set-Cookie, but not for callers with limits"
    ),
    entry!(
        throttle.wait,
        Kind::Duration { zero: true },
        "Longest time a request waits for its turn"
    ),
    entry!(
        throttle.reads,
        Kind::Pace,
        "auto: unpaced until Nexudus throttles, then learned; or 10/100ms"
    ),
    entry!(throttle.writes, Kind::Pace, "The same for writes"),
    entry!(
        limits.header_bytes,
        Kind::Size { least: 8 << 10, most: 1 << 20 },
        "Largest request head"
    ),
    entry!(
        limits.headers,
        Kind::Count { least: 1, most: 10_000 },
        "Most header fields of a request"
    ),
    entry!(
        limits.target_bytes,
        Kind::Size { least: 1, most: 65_534 },
        "Longest request target, path and query together"
    ),
    entry!(
        limits.replay_body,
        Kind::Size { least: 0, most: 1 << 30 },
        "Largest request body read whole before it goes up, so that it can be sent again"
    ),
    entry!(
        limits.body_bytes,
        Kind::Size { least: 0, most: u64::MAX },
        "Largest request body; 0: no bound"
    ),
    entry!(
        limits.connections,
        Kind::Count { least: 1, most: 1_000_000 },
        "Most local connections at once; three quarters are the owner's"
    ),
    entry!(limits.header_timeout, POSITIVE, "Longest time for a request head to arrive"),
    entry!(limits.body_idle, POSITIVE, "Longest pause inside a request body"),
    entry!(
        limits.keep_alive,
        POSITIVE,
        "Longest time a local connection stays open without a request"
    ),
    entry!(log.level, Kind::Level, "A level (off, error, warn, info, debug, trace) or directives"),
    entry!(
        log.format,
        Kind::Choice(&["auto", "human", "json", "journald"]),
        "auto: human on a terminal, journald under systemd, else json"
    ),
    entry!(
        log.server_timing,
        Kind::Switch,
        "true: answers say in Server-Timing how long token, queue and upstream took"
    ),
    entry!(
        daemon.drain,
        Kind::Duration { zero: true },
        "How long requests in flight may take to end after a stop"
    ),
    entry!(
        notify.command,
        Kind::Command,
        "Run when a person is needed: refused login, 2FA, degraded store"
    ),
];

const POSITIVE: Kind = Kind::Duration { zero: false };

/// The sections, each with its sentence, in the order of the file.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("upstream", "The API host."),
    ("listen", "The local side."),
    ("admin", "The control surface."),
    ("credentials", "Where the login is read."),
    ("session", "The token."),
    ("policy", "What may be asked."),
    ("throttle", "Pacing."),
    ("limits", "Bounds on what local callers send."),
    ("log", "What is logged."),
    ("daemon", "The process."),
    ("notify", "Telling a person."),
];

/// Finds a key by its section and name.
pub(super) fn find(section: &str, name: &str) -> Option<&'static Entry> {
    KEYS.iter().find(|entry| entry.section == section && entry.name == name)
}
