//! Rules about commands hold for each way of sending one, and cost other callers nothing.

use nexudus_proxy::clients::{self, ClientPolicy, LimitChange};
use nexudus_proxy::config::{AnonymousAccess, Rule, RuleSet};
use nexudus_simulator::Simulator;
use serde_json::{Value, json};

use crate::support::{Daemon, daemon, upstream};

const RUN: &str = "/api/spaces/coworkers/runCommand";

#[tokio::test]
async fn a_denied_command_reaches_nexudus_in_no_way_of_writing_it() {
    let upstream = upstream().start().unwrap();
    let rule = Rule::parse("RUN COWORKER_DELETE /api/spaces/coworkers").unwrap();
    let daemon = daemon(&upstream).set(|config| config.policy.deny = vec![rule]).run().await;
    daemon.get("/api/auth/me").await;
    let before = targets(&upstream);

    let delete = r#"{"Ids":[1],"Key":"COWORKER_DELETE"}"#;
    let bodies = [
        delete,
        r#"{"Ids":[1],"\u004bey":"coworker\u005fdelete"}"#,
        r#"{"Ids":[1],"Key":"COWORKER_PRINT","KEY":"COWORKER_DELETE"}"#,
        "\u{feff}{\"Ids\":[1],\"Key\":\"COWORKER_DELETE\"}",
        "{'Ids':[1],'Key':'COWORKER_DELETE'}",
        &format!("{{\"Key\":\"COWORKER_DELETE\",\"x\":\"{}\"}}", "x".repeat(2 << 20)),
    ];
    for body in bodies {
        assert_refused(send(&daemon, "POST", RUN, JSON, body).await, body).await;
    }
    for kind in
        ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-16"]
    {
        assert_refused(send(&daemon, "POST", RUN, kind, delete).await, kind).await;
    }
    let request = daemon.request("POST", RUN).header("content-type", JSON);
    let answer = request.header("content-encoding", "gzip").body(delete).send().await.unwrap();
    assert_refused(answer, "gzip").await;
    for path in [
        "/API/Spaces/COWORKERS/runcommand/",
        "/api/spaces/coworkers/runcommand.json",
        "/api/spaces/coworkers/run%43ommand/1",
    ] {
        assert_refused(send(&daemon, "POST", path, JSON, delete).await, path).await;
    }
    for method in ["PUT", "PATCH", "DELETE"] {
        assert_refused(send(&daemon, method, RUN, JSON, delete).await, method).await;
    }
    for query in ["Key=COWORKER_DELETE", "a=1&%4bey=coworker%5Fdelete"] {
        assert_refused(daemon.get(&format!("{RUN}?{query}")).await, query).await;
        let target = format!("{RUN}?{query}");
        let answer = send(&daemon, "POST", &target, JSON, r#"{"Ids":[1]}"#).await;
        assert_refused(answer, query).await;
    }
    assert_eq!(targets(&upstream), before);
}

#[tokio::test]
async fn other_commands_and_other_paths_are_forwarded() {
    let upstream = upstream().start().unwrap();
    let rule = Rule::parse("RUN COWORKER_DELETE /api/spaces/coworkers").unwrap();
    let daemon = daemon(&upstream).set(|config| config.policy.deny = vec![rule]).run().await;
    daemon.get("/api/auth/me").await;
    let before = targets(&upstream);
    let delete = r#"{"Ids":[1],"Key":"COWORKER_DELETE"}"#;

    let print = r#"{"Ids":[1],"Key":"COWORKER_PRINT","Nested":{"Key":"COWORKER_DELETE"}}"#;
    assert_eq!(send(&daemon, "POST", RUN, JSON, print).await.status(), 200);
    // The rule is about coworkers alone: other bodies are none of its business.
    let other = "/api/billing/coworkerInvoices/runCommand";
    assert_eq!(send(&daemon, "POST", other, JSON, delete).await.status(), 200);
    let form = "application/x-www-form-urlencoded";
    assert_eq!(send(&daemon, "POST", other, form, "Key=x").await.status(), 400);
    assert_eq!(targets(&upstream).len(), before.len() + 3);
}

#[tokio::test]
async fn a_key_without_deletions_deletes_nothing_and_runs_the_rest() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let limits = LimitChange { no_delete: true, ..LimitChange::default() };
    let limits = limits.apply(&ClientPolicy::default());
    let key = clients::add(&daemon.home().join("state"), "agent", limits).unwrap();
    let run = async |key: Option<&str>, command: &str| {
        let request = daemon.request("POST", RUN).header("content-type", JSON);
        let request = key.into_iter().fold(request, |it, key| it.bearer_auth(key));
        let body = json!({ "Ids": [1], "Key": command }).to_string();
        request.body(body).send().await.unwrap()
    };
    let shown = key.expose();
    let key = Some(shown);

    for command in ["COWORKER_DELETE", "CANCEL_CONTRACT", "VOID_INVOICE", "COWORKER_INVOICE_REFUND"]
    {
        assert_refused(run(key, command).await, command).await;
    }
    assert_eq!(run(key, "COWORKER_INVOICE_PRINT").await.status(), 200);
    let delete = daemon.request("DELETE", "/api/spaces/coworkers/1").bearer_auth(shown);
    assert_refused(delete.send().await.unwrap(), "DELETE").await;
    // Without the key there is no such limit; Nexudus deletes by this command.
    let total =
        async || body(daemon.get("/api/spaces/coworkers").await).await["TotalItems"].clone();
    let before = total().await.as_u64().unwrap();
    let ids = body(daemon.get("/api/spaces/coworkers?size=1").await).await;
    let id = ids["Records"][0]["Id"].clone();
    let order = json!({ "Ids": [id], "Key": "COWORKER_DELETE" }).to_string();
    assert_eq!(send(&daemon, "POST", RUN, JSON, &order).await.status(), 200);
    assert_eq!(total().await, before - 1);
}

#[tokio::test]
async fn a_client_may_run_the_commands_that_it_is_allowed() {
    let upstream = upstream().start().unwrap();
    let daemon =
        daemon(&upstream).set(|config| config.policy.anonymous = AnonymousAccess::None).run().await;
    let allow: RuleSet = ["RUN *_PRINT /api/billing/*", "GET /api/billing/**"]
        .map(|rule| Rule::parse(rule).unwrap())
        .into_iter()
        .collect();
    let limits = ClientPolicy { allow, ..ClientPolicy::default() };
    let key = clients::add(&daemon.home().join("state"), "agent", limits).unwrap();
    let ask = async |method: &str, path: &str, body: &'static str| {
        let request = daemon.request(method, path).bearer_auth(key.expose());
        request.header("content-type", JSON).body(body).send().await.unwrap()
    };
    let path = "/api/billing/coworkerInvoices/runCommand";

    let print = r#"{"Ids":[1],"Key":"COWORKER_INVOICE_PRINT"}"#;
    assert_eq!(ask("POST", path, print).await.status(), 200);
    assert_eq!(ask("GET", "/api/billing/coworkerInvoices", "").await.status(), 200);
    for body in [r#"{"Ids":[1],"Key":"COWORKER_INVOICE_DELETE"}"#, "{}", "", "Key=X_PRINT"] {
        assert_refused(ask("POST", path, body).await, body).await;
    }
    assert_refused(ask("POST", "/api/spaces/x/runcommand", print).await, "another path").await;
    let denied = body(ask("POST", path, "Key=X_PRINT").await).await;
    assert!(
        denied["hint"].as_str().unwrap().contains("Content-Type: application/json"),
        "{denied}"
    );
}

/// A client that is not told sends its next request on a connection that is closing.
#[tokio::test]
async fn a_refusal_that_leaves_a_body_unread_closes_the_connection_and_says_so() {
    let upstream = upstream().start().unwrap();
    let rules = ["POST /api/spaces/coworkers", "RUN COWORKER_DELETE /api/spaces/coworkers"];
    let rules = rules.map(|rule| Rule::parse(rule).unwrap());
    let daemon = daemon(&upstream).set(|config| config.policy.deny = rules.into()).run().await;
    let head = |target: &str, fields: &str| {
        format!("POST {target} HTTP/1.1\r\nHost: HOST\r\nContent-Type: {JSON}\r\n{fields}\r\n\r\n")
    };

    for (fields, body) in [
        ("Content-Length: 2000000", ""),
        ("Content-Length: 2", ""),
        ("Content-Length: 2", "{}"),
        ("Content-Length: 2\r\nExpect: 100-continue", ""),
        ("Transfer-Encoding: chunked", "2\r\n{}\r\n"),
    ] {
        let answer = daemon.raw(&format!("{}{body}", head("/api/spaces/coworkers", fields))).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{fields}: {answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{fields}: {answer}");
    }

    // What was read to judge it is not unread.
    let order = r#"{"Ids":[1],"Key":"COWORKER_DELETE"}"#;
    let judged = head(RUN, &format!("Content-Length: {}", order.len()));
    let end = "GET /api/spaces/coworkers HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n";
    let both = daemon.raw(&format!("{judged}{order}{end}")).await;
    let (refused, served) = both.split_once("HTTP/1.1 200 ").expect("the connection stays open");
    assert!(refused.starts_with("HTTP/1.1 403 ") && !refused.contains("connection:"), "{both}");
    assert!(served.contains("Records"), "{both}");
}

const JSON: &str = "application/json";

async fn send(
    daemon: &Daemon,
    method: &str,
    path: &str,
    kind: &str,
    body: &str,
) -> reqwest::Response {
    let request = daemon.request(method, path).header("content-type", kind);
    request.body(body.to_owned()).send().await.unwrap()
}

async fn assert_refused(answer: reqwest::Response, what: &str) {
    let status = answer.status();
    let problem = body(answer).await;
    assert_eq!((status.as_u16(), &problem["code"]), (403, &json!("policy.denied")), "{what:.80}");
}

async fn body(answer: reqwest::Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

fn targets(upstream: &Simulator) -> Vec<String> {
    let seen = upstream.requests();
    seen.iter().map(|seen| seen.target.clone()).filter(|it| it != "/api/token").collect()
}
