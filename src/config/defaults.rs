//! The defaults, each number with its source.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::{
    Admin, AnonymousAccess, Approval, Audit, AuditFile, Config, Credentials, Daemon, FleetConfig,
    ForwardProxy, KeyStore, Limits, Listen, Log, LogFormat, LoginSource, Notify, Origin,
    OtherHosts, Policy, Proxy, Rate, Redact, RedactMode, Session, SessionStore, Threads, Throttle,
    UnixSocket, Upstream, UpstreamAuth,
};

impl Default for Config {
    fn default() -> Self {
        Self {
            profile: DEFAULT_PROFILE.to_owned(),
            upstream: Upstream::default(),
            hosts: vec![],
            listen: Listen::default(),
            forward_proxy: ForwardProxy {
                listen: None,
                // A proxy for every host is more than what this program is for.
                other_hosts: OtherHosts::Refuse,
                allow: vec![],
            },
            admin: Admin { listen: None, health_listen: None, users: vec![] },
            credentials: Credentials { source: LoginSource::Auto, email: None, command: vec![] },
            session: Session::default(),
            policy: Policy {
                anonymous: AnonymousAccess::Full,
                deny: vec![],
                ask: vec![],
                cookies: false,
                anonymous_redact: RedactMode::Off,
            },
            approval: Approval {
                // Under the 30 s after which many clients give up.
                hold: Duration::from_secs(25),
                // A person who is at the machine, and not at the screen.
                timeout: Duration::from_secs(10 * 60),
            },
            audit: Audit {
                file: AuditFile::Off,
                // A disk that syncs takes a few milliseconds; a read should not feel more.
                wait: Duration::from_millis(50),
                // About a hundred thousand calls.
                size: 64 << 20,
                required: false,
            },
            fleet: FleetConfig::default(),
            throttle: Throttle::default(),
            limits: Limits::default(),
            log: Log { level: "info".to_owned(), format: LogFormat::Auto, server_timing: false },
            // Longer than a page takes. systemd gets an extended stop timeout for a longer value;
            // launchd's agent has 60 s.
            // One thread serves more requests than Nexudus lets an account send.
            daemon: Daemon { drain: Duration::from_secs(5), threads: Threads::Fixed(1) },
            notify: Notify { command: vec![] },
            redact: Redact::default(),
        }
    }
}

/// The profile of people who never think of profiles.
pub(super) const DEFAULT_PROFILE: &str = "default";

impl Default for Upstream {
    fn default() -> Self {
        Self {
            origin: Origin::nexudus(),
            ca_file: None,
            address: None,
            proxy: Proxy::None,
            auth: UpstreamAuth::Bearer,
            // No reason phrases and dead connections after suspend on HTTP/2.
            http2: false,
            user_agent: None,
            // A trace tells more about the client than Nexudus needs.
            trace: false,
            // Three lost SYNs (1 s, 2 s, 4 s) and a handshake.
            connect_timeout: Duration::from_secs(10),
            // Twice nginx's `proxy_read_timeout`: a slow report is not a dead server.
            header_timeout: Duration::from_secs(120),
            upgrade: false,
            // Many servers send uncompressed to a request that has `Via` (nginx's `gzip_proxied`).
            via: false,
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        // Clients resolve `localhost` to either family. 6398 is N-E-X-U on a phone.
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        Self {
            tcp: both.map(|ip| SocketAddr::new(ip, 6398)).to_vec(),
            unix: UnixSocket::Auto,
            users: vec![],
            groups: vec![],
            hosts: vec![],
            tls: vec![],
            expose: false,
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self {
            store: SessionStore::Auto,
            key: KeyStore::Auto,
            key_command: vec![],
            client_id: None,
            // One login with a lost packet or two; beyond that the client should get an error.
            wait: Duration::from_secs(10),
        }
    }
}

impl Default for Throttle {
    fn default() -> Self {
        // Under the 30 s after which many clients give up, so that they see our response and not
        // their own timeout.
        Self { wait: Duration::from_secs(20), reads: Rate::Auto, writes: Rate::Auto }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Above what servers take (nginx 4 × 8 KiB, Node and HAProxy 16 KiB): we are never the
            // narrower limit.
            header_bytes: 64 << 10,
            // hyper and Apache stop here too.
            headers: 100,
            // nginx takes 4 to 32 KiB (`proxy_buffer_size`), HAProxy 16 KiB.
            response_header_bytes: 64 << 10,
            // HAProxy stops at 101; answers with more have been reported for strict parsers.
            response_headers: 500,
            // Twice the 8000 octets that RFC 9110 §4.1 recommends to support.
            target_bytes: 16 << 10,
            // Every JSON write of the API fits; an upload is streamed instead.
            replay_body: 1 << 20,
            // Uploads are streamed, never held in memory.
            body_bytes: 0,
            // Far above a machine's scripts, far below the file descriptors we ask for.
            connections: 4096,
            // As many as callers, each of which has one request at a time. Only connections that were
            // all in use within the last minute are idle at once, so that few callers keep few.
            idle_connections: 4096,
            // A local client sends its head at once; a slow one is slowloris or a typing person.
            header_timeout: Duration::from_secs(10),
            // nginx's `client_body_timeout` and `proxy_read_timeout`.
            body_idle: Duration::from_secs(60),
            // nginx's `keepalive_timeout`.
            keep_alive: Duration::from_secs(75),
        }
    }
}
