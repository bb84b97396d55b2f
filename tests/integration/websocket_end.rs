//! What ends a WebSocket: either side, a stop, a lock, its key. A renewal and silence do not.

use std::time::{Duration, SystemTime};

use futures_util::{SinkExt as _, StreamExt as _};
use nexudus_proxy::admin::api::{Event, Status};
use nexudus_proxy::clients::{self, ClientPolicy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::raw_upstream::{RawReply, raw_upstream, read_until};
use crate::support::websocket::{
    handshake, next, nothing_is_open, open, open_at, said_back, status, switching,
};
use crate::support::{EVENT_TIMEOUT, ProcessSetup};

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
async fn no_patience_with_requests_ends_a_silent_websocket() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let setup = switching(&upstream).set(|config| {
        config.limits.keep_alive = Duration::from_millis(50);
        config.limits.header_timeout = Duration::from_millis(50);
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
async fn a_client_that_answers_no_ping_is_let_go_and_nothing_is_left() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let short = Duration::from_millis(400);
    let daemon = switching(&upstream).set(|config| config.limits.body_idle = short).run().await;
    let (answering, _) = open(&daemon, "/live").await.unwrap();
    let (mut say, mut hear) = answering.split();
    let message = Message::text("still here");
    let mut caller = TcpStream::connect(daemon.address()).await.unwrap();
    caller.write_all(&handshake()).await.unwrap();
    assert!(read_until(&mut caller, "\r\n\r\n").await.starts_with("HTTP/1.1 101 "));

    // The kernel takes each ping; the program hangs.
    let mut received = vec![];
    let hanging = async {
        caller.read_to_end(&mut received).await.unwrap();
        while status(&daemon).await.requests.connections != 1 {}
        say.send(message.clone()).await.unwrap();
    };
    // The library answers each ping as it reads.
    let answering = async { while hear.next().await.unwrap().unwrap() != message {} };
    let both = async { tokio::join!(hanging, answering) };
    tokio::time::timeout(EVENT_TIMEOUT, both).await.expect("one is let go, one stays");

    let pings = received.chunks(2).filter(|frame| *frame == b"\x89\x00").count();
    assert_eq!(pings, 3, "{received:?}");
    drop((say, hear));
    nothing_is_open(&daemon).await;
}
