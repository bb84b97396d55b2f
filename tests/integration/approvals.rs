//! A call that a rule asks about waits for a person, and is sent once, by its client, after a yes.

use std::time::Duration;

use nexudus_proxy::admin::api::{ApprovalDecision, ApprovalPhase, ApprovalRecord, WaitingCalls};
use nexudus_proxy::clients::{self, ClientPolicy};
use nexudus_proxy::config::{AnonymousAccess, Config, Rule};
use nexudus_simulator::Simulator;
use reqwest::Response;
use serde_json::{Value, json};

use crate::support::{Daemon, EVENT_TIMEOUT, daemon, problem_json, upstream};

const RUN: &str = "/api/spaces/coworkers/runCommand";
const VISITORS: &str = "/api/spaces/visitors";

#[tokio::test]
async fn a_deletion_waits_for_a_person_and_goes_through_once() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(quick).run().await;
    let key = asking(&daemon, &["DELETE /**"], |_| {});
    let (id, name) = first(&daemon, VISITORS).await;
    let path = format!("{VISITORS}/{id}");
    let delete = || daemon.request("DELETE", &path).bearer_auth(&key).send();

    let waiting = delete().await.unwrap();
    assert_eq!(waiting.status(), 503);
    assert!(waiting.headers().contains_key("retry-after"));
    let waiting = problem_json(waiting).await;
    assert_eq!(waiting["code"], "policy.approval-pending");
    assert_eq!(sent(&upstream, "DELETE"), 0);

    // A person reads whom it is about.
    let found = waiting_calls(&daemon).await;
    let call = &found.calls[0];
    assert_eq!(waiting["id"], call.id.as_str());
    assert_eq!(call.subject.as_deref(), Some(&*format!("visitor {id}")));
    assert_eq!(call.name.as_deref(), Some(&*name), "{call:?}");
    assert_eq!((call.client.as_deref(), call.rules.len()), (Some("bot"), 1));

    decide(&daemon, &call.id, true).await;
    assert_eq!(sent(&upstream, "DELETE"), 0, "nothing is sent by itself");
    assert_eq!(delete().await.unwrap().status(), 200);
    assert_eq!(sent(&upstream, "DELETE"), 1);
    assert_eq!(problem_json(delete().await.unwrap()).await["code"], "policy.approval-pending");
    assert_eq!(sent(&upstream, "DELETE"), 1);
}

#[tokio::test]
async fn a_held_call_goes_on_with_the_yes_and_ends_with_the_no() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let key = asking(&daemon, &["DELETE /**"], |_| {});
    let (id, _) = first(&daemon, VISITORS).await;
    let path = format!("{VISITORS}/{id}");
    let delete = || daemon.request("DELETE", &path).bearer_auth(&key).send();

    let decided = async {
        let call = until_waiting(&daemon).await;
        decide(&daemon, &call.id, false).await;
    };
    let (refused, ()) = tokio::join!(delete(), decided);
    let refused = refused.unwrap();
    assert_eq!(refused.status(), 403);
    assert_eq!(problem_json(refused).await["code"], "policy.approval-denied");

    // The no holds for the same call; another one is asked about.
    assert_eq!(delete().await.unwrap().status(), 403);
    let other = format!("{path}?reason=1");
    let decided = async {
        let call = until_waiting(&daemon).await;
        assert!(call.target.ends_with("?reason=1"));
        decide(&daemon, &call.id, true).await;
    };
    let sending = daemon.request("DELETE", &other).bearer_auth(&key).send();
    let (allowed, ()) = tokio::join!(sending, decided);
    assert_eq!(allowed.unwrap().status(), 200);
    assert_eq!(sent(&upstream, "DELETE"), 1);
}

#[tokio::test]
async fn a_command_is_asked_about_by_its_key_and_reads_are_not() {
    let upstream = upstream().start().unwrap();
    let rule = Rule::parse("RUN *DELETE* /**").unwrap();
    let daemon = daemon(&upstream)
        .set(|config| {
            quick(config);
            config.policy.ask = vec![rule];
        })
        .run()
        .await;
    let (id, name) = first(&daemon, "/api/spaces/coworkers").await;
    let delete = json!({ "Ids": [id], "Key": "COWORKER_DELETE" }).to_string();

    let waiting = daemon.post(RUN, &delete).await;
    assert_eq!(problem_json(waiting).await["code"], "policy.approval-pending");
    let print = json!({ "Ids": [id], "Key": "COWORKER_PRINT" }).to_string();
    assert_eq!(daemon.post(RUN, &print).await.status(), 200);
    // A command that cannot be read is not asked about.
    let odd = daemon.request("POST", RUN).header("content-type", "text/plain").body(delete.clone());
    assert_eq!(problem_json(odd.send().await.unwrap()).await["code"], "policy.denied");

    let call = waiting_calls(&daemon).await.calls.remove(0);
    assert_eq!(call.command.as_deref(), Some("COWORKER_DELETE"));
    assert_eq!((call.client, call.name), (None, Some(name)));
    let shown: ApprovalRecord =
        daemon.admin().await.get(&format!("/v1/approvals/{}", call.id)).await.unwrap();
    assert_eq!(shown.body.as_deref(), Some(&*delete));
    decide(&daemon, &call.id, true).await;
    // Another spelling of the same command is another call.
    let other = delete.replace(':', ": ");
    let waiting = daemon.post(RUN, &other).await;
    assert_eq!(problem_json(waiting).await["code"], "policy.approval-pending");
    assert_eq!(daemon.post(RUN, &delete).await.status(), 200);
}

#[tokio::test]
async fn deny_comes_before_ask_and_ask_before_allow() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(quick).run().await;
    let rules = |texts: &[&str]| texts.iter().map(|it| Rule::parse(it).unwrap()).collect();
    let key = asking(&daemon, &["DELETE /**", "GET /api/spaces/visitors"], |limits| {
        limits.deny = rules(&["DELETE /api/spaces/coworkers/*"]);
        limits.allow = rules(&["GET /api/spaces/**"]);
    });
    let code = async |method: &str, path: &str| {
        let answer = daemon.request(method, path).bearer_auth(&key).send().await.unwrap();
        if answer.status() == 200 {
            json!(null)
        } else {
            problem_json(answer).await["code"].clone()
        }
    };

    assert_eq!(code("DELETE", "/api/spaces/coworkers/1").await, "policy.denied");
    assert_eq!(code("DELETE", "/api/spaces/visitors/1").await, "policy.approval-pending");
    assert_eq!(code("GET", VISITORS).await, "policy.approval-pending");
    assert_eq!(code("GET", "/api/spaces/coworkers").await, json!(null));
    assert_eq!(code("POST", VISITORS).await, "policy.denied", "no rule allows it");
    // What a person would not be shown is refused.
    let hidden = daemon.request("DELETE", "/api/spaces/visitors/2").bearer_auth(&key);
    let hidden = hidden.header("x-http-method-override", "PUT").send().await.unwrap();
    assert_eq!(problem_json(hidden).await["code"], "policy.denied");
}

#[tokio::test]
async fn a_client_that_prefers_so_is_not_held() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let key = asking(&daemon, &["DELETE /**"], |_| {});

    let request = daemon.request("DELETE", "/api/spaces/visitors/1").bearer_auth(&key);
    let accepted = request.header("prefer", "handling=lenient, Respond-Async").send();
    let accepted = accepted.await.unwrap();

    assert_eq!(accepted.status(), 202);
    assert_eq!(accepted.headers()["preference-applied"], "respond-async");
    let accepted = problem_json(accepted).await;
    assert_eq!(
        (&accepted["status"], &accepted["code"]),
        (&json!(202), &json!("policy.approval-pending"))
    );
    assert_eq!(accepted["id"], waiting_calls(&daemon).await.calls[0].id.as_str());
}

#[tokio::test]
async fn a_call_that_would_fail_anyway_is_not_asked_about() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream)
        .set(|config| {
            quick(config);
            config.limits.replay_body = 1_000;
        })
        .run()
        .await;
    let key = asking(&daemon, &["* /api/spaces/visitors/**"], |_| {});
    daemon.get("/api/auth/me").await;
    let send = |body: String| daemon.request("POST", VISITORS).bearer_auth(&key).body(body).send();

    let long = send("x".repeat(2_000)).await.unwrap();
    assert_eq!(long.status(), 403);
    assert_eq!(problem_json(long).await["code"], "policy.approval-denied");
    daemon.running.session().lock().await;
    assert_eq!(problem_json(send("{}".to_owned()).await.unwrap()).await["code"], "session.locked");
    assert_eq!(waiting_calls(&daemon).await, WaitingCalls::default());

    daemon.running.session().unlock().await;
    for number in 0..5 {
        let waiting = send(format!("{{\"a\":{number}}}")).await.unwrap();
        assert_eq!(problem_json(waiting).await["code"], "policy.approval-pending");
    }
    let sixth = send("{\"a\":6}".to_owned()).await.unwrap();
    assert_eq!(sixth.status(), 429);
    assert!(sixth.headers().contains_key("retry-after"));
    // Other calls of the client go on.
    let read = daemon.request("GET", "/api/spaces/coworkers").bearer_auth(&key);
    assert_eq!(read.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_yes_stands_for_a_rule_as_long_as_was_said_and_a_restart_forgets_it() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(quick).run().await;
    let key = asking(&daemon, &["DELETE /**"], |_| {});
    let delete = async |daemon: &Daemon, id: u32| -> Response {
        let path = format!("{VISITORS}/{id}");
        daemon.request("DELETE", &path).bearer_auth(&key).send().await.unwrap()
    };
    assert_eq!(delete(&daemon, 1).await.status(), 503);
    let id = waiting_calls(&daemon).await.calls[0].id.clone();
    let decision =
        ApprovalDecision { id: id.clone(), approve: true, for_s: Some(600), by_rule: true };
    let _: ApprovalRecord =
        daemon.admin().await.post_json("/v1/approvals", &decision).await.unwrap();

    assert_eq!(delete(&daemon, 2).await.status(), 404, "Nexudus has no such record");
    assert_eq!(waiting_calls(&daemon).await.standing[0].rule, "DELETE /**");
    decide(&daemon, &id, false).await;
    assert_eq!(delete(&daemon, 3).await.status(), 503);

    let daemon = daemon.restart().await.run().await;
    assert_eq!(waiting_calls(&daemon).await, WaitingCalls::default());
}

#[tokio::test]
async fn a_stop_is_not_held_up_by_a_call_that_waits() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.daemon.drain = EVENT_TIMEOUT).run().await;
    let key = asking(&daemon, &["DELETE /**"], |_| {});
    let request = daemon.request("DELETE", "/api/spaces/visitors/1").bearer_auth(&key);
    let held = tokio::spawn(request.send());
    until_waiting(&daemon).await;

    let began = std::time::Instant::now();
    daemon.stop().await;

    assert!(began.elapsed() < EVENT_TIMEOUT / 2);
    let answer = held.await.unwrap().unwrap();
    assert_eq!(problem_json(answer).await["code"], "policy.approval-pending");
}

#[tokio::test]
async fn the_time_for_a_decision_is_configured() {
    let upstream = upstream().start().unwrap();
    let (setup, hand) = daemon(&upstream).manual_clock();
    let setup = setup.set(|config| {
        config.approval.hold = Duration::ZERO;
        config.approval.timeout = Duration::from_secs(60);
    });
    let daemon = setup.run().await;
    let key = asking(&daemon, &["DELETE /**"], |_| {});
    let code = async || {
        let request = daemon.request("DELETE", "/api/spaces/visitors/1").bearer_auth(&key);
        problem_json(request.send().await.unwrap()).await["code"].clone()
    };

    assert_eq!(code().await, "policy.approval-pending");
    hand.advance(Duration::from_secs(60));
    assert_eq!(code().await, "policy.approval-denied", "too late");
    hand.advance(Duration::from_secs(60));
    assert_eq!(code().await, "policy.approval-pending", "asked anew");
}

#[tokio::test]
async fn a_person_is_called_without_a_query_and_without_a_body() {
    let upstream = upstream().start().unwrap();
    let home = tempfile::tempdir().unwrap();
    let called = home.path().join("called");
    let script = r#"env | grep NEXUDUS_NOTIFY > "$0.new" && mv "$0.new" "$0""#;
    let command = ["sh", "-c", script, called.to_str().unwrap()].map(str::to_owned);
    let daemon = daemon(&upstream)
        .set(|config| {
            quick(config);
            config.notify.command = command.into();
        })
        .run()
        .await;
    let key = asking(&daemon, &["PUT /**"], |_| {});

    let path = "/api/spaces/coworkers/marker%40example.test/7?marker=1";
    let request = daemon.request("PUT", path).bearer_auth(&key).body("{\"marker\":1}");
    assert_eq!(request.send().await.unwrap().status(), 503);

    let told = async {
        loop {
            match std::fs::read_to_string(&called) {
                Ok(text) => return text,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let told = tokio::time::timeout(EVENT_TIMEOUT, told).await.unwrap();
    let id = &waiting_calls(&daemon).await.calls[0].id;
    for wanted in [
        "NEXUDUS_NOTIFY_CAUSE=policy.approval-pending",
        "NEXUDUS_NOTIFY_CLIENT=bot",
        "NEXUDUS_NOTIFY_METHOD=PUT",
        "NEXUDUS_NOTIFY_PATH=/api/spaces/coworkers/*/*",
        &format!("NEXUDUS_NOTIFY_ID={id}"),
    ] {
        assert!(told.contains(wanted), "{told}");
    }
    assert!(!told.contains("marker"), "{told}");
}

/// Holds no call, so that a test need not wait.
fn quick(config: &mut Config) {
    config.approval.hold = Duration::ZERO;
}

/// Adds a client whose calls these rules ask about.
fn asking(daemon: &Daemon, rules: &[&str], change: impl FnOnce(&mut ClientPolicy)) -> String {
    let ask = rules.iter().map(|rule| Rule::parse(rule).unwrap()).collect();
    let mut limits = ClientPolicy { ask, ..ClientPolicy::default() };
    change(&mut limits);
    let state = daemon.home().join("state");
    clients::add(&state, "bot", limits).unwrap().expose().to_owned()
}

/// Returns the number and the name of the first record.
async fn first(daemon: &Daemon, collection: &str) -> (u64, String) {
    let answer = daemon.get(&format!("{collection}?size=1")).await;
    let json: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let record = &json["Records"][0];
    (record["Id"].as_u64().unwrap(), record["FullName"].as_str().unwrap().to_owned())
}

async fn waiting_calls(daemon: &Daemon) -> WaitingCalls {
    daemon.admin().await.get("/v1/approvals").await.unwrap()
}

async fn until_waiting(daemon: &Daemon) -> ApprovalRecord {
    let waiting = async {
        loop {
            let calls = waiting_calls(daemon).await.calls;
            let found = calls.into_iter().find(|call| call.phase == ApprovalPhase::Waiting);
            if let Some(call) = found {
                return call;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, waiting).await.expect("no call waits")
}

async fn decide(daemon: &Daemon, id: &str, approve: bool) {
    let decision = ApprovalDecision { id: id.to_owned(), approve, ..ApprovalDecision::default() };
    let _: ApprovalRecord =
        daemon.admin().await.post_json("/v1/approvals", &decision).await.unwrap();
}

fn sent(upstream: &Simulator, method: &str) -> usize {
    upstream.requests().iter().filter(|seen| seen.method == method).count()
}

#[tokio::test]
async fn callers_without_a_key_are_asked_about_by_the_rules_for_all() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream)
        .set(|config| {
            quick(config);
            config.policy.anonymous = AnonymousAccess::Full;
            config.policy.ask = vec![Rule::parse("DELETE /**").unwrap()];
        })
        .run()
        .await;

    let answer = daemon.request("DELETE", "/api/spaces/%76isitors/1").send().await.unwrap();

    assert_eq!(problem_json(answer).await["code"], "policy.approval-pending");
    let call = waiting_calls(&daemon).await.calls.remove(0);
    assert_eq!(call.target, "/api/spaces/%76isitors/1", "byte for byte");
    assert_eq!((call.client, call.uid), (None, Some(nix::unistd::geteuid().as_raw())));
}
