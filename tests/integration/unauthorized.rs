//! Nexudus says 401 to a dead token and to a missing permission alike; only one of them is cured
//! by a new token.

use futures_util::future::join_all;
use nexudus_simulator::{Route, UnauthorizedStyle};

use crate::support::{
    EVENT_TIMEOUT, PROBE_PATH, ada, advance, daemon, executed_once, grant_types, request_count,
    secs, upstream,
};

#[tokio::test]
async fn a_token_revoked_under_fifty_requests_costs_one_probe_and_one_refresh() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.session_until(|view| view.generation == 1).await;
    let held = upstream.hold(Route::Path("/api/spaces".into()));

    let reads = join_all((0..25).map(|_| daemon.get("/api/spaces/coworkers?size=1")));
    let bodies = (0..25).map(|n| format!(r#"{{"FullName": "Number {n}"}}"#));
    let writes = bodies.map(|body| {
        let daemon = &daemon;
        async move { daemon.post("/api/spaces/coworkers", &body).await }
    });
    let revoked = async {
        assert!(upstream.wait_until_async(|view| view.held() == 50, EVENT_TIMEOUT).await);
        upstream.revoke_access_tokens();
        held.release();
    };
    let (reads, writes, ()) = tokio::join!(reads, join_all(writes), revoked);

    assert!(reads.iter().chain(&writes).all(|answer| answer.status() == 200));
    assert_eq!(request_count(&upstream, PROBE_PATH), 1);
    assert_eq!(grant_types(&upstream), ["password", "refresh_token"]);
    executed_once(&upstream, 25);
}

#[tokio::test]
async fn a_token_is_known_to_be_dead_however_nexudus_says_so() {
    for refusal in [UnauthorizedStyle::Empty, UnauthorizedStyle::Json, UnauthorizedStyle::Html] {
        let upstream = upstream().set(|knobs| knobs.access.refusal = refusal).start().unwrap();
        let daemon = daemon(&upstream).run().await;
        daemon.session_until(|view| view.generation == 1).await;
        upstream.revoke_access_tokens();

        let answer = daemon.post("/api/spaces/coworkers", r#"{"FullName": "Once"}"#).await;

        assert_eq!(answer.status(), 200, "{refusal:?}");
        executed_once(&upstream, 1);
    }
}

#[tokio::test]
async fn a_thousand_forbidden_requests_at_once_cost_a_probe_and_no_refresh() {
    let upstream = upstream().account(ada().without("/api/billing")).start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.session_until(|view| view.generation == 1).await;

    let paths = (0..1_000).map(|n| format!("/api/billing/charges/{n}"));
    let answers = join_all(paths.map(|path| {
        let daemon = &daemon;
        async move { daemon.get(&path).await }
    }))
    .await;

    for answer in answers {
        forbidden(answer).await;
    }
    // For the first to come back: the others are of its shape, whenever they were sent.
    assert_eq!(request_count(&upstream, PROBE_PATH), 1);
    assert_eq!(grant_types(&upstream), ["password"]);
    assert_eq!(daemon.get("/api/spaces/coworkers").await.status(), 200);
}

#[tokio::test]
async fn a_token_revoked_right_after_a_probe_costs_nobody_an_answer() {
    let upstream = upstream().account(ada().without("/api/billing")).start().unwrap();
    let daemon = daemon(&upstream).run().await;
    forbidden(daemon.get("/api/billing/charges").await).await;

    for path in ["/api/spaces/coworkers", PROBE_PATH, "/api/spaces/coworkers"] {
        upstream.revoke_access_tokens();
        assert_eq!(daemon.get(path).await.status(), 200, "{path}");
    }

    // The first to tell, the second to find the token dead, and two of ours: the caller's own
    // question to the probe's path needs none.
    assert_eq!(grant_types(&upstream).len(), 4);
    assert_eq!(request_count(&upstream, PROBE_PATH), 1 + 1 + 2 + 1);
}

#[tokio::test]
async fn a_day_of_forbidden_requests_costs_a_handful_of_probes_and_no_refresh() {
    let account = ada().member();
    let upstream = upstream().frozen_clock().account(account).start().unwrap();
    let (setup, hand) = daemon(&upstream).manual_clock();
    let daemon = setup.run().await;
    daemon.session_until(|view| view.generation == 1).await;

    for _ in 0..24 * 30 {
        forbidden(daemon.get("/api/spaces/coworkers").await).await;
        advance(&hand, &upstream, secs(120));
    }

    assert!(
        request_count(&upstream, PROBE_PATH) <= 8,
        "{} probes",
        request_count(&upstream, PROBE_PATH)
    );
    assert_eq!(grant_types(&upstream), ["password"]);
}

#[tokio::test]
async fn an_account_without_any_api_access_is_told_so_and_logs_in_no_more() {
    let account = ada().member();
    let knobs =
        |knobs: &mut nexudus_simulator::Settings| knobs.access.me_without_api_access = false;
    let upstream = upstream().frozen_clock().account(account).set(knobs).start().unwrap();
    let (setup, hand) = daemon(&upstream).manual_clock();
    let daemon = setup.run().await;

    for _ in 0..24 * 30 {
        forbidden(daemon.get("/api/spaces/coworkers").await).await;
        advance(&hand, &upstream, secs(120));
    }

    // The first token was taken for a dead one; its successor was not.
    assert_eq!(grant_types(&upstream), ["password", "refresh_token"]);
    let view = daemon.running.session().status();
    assert_eq!(view.api_access, Some(false));
    assert!(view.advice.as_ref().unwrap().contains("API access"), "{view:?}");

    upstream.add_account(ada());
    advance(&hand, &upstream, secs(300));
    assert_eq!(daemon.get("/api/spaces/coworkers").await.status(), 200);
}

#[tokio::test]
async fn tokens_that_are_revoked_again_and_again_draw_on_a_budget() {
    let upstream = upstream().frozen_clock().start().unwrap();
    let (setup, hand) = daemon(&upstream).manual_clock();
    let daemon = setup.run().await;

    for minute in 0..60 {
        // The first request shows that the token has worked, the second finds it revoked.
        for _ in 0..2 {
            let answer = daemon.get("/api/spaces/coworkers").await;
            assert!([200, 503].contains(&answer.status().as_u16()), "minute {minute}");
            upstream.revoke_access_tokens();
        }
        advance(&hand, &upstream, secs(60));
        daemon.idle().await;
    }

    // One login, three at once, and one per five minutes.
    assert!(grant_types(&upstream).len() <= 1 + 3 + 12, "{} grants", grant_types(&upstream).len());
    advance(&hand, &upstream, secs(300));
    daemon.idle().await;
    assert_eq!(daemon.get("/api/spaces/coworkers").await.status(), 200);
}

/// Asserts that this is Nexudus's own 401, unchanged but for a word about it.
async fn forbidden(answer: reqwest::Response) {
    assert_eq!(answer.status(), 401);
    let told = answer.headers()["proxy-status"].to_str().unwrap().to_owned();
    assert!(told.contains(r#"details="token valid, account lacks permission""#), "{told}");
    assert!(!told.contains("error="), "{told}");
    assert_eq!(answer.bytes().await.unwrap().len(), 0);
}
