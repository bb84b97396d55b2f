//! `upstream.auth = "basic"`: each request carries the login itself, no token is asked for, and a
//! refused password is never sent by more requests than one at a time.

use futures_util::future::join_all;
use nexudus_proxy::config::UpstreamAuth;
use nexudus_proxy::credentials::CredentialSource;
use nexudus_proxy::session::{Error, SessionState};
use nexudus_simulator::{Fault, FaultAction, Route, Simulator};

use crate::support::{
    Daemon, DaemonSetup, EMAIL, EVENT_TIMEOUT, PASSWORD, PROBE_PATH, ada, advance, daemon,
    error_code, get_error_code, problem_json, request_count, secs, upstream,
};

#[tokio::test]
async fn each_request_carries_the_login_and_no_token_is_asked_for() {
    let upstream = upstream().start().unwrap();
    let setup = daemon(&upstream).set(|config| config.upstream.auth = UpstreamAuth::Basic);
    let daemon = setup.run().await;

    assert_eq!(daemon.get("/api/spaces/coworkers?size=1").await.status(), 200);
    let request = daemon.request("POST", "/api/spaces/coworkers").bearer_auth("a-callers-own");
    let answer = request.body(r#"{"FullName": "Once"}"#).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let session = daemon.running.session();
    session.refresh().await.unwrap();

    assert!(upstream.token_calls().is_empty());
    for seen in upstream.requests() {
        assert_eq!(seen.header("authorization"), Some(HEADER), "{seen:?}");
    }
    let status = session.status();
    assert_eq!((&*status.auth, status.state), ("basic", SessionState::Ready));
    assert_eq!((status.expires_in, status.renews_in), (None, None), "nothing ends or is renewed");
    assert!(status.store.reason.starts_with("upstream.auth is basic"), "{status:?}");
}

#[tokio::test]
async fn until_the_login_is_proved_one_request_is_in_flight() {
    let upstream = upstream().start().unwrap();
    let held = upstream.hold(Route::All);
    let daemon = basic(&upstream).run().await;

    let requests = join_all((0..100).map(|_| daemon.get("/api/spaces/coworkers?size=1")));
    let released = async {
        let arrived = upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT);
        assert!(arrived.await, "the login was not offered");
        in_flight(&daemon, 100).await;
        assert_eq!(upstream.requests().len(), 1);
        held.release();
    };
    let (answers, ()) = tokio::join!(requests, released);

    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(request_count(&upstream, PROBE_PATH), 1);
}

#[tokio::test]
async fn a_wrong_password_is_one_failed_login_also_after_a_restart() {
    let upstream = upstream().start().unwrap();
    let mut setup = basic(&upstream).password("wrong");
    for _ in 0..3 {
        let daemon = setup.run().await;
        let answers = join_all((0..50).map(|_| daemon.get("/api/spaces/coworkers"))).await;

        for answer in answers {
            assert_eq!(answer.status(), 503);
            assert_eq!(problem_json(answer).await["code"], "session.refused");
        }
        assert_eq!(daemon.running.session().refresh().await, Err(refused()));
        assert_eq!(upstream.failed_logins(EMAIL), 1);
        setup = daemon.restart().await;
    }

    // Another password is another login.
    let daemon = setup.password(PASSWORD).run().await;
    assert_eq!(daemon.get("/api/spaces/coworkers").await.status(), 200);
}

#[tokio::test]
async fn a_password_changed_at_nexudus_costs_two_failed_logins_and_not_one_per_request() {
    let upstream = upstream().start().unwrap();
    let daemon = basic(&upstream).with_login_file(PASSWORD).run().await;
    assert_eq!(daemon.get("/api/spaces/coworkers").await.status(), 200);
    upstream.change_password(EMAIL, "another");
    let held = upstream.hold(Route::Me);
    let before = request_count(&upstream, "/api/spaces");

    let first = daemon.get("/api/spaces/coworkers");
    let others = async {
        assert!(upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT).await);
        let others = join_all((0..50).map(|_| daemon.get("/api/spaces/coworkers")));
        let released = async {
            in_flight(&daemon, 51).await;
            assert_eq!(daemon.running.session().status().state, SessionState::Waiting);
            assert_eq!(request_count(&upstream, "/api/spaces"), before + 1, "the rest wait");
            held.release();
        };
        tokio::join!(others, released).0
    };
    let (first, others) = tokio::join!(first, others);

    for answer in std::iter::once(first).chain(others) {
        assert_eq!(error_code(answer).await, "session.refused");
    }
    assert_eq!(upstream.failed_logins(EMAIL), 2, "the request and its probe");
    for _ in 0..3 {
        assert_eq!(get_error_code(&daemon).await, "session.refused");
    }
    assert_eq!(upstream.failed_logins(EMAIL), 2);

    daemon.change_login("another").await;
    assert_eq!(daemon.get("/api/spaces/coworkers").await.status(), 200);
}

#[tokio::test]
async fn requests_that_begin_together_after_a_pause_are_one_failed_login() {
    let upstream = upstream().start().unwrap();
    let (setup, hand) = basic(&upstream).manual_clock();
    let daemon = setup.run().await;
    assert_eq!(daemon.get("/api/spaces/coworkers").await.status(), 200);
    let asked = request_count(&upstream, PROBE_PATH);
    advance(&hand, &upstream, secs(59));
    assert_eq!(daemon.get("/api/spaces/coworkers").await.status(), 200);
    assert_eq!(request_count(&upstream, PROBE_PATH), asked, "confirmed by the last answer");
    let before = request_count(&upstream, "/api/spaces");

    advance(&hand, &upstream, secs(61));
    upstream.change_password(EMAIL, "another");
    let held = upstream.hold(Route::Me);
    let requests = join_all((0..50).map(|_| daemon.get("/api/spaces/coworkers")));
    let released = async {
        assert!(upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT).await);
        in_flight(&daemon, 50).await;
        held.release();
    };
    let (answers, ()) = tokio::join!(requests, released);

    for answer in answers {
        assert_eq!(error_code(answer).await, "session.refused");
    }
    assert_eq!(request_count(&upstream, "/api/spaces"), before, "the login was asked for alone");
    assert_eq!(upstream.failed_logins(EMAIL), 1);
}

#[tokio::test]
async fn a_login_that_has_changed_by_the_time_of_a_401_is_used_for_the_same_request() {
    let upstream = upstream().start().unwrap();
    let daemon = basic(&upstream).with_login_file(PASSWORD).run().await;
    assert_eq!(daemon.get("/api/spaces/coworkers").await.status(), 200);
    upstream.change_password(EMAIL, "another");
    std::fs::write(daemon.home().join("password"), "another").unwrap();

    let answer = daemon.post("/api/spaces/coworkers", r#"{"FullName": "Once"}"#).await;

    assert_eq!(answer.status(), 200);
    assert_eq!(upstream.executed_writes().len(), 1);
    assert_eq!(upstream.failed_logins(EMAIL), 0, "forgotten with the first success");
}

#[tokio::test]
async fn a_missing_permission_is_told_by_the_probe_each_time() {
    let upstream = upstream().account(ada().without("/api/billing")).start().unwrap();
    let daemon = basic(&upstream).run().await;
    assert_eq!(daemon.get("/api/spaces/coworkers").await.status(), 200);
    let before = request_count(&upstream, PROBE_PATH);

    for turn in 1..=3 {
        let answer = daemon.get("/api/billing/charges").await;

        assert_eq!(answer.status(), 401);
        let status = answer.headers()["proxy-status"].to_str().unwrap().to_owned();
        assert!(status.contains("account lacks permission"), "{status}");
        // An earlier verdict would hide a password that was changed since.
        assert_eq!(request_count(&upstream, PROBE_PATH), before + turn);
        assert_eq!(daemon.get("/api/spaces/coworkers").await.status(), 200);
    }
    assert_eq!(daemon.running.session().status().generation, 1);
}

#[tokio::test]
async fn without_a_verdict_the_login_is_withdrawn_and_proved_again() {
    let upstream = upstream().account(ada().without("/api/billing")).start().unwrap();
    let (setup, hand) = basic(&upstream).manual_clock();
    let daemon = setup.run().await;
    assert_eq!(daemon.get("/api/spaces/coworkers").await.status(), 200);
    let failed = FaultAction::Answer { status: 500, headers: vec![], body: String::new() };
    upstream.fault(Fault::on(PROBE_PATH, failed).times(1));

    assert_eq!(daemon.get("/api/billing/charges").await.status(), 503);
    let spaces = request_count(&upstream, "/api/spaces");
    let status = daemon.running.session().status();
    assert_eq!(status.state, SessionState::Waiting, "{status:?}");
    let waiting = daemon.get("/api/spaces/coworkers");
    let later = async {
        in_flight(&daemon, 1).await;
        assert_eq!(request_count(&upstream, "/api/spaces"), spaces, "nothing is sent meanwhile");
        advance(&hand, &upstream, secs(1));
    };

    let (answer, ()) = tokio::join!(waiting, later);
    assert_eq!(answer.status(), 200);
    assert!(upstream.token_calls().is_empty());
}

#[tokio::test]
async fn a_login_that_refresh_finds_refused_is_sent_no_more() {
    let upstream = upstream().start().unwrap();
    let daemon = basic(&upstream).run().await;
    assert_eq!(daemon.get("/api/spaces/coworkers").await.status(), 200);
    upstream.change_password(EMAIL, "another");

    let found = daemon.running.session().refresh().await;

    assert_eq!(found, Err(refused()));
    assert_eq!(get_error_code(&daemon).await, "session.refused");
    assert_eq!(upstream.failed_logins(EMAIL), 1);
}

#[tokio::test]
async fn lock_unlock_and_logout_hold_for_the_login_too() {
    let upstream = upstream().start().unwrap();
    let daemon = basic(&upstream).run().await;
    assert_eq!(daemon.get("/api/spaces/coworkers").await.status(), 200);
    let session = daemon.running.session();
    let seen = || upstream.requests().len();

    session.lock().await;
    let before = seen();
    let locked = daemon.get("/api/spaces/coworkers").await;
    assert_eq!(
        (locked.status().as_u16(), error_code(locked).await.as_str()),
        (423, "session.locked")
    );
    assert_eq!(seen(), before);
    session.unlock().await;
    assert_eq!(daemon.get("/api/spaces/coworkers").await.status(), 200);

    session.log_out().await;
    let before = seen();
    assert_eq!(get_error_code(&daemon).await, "session.not-logged-in");
    assert_eq!(seen(), before);
    session.credentials_changed().await;
    assert_eq!(daemon.get("/api/spaces/coworkers").await.status(), 200);
}

#[tokio::test]
async fn a_program_with_the_same_login_is_no_loop_and_a_request_of_ours_is_one() {
    let upstream = upstream().start().unwrap();
    let daemon = basic(&upstream).run().await;

    let same = daemon.request("GET", PROBE_PATH).basic_auth(EMAIL, Some(PASSWORD));
    assert_eq!(same.send().await.unwrap().status(), 200);
    let ours = upstream.requests().pop().unwrap();
    assert!(ours.path() == PROBE_PATH && ours.header("client_id").is_some_and(|id| !id.is_empty()));

    let back = daemon.request("GET", "/api/spaces/coworkers");
    let back = back.header("client_id", ours.header("client_id").unwrap()).send().await.unwrap();
    assert_eq!(problem_json(back).await["code"], "upstream.loop");
}

#[tokio::test]
async fn the_login_is_in_nothing_that_a_caller_or_an_operator_sees() {
    let upstream = upstream().start().unwrap();
    let bare = PAIR.trim_end_matches('=');
    upstream.set(|settings| {
        let away = format!("https://elsewhere.example/?login={bare}%3D%3D");
        settings.transport.headers = [("X-Echo", PAIR), ("Location", &away)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
    });
    let daemon = basic(&upstream).stored().run().await;

    let answer = daemon.get("/api/spaces/coworkers?size=1").await;
    assert_eq!(answer.status(), 200);
    let mut said = format!("{answer:?} {:?}", daemon.running);
    said.push_str(&format!("{:?}", daemon.running.session().bearer().unwrap()));
    said.push_str(&serde_json::to_string(&*daemon.running.session().status()).unwrap());
    said.push_str(&daemon.metrics().await);
    upstream.change_password(EMAIL, "another");
    said.push_str(&daemon.get("/api/spaces/coworkers").await.text().await.unwrap());
    assert!(said.contains("session.refused"), "{said}");

    let home = daemon.stop().await;
    for entry in walk(home.path()) {
        said.push_str(&String::from_utf8_lossy(&std::fs::read(&entry).unwrap_or_default()));
    }
    for secret in [PASSWORD, bare] {
        assert!(!said.contains(secret), "{secret} is somewhere in it");
    }
}

fn refused() -> Error {
    Error::Refused { origin: CredentialSource::Memory, auth: UpstreamAuth::Basic }
}

fn basic(upstream: &Simulator) -> DaemonSetup {
    daemon(upstream).set(|config| config.upstream.auth = UpstreamAuth::Basic)
}

/// Waits until so many local requests have no response yet.
async fn in_flight(daemon: &Daemon, count: usize) {
    let wanted = format!("\nnexudus_proxy_requests_in_flight {count}\n");
    let arrived = async {
        while !daemon.metrics().await.contains(&wanted) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, arrived).await.expect("the requests arrive");
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

/// `ada@example.test:marker-password-7f3a`, as RFC 7617 has it.
const HEADER: &str = "Basic YWRhQGV4YW1wbGUudGVzdDptYXJrZXItcGFzc3dvcmQtN2YzYQ==";
const PAIR: &str = "YWRhQGV4YW1wbGUudGVzdDptYXJrZXItcGFzc3dvcmQtN2YzYQ==";
