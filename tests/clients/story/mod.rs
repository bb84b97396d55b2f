//! What `docs/agents.md` promises, as one story: an agent reads, asks, is allowed, is refused, uses up its
//! budget, loses its key, and tries every way around; then the record tells all of it.
//!
//! The agent talks to a real MCP server over stdio. Every byte that either of them receives is kept, and
//! none of them is a person's.

mod bypasses;
mod stage;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use self::bypasses::{
    cannot_say_yes_itself, gets_nothing_personal_by_odd_requests, goes_round_nothing,
    reaches_no_daemon_from_inside,
};
use self::stage::{AGENT, Agent, PERSON, Stage};
use crate::PASSWORD;

#[test]
fn an_agent_of_another_user_gets_what_its_person_lets_it_have_and_no_more() {
    let stage = Stage::set();
    let persons = personal_values(&stage);
    let added = stage.person_says(&[&["client", "add", "bot", "-q"], LIMITS].concat());
    let key = added.lines().next().unwrap();
    let mut agent = stage.agent_as_another_user(key);

    let waiting = works_until_it_is_asked_about(&stage, &mut agent, "bot");
    cannot_say_yes_itself(&stage, &mut agent, key, &waiting);
    gets_nothing_personal_by_odd_requests(&stage, &mut agent, key);
    is_refused_and_uses_up_its_budget(&stage, &mut agent, &waiting);
    stage.person_says(&["client", "revoke", "bot"]);
    let refused = agent.call("list_records", json!({ "entity": "spaces/coworkers" }));
    assert!(refused.unwrap_err().contains("guard.client"));
    goes_round_nothing(&stage, &mut agent, key);

    let received = agent.end();
    assert_harmless(&stage, &received, &persons);
    assert_told(&stage, "bot", AGENT, &persons);
    let refusals = refused_codes(&stage, None);
    assert!(refusals.contains("guard.client"), "{refusals:?}");
}

#[test]
fn an_isolated_agent_gets_what_its_person_lets_it_have_and_no_more() {
    let stage = Stage::set();
    let persons = personal_values(&stage);
    let mut agent = stage.isolated_agent(LIMITS);
    let client = name_of_the_run(&stage);

    let waiting = works_until_it_is_asked_about(&stage, &mut agent, &client);
    reaches_no_daemon_from_inside(&stage, &mut agent, &waiting);
    is_refused_and_uses_up_its_budget(&stage, &mut agent, &waiting);
    stage.person_says(&["client", "revoke", &client]);
    let refused = agent.call("list_records", json!({ "entity": "spaces/coworkers" }));
    assert!(refused.unwrap_err().contains("guard.client"));

    let received = agent.end();
    assert_harmless(&stage, &received, &persons);
    assert_told(&stage, &client, PERSON, &persons);
}

/// Reads, filters by a token, deletes what the person agrees to, and asks for more; returns the call that
/// waits.
fn works_until_it_is_asked_about(stage: &Stage, agent: &mut Agent, client: &str) -> Value {
    let page = list(agent, json!({ "entity": "spaces/coworkers", "size": 20 }));
    let first = &page["Records"][0];
    let email = first["Email"].as_str().unwrap();
    assert!(email.starts_with("«PII:EMAIL:"), "{first}");
    let filters = json!({ "Coworker_Email": email });
    let found = list(agent, json!({ "entity": "spaces/coworkers", "filters": filters }));
    assert_eq!((&found["TotalItems"], &found["Records"][0]["Id"]), (&json!(1), &first["Id"]));
    let visitors = list(agent, json!({ "entity": "spaces/visitors" }));
    let visitor = &visitors["Records"][0]["Id"];

    agent.begin_call("delete_record", json!({ "entity": "spaces/visitors", "id": visitor }));
    let call = stage.wait_for_call();
    assert_eq!(call["client"], client);
    assert_eq!(call["subject"], format!("visitor {visitor}"));
    // The person reads the name that the agent does not.
    assert!(!call["name"].as_str().unwrap().contains('«'), "{call}");
    assert_eq!(stage.sent("DELETE").len(), 0);
    stage.person_says(&["approvals", "approve", call["id"].as_str().unwrap()]);
    let deleted = agent.end_call().unwrap();
    assert!(deleted.contains("\"WasSuccessful\":true"), "{deleted}");
    assert_eq!(stage.sent("DELETE").len(), 1);

    let delete =
        json!({ "entity": "spaces/coworkers", "key": "COWORKER_DELETE", "ids": [first["Id"]] });
    agent.begin_call("run_command", delete);
    stage.wait_for_call()
}

/// The person says no; then the agent writes as long as it may.
fn is_refused_and_uses_up_its_budget(stage: &Stage, agent: &mut Agent, waiting: &Value) {
    stage.person_says(&["approvals", "deny", waiting["id"].as_str().unwrap()]);
    assert!(agent.end_call().unwrap_err().contains("policy.approval-denied"));

    let mut create = || {
        let record = json!({ "FullName": "Made by the agent" });
        agent.call("create_record", json!({ "entity": "spaces/visitors", "record": record }))
    };
    let refused = loop {
        if let Err(refused) = create() {
            break refused;
        }
    };
    assert!(refused.contains("policy.exhausted"), "{refused}");
    let writes: Vec<_> =
        stage.nexudus.executed_writes().iter().map(|it| it.method.clone()).collect();
    assert_eq!(writes, ["DELETE", "POST", "POST"], "three writes a day");
}

/// Fails if a personal value or a secret is in what the agent received.
fn assert_harmless(stage: &Stage, received: &str, persons: &BTreeSet<String>) {
    assert!(received.contains("«PII:") && received.contains("HTTP/1.1 200 OK"), "bytes are kept");
    let found: Vec<_> = persons.iter().filter(|it| received.contains(it.as_str())).collect();
    assert!(found.is_empty(), "the agent received {found:?}");
    let secrets = stage.nexudus.live_access_tokens();
    for secret in secrets.iter().map(String::as_str).chain([PASSWORD]) {
        assert!(!received.contains(secret), "the agent received a secret");
    }
}

/// Checks the record: unbroken, whole, and without a personal value.
fn assert_told(stage: &Stage, client: &str, user: u32, persons: &BTreeSet<String>) {
    assert!(stage.person_says(&["audit", "verify"]).contains("unbroken"));
    let lines = stage.audit();
    let own: Vec<_> = lines.iter().filter(|line| line["client"] == client).collect();
    let mut told = own.iter().map(|line| summary(line));
    for wanted in [
        "call GET 200",
        "call GET 200",
        "call GET 200",
        "approval approve",
        "write DELETE",
        "outcome DELETE 200",
        "approval deny",
        "refused POST policy.approval-denied",
        "write POST",
        "outcome POST 200",
        "write POST",
        "outcome POST 200",
        "refused POST policy.exhausted",
        "keys revoke",
    ] {
        assert!(told.any(|line| line == wanted), "{wanted}: {lines:#?}");
    }
    for line in own.iter().filter(|line| line["method"].is_string() && line["event"] != "approval")
    {
        assert_eq!(line["uid"], user, "{line}");
    }
    let shown = stage.person_says(&["audit", "show", "--client", client]);
    assert_eq!(shown.lines().count(), own.len());
    let text = std::fs::read_to_string(stage.state("audit.jsonl")).unwrap();
    let found: Vec<_> = persons.iter().filter(|it| text.contains(it.as_str())).collect();
    assert!(found.is_empty() && !text.contains("nxp_"), "the record holds {found:?}");
}

fn summary(line: &Value) -> String {
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let status = line["status"].as_u64().map(|it| it.to_string()).unwrap_or_default();
    let code = text("code");
    let last = if line["event"] == "refused" { code } else { status };
    let parts = match line["event"].as_str().unwrap() {
        "approval" | "keys" => vec![text("event"), text("action")],
        _ => vec![text("event"), text("method"), last],
    };
    parts.join(" ").trim_end().to_owned()
}

/// Returns the codes of what was refused to a client, or without one.
fn refused_codes(stage: &Stage, client: Option<&str>) -> BTreeSet<String> {
    let refused = stage.audit().into_iter().filter(|line| line["event"] == "refused");
    let refused = refused.filter(|line| line["client"].as_str() == client);
    refused
        .filter(|line| line["uid"] == AGENT)
        .map(|line| line["code"].as_str().unwrap().to_owned())
        .collect()
}

/// Returns every personal value that Nexudus has.
fn personal_values(stage: &Stage) -> BTreeSet<String> {
    let added = stage.person_says(&["client", "add", "me", "-q"]);
    let mut values = BTreeSet::from(["ada@example.test".to_owned()]);
    for path in
        ["spaces/coworkers", "spaces/visitors", "spaces/bookings", "billing/coworkerinvoices"]
    {
        let mut api = stage.person(&["api", &format!("/api/{path}"), "--all", "--ndjson"]);
        let told = api.env("NEXUDUS_PROXY_KEY", added.lines().next().unwrap()).output().unwrap();
        assert!(told.status.success(), "{}", crate::text(&told.stderr));
        let told = crate::text(&told.stdout);
        for line in told.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            let found = PERSONAL.iter().filter_map(|name| record[name].as_str());
            for value in found {
                assert!(line.contains(value), "{value} stands there as it is searched for");
                values.insert(value.to_owned());
            }
        }
    }
    stage.person_says(&["client", "revoke", "me"]);
    assert!(values.len() > 300, "{}", values.len());
    values
}

fn list(agent: &mut Agent, arguments: Value) -> Value {
    serde_json::from_str(&agent.call("list_records", arguments).unwrap()).unwrap()
}

fn name_of_the_run(stage: &Stage) -> String {
    let listed: Value =
        serde_json::from_str(&stage.person_says(&["client", "list", "--json"])).unwrap();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    listed[0]["name"].as_str().unwrap().to_owned()
}

const LIMITS: &[&str] = &[
    "--redact",
    "--resolve",
    "--ask",
    "DELETE /**",
    "--ask",
    "RUN *DELETE* /**",
    "--max-writes",
    "3/day",
];

/// The fields of the simulator's records that hold something of a person.
const PERSONAL: &[&str] =
    &["FullName", "Email", "MobilePhone", "CoworkerFullName", "CoworkerBillingName", "UpdatedBy"];
