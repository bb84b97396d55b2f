//! The log, the status and a response say enough about an error to repair it.

use nexudus_proxy::config::Origin;
use nexudus_proxy::session::SessionState;

use crate::support::{ProcessSetup, daemon, daemon_before, problem_json, upstream};

#[tokio::test]
async fn why_there_is_no_token_is_said_in_the_answer_and_in_the_status() {
    let upstream = upstream().start().unwrap();
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let another = nexudus_simulator::Simulator::builder().start().unwrap();
    let impostor = daemon_before(upstream.address().port(), another.ca_pem());
    let nowhere = daemon(&upstream)
        .set(|config| config.upstream.origin = Origin::new("nexudus.invalid", 443));

    for (setup, why) in [
        (daemon_before(gone, upstream.ca_pem()), "Connection refused"),
        (impostor, "no verified TLS connection: invalid peer certificate"),
        (nowhere, "the name does not resolve"),
    ] {
        let daemon =
            setup.set(|config| config.session.wait = std::time::Duration::ZERO).run().await;
        let view = daemon.session_until(|view| view.error.is_some()).await;
        let answer = daemon.get("/api/auth/me").await;

        let why = format!("the token endpoint cannot be reached: {why}");
        let cause = view.error.as_ref().unwrap().cause.as_deref().unwrap();
        assert!(cause.starts_with(&why), "{cause}");
        assert_eq!((view.state, answer.status().as_u16()), (SessionState::Waiting, 503));
        let detail = problem_json(answer).await["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&why), "{detail}");
    }
}

#[tokio::test]
async fn the_log_tells_a_login_a_renewal_and_a_resumed_session_apart() {
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream);
    let whole = |line: &serde_json::Value| {
        assert!(line["expires_in_s"].is_u64(), "{line}");
    };

    let mut program = place.start().await;
    whole(&program.wait_for_log(|line| line["message"] == "logged in").await);
    place.wait_durable().await;
    upstream.revoke_access_tokens();
    assert_eq!(program.status("/api/spaces/coworkers").await, 200);
    whole(&program.wait_for_log(|line| line["message"] == "token renewed").await);
    place.wait_durable().await;
    program.stop().await;
    let mut program = place.start().await;
    whole(&program.wait_for_log(|line| line["message"] == "session resumed").await);
}

#[tokio::test]
async fn a_session_that_nobody_asked_to_keep_in_memory_is_warned_of() {
    let upstream = upstream().start().unwrap();
    let place = ProcessSetup::new(&upstream).set("CREDENTIALS_DIRECTORY", "/nonexistent");

    let mut program = place.start().await;

    let said = "the session is in memory only and ends with this process";
    let line = program.wait_for_log(|line| line["message"] == said).await;
    assert_eq!(line["level"], "WARN");
    assert!(line["why"].as_str().unwrap().contains("no D-Bus session bus"), "{line}");
}

#[tokio::test]
async fn a_caller_that_is_refused_is_named_as_it_called_itself() {
    let upstream = upstream().start().unwrap();
    let mut program = ProcessSetup::new(&upstream).start().await;

    assert_eq!(program.status_as("evil.example", "/").await, 421);

    let line = program.wait_for_log(|line| line["message"] == "rejected a request").await;
    assert_eq!((&line["host"], &line["code"]), (&"evil.example".into(), &"guard.host".into()));
    assert!(line["origin"].is_null(), "{line}");
}
