//! What a client may use in a day: writes, deletions, bytes; across restarts.

use std::time::Duration;

use nexudus_proxy::clients::{self, Budget, Budgets, ClientPolicy};
use serde_json::json;

use crate::support::{Daemon, daemon, problem_json, upstream};

const RUN: &str = "/api/spaces/coworkers/runCommand";

#[tokio::test]
async fn a_budget_of_deletions_counts_commands_and_comes_back_after_its_day() {
    let upstream = upstream().start().unwrap();
    let (setup, hand) = daemon(&upstream).manual_clock();
    let daemon = setup.run().await;
    let budgets = Budgets {
        writes: Budget::parse_count("3/day"),
        deletes: Budget::parse_count("1/day"),
        ..Budgets::default()
    };
    let key = client(&daemon, budgets);
    let run = async |daemon: &Daemon, command: &str| {
        let body = json!({ "Ids": [1], "Key": command }).to_string();
        let request = daemon.request("POST", RUN).header("content-type", "application/json");
        request.bearer_auth(&key).body(body).send().await.unwrap()
    };

    assert_eq!(run(&daemon, "COWORKER_DELETE").await.status(), 200);
    let refused = run(&daemon, "COWORKER_DELETE").await;
    assert_eq!(refused.status(), 403);
    let after: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((86_390..=86_400).contains(&after), "{after}");
    let refused = problem_json(refused).await;
    assert_eq!(refused["code"], "policy.exhausted");
    assert!(
        refused["detail"].as_str().unwrap().contains("deletes; they come back at 2"),
        "{refused}"
    );
    // A write is not used up by a refused deletion, and reads are free.
    assert_eq!(run(&daemon, "COWORKER_PRINT").await.status(), 200);
    let read = daemon.request("GET", "/api/spaces/coworkers").bearer_auth(&key).send().await;
    assert_eq!(read.unwrap().status(), 200);

    let daemon = daemon.restart().await.run().await;
    assert_eq!(run(&daemon, "COWORKER_DELETE").await.status(), 403);
    assert_eq!(run(&daemon, "COWORKER_PRINT").await.status(), 200);
    assert_eq!(
        problem_json(run(&daemon, "COWORKER_PRINT").await).await["code"],
        "policy.exhausted"
    );
    let used: Vec<_> = daemon.running.clients().statuses().unwrap()[0]
        .budgets
        .iter()
        .map(|it| (it.used, it.back.is_some()))
        .collect();
    assert_eq!(used, [(Some(3), true), (Some(1), true)]);

    hand.advance(Duration::from_secs(24 * 60 * 60));
    assert_eq!(run(&daemon, "COWORKER_DELETE").await.status(), 200);
}

#[tokio::test]
async fn a_budget_of_bytes_ends_a_response_and_refuses_the_next() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let page = "/api/spaces/coworkers?size=20";
    let length = daemon.get(page).await.bytes().await.unwrap().len();
    let most = format!("{}B/day", length * 3 / 2);
    let key = client(&daemon, Budgets { bytes: Budget::parse_bytes(&most), ..Budgets::default() });
    let get = || daemon.request("GET", page).bearer_auth(&key).send();

    assert_eq!(get().await.unwrap().bytes().await.unwrap().len(), length);
    let cut = async { get().await?.bytes().await };
    assert!(cut.await.is_err(), "it breaks off where the budget ends");
    let refused = get().await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(problem_json(refused).await["detail"].as_str().unwrap().contains("bytes"));
    assert_eq!(daemon.get(page).await.status(), 200, "others are not charged");
}

#[tokio::test]
async fn a_client_with_a_budget_runs_no_command_that_cannot_be_read() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let budgets = Budgets { deletes: Budget::parse_count("1/day"), ..Budgets::default() };
    let key = client(&daemon, budgets);

    let request = daemon.request("POST", RUN).header("content-type", "text/plain");
    let answer = request.bearer_auth(&key).body("{\"Key\":\"COWORKER_DELETE\"}").send().await;

    assert_eq!(problem_json(answer.unwrap()).await["code"], "policy.denied");
}

fn client(daemon: &Daemon, budgets: Budgets) -> String {
    let limits = ClientPolicy { budgets, ..ClientPolicy::default() };
    clients::add(&daemon.home().join("state"), "bot", limits).unwrap().expose().to_owned()
}
