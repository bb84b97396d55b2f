//! Which handshakes of a WebSocket go up, what the host may answer, and who may ask.

use std::sync::Arc;

use nexudus_proxy::clients::{self, ClientPolicy};
use nexudus_proxy::config::{AnonymousAccess, Rule};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::Error;

use crate::support::raw_upstream::{RawReply, ok, raw_upstream, read_until};
use crate::support::websocket::{handshake, open, open_at, switching};
use crate::support::{daemon, upstream};

#[tokio::test]
async fn a_host_that_does_not_agree_is_heard_as_always() {
    let refused = "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nnot";
    let upstream = raw_upstream(move |head| {
        if head.contains(" /refused ") {
            RawReply::Keep(refused.to_owned())
        } else {
            RawReply::Keep(ok("no socket here"))
        }
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
    let upstream = raw_upstream(|head| {
        if head.contains("upgrade") { RawReply::Switch } else { RawReply::Keep(ok("served")) }
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
