//! The guard and the policy by themselves, and what must hold of each head that they let through.
//!
//! The fuzz target `policy`, the replay of its seeds and the property in `tests/integration/fuzz_corpus.rs`
//! use it. [`readings`] is a second implementation of what servers make of a path. To see
//! it fail, leave a step out of `PathInterpretations::step` in `src/gateway/path_interpretations.rs`.

mod readings;

use std::path::Path;

use nexudus_proxy::clients::{ClientPolicy, Clients};
use nexudus_proxy::clock::Clock;
use nexudus_proxy::config::{AnonymousAccess, Rule};
use nexudus_proxy::gateway::{ClientAuthenticator, Guard, Policy, Trial};
use nexudus_proxy::listen::{Peer, UserAcl};

use self::readings::{Segments, is_route};

/// Judges heads as the daemon does.
pub struct Judge {
    guard: Guard,
    full: Policy,
    reading: Policy,
    clients: [ClientPolicy; 3],
}

/// Who sends a head.
enum Sender<'a> {
    /// No key, and everything is allowed that `policy.deny` does not forbid.
    Unlimited,
    /// No key, where those may only read.
    Reader,
    /// A key.
    Client(&'a ClientPolicy),
}

impl Judge {
    /// Lets callers in as a usual daemon does, three clients among them.
    pub fn new() -> Self {
        let users = UserAcl::new(&[], &[], false).unwrap();
        let keys = ClientAuthenticator::new(
            Clients::new(Path::new("/nonexistent"), Clock::system()),
            false,
        );
        let deny = || vec![rule("* /api/crm/secrets/**"), rule("DELETE /api/billing/invoices/*")];
        let client = |allow: &[&str], read_only| ClientPolicy {
            allow: allow.iter().map(|text| rule(text)).collect(),
            deny: vec![rule("DELETE /api/spaces/invoices/**")],
            read_only,
            ..ClientPolicy::default()
        };
        Self {
            guard: Guard::new(&[], &[], 16 << 10, users, keys),
            full: Policy::new(deny(), AnonymousAccess::Full),
            reading: Policy::new(deny(), AnonymousAccess::ReadOnly),
            clients: [
                client(&[], true),
                client(&[], false),
                client(&["* /api/**", "GET /api/sys/users/*"], false),
            ],
        }
    }

    /// Judges `SENDER METHOD TARGET` and the header fields in the lines below.
    ///
    /// # Panics
    ///
    /// When a head is let through that some server could read as what is forbidden to its sender.
    pub fn judge(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split('\n');
        let words: Vec<&str> = lines.next().unwrap_or_default().splitn(3, ' ').collect();
        let [sender, method, target] = words[..] else { return };
        let mut request = http::Request::builder().method(method).uri(target);
        let fields: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
        for (name, value) in &fields {
            request = request.header(name.trim(), value.trim());
        }
        let Ok(request) = request.header("host", "localhost").body(()) else { return };
        let head = request.into_parts().0;
        if !self.guard.trial(Peer::Unix { uid: 1000, pid: None })(&head) {
            return;
        }
        let sender = match sender {
            "full" => Sender::Unlimited,
            "read" => Sender::Reader,
            name => Sender::Client(&self.clients[name.len() % self.clients.len()]),
        };
        let trial = match sender {
            Sender::Unlimited => self.full.trial(&head, None),
            Sender::Reader => self.reading.trial(&head, None),
            Sender::Client(limits) => self.full.trial(&head, Some(limits)),
        };
        let Trial::Forwarded { without_tokens } = trial else { return };
        let readings = readings::interpretations(head.uri.path());
        let names: Vec<&str> = head.headers.keys().map(http::HeaderName::as_str).collect();
        let passed = Passed { method, readings, without_tokens };
        passed.holds_for_everybody();
        if let Sender::Reader | Sender::Client(_) = sender {
            let limits = match sender {
                Sender::Client(limits) => Some(limits),
                Sender::Reader | Sender::Unlimited => None,
            };
            passed.holds_for_a_limited_caller(limits);
            let query = head.uri.query().unwrap_or_default();
            assert!(!overrides(&names, query), "{method} {target:?} with {names:?}");
        }
    }
}

/// A head that was let through, as servers may read it.
struct Passed<'a> {
    method: &'a str,
    readings: Vec<Segments>,
    without_tokens: bool,
}

impl Passed<'_> {
    fn holds_for_everybody(&self) {
        self.is_not("*", &["api", "token"]);
        self.is_not("*", &["api", "crm", "secrets", "**"]);
        self.is_not("DELETE", &["api", "billing", "invoices", "*"]);
    }

    fn holds_for_a_limited_caller(&self, limits: Option<&ClientPolicy>) {
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
        match limits.is_some_and(|limits| !limits.allow.is_empty()) {
            true => {
                ["POST", "PUT", "PATCH", "DELETE"].iter().for_each(|it| self.is_not(it, &users))
            }
            false => self.is_not("*", &users),
        }
        if limits.is_some() {
            self.is_not("DELETE", &["api", "spaces", "invoices", "**"]);
        }
        if limits.is_none_or(|limits| limits.read_only) {
            let reads = ["GET", "HEAD", "OPTIONS"].contains(&self.method);
            assert!(reads, "{} by a reader", self.method);
        }
        let is_me = |it: &Segments| {
            is_route(&["api", "auth", "me"], it) || is_route(&["**", "user", "me"], it)
        };
        let me = self.readings.iter().find(|it| is_me(it));
        assert!(me.is_none() || self.without_tokens, "{me:?} with its token");
    }

    /// Asserts that no server reads it as this.
    fn is_not(&self, method: &str, route: &[&str]) {
        if method == "*" || method == self.method {
            let reading = self.readings.iter().find(|reading| is_route(route, reading));
            assert!(reading.is_none(), "{} {reading:?} is {route:?}", self.method);
        }
    }
}

/// Says whether a name says that the request is another one.
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
