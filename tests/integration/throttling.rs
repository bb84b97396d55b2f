//! No client sees a throttle error that waiting could have avoided.

use std::time::Duration;

use futures_util::future::join_all;
use nexudus_proxy::admin::api::Status;
use nexudus_proxy::config::Rate as Configured;
use nexudus_simulator::{Fault, FaultAction, RetryAfter, Scope, Simulator};

use crate::support::throttle::{Kind, READ, WRITE, window};
use crate::support::{
    Daemon, EVENT_TIMEOUT, advance, daemon, grant_types, impatient, problem_json, secs,
    short_lived_tokens, upstream,
};

#[tokio::test]
async fn an_api_that_never_throttles_is_never_slowed() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;

    join_all((0..200).map(|_| daemon.get(READ))).await;

    let view = daemon.running.throttle().status().reads;
    assert_eq!((view.paced.as_str(), view.waited_ms, view.refused), ("nothing", 0, 0));
}

#[tokio::test]
async fn a_throttled_write_arrives_exactly_once() {
    let upstream = upstream()
        .set(|knobs| knobs.throttle.windows = vec![window(5, 500, Scope::Writes)])
        .start()
        .unwrap();
    let daemon = daemon(&upstream).run().await;

    let bodies: Vec<_> = (0..25).map(|n| format!("{{\"FullName\":\"Number {n}\"}}")).collect();
    let answers = join_all(bodies.iter().map(|body| daemon.post(WRITE, body))).await;

    assert!(answers.iter().all(|answer| answer.status() == 200));
    let mut written: Vec<_> = upstream.executed_writes().iter().map(|it| it.text()).collect();
    let mut bodies = bodies;
    written.sort_unstable();
    bodies.sort_unstable();
    assert_eq!(written, bodies);
}

#[tokio::test]
async fn a_write_that_is_not_told_when_to_return_is_not_sent_again() {
    let upstream = upstream().start().unwrap();
    upstream.set(|knobs| knobs.throttle.retry_after = RetryAfter::Missing);
    upstream.throttle_next(1);
    let daemon = daemon(&upstream).run().await;

    let answer = daemon.post(WRITE, "{}").await;

    assert_eq!(answer.status(), 409);
    assert_eq!(upstream.executed_writes().len(), 0);
}

#[tokio::test]
async fn a_conflict_that_says_what_is_wrong_is_relayed_at_once() {
    let upstream = upstream().start().unwrap();
    upstream.set(|knobs| {
        knobs.throttle.retry_after = RetryAfter::Missing;
        knobs.throttle.body = "the booking overlaps another".to_owned();
    });
    upstream.throttle_next(1);
    let daemon = daemon(&upstream).run().await;

    let answer = daemon.get(READ).await;

    assert_eq!(answer.status(), 409);
    assert_eq!(answer.text().await.unwrap(), "the booking overlaps another");
    assert_eq!(daemon.running.throttle().status().reads.paced, "nothing");
}

#[tokio::test]
async fn a_wait_longer_than_allowed_is_relayed_as_it_is_and_then_told_by_us() {
    let upstream = upstream().start().unwrap();
    upstream.set(|knobs| knobs.throttle.next_wait = Duration::from_secs(3_600));
    upstream.throttle_next(1);
    let daemon = daemon(&upstream).run().await;

    let first = daemon.get(READ).await;
    let second = daemon.get(READ).await;

    assert_eq!(
        (first.status().as_u16(), &first.headers()["retry-after"]),
        (409, &"3600".parse().unwrap())
    );
    assert!(!first.headers().contains_key("proxy-status"));
    assert_eq!(second.status(), 429);
    let left: u64 = second.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((3_500..=3_600).contains(&left));
    assert_eq!(problem_json(second).await["code"], "throttle.queue");
    assert_eq!(Kind::Read.seen(&upstream).len(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_costs_nothing_upstream() {
    let upstream = upstream().start().unwrap();
    upstream.throttle_next(1);
    let daemon = daemon(&upstream).run().await;

    let request = tokio::spawn(daemon.request("GET", READ).send());
    waiting(&daemon, 1).await;
    request.abort();
    waiting(&daemon, 0).await;

    assert_eq!(daemon.get(READ).await.status(), 200);
    assert_eq!(Kind::Read.seen(&upstream).len(), 2, "the throttled one, and the one of who stayed");
}

#[tokio::test]
async fn a_configured_pace_is_kept_from_the_first_request_on() {
    let upstream = upstream()
        .set(|knobs| knobs.throttle.windows = vec![window(5, 200, Scope::Reads)])
        .start()
        .unwrap();
    let per = Duration::from_millis(200);
    let pace = Configured::Fixed { count: 5, per };
    let daemon = daemon(&upstream).set(|config| config.throttle.reads = pace).run().await;
    // The first connections take longer than the pace allows for.
    daemon.get("/api/auth/me").await;

    for _ in 0..30 {
        assert_eq!(daemon.get(READ).await.status(), 200);
    }

    let view = daemon.running.throttle().status().reads;
    assert_eq!((view.throttled, view.windows), (0, vec![format!("5/{per:?}")]));
}

#[tokio::test]
async fn the_status_says_that_nexudus_has_paused_us_and_who_waits() {
    let upstream = upstream().start().unwrap();
    upstream.set(|knobs| knobs.throttle.next_wait = secs(15));
    upstream.throttle_next(1);
    let daemon = daemon(&upstream).run().await;

    let ask = |_| tokio::spawn(daemon.request("GET", READ).send());
    let first = ask(0);
    waiting(&daemon, 1).await;
    let others: Vec<_> = (1..14).map(ask).collect();
    waiting(&daemon, 14).await;
    let status: Status = daemon.admin().await.get("/v1/status").await.unwrap();
    let metrics = daemon.metrics().await;
    others.iter().chain([&first]).for_each(tokio::task::JoinHandle::abort);

    let reads = status.throttle.reads;
    assert!(
        reads.state.starts_with("paused 1") && reads.state.contains(" s by Nexudus, 14 waiting")
    );
    assert!(reads.paused_ms.is_some_and(|left| (5_000..=15_000).contains(&left)), "{reads:?}");
    assert_eq!((reads.waiting, reads.throttled, reads.paced.as_str()), (14, 1, "shape"));
    assert_eq!((reads.minute, reads.day, reads.above_published), (1, 1, false));
    assert_eq!(status.throttle.writes.state, "unpaced");
    for line in [
        "nexudus_proxy_throttle_waiting{host=\"api\",kind=\"read\"} 14\n",
        "nexudus_proxy_throttle_answers_total{host=\"api\",kind=\"read\"} 1\n",
        "nexudus_proxy_throttle_requests_today{host=\"api\",kind=\"read\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test]
async fn who_asks_is_told_where_the_time_went() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.log.server_timing = true).run().await;
    daemon.get("/api/auth/me").await;
    upstream.throttle_next(1);

    let answer = daemon.get(READ).await;

    let told = answer.headers()["server-timing"].to_str().unwrap();
    let part = |name: &str| {
        let entry = told.split(", ").find_map(|entry| entry.strip_prefix(name));
        entry.unwrap().strip_prefix(";dur=").unwrap().parse::<f64>().unwrap()
    };
    assert!(part("queue") >= 950.0, "{told}");
    assert!(part("upstream") > 0.0 && part("token") < part("queue"), "{told}");
    // Both times that it was sent count, and all of it is part of the whole.
    assert!(part("total") >= part("queue") + part("upstream") + part("body"), "{told}");
    let metrics = daemon.metrics().await;
    let sum =
        metrics.lines().find_map(|it| it.strip_prefix("nexudus_proxy_request_queue_seconds_sum "));
    assert!(sum.unwrap().parse::<f64>().unwrap() >= 0.95, "{metrics}");

    let silent = crate::support::daemon(&upstream).run().await;
    assert!(!silent.get(READ).await.headers().contains_key("server-timing"));
}

#[tokio::test]
async fn a_time_is_told_for_all_that_a_request_went_through() {
    let upstream = upstream().start().unwrap();
    let setup = daemon(&upstream).set(|config| {
        config.log.server_timing = true;
        config.limits.replay_body = 10;
    });
    let daemon = setup.run().await;
    daemon.get("/api/auth/me").await;
    let latency = Duration::from_millis(60);
    upstream.set(|knobs| knobs.transport.latency = latency);
    let part = |answer: &reqwest::Response, name: &str| {
        let told = answer.headers()["server-timing"].to_str().unwrap().to_owned();
        let mut entries = told.split(", ").filter_map(|entry| entry.split_once(";dur="));
        entries.find(|(it, _)| *it == name).unwrap().1.parse::<f64>().unwrap()
    };

    let read = daemon.get(READ).await;
    let kept = daemon.post(WRITE, "{}").await;
    let streamed = daemon.post(WRITE, r#"{"FullName":"longer than is kept"}"#).await;
    upstream.fault(Fault::on(WRITE, FaultAction::ActionFailed).times(1));
    let repeated = daemon.get(READ).await;

    for (answer, times) in [(read, 1.0), (kept, 1.0), (streamed, 1.0), (repeated, 2.0)] {
        let least = times * latency.as_secs_f64() * 1_000.0;
        assert!(part(&answer, "upstream") >= least, "{answer:?}");
        assert!(part(&answer, "total") >= part(&answer, "upstream"), "{answer:?}");
        for name in ["token", "queue", "body"] {
            assert!(part(&answer, name) < part(&answer, "total"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_throttled_renewal_is_repeated_and_holds_up_nobody() {
    let upstream = upstream().frozen_clock().set(short_lived_tokens).start().unwrap();
    let (setup, hand) = impatient(&upstream).manual_clock();
    let daemon = setup.run().await;
    daemon.session_until(|view| view.generation == 1 && !view.renewing).await;

    upstream.set(|knobs| {
        knobs.throttle.token_calls = true;
        knobs.throttle.next_path = "/api/token".to_owned();
        knobs.throttle.next_wait = secs(2);
    });
    upstream.throttle_next(1);
    advance(&hand, &upstream, secs(85));
    own_waiting(&daemon).await;

    assert_eq!(daemon.get(READ).await.status(), 200, "the old token is still valid");
    assert_eq!(daemon.running.throttle().status().reads.paced, "nothing");
    advance(&hand, &upstream, secs(2));
    daemon.session_until(|view| view.generation == 2).await;
    assert_eq!(token_calls(&upstream), ["password 200", "refresh_token 409", "refresh_token 200"]);
}

#[tokio::test]
async fn a_throttled_password_is_not_offered_twice_in_one_attempt() {
    let upstream = upstream().frozen_clock().start().unwrap();
    upstream.set(|knobs| {
        knobs.throttle.token_calls = true;
        knobs.throttle.next_wait = secs(2);
    });
    upstream.throttle_next(1);
    let (setup, hand) = impatient(&upstream).manual_clock();
    let daemon = setup.run().await;

    let view = daemon.session_until(|view| view.error.is_some() && !view.renewing).await;
    assert_eq!(view.error.as_ref().unwrap().code, "session.unavailable");
    assert_eq!(daemon.running.throttle().status().own.throttled, 1);
    for _ in 0..10 {
        advance(&hand, &upstream, secs(1));
        daemon.idle().await;
    }

    assert_eq!(daemon.get(READ).await.status(), 200);
    assert_eq!(token_calls(&upstream), ["password 409", "password 200"]);
}

#[tokio::test]
async fn a_throttled_probe_does_not_turn_a_refused_request_into_a_renewal() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    assert_eq!(daemon.get(READ).await.status(), 200);
    upstream.set(|knobs| knobs.throttle.next_path = "/api/auth/me".to_owned());
    upstream.throttle_next(1);
    let refused = FaultAction::Answer { status: 401, headers: vec![], body: String::new() };
    upstream.fault(Fault::on(WRITE, refused).times(1));

    let answer = daemon.get(READ).await;

    assert_eq!(answer.status(), 401);
    assert!(answer.headers()["proxy-status"].to_str().unwrap().contains("lacks permission"));
    assert_eq!(daemon.running.throttle().status().own.replayed, 1);
    assert_eq!(grant_types(&upstream), ["password"]);
}

fn token_calls(upstream: &Simulator) -> Vec<String> {
    let statuses = upstream.token_calls().into_iter().map(|call| call.status.unwrap_or_default());
    let calls = grant_types(upstream).into_iter().zip(statuses);
    calls.map(|(grant, status)| format!("{grant} {status}")).collect()
}

/// Waits until one of the daemon's own calls waits for its turn.
async fn own_waiting(daemon: &Daemon) {
    let reached = async {
        while daemon.running.throttle().status().own.waiting == 0 {
            daemon.post("/api/token", "").await;
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, reached).await.expect("it does not wait");
}

/// Waits until that many requests wait for their turn. The daemon has no event for it; its view is
/// cheap and a read takes the time of a round trip.
async fn waiting(daemon: &Daemon, wanted: u64) {
    let reached = async {
        while daemon.running.throttle().status().reads.waiting != wanted {
            daemon.post("/api/token", "").await;
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, reached).await.expect("the line stays as it is");
}
