//! The cost of each step of a small request: `cargo bench --bench steps`.
//!
//! Prints the time and the allocations of one call. Sockets, TLS and hyper are not in it:
//! `tests/allocations.rs` counts and `compare.py` measures the whole way. The promise is less than
//! a microsecond to admit a request. A key costs its hash and a look at the clients' file.

#![allow(clippy::print_stdout, reason = "printing is what a benchmark is for")]
#![allow(clippy::unwrap_used, reason = "a panic is how a benchmark reports")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response, response};
use nexudus_proxy::clients::{self, Clients};
use nexudus_proxy::clock::Clock;
use nexudus_proxy::config::{self, AnonymousAccess, Limits, Origin, Rule, SessionStore};
use nexudus_proxy::credentials::{Credentials, Login};
use nexudus_proxy::gateway::{
    self, Admitted, Allowed, ClientAuthenticator, ConnectionPeer, Decision, Destination, Guard,
    HeaderPolicy, Policy,
};
use nexudus_proxy::peer::{Peer, PeerAccess, User, UserAcl};
use nexudus_proxy::secret::Secret;
use nexudus_proxy::session::endpoint::{Grant, Issuer, Probe, TokenError, TokenGrant};
use nexudus_proxy::session::{Bearer, BodyKind, Session};
use nexudus_proxy::upstream::{
    self, ReplayBody, Resolver, Upstream, UpstreamOptions, UpstreamRequest as _,
};
use tokio::runtime::Builder;

fn main() {
    let home = tempfile::tempdir().unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let key = clients::add(home.path(), "bench", clients::ClientPolicy::default()).unwrap();
    let crowd = tempfile::tempdir().unwrap();
    let one_of_many = add_to_crowd(crowd.path());
    let crowded = runtime.block_on(steps(crowd.path(), &many_rules()));
    let steps = runtime.block_on(steps(home.path(), &[]));
    let plain = || request(&[]);
    let keyed = || request(&[("nexudus-proxy-key", key.expose())]);
    let keyed_in_crowd = || request(&[("nexudus-proxy-key", one_of_many.expose())]);
    let page = || request(&[("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")]);
    let admitted = || steps.admit(plain()).unwrap();
    let allowed = steps.decide(admitted());

    show("admit", plain, |request| steps.admit(request).unwrap());
    show("admit, with a key", keyed, |request| steps.admit(request).unwrap());
    show("admit, one of 10,000 keys", keyed_in_crowd, |request| crowded.admit(request).unwrap());
    show("refuse a web page", page, |request| assert!(steps.admit(request).is_none()));
    show("allow, two rules", admitted, |admitted| steps.decide(admitted));
    show("allow, 1,000 rules more", admitted, |admitted| crowded.decide(admitted));
    // Into the buffer of its connection, which is large enough after the first request.
    let buffer = || Vec::with_capacity(1 << 10);
    show("compose", buffer, |mut head| {
        steps.build(&allowed, &mut head);
        head
    });
    show("clean", response_head, |mut head| {
        gateway::sanitize_response(&mut head, &allowed, &steps.upstream, &steps.bearer);
        head
    });
}

/// The state that the steps need.
struct Steps {
    guard: Guard,
    sender: ConnectionPeer,
    policy: Policy,
    upstream: Upstream,
    bearer: Bearer,
}

impl Steps {
    fn admit(&self, request: Request<()>) -> Option<Admitted<()>> {
        gateway::admit(request, &self.sender, &self.guard).ok()
    }

    fn decide(&self, admitted: Admitted<()>) -> Allowed {
        match gateway::decide(admitted, &self.policy) {
            Ok(Decision::Forward(allowed, ())) => allowed,
            Ok(Decision::Options(_) | Decision::Guide(..) | Decision::TokenEndpoint(..))
            | Err(_) => {
                panic!("not allowed")
            }
        }
    }

    /// Writes the headers of the upstream request.
    fn build(&self, allowed: &Allowed, head: &mut Vec<u8>) {
        let header_policy = &HeaderPolicy::default();
        let destination = Destination { upstream: &self.upstream, header_policy };
        let mut body = ReplayBody::Empty;
        let request = gateway::build_request(allowed, &mut body, &self.bearer, destination);
        request.for_each_header(|name, value| {
            for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                head.extend_from_slice(piece);
            }
        });
    }
}

/// Adds a client to 9,999 others.
fn add_to_crowd(home: &std::path::Path) -> Secret {
    let key = clients::add(home, "bench", clients::ClientPolicy::default()).unwrap();
    let path = home.join("clients.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let all = file["clients"].as_array_mut().unwrap();
    for at in 1..10_000 {
        let mut other = all[0].clone();
        other["id"] = format!("{at:032x}").into();
        other["name"] = format!("client{at}").into();
        other["key_sha256"] = format!("{at:064x}").into();
        all.push(other);
    }
    std::fs::write(&path, file.to_string()).unwrap();
    key
}

/// Rules of each shape that people write, none of which is about the request of [`request`].
fn many_rules() -> Vec<String> {
    let rule = |at: usize| match at % 4 {
        0 => format!("DELETE /api/spaces/entity{at}/**"),
        1 => format!("* /api/area{at}/coworkers/*"),
        2 => format!("GET /api/**/name{at}"),
        _ => format!("POST /api/spaces/prefix{at}*/x"),
    };
    (0..1_000).map(rule).collect()
}

async fn steps(home: &std::path::Path, more_rules: &[String]) -> Steps {
    let clock = Clock::system();
    let resolver = Resolver::new(tokio::runtime::Handle::current());
    let limit = Duration::from_secs(1);
    let terms = UpstreamOptions {
        http2: false,
        proxy: None,
        connect_timeout: limit,
        header_timeout: limit,
        body_idle: limit,
        idle_connections: 64,
        head_limits: upstream::HeadLimits::default(),
    };
    let tls = upstream::load_tls_config(None).unwrap();
    let origin = Origin::new("spaces.nexudus.com", 443);
    let upstream = Upstream::new(origin, &tls, resolver, &terms, clock.clone());
    let address: SocketAddr = "127.0.0.1:6398".parse().unwrap();
    let keys = ClientAuthenticator::new(Clients::new(home, clock), false);
    let users = UserAcl::new(vec![], vec![], true);
    let guard = Guard::new(&[address], &[], Limits::default().target_bytes, users, keys);
    let peer = Peer::Tcp { remote: address, user: User::Remote };
    let two = ["DELETE /**", "* /api/sys/users/**"];
    let deny = two.into_iter().chain(more_rules.iter().map(String::as_str));
    let deny = deny.map(|rule| Rule::parse(rule).unwrap()).collect();
    let policy = Policy::new(deny, AnonymousAccess::ReadOnly);
    let sender = ConnectionPeer::new(peer, PeerAccess::Owner, Arc::default());
    Steps { guard, sender, policy, upstream, bearer: bearer().await }
}

async fn bearer() -> Bearer {
    let config = config::Session { store: SessionStore::Memory, ..config::Session::default() };
    let login = Login {
        email: "ada@example.test".to_owned(),
        password: Secret::new("not-needed"),
        second_factor: None,
    };
    let credentials = Credentials::in_memory(Some(login));
    let (session, session_task) = Session::new(&config, None, credentials, Canned, Clock::system());
    tokio::spawn(session_task.run());
    session.wait_ready(BodyKind::Replayable).await.unwrap();
    session.bearer().unwrap()
}

/// Hands out one token, as long as those of Nexudus.
struct Canned;

impl Issuer for Canned {
    fn origin(&self) -> &str {
        "https://spaces.nexudus.com"
    }

    async fn issue(&self, _: &Grant, _: &str) -> Result<TokenGrant, TokenError> {
        Ok(TokenGrant {
            access: Secret::new("t".repeat(300)),
            refresh: None,
            lifetime: Duration::from_secs(3600),
        })
    }

    async fn probe(&self, _: &HeaderValue) -> Probe {
        Probe::Alive
    }
}

/// A request as curl sends it, with these headers too.
fn request(more: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::get("/api/spaces/coworkers?size=100&orderBy=UpdatedOn");
    let usual = [("host", "localhost:6398"), ("user-agent", "curl/8.5.0"), ("accept", "*/*")];
    for (name, value) in usual.iter().chain(more) {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// The head of a response as Nexudus sends it.
fn response_head() -> response::Parts {
    let response = Response::builder()
        .header("cache-control", "no-cache")
        .header("content-type", "application/json; charset=utf-8")
        .header("content-length", "1100")
        .header("server", "Microsoft-IIS/10.0")
        .header("x-aspnet-version", "4.0.30319")
        .header("set-cookie", "a=b; path=/; HttpOnly")
        .header("access-control-allow-origin", "*")
        .header("date", "Mon, 23 Nov 2026 09:00:00 GMT");
    response.body(()).unwrap().into_parts().0
}

/// Prints the cost of `call`. Its argument is prepared beforehand, and its result is dropped
/// afterwards.
fn show<In, Out>(name: &str, mut prepare: impl FnMut() -> In, mut call: impl FnMut(In) -> Out) {
    const CALLS: u32 = 1_000;
    let mut round = |_| {
        let given: Vec<In> = (0..CALLS).map(|_| prepare()).collect();
        let mut made = Vec::with_capacity(given.len());
        let start = Instant::now();
        made.extend(given.into_iter().map(|given| black_box(call(black_box(given)))));
        start.elapsed()
    };
    // The best of many rounds: the others measure the machine.
    let best: Duration = (0..200).map(&mut round).min().unwrap_or_default();
    let nanoseconds = best.as_secs_f64() * 1e9 / f64::from(CALLS);
    let given = prepare();
    let counted = allocation_counter::measure(|| {
        black_box(call(given));
    });
    println!("{name:<25} {nanoseconds:>7.1} ns {:>4} allocations", counted.count_total);
}
