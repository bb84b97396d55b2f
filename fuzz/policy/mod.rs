//! The guard and the policy alone, and what must hold of each head that they let through.
//!
//! The fuzz target `policy`, the replay of its seeds and the property in
//! `tests/integration/fuzz_corpus.rs` use this module. [`interpretations`] is a second implementation
//! of what servers make of a path. To see it fail, leave a step out of `PathInterpretations::expand` in
//! `src/gateway/path_interpretations.rs`.

mod interpretations;

use std::sync::Arc;

use nexudus_proxy::clients::{self, ClientPolicy, Clients};
use nexudus_proxy::clock::Clock;
use nexudus_proxy::config::{AnonymousAccess, Rule};
use nexudus_proxy::gateway::{self, ClientAuthenticator, ConnectionPeer, Decision, Guard, Policy};
use nexudus_proxy::peer::{Peer, PeerAccess, UserAcl};
use nexudus_proxy::secret::Secret;
use tempfile::TempDir;

use self::interpretations::{Segments, is_route};

/// Judges heads with the functions that the daemon uses.
pub struct Judge {
    guard: Guard,
    sender: ConnectionPeer,
    full: Policy,
    read_only: Policy,
    clients: [(Secret, ClientPolicy); 3],
    /// The store of the clients.
    _home: TempDir,
}

/// The client that sends a head.
enum Sender<'a> {
    /// No key, where every request is allowed that `policy.deny` does not match.
    Unlimited,
    /// No key, where such clients may only read.
    ReadOnly,
    /// A key, and what its client may do.
    Client(&'a Secret, &'a ClientPolicy),
}

impl Judge {
    /// Admits clients as a usual daemon does, and three clients with keys.
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let users = UserAcl::new(vec![], vec![], false);
        let deny = || {
            vec![
                rule("* /api/crm/secrets/**"),
                rule("DELETE /api/billing/invoices/*"),
                rule("RUN *DELETE* /api/spaces/**"),
            ]
        };
        let client = |name: &str, allow: &[&str], read_only| {
            let policy = ClientPolicy {
                allow: allow.iter().map(|text| rule(text)).collect(),
                deny: vec![rule("DELETE /api/spaces/invoices/**")].into(),
                read_only,
                ..ClientPolicy::default()
            };
            (clients::add(home.path(), name, policy.clone()).unwrap(), policy)
        };
        let clients = [
            client("read", &[], true),
            client("free", &[], false),
            client("named", &["* /api/**", "GET /api/sys/users/*"], false),
        ];
        let keys = ClientAuthenticator::new(Clients::new(home.path(), Clock::system()), false);
        let peer = Peer::Unix { uid: 1000, pid: None };
        Self {
            guard: Guard::new(&[], &[], 16 << 10, users, keys),
            sender: ConnectionPeer::new(peer, PeerAccess::Owner, Arc::default()),
            full: Policy::new(deny(), AnonymousAccess::Full),
            read_only: Policy::new(deny(), AnonymousAccess::ReadOnly),
            clients,
            _home: home,
        }
    }

    /// Judges `SENDER METHOD TARGET` and the headers in the lines below.
    ///
    /// # Panics
    ///
    /// When a head is let through that some server could read as what its sender may not send.
    pub fn judge(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split('\n');
        let words: Vec<&str> = lines.next().unwrap_or_default().splitn(3, ' ').collect();
        let [sender, method, target] = words[..] else { return };
        let sender = match sender {
            "full" => Sender::Unlimited,
            "read" => Sender::ReadOnly,
            name => {
                let (key, policy) = &self.clients[name.len() % self.clients.len()];
                Sender::Client(key, policy)
            }
        };
        let mut request = http::Request::builder().method(method).uri(target);
        let headers: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
        for (name, value) in &headers {
            request = request.header(name.trim(), value.trim());
        }
        if let Sender::Client(key, _) = sender {
            request = request.header("nexudus-proxy-key", key.expose());
        }
        let Ok(request) = request.header("host", "localhost").body(()) else { return };
        let names: Vec<_> = request.headers().keys().cloned().collect();
        let uri = request.uri().clone();
        let Ok(admitted) = gateway::admit(request, &self.sender, &self.guard) else { return };
        let policy = if let Sender::ReadOnly = sender { &self.read_only } else { &self.full };
        let Ok(Decision::Forward(allowed, ())) = gateway::decide(admitted, policy) else { return };
        let interpretations = interpretations::interpretations(uri.path());
        let has_login_material = allowed.has_login_material();
        let awaits_command = allowed.awaits_command();
        let passed = Passed { method, interpretations, has_login_material, awaits_command };
        passed.check_for_every_client();
        let limits = match sender {
            Sender::Unlimited => return,
            Sender::ReadOnly => None,
            Sender::Client(_, policy) => Some(policy),
        };
        passed.check_for_a_limited_client(limits);
        let names: Vec<&str> = names.iter().map(http::HeaderName::as_str).collect();
        let query = uri.query().unwrap_or_default();
        assert!(!overrides(&names, query), "{method} {target:?} with {names:?}");
    }
}

/// A head that was let through, as servers may read it.
struct Passed<'a> {
    method: &'a str,
    /// The path as servers may route it.
    interpretations: Vec<Segments>,
    has_login_material: bool,
    /// Whether its body is read for the command in it.
    awaits_command: bool,
}

impl Passed<'_> {
    fn check_for_every_client(&self) {
        self.is_not("*", &["api", "token"]);
        self.is_not("*", &["api", "crm", "secrets", "**"]);
        self.is_not("DELETE", &["api", "billing", "invoices", "*"]);
        let is_command = |it: &&Segments| {
            is_route(&["api", "spaces", "runcommand", "**"], it)
                || is_route(&["api", "spaces", "**", "runcommand", "**"], it)
        };
        let command = self.interpretations.iter().find(is_command);
        assert!(command.is_none() || self.awaits_command, "{command:?} runs any command");
    }

    fn check_for_a_limited_client(&self, limits: Option<&ClientPolicy>) {
        for route in [
            &["api", "sys", "refreshtokens*", "**"][..],
            &["**", "token", "refresh"],
            &["**", "$batch", "**"],
            &["api", "batch", "**"],
            &["api", "auth", "me", "*", "**"],
            &["**", "user", "me", "*", "**"],
        ] {
            self.is_not("*", route);
        }
        // One client may ask for users one by one.
        let users = ["api", "sys", "users*", "**"];
        if limits.is_some_and(|limits| !limits.allow.is_empty()) {
            ["POST", "PUT", "PATCH", "DELETE"].iter().for_each(|it| self.is_not(it, &users));
        } else {
            self.is_not("*", &users);
        }
        if limits.is_some() {
            self.is_not("DELETE", &["api", "spaces", "invoices", "**"]);
        }
        if limits.is_none_or(|limits| limits.read_only) {
            let reads = ["GET", "HEAD", "OPTIONS"].contains(&self.method);
            assert!(reads, "{} by a read-only client", self.method);
        }
        let is_me = |it: &Segments| {
            is_route(&["api", "auth", "me"], it) || is_route(&["**", "user", "me"], it)
        };
        let me = self.interpretations.iter().find(|it| is_me(it));
        assert!(me.is_none() || self.has_login_material, "{me:?} with its token");
    }

    /// Asserts that no server reads the head as this route.
    fn is_not(&self, method: &str, route: &[&str]) {
        if method == "*" || method == self.method {
            let reading = self.interpretations.iter().find(|reading| is_route(route, reading));
            assert!(reading.is_none(), "{} {reading:?} is {route:?}", self.method);
        }
    }
}

/// Says whether a header or the query overrides the method or the target.
fn overrides(fields: &[&str], query: &str) -> bool {
    let plain = |name: &str| name.to_lowercase().replace('_', "-");
    let methods =
        ["-method", "x-http-method", "x-http-method-override", "x-method", "x-method-override"];
    let targets =
        ["x-override-url", "x-original-url", "x-rewrite-url", "x-ms-original-url", "destination"];
    let in_head = fields.iter().any(|name| {
        let name = plain(name);
        methods.contains(&&*name) || targets.contains(&&*name)
    });
    let in_query = query.split('&').any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        methods.contains(&&*plain(name))
    });
    in_head || in_query
}

fn rule(text: &str) -> Rule {
    Rule::parse(text).unwrap()
}
