//! A stop loses nothing that could still be answered.

use std::time::Duration;

use nexudus_proxy::admin::api::{Event, Lifecycle, Status};
use nexudus_simulator::Route;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{EVENT_TIMEOUT, daemon, problem_json, upstream};

#[tokio::test]
async fn a_request_in_flight_is_answered_and_new_connections_are_not_taken() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.session_until(|view| view.generation == 1).await;
    let held = upstream.hold(Route::Me);
    let (request, address, admin) =
        (daemon.request("GET", "/api/auth/me"), daemon.address(), daemon.admin().await);
    let request = tokio::spawn(request.send());
    assert!(upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT).await);
    let mut events = admin.events("ready").await.unwrap();

    let stop = tokio::spawn(daemon.running.stop(EVENT_TIMEOUT));
    let draining = loop {
        let Some(Event::Ready(readiness)) = events.next().await else { panic!("it ended") };
        if !readiness.ready {
            break readiness;
        }
    };
    let status: Status = admin.get("/v1/status").await.unwrap();
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, refused).await.unwrap();
    held.release();
    let answer = request.await.unwrap().unwrap();

    assert_eq!(draining.reasons[0].code, "daemon.draining");
    assert_eq!((status.phase, status.requests.in_flight), (Lifecycle::Draining, 1));
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["connection"]),
        (200, &"close".parse().unwrap())
    );
    answer.bytes().await.unwrap();
    stop.await.unwrap();
    assert_eq!(events.next().await, None, "the event stream ends");
}

#[tokio::test]
async fn who_has_just_connected_may_still_ask() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.session_until(|view| view.generation == 1).await;
    let admin = daemon.admin().await;
    let mut caller = TcpStream::connect(daemon.address()).await.unwrap();
    while admin.get::<Status>("/v1/status").await.unwrap().requests.connections == 0 {
        tokio::task::yield_now().await;
    }

    let address = daemon.address();
    let stop = tokio::spawn(daemon.running.stop(EVENT_TIMEOUT));
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let request = "GET /api/auth/me HTTP/1.1\r\nHost: localhost\r\n\r\n";
    caller.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    caller.read_to_string(&mut answer).await.unwrap();

    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    stop.await.unwrap();
}

#[tokio::test]
async fn past_the_deadline_the_answer_says_so() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.session_until(|view| view.generation == 1).await;
    let _held = upstream.hold(Route::Me);
    let request = tokio::spawn(daemon.request("GET", "/api/auth/me").send());
    assert!(upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT).await);

    daemon.running.stop(Duration::from_millis(50)).await;

    let answer = request.await.unwrap().unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(problem_json(answer).await["code"], "daemon.draining");
}
