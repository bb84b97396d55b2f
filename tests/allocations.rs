//! The allocations of one request on the data path: a number that a busy machine does not change.
//!
//! The data path runs on this thread and is counted; the simulator has a thread of its own and is
//! not.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::Request;
use nexudus_proxy::clients::Clients;
use nexudus_proxy::clock::Clock;
use nexudus_proxy::config::{self, AnonymousAccess, Limits, Origin, Rule, SessionStore};
use nexudus_proxy::credentials::{Credentials, Login};
use nexudus_proxy::gateway::{
    self, Admitted, ClientAuthenticator, ConnectionPeer, Decision, Gateway, Guard, HeaderPolicy,
    ListenerKind, Policy, Server,
};
use nexudus_proxy::listen::{self, DrainController, Listener};
use nexudus_proxy::peer::{Peer, PeerAccess, UserAcl};
use nexudus_proxy::secret::Secret;
use nexudus_proxy::session::{BodyKind, Session, endpoint};
use nexudus_proxy::telemetry::{Telemetry, ThreadLoad};
use nexudus_proxy::throttle::Throttle;
use nexudus_proxy::upstream::{self, BodyBuffer, Resolver, Upstream, UpstreamOptions};
use nexudus_simulator::{Account, Simulator};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

#[test]
fn a_small_request_costs_few_allocations() {
    let mut stage = Stage::set();
    let request = stage.get("/api/spaces/coworkers?size=1");
    stage.ask(&request, WARM_UP);

    // The least of a few rounds: on a busy machine an answer comes in more pieces.
    let round = |_| allocation_counter::measure(|| stage.ask(&request, COUNTED));
    let counted = (0..ROUNDS).map(round).min_by_key(|counted| counted.bytes_total).unwrap();

    let each = counted.count_total.div_ceil(COUNTED);
    assert!(each <= MOST, "{each} allocations for each request");
    let bytes = counted.bytes_total / COUNTED;
    assert!(bytes <= MOST_BYTES, "{bytes} bytes for each request");
    assert!(counted.count_current.abs() < 100, "{} are never freed", counted.count_current);
}

#[test]
fn the_guard_takes_no_memory_whatever_a_tool_or_a_page_sends() {
    let users = UserAcl::new(vec![], vec![], false);
    let keys =
        ClientAuthenticator::new(Clients::new(Path::new("/nonexistent"), Clock::system()), false);
    let bound = ["127.0.0.1:6398".parse().unwrap(), "[::1]:6398".parse().unwrap()];
    let guard = Guard::new(&bound, &["proxy.example".to_owned()], 16 << 10, users, keys);
    let sender = sender();
    let admits = |request| gateway::admit(request, &sender, &guard).is_ok();

    for (fields, is_admitted) in [
        (&[("host", "localhost:6398"), ("accept", "*/*")][..], true),
        (&[("host", "PROXY.example"), ("authorization", "Bearer theirs")], true),
        (&[("host", "[::1]"), ("content-length", "5"), ("connection", "keep-alive")], true),
        (&[("host", "localhost"), ("transfer-encoding", "chunked")], true),
        // What is looked at for a key.
        (&[("host", "localhost"), ("authorization", TOKEN)], true),
        (&[("host", "localhost"), ("cookie", COOKIE), ("x-api-key", TOKEN)], true),
        (&[("host", "localhost"), ("x-api-key", KEY)], false),
        (&[("host", "localhost"), ("cookie", ENCODED_KEY)], false),
        (&[("host", "localhost"), ("upgrade", "h2c"), ("connection", "upgrade")], true),
        (&[("host", "localhost"), ("origin", "http://evil.example")], false),
        (&[("host", "localhost"), ("sec-fetch-mode", "cors")], true),
        (&[("host", "localhost"), ("sec-fetch-site", "cross-site")], false),
        (
            &[("host", "localhost"), ("sec_fetch_later", "x"), ("upgrade-insecure-requests", "1")],
            false,
        ),
        (&[("host", "localhost"), ("upgrade", "websocket"), ("connection", "upgrade")], false),
    ] {
        let target = "/api/spaces/coworkers?Coworker_FullName=%22Ada%20Lovelace%22&size=100";
        // The first rejection for each reason is logged, which takes memory.
        admits(request(target, fields));
        let mut request = Some(request(target, fields));
        let mut is = None;
        let counted = allocation_counter::measure(|| is = Some(admits(request.take().unwrap())));
        assert_eq!((is, counted.count_total), (Some(is_admitted), 0), "{fields:?}");
    }
}

#[test]
fn the_policy_takes_no_memory_for_a_path_with_one_interpretation() {
    let deny = ["DELETE /**", "* /api/sys/users/**"].map(|rule| Rule::parse(rule).unwrap());
    let policy = Policy::new(deny.to_vec(), AnonymousAccess::ReadOnly);
    let users = UserAcl::new(vec![], vec![], false);
    let keys =
        ClientAuthenticator::new(Clients::new(Path::new("/nonexistent"), Clock::system()), false);
    let guard = Guard::new(&[], &[], 16 << 10, users, keys);
    let sender = sender();
    let admitted = |path| {
        Some(gateway::admit(request(path, &[("host", "localhost")]), &sender, &guard).unwrap())
    };
    let is_forwarded = |admitted: &mut Option<Admitted<()>>| {
        matches!(gateway::decide(admitted.take().unwrap(), &policy), Ok(Decision::Forward(..)))
    };

    for path in ["/api/spaces/coworkers/1?q=%20", "/ContentDownload/a.b/C_d~e"] {
        // The built-in rules are parsed when they are first needed.
        assert!(is_forwarded(&mut admitted(path)));
        let mut admitted = admitted(path);
        let counted = allocation_counter::measure(|| assert!(is_forwarded(&mut admitted)));
        assert_eq!(counted.count_total, 0, "{path}");
    }
    // This path shows that allocations are counted.
    let mut odd = admitted("/api/spaces/co%77orkers");
    assert!(allocation_counter::measure(|| assert!(is_forwarded(&mut odd))).count_total > 0);
}

fn sender() -> ConnectionPeer {
    let peer = Peer::Unix { uid: 1000, pid: None };
    ConnectionPeer::new(peer, PeerAccess::Owner, Arc::default())
}

fn request(target: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::get(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// Five, and two more when the machine is busy and an answer comes in pieces. Raise it with a
/// reason.
const MOST: u64 = 7;

/// 4,400, most of them the future that answers; in pieces there are more.
const MOST_BYTES: u64 = 6_000;

const WARM_UP: u64 = 50;
const ROUNDS: usize = 5;
const COUNTED: u64 = 200;

/// The data path on this thread, a caller of it, and an upstream elsewhere.
struct Stage {
    runtime: Runtime,
    caller: TcpStream,
    address: SocketAddr,
    _drain: DrainController,
    _upstream: Simulator,
    _home: TempDir,
}

impl Stage {
    fn set() -> Self {
        let simulator =
            Simulator::builder().account(Account::new(EMAIL, PASSWORD)).start().unwrap();
        let home = tempfile::tempdir().unwrap();
        let ca_file = home.path().join("ca.pem");
        std::fs::write(&ca_file, simulator.ca_pem()).unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let origin = Origin::new("localhost", simulator.address().port());
        let (drain, draining) = DrainController::new();
        let (caller, address) = runtime.block_on(async {
            let tls = upstream::load_tls_config(Some(&ca_file)).unwrap();
            let clock = Clock::system();
            let throttle = Throttle::new(&config::Throttle::default(), clock.clone());
            let session = session(&tls, &origin, throttle.clone());
            let resolver = Resolver::new(tokio::runtime::Handle::current());
            let upstream = Upstream::new(origin, &tls, resolver, &TERMS, clock.clone());
            let [place] = listen::bind_tcp(&["127.0.0.1:0".parse().unwrap()])
                .unwrap()
                .try_into()
                .unwrap_or_else(|_| panic!("one address, one place"));
            let address = place.address().unwrap();
            let listener = place.into_listener().unwrap();

            let limits = Limits::default();
            let keys = ClientAuthenticator::new(Clients::new(home.path(), clock.clone()), false);
            let users = UserAcl::new(vec![], vec![], false);
            let gateway = Gateway::new(
                Guard::new(&[address], &[], limits.target_bytes, users, keys),
                Policy::new(vec![], AnonymousAccess::Full),
                BodyBuffer::new(limits.replay_body, u64::MAX, limits.body_idle),
                session.clone(),
                throttle,
                upstream,
                HeaderPolicy::default(),
            );
            let connections = Server::new(&limits, draining, Arc::<Telemetry>::default());
            tokio::spawn(accept(listener, connections, Arc::new(ArcSwap::from_pointee(gateway))));
            session.wait_ready(BodyKind::Replayable).await.unwrap();
            (TcpStream::connect(address).await.unwrap(), address)
        });
        Self { runtime, caller, address, _drain: drain, _upstream: simulator, _home: home }
    }

    /// Returns the bytes of a request.
    fn get(&self, target: &str) -> Vec<u8> {
        let host = self.address;
        format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"
        )
        .into_bytes()
    }

    /// Sends the request as often, each time after the last answer; allocates nothing itself.
    fn ask(&mut self, request: &[u8], times: u64) {
        let Self { runtime, caller, .. } = self;
        runtime.block_on(async {
            let mut answer = [0; 16 << 10];
            for _ in 0..times {
                caller.write_all(request).await.unwrap();
                let mut end = 0;
                while !is_whole(&answer[..end]) {
                    let read = caller.read(&mut answer[end..]).await.unwrap();
                    assert!(read > 0, "closed instead of answered");
                    end += read;
                }
                assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
            }
        });
    }
}

async fn accept(mut listener: Listener, connections: Server, gateway: Arc<ArcSwap<Gateway>>) {
    let load = Arc::<ThreadLoad>::default();
    let kind = ListenerKind::Http(gateway);
    loop {
        let (stream, peer) = listener.accept().await;
        let pending = connections.accept(&kind, peer).unwrap();
        tokio::spawn(pending.serve(stream, load.add_connection()));
    }
}

fn session(tls: &rustls::ClientConfig, origin: &Origin, throttle: Throttle) -> Session {
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls.clone());
    let client = endpoint::configure_client(client).build().unwrap();
    let issuer = endpoint::HttpIssuer::new(client, origin.to_string(), throttle);
    let config = config::Session { store: SessionStore::Memory, ..config::Session::default() };
    let login =
        Login { email: EMAIL.to_owned(), password: Secret::new(PASSWORD), second_factor: None };
    let credentials = Credentials::in_memory(Some(login));
    let (session, keeper) = Session::new(&config, None, credentials, issuer, Clock::system());
    tokio::spawn(keeper.run());
    session
}

/// Says whether an answer with a known length has come to its end.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let name = b"content-length: ";
    let lines = answer[..head].split(|byte| *byte == b'\n');
    let mut length = lines.filter_map(|line| {
        let (start, value) = line.split_at_checked(name.len())?;
        let is_it = start.eq_ignore_ascii_case(name);
        is_it.then(|| std::str::from_utf8(value).unwrap().trim().parse::<usize>().unwrap())
    });
    length.next_back().is_some_and(|length| answer.len() == head + 4 + length)
}

/// How the upstream is reached.
const TERMS: UpstreamOptions = UpstreamOptions {
    http2: false,
    proxy: None,
    connect_timeout: PATIENCE,
    header_timeout: PATIENCE,
    body_idle: PATIENCE,
    idle_connections: 64,
    head_limits: upstream::HeadLimits { bytes: 64 << 10, headers: 500 },
};

const TOKEN: &str = "Bearer eyJhbGciOiJIUzI1NiJ9.nxp_eyJzdWIiOiIxMjM0NTY3ODkwIn0_Kq-x9nxp_abc";
const COOKIE: &str = "sid=nxp_x; name=Ada%20Lovelace%2C%20Countess%2525; theme_of_the_page=dark_1";
const KEY: &str = "nxp_abcdefghijklmnopqrstuvwxyz234567abcdef";
const ENCODED_KEY: &str = "nxp%5Fabcdefghijklmnopqrstuvwxyz234567abcdef";
const EMAIL: &str = "ada@example.test";
const PASSWORD: &str = "marker-password-7f3a";
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
