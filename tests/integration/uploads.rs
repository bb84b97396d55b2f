//! A body that cannot be sent twice is never lost to a token that was about to end.

use nexudus_proxy::clock::ManualClock;
use nexudus_simulator::{Fault, FaultAction, Route, Simulator};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{
    Daemon, EVENT_TIMEOUT, PROBE_PATH, advance, daemon, executed_once, grant_types, request_count,
    secs, upstream,
};

#[tokio::test]
async fn near_the_end_an_upload_waits_for_the_renewal() {
    for length in [Length::Announced, Length::Chunked] {
        let (upstream, daemon, hand) = stage().await;
        let held = upstream.hold(Route::Token);
        advance(&hand, &upstream, secs(90));
        let mut upload = Upload::begin(&daemon, length).await;
        upload.send_all().await;
        assert!(upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT).await);
        assert_eq!(request_count(&upstream, "/api/echo"), 0, "{length:?}");

        held.release();

        assert_eq!(upload.status().await, 200, "{length:?}");
        executed_once(&upstream, 1);
        assert_eq!(request_count(&upstream, "/api/echo"), 1, "{length:?}");
        assert_eq!(grant_types(&upstream), ["password", "refresh_token"]);
    }
}

#[tokio::test]
async fn near_the_end_an_upload_goes_out_on_a_token_that_is_proved_alive() {
    for length in [Length::Announced, Length::Chunked] {
        let (upstream, daemon, hand) = stage().await;
        upstream.fault(Fault::on("/api/token", FaultAction::HtmlError(503)));
        advance(&hand, &upstream, secs(90));
        daemon.session_until(|view| view.error.is_some()).await;

        let mut upload = Upload::begin(&daemon, length).await;
        upload.send_all().await;

        assert_eq!(upload.status().await, 200, "{length:?}");
        executed_once(&upstream, 1);
        assert_eq!(
            (request_count(&upstream, "/api/echo"), request_count(&upstream, PROBE_PATH)),
            (1, 1)
        );
    }
}

#[tokio::test]
async fn near_the_end_a_dead_token_is_replaced_before_an_upload_is_lost_to_it() {
    let (upstream, daemon, hand) = stage().await;
    upstream.fault(Fault::on("/api/token", FaultAction::HtmlError(503)).times(1));
    advance(&hand, &upstream, secs(90));
    daemon.session_until(|view| view.error.is_some()).await;
    upstream.revoke_access_tokens();

    let mut upload = Upload::begin(&daemon, Length::Announced).await;
    upload.send_all().await;
    assert!(upstream.wait_until_async(|view| view.count(PROBE_PATH) == 1, EVENT_TIMEOUT).await);
    daemon.session_until(|view| view.expires_in.is_none()).await;
    advance(&hand, &upstream, secs(1));

    assert_eq!(upload.status().await, 200);
    executed_once(&upstream, 1);
    assert_eq!(request_count(&upstream, "/api/echo"), 1);
}

#[tokio::test]
async fn an_upload_to_a_token_revoked_meanwhile_is_never_sent_twice() {
    let (upstream, daemon, _hand) = stage().await;
    upstream.revoke_access_tokens();

    let mut upload = Upload::begin(&daemon, Length::Announced).await;
    upload.send_all().await;
    let answer = upload.answer().await;

    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains("token renewed, send the request again"), "{answer}");
    assert_eq!(request_count(&upstream, "/api/echo"), 1);
    let mut upload = Upload::begin(&daemon, Length::Announced).await;
    upload.send_all().await;
    assert_eq!(upload.status().await, 200);
    executed_once(&upstream, 1);
}

#[tokio::test]
async fn a_body_that_arrives_slowly_outlives_the_token_it_came_with() {
    let (upstream, daemon, hand) = stage().await;
    let held = upstream.hold(Route::Token);
    let mut small = Upload::small(&daemon).await;
    // Asked for the body, so everything before it is over.
    small.asked_for_its_body().await;
    advance(&hand, &upstream, secs(100));
    assert!(upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT).await);

    small.send_all().await;
    // Once a later request is under way, the body has been read.
    let waiting = tokio::spawn(daemon.request("GET", "/api/echo").send());
    let both = async {
        while daemon.running.in_flight() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, both).await.expect("it was answered too early");
    held.release();

    assert_eq!(small.status().await, 200);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    executed_once(&upstream, 1);
}

/// Tokens that live for 100 s, and a daemon that keeps no body of more than 1 KiB.
async fn stage() -> (Simulator, Daemon, ManualClock) {
    let knobs = |knobs: &mut nexudus_simulator::Settings| knobs.token.access_life = secs(100);
    let upstream = upstream().frozen_clock().set(knobs).start().unwrap();
    let setup = daemon(&upstream).set(|config| config.limits.replay_body = 1 << 10);
    let (setup, hand) = setup.manual_clock();
    let daemon = setup.run().await;
    daemon.session_until(|view| view.generation == 1 && !view.renewing).await;
    (upstream, daemon, hand)
}

/// How the length of an upload is told.
#[derive(Clone, Copy, Debug)]
enum Length {
    Announced,
    Chunked,
}

/// A request whose body is sent by hand.
struct Upload {
    stream: TcpStream,
    body: String,
}

impl Upload {
    /// Sends the head of a large upload.
    async fn begin(daemon: &Daemon, length: Length) -> Self {
        let body = "x".repeat(8 << 10);
        match length {
            Length::Announced => {
                let field = format!("Content-Length: {}", body.len());
                Self::head(daemon, &field, body).await
            }
            Length::Chunked => {
                let body = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
                Self::head(daemon, "Transfer-Encoding: chunked", body).await
            }
        }
    }

    /// Sends the head of a small one, and waits to be asked for the rest.
    async fn small(daemon: &Daemon) -> Self {
        Self::head(daemon, "Content-Length: 2\r\nExpect: 100-continue", "{}".into()).await
    }

    async fn head(daemon: &Daemon, field: &str, body: String) -> Self {
        let host = daemon.address();
        let mut stream = TcpStream::connect(host).await.unwrap();
        let head = format!(
            "POST /api/echo HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{field}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        Self { stream, body }
    }

    async fn asked_for_its_body(&mut self) {
        let mut asked = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        let read = self.stream.read_exact(&mut asked);
        tokio::time::timeout(EVENT_TIMEOUT, read).await.expect("the daemon did not ask").unwrap();
        assert!(asked.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&asked));
    }

    async fn send_all(&mut self) {
        self.stream.write_all(self.body.as_bytes()).await.unwrap();
    }

    async fn answer(mut self) -> String {
        let mut answer = String::new();
        let read = self.stream.read_to_string(&mut answer);
        tokio::time::timeout(EVENT_TIMEOUT, read).await.expect("no answer").unwrap();
        answer
    }

    async fn status(self) -> u16 {
        let answer = self.answer().await;
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }
}
