//! Status, events and logs tell the truth, and no secret.

use std::time::{Duration, Instant};

use nexudus_proxy::admin::api::{Event, Readiness, RequestRecord, Status};
use nexudus_proxy::admin::client::{Error, EventStream};
use nexudus_proxy::session::{SessionState, SessionStatus};
use nexudus_simulator::{Account, Fault, FaultAction, Route};

use crate::support::admin::{counts, get, status_until};
use crate::support::{
    Daemon, EVENT_TIMEOUT, PASSWORD, ProcessSetup, ada, daemon, get_error_code, upstream,
};

#[tokio::test]
async fn ready_comes_within_a_tenth_of_a_second() {
    let upstream = upstream().start().unwrap();
    let held = upstream.hold(Route::Token);
    let daemon = daemon(&upstream).run().await;
    let mut events = daemon.admin().await.events("ready").await.unwrap();
    let first = readiness(&mut events).await;

    let session = daemon.running.session().clone();
    let mut changes = session.subscribe();
    held.release();
    let became_ready = async {
        while session.bearer().is_err() {
            changes.changed().await.unwrap();
        }
        Instant::now()
    };
    let told = async {
        while !readiness(&mut events).await.ready {}
        Instant::now()
    };
    let (became_ready, told) = tokio::join!(became_ready, told);

    assert!(!first.ready && first.reasons[0].code == "session.unavailable", "{first:?}");
    assert!(told.saturating_duration_since(became_ready) < Duration::from_millis(100));
}

#[tokio::test]
async fn until_the_first_answer_it_is_starting_and_says_so() {
    let upstream = upstream().start().unwrap();
    let held = upstream.hold(Route::Token);
    let daemon = daemon(&upstream).run().await;
    assert!(upstream.wait_until_async(|view| view.held() == 1, EVENT_TIMEOUT).await);

    let status: Status = daemon.admin().await.get("/v1/status").await.unwrap();
    let readyz = get(&daemon, "/readyz").await;
    let metrics = daemon.metrics().await;
    held.release();
    let after = status_until(&daemon, |status| status.readiness.ready).await;

    let SessionStatus { state, renewing, expires_in, error, .. } = status.session.status;
    assert_eq!((state, renewing, expires_in), (SessionState::Starting, true, None));
    assert!(error.is_none(), "nothing has gone wrong: {error:?}");
    let reason = &status.readiness.reasons[0];
    assert_eq!(
        (reason.code.as_str(), reason.sentence.as_str(), reason.hint.as_str()),
        (
            "session.unavailable",
            "logging in to Nexudus",
            "Wait: the daemon tries again; `nexudus-proxy status` shows the last reason."
        )
    );
    assert!(readyz.starts_with("HTTP/1.1 503") && readyz.contains(&reason.sentence), "{readyz}");
    assert!(metrics.contains("nexudus_proxy_session_state{state=\"starting\"} 1\n"), "{metrics}");
    assert_eq!(after.session.status.state, SessionState::Ready);
}

#[tokio::test]
async fn readiness_names_the_reason_in_each_state() {
    let upstream = upstream().start().unwrap();
    let nobody = daemon(&upstream).without_login().run().await;
    assert_eq!(reason(&nobody).await, "session.not-logged-in");

    let wrong = daemon(&upstream).password("not-it").run().await;
    wrong.session_until(|view| view.error.is_some()).await;
    assert_eq!(reason(&wrong).await, "session.refused");

    let daemon = daemon(&upstream).run().await;
    daemon.session_until(|view| view.generation == 1).await;
    assert!(get(&daemon, "/readyz").await.starts_with("HTTP/1.1 200"));
    let admin = daemon.admin().await;
    let locked: SessionStatus = admin.post("/v1/lock").await.unwrap();
    assert_eq!(locked.state, SessionState::Locked);
    assert_eq!(reason(&daemon).await, "session.locked");
    let _: SessionStatus = admin.post("/v1/unlock").await.unwrap();
    daemon.session_until(|view| view.expires_in.is_some()).await;
    assert!(get(&daemon, "/readyz").await.starts_with("HTTP/1.1 200"));
    let _: SessionStatus = admin.post("/v1/forget").await.unwrap();
    assert_eq!(reason(&daemon).await, "session.not-logged-in");
    assert!(get(&daemon, "/healthz").await.starts_with("HTTP/1.1 200"), "alive all the same");
}

#[tokio::test]
async fn readiness_names_what_only_a_person_can_repair() {
    let needs_code = ada().with_totp_secret("JBSWY3DPEHPK3PXP");
    let needs_password = Account { must_reset_password: true, ..ada() };
    for (account, code) in
        [(needs_code, "session.totp-required"), (needs_password, "session.password-reset")]
    {
        let upstream = upstream().account(account).start().unwrap();
        let daemon = daemon(&upstream).run().await;
        daemon.session_until(|view| view.error.is_some()).await;
        assert_eq!(reason(&daemon).await, code);
    }

    let upstream = upstream().start().unwrap();
    let unreadable = daemon(&upstream)
        .with_login_file(PASSWORD)
        .set(|config| config.credentials.command = vec!["false".to_owned()]);
    let unreadable = unreadable.run().await;
    unreadable.session_until(|view| view.error.is_some()).await;
    assert_eq!(reason(&unreadable).await, "credentials.unavailable");

    let daemon = daemon(&upstream).stored().run().await;
    daemon.session_until(|view| view.saved).await;
    let daemon = daemon.restart().await.without_login().run().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    upstream.revoke_access_tokens();
    upstream.revoke_refresh_tokens();
    assert_eq!(get_error_code(&daemon).await, "session.expired");
    assert_eq!(reason(&daemon).await, "session.expired");
    assert!(get(&daemon, "/healthz").await.starts_with("HTTP/1.1 200"), "alive all the same");
}

#[tokio::test]
async fn a_refresh_renews_or_says_why_not() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.session_until(|view| view.generation == 1).await;
    let admin = daemon.admin().await;

    let renewed: SessionStatus = admin.post("/v1/refresh").await.unwrap();
    let _: SessionStatus = admin.post("/v1/forget").await.unwrap();
    let refused = admin.post::<SessionStatus>("/v1/refresh").await.unwrap_err();

    assert_eq!(renewed.generation, 2);
    let Error::Problem(problem) = refused else { panic!("{refused:?}") };
    assert_eq!((problem.status, problem.code.as_str()), (503, "session.not-logged-in"));
}

#[tokio::test]
async fn the_status_counts_what_was_asked() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.get("/api/auth/me").await.bytes().await.unwrap();
    daemon.get("/api/no/such/thing").await.bytes().await.unwrap();
    daemon.request("GET", "/").header("host", "evil.example").send().await.unwrap();

    let status = status_until(&daemon, |status| status.requests.total == 3).await;

    assert_eq!((status.api, status.profile.as_str()), (1, "default"));
    assert_eq!(status.listening.tcp, daemon.running.addresses());
    assert_eq!(status.requests.by_status, counts([("2xx", 1), ("4xx", 2)]));
    assert_eq!(status.requests.by_code, counts([("guard.host", 1)]));
    assert_eq!(status.requests.in_flight, 0);
    assert!(status.readiness.ready && status.session.status.expires_in.is_some());
}

#[tokio::test]
async fn a_watcher_sees_each_request_without_its_query() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let mut events = daemon.admin().await.events("request").await.unwrap();

    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = daemon.request("GET", "/api/auth/me?token=marker-query");
    let request = request.header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    request.send().await.unwrap().bytes().await.unwrap();
    let seen = request_event(&mut events).await;

    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("GET", "/api/auth/me"));
    assert_eq!((seen.status, seen.trace_id.as_deref()), (Some(200), Some(trace)));
    assert!(seen.bytes > 0);
    let arrived = upstream.requests();
    let traced = |(name, _): &(String, String)| name.eq_ignore_ascii_case("traceparent");
    assert!(!arrived.iter().any(|seen| seen.headers.iter().any(traced)), "it went to Nexudus");
}

#[tokio::test]
async fn no_secret_is_in_anything_that_is_told() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let mut events = daemon.admin().await.events("ready,session,request").await.unwrap();
    let request = daemon.request("POST", "/api/spaces/coworkers?q=marker-query");
    let request = request.header("authorization", "Bearer marker-header").body("marker-body");
    request.send().await.unwrap().bytes().await.unwrap();

    let mut told = String::new();
    while !told.contains("Request") {
        let event = tokio::time::timeout(EVENT_TIMEOUT, events.next()).await.unwrap();
        told.push_str(&format!("{:?}", event.unwrap()));
    }
    for path in ["/v1/status", "/metrics", "/readyz", "/healthz"] {
        told.push_str(&get(&daemon, path).await);
    }

    let tokens = upstream.live_access_tokens();
    assert!(!tokens.is_empty());
    for secret in tokens.iter().map(String::as_str).chain([PASSWORD, "marker-"]) {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}

#[tokio::test]
async fn a_trace_goes_on_only_where_that_is_configured() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.upstream.trace = true).run().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    let request = daemon.request("GET", "/api/spaces/coworkers").header("traceparent", trace);
    let request = request.header("tracestate", "a=1").header("baggage", "user=marker-user");
    request.send().await.unwrap().bytes().await.unwrap();

    let seen = upstream.requests();
    let arrived = seen.iter().find(|seen| seen.path() == "/api/spaces/coworkers").unwrap();
    let field = |name: &str| {
        let found = arrived.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!((field("traceparent"), field("tracestate")), (Some(trace), Some("a=1")));
    assert_eq!(field("baggage"), None);
}

async fn reason(daemon: &Daemon) -> String {
    daemon.session_until(|view| !view.renewing).await;
    let answer = get(daemon, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let readiness: Readiness = serde_json::from_str(body).unwrap();
    readiness.reasons[0].code.clone()
}

async fn readiness(events: &mut EventStream) -> Readiness {
    match tokio::time::timeout(EVENT_TIMEOUT, events.next()).await.unwrap() {
        Some(Event::Ready(readiness)) => readiness,
        other => panic!("{other:?}"),
    }
}

async fn request_event(events: &mut EventStream) -> RequestRecord {
    match tokio::time::timeout(EVENT_TIMEOUT, events.next()).await.unwrap() {
        Some(Event::Request(request)) => *request,
        other => panic!("{other:?}"),
    }
}

/// The metrics tell afterwards why requests failed, without anyone reading the log meanwhile.
#[tokio::test]
async fn what_nexudus_does_not_answer_is_in_the_log_once_and_so_is_its_return() {
    let upstream = upstream().start().unwrap();
    upstream.fault(Fault::on("/api/marker-path", FaultAction::Close));
    let mut program = ProcessSetup::new(&upstream).start().await;
    for _ in 0..12 {
        assert_eq!(program.status("/api/marker-path?marker=query").await, 502);
    }
    assert_eq!(program.status("/api/auth/me").await, 200);

    let lines = std::cell::RefCell::new(vec![]);
    let again = |line: &serde_json::Value| {
        lines.borrow_mut().push(line.clone());
        line["message"] == "Nexudus responds again"
    };
    let again = program.wait_for_log(again).await;

    let lines = lines.into_inner();
    let told: Vec<_> =
        lines.iter().filter(|line| line["message"] == "no response from Nexudus").collect();
    let [told] = told.as_slice() else { panic!("{lines:#?}") };
    assert_eq!((&told["level"], &told["code"]), (&"WARN".into(), &"upstream.closed".into()));
    assert_eq!((&told["failed"], &told["origin"]), (&1.into(), &upstream.origin().into()));
    assert!(told["cause"].as_str().unwrap().contains("closed the connection"), "{told}");
    assert_eq!((&again["level"], &again["failed"]), (&"INFO".into(), &11.into()));
    assert!(lines.iter().all(|line| !line.to_string().contains("marker")), "{lines:#?}");
}
