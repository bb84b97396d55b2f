//! Keys of the configuration that no other promise is about: each does what its sentence says.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use nexudus_proxy::config::{KeyStore, LoginSource, Rate, SessionStore, UnixSocket};
use nexudus_simulator::{Route, Simulator};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::support::{
    Daemon, EMAIL, EVENT_TIMEOUT, PASSWORD, PROBE_PATH, SESSION_KEY, daemon, daemon_before,
    error_code, upstream,
};

const SOON: Duration = Duration::from_millis(100);

#[tokio::test]
async fn the_user_agent_takes_the_place_of_the_clients() {
    let upstream = upstream().start().unwrap();
    let agent = Some("night-report/1".to_owned());
    let daemon = daemon(&upstream).set(|config| config.upstream.user_agent = agent).run().await;

    daemon.request("GET", "/api/echo").header("user-agent", "curl/8").send().await.unwrap();

    let seen = upstream.requests();
    let seen = seen.iter().find(|seen| seen.path() == "/api/echo").unwrap();
    let said = seen.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("user-agent"));
    assert_eq!(said.unwrap().1, "night-report/1");
}

#[tokio::test]
async fn without_the_ca_file_nobody_is_believed() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.upstream.ca_file = None).run().await;

    let view = daemon.session_until(|view| view.error.is_some()).await;

    let cause = view.error.as_ref().unwrap().cause.as_ref().unwrap();
    assert!(cause.contains("no verified TLS connection"), "{cause}");
}

#[tokio::test]
async fn a_connection_that_takes_too_long_is_given_up() {
    // It takes connections, and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port();
    let ca = Simulator::builder().start().unwrap().ca_pem().to_owned();
    let setup = daemon_before(port, &ca).set(|config| config.upstream.connect_timeout = SOON);
    let daemon = setup.run().await;

    let view = daemon.session_until(|view| view.error.is_some()).await;

    let cause = view.error.as_ref().unwrap().cause.as_deref();
    assert_eq!(cause, Some("the token endpoint cannot be reached: no connection in time"));
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_up() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.upstream.header_timeout = SOON).run().await;
    daemon.session_until(|view| view.generation == 1).await;
    let _held = upstream.hold(Route::Me);

    let answer = daemon.get(PROBE_PATH).await;

    assert_eq!(
        (answer.status().as_u16(), error_code(answer).await.as_str()),
        (504, "upstream.timeout")
    );
}

#[tokio::test]
async fn the_socket_is_where_it_was_wanted_or_nowhere() {
    let upstream = upstream().start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("here.sock");

    let unix = UnixSocket::Path(path.clone());
    let there = daemon(&upstream).set(|config| config.listen.unix = unix).run().await;
    let without = daemon(&upstream).set(|config| config.listen.unix = UnixSocket::Off).run().await;

    assert_eq!(there.running.socket(), Some(path.as_path()));
    tokio::net::UnixStream::connect(&path).await.unwrap();
    assert_eq!(without.running.socket(), None);
}

#[tokio::test]
async fn a_named_group_may_open_the_socket() {
    let upstream = upstream().start().unwrap();
    let group = nix::unistd::getegid().to_string();
    let daemon = daemon(&upstream).set(|config| config.listen.groups = vec![group]).run().await;

    let file = std::fs::metadata(daemon.running.socket().unwrap()).unwrap();

    assert_eq!(file.permissions().mode() & 0o777, 0o660);
}

#[tokio::test]
async fn another_name_for_this_machine_is_answered_to() {
    let upstream = upstream().start().unwrap();
    let name = vec!["nexudus.internal".to_owned()];
    let daemon = daemon(&upstream).set(|config| config.listen.hosts = name).run().await;

    let answer = daemon.request("GET", PROBE_PATH).header("host", "nexudus.internal").send().await;

    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn the_login_comes_from_the_command_with_the_email_beside_it() {
    let upstream = upstream().start().unwrap();
    // In memory only for as long as the test says nothing else.
    let setup = daemon(&upstream).with_login_file(PASSWORD).set(|config| {
        assert_eq!(config.credentials.source, LoginSource::Command);
        assert_eq!(config.credentials.email.as_deref(), Some(EMAIL));
        assert_eq!(config.credentials.command[0], "cat");
    });
    let daemon = setup.run().await;

    let view = daemon.session_until(|view| view.generation == 1).await;

    assert!(view.source.as_ref().unwrap().contains("command"), "{view:?}");
    assert_eq!(upstream.token_calls()[0].username.as_deref(), Some(EMAIL));
}

#[tokio::test]
async fn the_client_id_is_the_one_that_was_given() {
    let upstream = upstream().start().unwrap();
    let id = Some("till-3".to_owned());
    let daemon = daemon(&upstream).set(|config| config.session.client_id = id).run().await;

    daemon.session_until(|view| view.generation == 1).await;

    assert_eq!(upstream.token_calls()[0].client_id.as_deref(), Some("till-3"));
}

#[tokio::test]
async fn the_session_is_kept_where_it_was_wanted_under_the_key_that_was_named() {
    let upstream = upstream().start().unwrap();
    let by_command = daemon(&upstream).set(|config| {
        config.session.store = SessionStore::File;
        config.session.key = KeyStore::Command;
        config.session.key_command = ["printf", SESSION_KEY].map(str::to_owned).to_vec();
    });
    let no_such_key = daemon(&upstream).set(|config| {
        config.session.store = SessionStore::File;
        config.session.key = KeyStore::Systemd;
        config.session.key_command = ["printf", SESSION_KEY].map(str::to_owned).to_vec();
    });
    let saved = |daemon: &Daemon| daemon.home().join("state/session.sealed").exists();

    let kept = by_command.run().await;
    let view = kept.session_until(|view| view.saved).await;
    let refused = no_such_key.run().await;
    let trouble = refused.session_until(|view| view.error.is_some()).await;

    assert_eq!(view.store.reason, "its key comes from session.key_command");
    assert_eq!((saved(&kept), saved(&refused)), (true, false));
    assert_eq!(trouble.error.as_ref().unwrap().code, "credentials.unavailable");
}

#[tokio::test]
async fn writes_keep_a_pace_of_their_own_and_wait_no_longer_than_configured() {
    let upstream = upstream().start().unwrap();
    let setup = daemon(&upstream).set(|config| {
        config.throttle.writes = Rate::Fixed { count: 1, per: Duration::from_secs(3600) };
        config.throttle.wait = Duration::ZERO;
    });
    let daemon = setup.run().await;

    assert_eq!(daemon.post("/api/echo", "{}").await.status(), 200);
    let second = daemon.post("/api/echo", "{}").await;

    assert_eq!(
        (second.status().as_u16(), error_code(second).await.as_str()),
        (429, "throttle.queue")
    );
    for _ in 0..3 {
        assert_eq!(daemon.get("/api/echo").await.status(), 200);
    }
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_after_a_while() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.limits.keep_alive = SOON).run().await;

    let mut idle = TcpStream::connect(daemon.address()).await.unwrap();
    let mut said = vec![];
    let end = tokio::time::timeout(EVENT_TIMEOUT, idle.read_to_end(&mut said)).await;

    assert_eq!(end.expect("it stays open").unwrap(), 0);
}

#[tokio::test]
async fn a_body_is_sent_again_only_up_to_its_bound() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.limits.replay_body = 4).run().await;
    for (body, status) in [("1234", 200), ("12345", 401)] {
        daemon.session_until(|view| view.expires_in.is_some() && !view.renewing).await;
        upstream.revoke_access_tokens();

        assert_eq!(daemon.post("/api/echo", body).await.status(), status, "{body}");
    }
}
