//! A WebSocket passes where it is enabled, for clients that may write, and ends with either side.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt as _, StreamExt as _};
use nexudus_proxy::admin::api::{Event, Status};
use nexudus_proxy::clients::{self, ClientPolicy};
use nexudus_proxy::config::{AnonymousAccess, Paths, Rule};
use nexudus_proxy::run::{ProfileLeader, RunProxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message, http};

use crate::support::raw_upstream::{RawReply, RawUpstream, ok, raw_upstream, read_until};
use crate::support::{
    Daemon, DaemonSetup, EVENT_TIMEOUT, ProcessSetup, daemon, daemon_before, upstream,
};

type Socket = WebSocketStream<TcpStream>;

#[tokio::test]
async fn a_websocket_carries_whatever_both_ends_say() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;
    let (mut socket, answer) = open(&daemon, "/api/live?x=%20y").await.unwrap();

    assert_eq!(answer["upgrade"], "websocket");
    assert_eq!(answer["sec-websocket-protocol"], "chat");
    let large = vec![0x5a; 1 << 20];
    for message in [Message::text("héllo"), Message::binary(vec![0, 255]), Message::binary(large)]
    {
        assert_eq!(said_back(&mut socket, message.clone()).await, message);
    }
    let pong = said_back(&mut socket, Message::Ping("are you there".into())).await;
    assert_eq!(pong, Message::Pong("are you there".into()));
    let head = upstream.requests().concat();
    assert!(head.starts_with("GET /api/live?x=%20y HTTP/1.1\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
    for line in ["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13"] {
        assert_eq!(head.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line}: {head}");
    }
    assert!(head.contains("\r\nauthorization: bearer marker-token-5c1d\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nhost: localhost:{}\r\n", upstream.address.port())));
    assert!(!head.contains("cookie") && !head.contains("theirs"), "{head}");
}

#[tokio::test]
async fn pythons_websockets_are_served_as_by_the_host() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;

    talks(&daemon, "/usr/bin/python3", &["with_websockets.py"]).await;

    let heads = upstream.requests();
    assert!(
        heads.iter().all(|head| head.contains("permessage-deflate")),
        "offers go up: {heads:?}"
    );
}

#[tokio::test]
async fn nodes_own_websocket_is_served_as_by_the_host() {
    let mut node = &["with_websocket.mjs"][..];
    let has_one = async |options: &[&str]| {
        let mut node = tokio::process::Command::new("node");
        let asks = node
            .args(options)
            .args(["-e", "process.exit(typeof WebSocket === 'function' ? 0 : 1)"]);
        asks.output().await.unwrap().status.success()
    };
    if !has_one(&[]).await {
        // Node 20 has WebSocket behind an option; older ones have none.
        node = &["--experimental-websocket", "with_websocket.mjs"];
        if !has_one(&node[..1]).await {
            return;
        }
    }
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;

    talks(&daemon, "node", node).await;
}

#[tokio::test]
async fn many_messages_stand_in_both_directions_at_once() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;
    let (socket, _) = open(&daemon, "/live").await.unwrap();
    let (mut out, back) = socket.split();

    let say = async {
        for number in 0..200_u8 {
            out.send(Message::binary(vec![number; 64 << 10])).await.unwrap();
        }
        out.send(Message::text("bye")).await.unwrap();
    };
    let heard = back.map(Result::unwrap).filter(|it| std::future::ready(it.is_binary())).collect();
    let ((), heard): ((), Vec<_>) =
        tokio::time::timeout(EVENT_TIMEOUT, async { tokio::join!(say, heard) }).await.unwrap();

    let expected = (0..200_u8).map(|number| Message::binary(vec![number; 64 << 10]));
    assert!(expected.eq(heard));
}

#[tokio::test]
async fn either_end_closes_both_and_nothing_is_left() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;

    let (mut socket, _) = open(&daemon, "/live").await.unwrap();
    socket.send(Message::text("bye")).await.unwrap();
    assert!(matches!(next(&mut socket).await, Some(Ok(Message::Close(_)))), "from the host");
    assert!(next(&mut socket).await.is_none());
    nothing_is_open(&daemon).await;

    let (mut socket, _) = open(&daemon, "/live").await.unwrap();
    socket.close(None).await.unwrap();
    assert!(matches!(next(&mut socket).await, Some(Ok(Message::Close(_)))), "from the caller");
    assert!(next(&mut socket).await.is_none());
    nothing_is_open(&daemon).await;

    let (socket, _) = open(&daemon, "/live").await.unwrap();
    let two = status(&daemon).await.requests;
    assert_eq!((two.in_flight, two.connections), (1, 1), "it counts while it lives");
    let ended = upstream.ended();
    drop(socket);
    nothing_is_open(&daemon).await;
    while upstream.ended() == ended {
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&daemon).await.requests.by_status["1xx"], 3);
}

#[tokio::test]
async fn a_host_that_does_not_agree_is_heard_as_always() {
    let refused = "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nnot";
    let upstream = raw_upstream(move |head| match head.contains(" /refused ") {
        true => RawReply::Keep(refused.to_owned()),
        false => RawReply::Keep(ok("no socket here")),
    })
    .await;
    let daemon = switching(&upstream).run().await;

    daemon.get("/plain").await;
    for (path, status, body) in [("/refused", 403, "not"), ("/plain", 200, "no socket here")] {
        let before = upstream.connections();
        let Err(Error::Http(answer)) = open(&daemon, path).await else { panic!("it switched") };
        assert_eq!(answer.status(), status);
        assert_eq!(answer.body().as_deref(), Some(body.as_bytes()));
        assert!(!answer.headers().contains_key("upgrade"), "{answer:?}");
        assert!(upstream.connections() > before, "it has a connection of its own");
    }
    for lie in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    ] {
        let upstream = raw_upstream(move |_| RawReply::Close(lie.to_owned())).await;
        let daemon = switching(&upstream).run().await;
        let Err(Error::Http(answer)) = open(&daemon, "/live").await else { panic!("it switched") };
        assert_eq!(answer.status(), 502, "{lie}");
    }
}

#[tokio::test]
async fn what_is_no_handshake_is_not_sent_on_as_one() {
    let upstream = raw_upstream(|head| match head.contains("upgrade") {
        true => RawReply::Switch,
        false => RawReply::Keep(ok("served")),
    })
    .await;
    let daemon = switching(&upstream).run().await;
    let whole = String::from_utf8(handshake()).unwrap();
    let (key, version) = ("dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13\r\n");

    for (part, other, why) in [
        (&*format!("Sec-WebSocket-Key: {key}\r\n"), "", "Key"),
        (key, "dGhlIHNhbXBsZSBub25jZQ", "Key"),
        (key, "not base64", "Key"),
        (version, "", "Version"),
        ("Version: 13", "Version: 8", "Version"),
        (version, "Sec-WebSocket-Version: 13, 8\r\n", "Version"),
        ("GET", "POST", "GET"),
        ("Connection: Upgrade", "Connection: keep-alive", "Connection"),
        (version, &format!("{version}Content-Length: 2\r\n"), "body"),
        (version, &format!("{version}Transfer-Encoding: chunked\r\n"), "body"),
    ] {
        let mut caller = TcpStream::connect(daemon.address()).await.unwrap();
        caller.write_all(whole.replacen(part, other, 1).as_bytes()).await.unwrap();
        let answer = read_until(&mut caller, "}\n").await;
        assert!(answer.starts_with("HTTP/1.1 501 "), "{other}: {answer}");
        assert!(answer.contains("\"code\":\"request.upgrade\""), "{other}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(body.contains(why), "{other}: {answer}");
        assert_eq!(head.contains("\r\nsec-websocket-version: 13"), why == "Version", "{head}");
    }
    assert_eq!(upstream.requests(), Vec::<String>::new());

    // HTTP/1.0 has no Upgrade, and one offer may stand beside others.
    let served = daemon.raw(&whole.replacen("HTTP/1.1", "HTTP/1.0", 1)).await;
    assert!(served.ends_with("served"), "{served}");
    let mut caller = TcpStream::connect(daemon.address()).await.unwrap();
    let among = whole.replacen("Upgrade: websocket", "Upgrade: h2c, websocket", 1);
    caller.write_all(among.as_bytes()).await.unwrap();
    let answer = read_until(&mut caller, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let seen = upstream.requests().pop().unwrap();
    assert!(seen.contains("\r\nupgrade: websocket\r\n") && !seen.contains("h2c"), "{seen}");
}

#[tokio::test]
async fn a_revoked_token_is_renewed_before_a_websocket_too() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.upstream.upgrade = true).run().await;
    daemon.get("/api/auth/me").await;
    upstream.revoke_access_tokens();

    let Err(Error::Http(answer)) = open(&daemon, "/api/echo").await else { panic!("it switched") };

    assert_eq!(answer.status(), 200, "the simulator has no WebSocket");
    let asked = upstream.requests().into_iter().filter(|seen| seen.path() == "/api/echo");
    let told: Vec<_> = asked.map(|seen| (seen.status, seen.header("upgrade").is_some())).collect();
    assert_eq!(told, [(Some(401), true), (Some(200), true)]);
}

#[tokio::test]
async fn over_http2_a_websocket_has_a_connection_of_http1() {
    let upstream = upstream().start().unwrap();
    let setup = daemon(&upstream).set(|config| {
        config.upstream.upgrade = true;
        config.upstream.http2 = true;
    });
    let daemon = setup.run().await;
    daemon.get("/api/echo").await;

    open(&daemon, "/api/echo").await.unwrap_err();

    let versions = upstream.requests().into_iter().filter(|seen| seen.path() == "/api/echo");
    assert_eq!(versions.map(|seen| seen.version).collect::<Vec<_>>(), ["HTTP/2.0", "HTTP/1.1"]);
}

#[tokio::test]
async fn who_may_not_write_gets_no_websocket() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let reader =
        switching(&upstream).set(|config| config.policy.anonymous = AnonymousAccess::ReadOnly);
    let denied = switching(&upstream)
        .set(|config| config.policy.deny = vec![Rule::parse("POST /api/live").unwrap()]);

    for (setup, code) in [(reader, "policy.read-only"), (denied, "policy.denied")] {
        let daemon = setup.run().await;
        let Err(Error::Http(answer)) = open(&daemon, "/api/live").await else { panic!("it did") };
        let body = String::from_utf8_lossy(answer.body().as_ref().unwrap()).into_owned();
        assert!(answer.status() == 403 && body.contains(code), "{body}");
        assert_eq!(upstream.requests().len(), 0);
    }
}

#[tokio::test]
async fn a_client_gets_a_websocket_where_its_limits_let_it_do_everything() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;
    let state = daemon.home().join("state");
    let rules = |rules: &[&str]| rules.iter().map(|rule| Rule::parse(rule).unwrap()).collect();
    let allow = |these: &[&str]| ClientPolicy { allow: rules(these), ..ClientPolicy::default() };
    let cases = [
        ("reader", ClientPolicy { read_only: true, ..ClientPolicy::default() }, "/api/live", 403),
        ("getter", allow(&["GET /api/**"]), "/api/live", 403),
        (
            "denied",
            ClientPolicy { deny: rules(&["DELETE /**"]), ..ClientPolicy::default() },
            "/api/live",
            403,
        ),
        ("elsewhere", allow(&["* /api/live"]), "/api/other", 403),
        ("token", allow(&["* /**"]), "/api/auth/me", 403),
        ("writer", allow(&["* /api/live"]), "/api/live", 101),
        (
            "once",
            ClientPolicy { max_requests: Some(1), ..ClientPolicy::default() },
            "/api/live",
            101,
        ),
    ];

    for (name, limits, path, expected) in cases {
        let key = clients::add(&state, name, limits).unwrap();
        let status = match open_at(daemon.address(), path, key.expose()).await {
            Ok(_) => 101,
            Err(Error::Http(answer)) => answer.status().as_u16(),
            Err(error) => panic!("{name}: {error}"),
        };
        assert_eq!(status, expected, "{name}");
    }
    assert_eq!(upstream.requests().len(), 2, "the others went nowhere");
    assert!(!upstream.requests().concat().contains("nexudus-proxy-key"));
}

#[tokio::test]
async fn a_websocket_goes_through_the_listener_of_a_run_too() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;
    let key = clients::add(&daemon.home().join("state"), "run", ClientPolicy::default()).unwrap();
    let turn = ProfileLeader::new(&daemon.config, &Paths::rooted_at(daemon.home()));
    let relay = RunProxy::start(turn.into(), &key).unwrap();

    let (mut socket, _) = open_at(relay.address(), "/live", "").await.unwrap();
    let message = Message::text("through two");
    assert_eq!(said_back(&mut socket, message.clone()).await, message);
    drop(socket);
    nothing_is_open(&daemon).await;

    let (mut socket, _) = open_at(relay.address(), "/live", "").await.unwrap();
    daemon.running.session().lock().await;
    assert!(!matches!(next(&mut socket).await, Some(Ok(_))), "it ends from the other side too");
}

#[tokio::test]
async fn what_a_caller_sends_ahead_arrives() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;
    let mut caller = TcpStream::connect(daemon.address()).await.unwrap();

    // A masked text frame, mask zero, right behind the head.
    let ahead = [&handshake()[..], b"\x81\x82\0\0\0\0hi"].concat();
    caller.write_all(&ahead).await.unwrap();

    let head = read_until(&mut caller, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut frame = [0; 4];
    caller.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"\x81\x02hi");
}

#[tokio::test]
async fn a_stop_waits_for_a_websocket_and_then_ends_it() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;
    let (mut socket, _) = open(&daemon, "/live").await.unwrap();
    let admin = daemon.admin().await;
    let mut events = admin.events("ready").await.unwrap();

    let stop = tokio::spawn(daemon.running.stop(Duration::from_secs(2)));
    loop {
        let Some(Event::Ready(readiness)) = events.next().await else { panic!("it ended") };
        if !readiness.ready {
            break;
        }
    }
    let draining: Status = admin.get("/v1/status").await.unwrap();
    assert_eq!(draining.requests.in_flight, 1);
    let message = Message::text("still here");
    assert_eq!(said_back(&mut socket, message.clone()).await, message);

    assert!(!matches!(next(&mut socket).await, Some(Ok(_))), "it ends");
    stop.await.unwrap();
}

#[tokio::test]
async fn a_websocket_that_a_stop_ends_is_written_down() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let origin = format!("https://localhost:{}", upstream.address.port());
    let place = ProcessSetup::before(origin, &upstream.ca)
        .set("NEXUDUS_PROXY_UPSTREAM_UPGRADE", "true")
        .set("NEXUDUS_PROXY_DAEMON_DRAIN", "10ms")
        .set("NEXUDUS_PROXY_LOG_LEVEL", "debug");
    let mut program = place.start().await;
    let (_socket, _) = open_at(program.address(), "/live", "").await.unwrap();

    let pid = nix::unistd::Pid::from_raw(program.pid().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();

    program.wait_for_log(|line| line["why"] == "stop").await;
    program.wait_for_log(|line| line["status"] == 101).await;
}

#[tokio::test]
async fn a_lock_ends_a_websocket_and_a_renewal_does_not() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;
    let (mut socket, _) = open(&daemon, "/live").await.unwrap();

    daemon.running.session().refresh().await.unwrap();
    let message = Message::text("still here");
    assert_eq!(said_back(&mut socket, message.clone()).await, message);

    daemon.running.session().lock().await;
    assert!(!matches!(next(&mut socket).await, Some(Ok(_))), "it ends");
    nothing_is_open(&daemon).await;

    daemon.running.session().unlock().await;
    let (mut socket, _) = open(&daemon, "/live").await.unwrap();
    daemon.running.session().log_out().await;
    assert!(!matches!(next(&mut socket).await, Some(Ok(_))), "a logout too");
}

#[tokio::test]
async fn a_websocket_ends_with_the_key_that_has_opened_it_and_with_no_other() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let (setup, hand) = switching(&upstream).manual_clock();
    let daemon = setup.run().await;
    let state = daemon.home().join("state");
    let soon = Some(SystemTime::now() + Duration::from_secs(60));
    let add = |name, limits| clients::add(&state, name, limits).unwrap();
    let keys = [
        add("revoked", ClientPolicy::default()),
        add("expired", ClientPolicy { expires: soon, ..ClientPolicy::default() }),
        add("other", ClientPolicy::default()),
    ];
    let mut sockets = vec![];
    for key in &keys {
        sockets.push(open_at(daemon.address(), "/live", key.expose()).await.unwrap().0);
    }
    let [revoked, expired, other] = &mut sockets[..] else { unreachable!() };
    let (mut keyless, _) = open(&daemon, "/live").await.unwrap();

    clients::revoke(&state, "revoked").unwrap();
    add("revoked", ClientPolicy::default());
    assert!(!matches!(next(revoked).await, Some(Ok(_))), "revoked, though another has its name");
    let message = Message::text("still here");
    assert_eq!(said_back(expired, message.clone()).await, message);
    hand.advance(Duration::from_secs(61));
    assert!(!matches!(next(expired).await, Some(Ok(_))), "its time is over");

    for socket in [other, &mut keyless] {
        assert_eq!(said_back(socket, message.clone()).await, message);
    }
    assert_eq!(status(&daemon).await.requests.in_flight, 2);
}

#[tokio::test]
async fn a_lock_during_the_handshake_is_not_missed() {
    let word = Arc::new(Semaphore::new(0));
    let upstream = {
        let word = word.clone();
        raw_upstream(move |_| RawReply::Mute(word.clone())).await
    };
    let daemon = switching(&upstream).run().await;
    let mut caller = TcpStream::connect(daemon.address()).await.unwrap();
    caller.write_all(&handshake()).await.unwrap();
    while upstream.requests().is_empty() {
        tokio::task::yield_now().await;
    }

    daemon.running.session().lock().await;
    word.add_permits(1);

    let answer = read_until(&mut caller, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 423 "), "{answer}");
}

#[tokio::test]
async fn no_patience_with_requests_ends_a_silent_websocket() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let setup = switching(&upstream).set(|config| {
        config.limits.keep_alive = Duration::from_millis(50);
        config.limits.header_timeout = Duration::from_millis(50);
        config.limits.body_idle = Duration::from_millis(50);
    });
    let daemon = setup.run().await;
    let (mut socket, _) = open(&daemon, "/live").await.unwrap();

    // Ten times what any request is given.
    let nothing = tokio::time::timeout(Duration::from_millis(500), socket.next()).await;

    assert!(nothing.is_err(), "{nothing:?}");
    let message = Message::text("still here");
    assert_eq!(said_back(&mut socket, message.clone()).await, message);
}

#[tokio::test]
async fn no_token_shows_where_a_websocket_goes_through() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;
    let mut caller = TcpStream::connect(daemon.address()).await.unwrap();
    caller.write_all(&handshake()).await.unwrap();

    let head = read_until(&mut caller, "\r\n\r\n").await;

    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(!head.contains("marker-token") && !head.contains("set-cookie"), "{head}");
    assert!(!daemon.metrics().await.contains("marker-token"));
}

#[tokio::test]
async fn the_log_tells_of_a_websocket_and_of_no_token() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let origin = format!("https://localhost:{}", upstream.address.port());
    let place = ProcessSetup::before(origin, &upstream.ca)
        .set("NEXUDUS_PROXY_UPSTREAM_UPGRADE", "true")
        .set("NEXUDUS_PROXY_LOG_LEVEL", "trace");
    let mut program = place.start().await;
    let (mut socket, _) =
        open_at(program.address(), "/live?secret=marker-query", "").await.unwrap();
    said_back(&mut socket, Message::text("marker-message")).await;
    drop(socket);

    let lines = RefCell::new(String::new());
    let is_last = |line: &serde_json::Value| {
        lines.borrow_mut().push_str(&line.to_string());
        line["status"] == 101
    };
    let line = program.wait_for_log(is_last).await;

    assert_eq!((&line["path"], &line["bytes"]), (&"/live".into(), &16.into()), "{line}");
    assert!(lines.borrow().contains("a WebSocket ended"));
    assert!(!lines.borrow().contains("marker"), "{}", lines.borrow());
}

/// Runs a script of those beside this file, which talks to an echo behind the daemon.
async fn talks(daemon: &Daemon, program: &str, arguments: &[&str]) {
    let mut talking = tokio::process::Command::new(program);
    talking
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/websocket"))
        .args(arguments)
        .arg(format!("ws://{}/api/live", daemon.address()));

    let told = talking.output().await.unwrap();

    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert_eq!(told.stdout, b"all of it\n");
    nothing_is_open(daemon).await;
}

/// A daemon that lets WebSockets through.
fn switching(upstream: &RawUpstream) -> DaemonSetup {
    daemon_before(upstream.address.port(), &upstream.ca)
        .set(|config| config.upstream.upgrade = true)
}

async fn open(daemon: &Daemon, path: &str) -> Result<(Socket, http::HeaderMap), Error> {
    open_at(daemon.address(), path, "").await
}

async fn open_at(
    address: SocketAddr,
    path: &str,
    key: &str,
) -> Result<(Socket, http::HeaderMap), Error> {
    let stream = TcpStream::connect(address).await.unwrap();
    let address = format!("ws://localhost:{}{path}", address.port());
    let mut request = address.into_client_request().unwrap();
    let mut say = |name: &'static str, value: &str| {
        request.headers_mut().insert(name, value.parse().unwrap());
    };
    say("authorization", "Bearer theirs");
    if !key.is_empty() {
        say("nexudus-proxy-key", key);
    }
    say("cookie", "theirs=1");
    say("sec-websocket-protocol", "chat");
    let opening = tokio_tungstenite::client_async(request, stream);
    let (socket, answer) = tokio::time::timeout(EVENT_TIMEOUT, opening).await.unwrap()?;
    Ok((socket, answer.headers().clone()))
}

fn handshake() -> Vec<u8> {
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";
    let asks = "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket";
    format!("GET /live HTTP/1.1\r\n{asks}\r\n{key}\r\n\r\n").into_bytes()
}

async fn next(socket: &mut Socket) -> Option<Result<Message, Error>> {
    tokio::time::timeout(EVENT_TIMEOUT, socket.next()).await.expect("nothing comes")
}

async fn said_back(socket: &mut Socket, message: Message) -> Message {
    socket.send(message).await.unwrap();
    next(socket).await.unwrap().unwrap()
}

async fn status(daemon: &Daemon) -> Status {
    daemon.admin().await.get("/v1/status").await.unwrap()
}

async fn nothing_is_open(daemon: &Daemon) {
    let gone = async {
        loop {
            let requests = status(daemon).await.requests;
            if (requests.in_flight, requests.connections) == (0, 0) {
                return;
            }
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, gone).await.expect("something is left open");
}
