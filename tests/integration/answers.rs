//! What Nexudus says in the body of a response alone is understood, and reaches the client whole.

use std::time::{Duration, Instant};

use nexudus_proxy::admin::api::{Event, RequestRecord};
use nexudus_proxy::admin::client::EventStream;
use nexudus_simulator::{Fault, FaultAction, RetryAfter, Simulator};

use crate::support::raw_answers::answering;
use crate::support::raw_upstream::{RawReply, get};
use crate::support::throttle::{READ, WRITE};
use crate::support::{EVENT_TIMEOUT, daemon, grant_types, secs, upstream};

const SENTENCE: &str = "Too many requests. Wait {wait} seconds, then try again.";

/// Throttles the next request with `status` and this body, and without `Retry-After`.
fn throttle_in_body(upstream: &Simulator, status: u16, body: &str, wait: Duration) {
    upstream.set(|knobs| {
        knobs.throttle.status = status;
        knobs.throttle.retry_after = RetryAfter::Missing;
        knobs.throttle.body = body.to_owned();
        knobs.throttle.next_wait = wait;
    });
    upstream.throttle_next(1);
}

#[tokio::test]
async fn a_wait_in_the_body_of_a_429_is_waited_out_and_the_request_sent_again() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;

    for write in [false, true] {
        throttle_in_body(&upstream, 429, SENTENCE, Duration::from_millis(300));
        let began = Instant::now();
        let answer = if write {
            daemon.post(WRITE, r#"{"FullName":"A"}"#).await
        } else {
            daemon.get(READ).await
        };

        assert_eq!(answer.status(), 200, "a write: {write}");
        assert!(began.elapsed() >= Duration::from_millis(280), "a write: {write}");
    }
    assert_eq!(upstream.executed_writes().len(), 1);
}

#[tokio::test]
async fn a_wait_in_the_body_of_a_409_repeats_a_read_and_never_a_write() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;

    throttle_in_body(&upstream, 409, SENTENCE, Duration::from_millis(300));
    assert_eq!(daemon.get(READ).await.status(), 200);

    throttle_in_body(&upstream, 409, SENTENCE, Duration::from_millis(300));
    let answer = daemon.post(WRITE, r#"{"FullName":"A"}"#).await;
    assert_eq!(answer.status(), 409);
    let body = answer.text().await.unwrap();
    assert_eq!(body, SENTENCE.replace("{wait}", "0.300"));
    assert_eq!(daemon.running.throttle().status().writes.throttled, 1);
    assert_eq!(upstream.executed_writes().len(), 0);
}

#[tokio::test]
async fn a_wait_in_the_body_that_is_too_long_counts_for_nothing() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;

    throttle_in_body(&upstream, 409, SENTENCE, secs(21));
    let conflict = daemon.get(READ).await;
    throttle_in_body(&upstream, 429, SENTENCE, secs(21));
    let write = daemon.post(WRITE, "{}").await;

    assert_eq!((conflict.status().as_u16(), write.status().as_u16()), (409, 429));
    for answer in [conflict, write] {
        assert!(!answer.headers().contains_key("proxy-status"));
        assert_eq!(answer.text().await.unwrap(), SENTENCE.replace("{wait}", "21.000"));
    }
    assert_eq!(daemon.running.throttle().status().reads.paced, "nothing");
}

#[tokio::test]
async fn a_body_that_is_looked_into_reaches_the_client_whole() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let long = format!("{}Wait 1 seconds", "x".repeat(100_000));
    for (status, body) in [(409, long.as_str()), (500, &long), (409, "short"), (500, "short")] {
        let answer = FaultAction::Answer { status, headers: vec![], body: body.to_owned() };
        upstream.fault(Fault::on(WRITE, answer).times(1));

        let answer = daemon.get(READ).await;

        assert_eq!(answer.status(), status);
        let length = answer.headers()["content-length"].to_str().unwrap().parse();
        assert_eq!(length, Ok(body.len()), "{status}");
        assert_eq!(answer.text().await.unwrap(), body);
    }
}

#[tokio::test]
async fn a_body_that_is_looked_into_and_breaks_off_breaks_off_for_the_client() {
    let answers = ["500 Oops", "429 Slow down"]
        .map(|status| format!("HTTP/1.1 {status}\r\nContent-Length: 10\r\n\r\nabc"));
    let (_upstream, daemon) = answering(&answers, |answer, _| RawReply::Close(answer)).await;

    for (nth, status) in ["500", "429"].iter().enumerate() {
        let said = daemon.raw(&get(&format!("/{nth}"), "").replacen("GET", "POST", 1)).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{said}");
        assert!(
            said.contains("\r\ncontent-length: 10\r\n") && said.ends_with("\r\n\r\nabc"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_success_that_is_none_is_counted_and_shown_and_passes_untouched() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let mut events = daemon.admin().await.events("request").await.unwrap();
    upstream.fault(Fault::on(WRITE, FaultAction::BusinessFailure).times(2));

    for method in ["DELETE", "GET", "PUT"] {
        let body = r#"{"Id":1400100000,"FullName":"A"}"#;
        let request = daemon.request(method, &format!("{WRITE}/1400100000"));
        let answer = request.header("content-type", "application/json").body(body).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200, "{method}");
        let text = answer.text().await.unwrap();
        let is_failure = text.contains(r#""WasSuccessful":false"#);
        assert_eq!(is_failure, method != "PUT", "{text}");
        let seen = request_event(&mut events).await;
        let failure = is_failure.then_some("unsuccessful");
        assert_eq!((seen.status, seen.failure.as_deref()), (Some(200), failure), "{method}");
    }
    let metrics = daemon.metrics().await;
    for kind in ["read", "write"] {
        let line = format!(
            "nexudus_proxy_action_failures_total{{kind=\"{kind}\",failure=\"unsuccessful\"}} 1\n"
        );
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[tokio::test]
async fn a_failed_action_is_repeated_once_for_a_read_and_never_for_a_write() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let mut events = daemon.admin().await.events("request").await.unwrap();
    let failing = |times| upstream.fault(Fault::on(WRITE, FaultAction::ActionFailed).times(times));
    let asked = || upstream.requests().iter().filter(|seen| seen.path() == WRITE).count();

    failing(1);
    assert_eq!(daemon.get(READ).await.status(), 200);
    assert_eq!((asked(), request_event(&mut events).await.failure), (2, None));

    failing(2);
    let answer = daemon.get(READ).await;
    assert_eq!((answer.status().as_u16(), asked()), (500, 4));
    assert!(answer.text().await.unwrap().contains("Ooops! There was a problem"));
    assert_eq!(request_event(&mut events).await.failure.as_deref(), Some("action-failed"));

    failing(1);
    let answer = daemon.post(WRITE, r#"{"FullName":"A"}"#).await;
    assert_eq!((answer.status().as_u16(), asked()), (500, 5));
    assert_eq!(upstream.executed_writes().len(), 0);

    // Another error is no such failure.
    upstream.fault(Fault::on(WRITE, FaultAction::BusinessError).times(1));
    assert_eq!((daemon.get(READ).await.status().as_u16(), asked()), (500, 6));

    let metrics = daemon.metrics().await;
    for (kind, count) in [("read", 3), ("write", 1)] {
        let line = format!(
            "nexudus_proxy_action_failures_total{{kind=\"{kind}\",failure=\"action-failed\"}} {count}\n"
        );
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[tokio::test]
async fn the_limit_of_coworkers_for_a_day_is_not_taken_for_a_dead_token() {
    let upstream =
        upstream().set(|knobs| knobs.access.coworkers_per_day = Some(2)).start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let mut statuses = vec![];
    for nth in 0..5 {
        let answer = daemon.post(WRITE, &format!(r#"{{"FullName":"Number {nth}"}}"#)).await;
        statuses.push(answer.status().as_u16());
        if statuses.last() == Some(&401) {
            let told = answer.headers()["proxy-status"].to_str().unwrap().to_owned();
            assert!(told.contains("token valid, account lacks permission"), "{told}");
            assert_eq!(answer.text().await.unwrap(), "Access Denied");
        }
    }

    assert_eq!(statuses, [200, 200, 401, 401, 401]);
    assert_eq!(daemon.get(READ).await.status(), 200);
    assert_eq!(grant_types(&upstream), ["password"]);
}

#[tokio::test]
async fn a_deletion_goes_by_its_command() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let target = format!("{WRITE}/1400100000");

    let refused = daemon.request("DELETE", &target).send().await.unwrap();
    let order = r#"{"Ids":[1400100000],"Key":"COWORKER_DELETE","Parameters":[]}"#;
    let deleted = daemon.post(&format!("{WRITE}/runcommand"), order).await;

    assert_eq!((refused.status().as_u16(), deleted.status().as_u16()), (405, 200));
    assert_eq!(daemon.get(&target).await.status(), 404);
}

async fn request_event(events: &mut EventStream) -> RequestRecord {
    let next = async {
        loop {
            if let Some(Event::Request(seen)) = events.next().await {
                return *seen;
            }
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, next).await.expect("no request was told")
}
