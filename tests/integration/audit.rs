//! The audit tells what clients did, in an unbroken chain, and nothing that is personal or secret.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nexudus_proxy::admin::api::{ApprovalDecision, ApprovalRecord, SessionReport, WaitingCalls};
use nexudus_proxy::audit::{files, verify};
use nexudus_proxy::clients::{self, ClientPolicy, RedactionPolicy};
use nexudus_proxy::config::{AuditFile, Config, RedactMode, Rule};
use serde_json::{Value, json};

use crate::support::{Daemon, EMAIL, PASSWORD, daemon, problem_json, upstream};

#[tokio::test]
async fn what_a_client_did_is_told_in_order() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream)
        .set(|config| {
            config.audit.file = AuditFile::Auto;
            config.approval.hold = Duration::ZERO;
            config.policy.deny = vec![Rule::parse("* /api/sys/**").unwrap()];
        })
        .run()
        .await;
    let key = add(&daemon, &["DELETE /**"]);
    let send = |method: &str, path: &str, body: &'static str| {
        let request = daemon.request(method, path).bearer_auth(&key);
        request.header("content-type", "application/json").body(body).send()
    };

    daemon.get("/api/spaces/coworkers?size=1").await;
    let read = send("GET", "/api/spaces/coworkers?size=1&Coworker_Email=ada%40example.test", "");
    assert_eq!(read.await.unwrap().status(), 200);
    assert_eq!(send("GET", "/api/sys/users", "").await.unwrap().status(), 403);
    let run =
        send("POST", "/api/spaces/coworkers/runCommand", r#"{"Ids":[5],"Key":"COWORKER_PRINT"}"#);
    assert_eq!(run.await.unwrap().status(), 200);
    assert_eq!(send("DELETE", "/api/spaces/visitors/1", "").await.unwrap().status(), 503);
    let waiting: WaitingCalls = daemon.admin().await.get("/v1/approvals").await.unwrap();
    let id = waiting.calls[0].id.clone();
    let decision =
        ApprovalDecision { id: id.clone(), approve: true, ..ApprovalDecision::default() };
    let _: ApprovalRecord =
        daemon.admin().await.post_json("/v1/approvals", &decision).await.unwrap();
    assert_eq!(send("DELETE", "/api/spaces/visitors/1", "").await.unwrap().status(), 404);
    let _: SessionReport = daemon.admin().await.post("/v1/lock").await.unwrap();
    let change = json!({ "action": "revoke", "name": "bot" });
    let _: Value = daemon.admin().await.post_json("/v1/clients", &change).await.unwrap();
    let home = daemon.stop().await;

    check_story(&home.path().join("state/audit.jsonl"), &id);
}

#[tokio::test]
async fn the_audit_holds_no_secret_and_no_personal_value() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream)
        .set(|config| {
            config.audit.file = AuditFile::Auto;
            config.approval.hold = Duration::ZERO;
        })
        .run()
        .await;
    let key = add(&daemon, &["PUT /**"]);
    for path in [
        "/api/spaces/coworkers?Coworker_Email=marker-query",
        "/api/find/marker%20person",
        "/api/find/marker@example.test?marker%20name=1",
        "/api/find/441632960000",
    ] {
        for method in ["GET", "POST", "PUT"] {
            let request = daemon.request(method, path).bearer_auth(&key);
            let request = request.header("x-marker", "marker-header").body("marker-body");
            request.send().await.unwrap();
        }
    }
    // A key in a wrong place is refused, and stands nowhere.
    assert_eq!(daemon.get(&format!("/api/{key}")).await.status(), 403);
    let token = upstream.live_access_tokens().remove(0);
    let listed: WaitingCalls = daemon.admin().await.get("/v1/approvals").await.unwrap();
    let listed = serde_json::to_string(&listed).unwrap();
    assert!(!listed.contains("marker-body"), "a body is shown only for one call");
    let home = daemon.stop().await;

    let audit = fs::read_to_string(home.path().join("state/audit.jsonl")).unwrap();
    assert!(audit.lines().count() > 12);
    for secret in ["marker", "441632960000", &key, &token, PASSWORD, EMAIL] {
        assert!(!audit.contains(secret), "{secret}: {audit}");
    }
    for secret in [&key, &token, PASSWORD] {
        assert!(!listed.contains(secret));
    }
}

#[tokio::test]
async fn the_rule_that_allowed_and_the_hidden_values_are_told() {
    let upstream = upstream().start().unwrap();
    let auto = |config: &mut Config| config.audit.file = AuditFile::Auto;
    let daemon = daemon(&upstream).set(auto).run().await;
    let rule = |text: &str| Rule::parse(text).unwrap();
    let allow = ["GET /api/spaces/**", "RUN *PRINT* /**"].map(rule).to_vec().into();
    let redaction = RedactionPolicy { mode: RedactMode::Table, ..RedactionPolicy::default() };
    let limits = ClientPolicy { allow, redaction, ..ClientPolicy::default() };
    let key = clients::add(&daemon.home().join("state"), "bot", limits).unwrap();
    let send = |method: &str, path: &str, body: &'static str| {
        let request = daemon.request(method, path).bearer_auth(key.expose());
        request.header("content-type", "application/json").body(body).send()
    };

    let list = send("GET", "/api/spaces/coworkers?size=2", "").await.unwrap();
    let tokens = list.text().await.unwrap().matches("«PII:").count();
    let print = r#"{"Ids":[5],"Key":"COWORKER_PRINT"}"#;
    send("POST", "/api/spaces/coworkers/runCommand", print).await.unwrap().bytes().await.unwrap();
    send("DELETE", "/api/spaces/coworkers/5", "").await.unwrap();
    let home = daemon.stop().await;

    let lines = lines(&home.path().join("state/audit.jsonl"));
    assert!(tokens > 5);
    assert_eq!(lines[1]["redactions"], json!(tokens), "{lines:#?}");
    assert_eq!(lines[1]["rule"], json!("GET /api/spaces/**"));
    let told: Vec<_> = lines[2..4].iter().map(|line| line["rule"].clone()).collect();
    assert_eq!(told, ["RUN *PRINT* /**", "RUN *PRINT* /**"]);
    assert_eq!((&lines[4]["event"], lines[4].get("rule")), (&json!("refused"), None));
}

#[tokio::test]
async fn a_full_file_is_put_aside_and_the_chain_goes_on() {
    let upstream = upstream().start().unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("here/record.jsonl");
    let daemon = daemon(&upstream)
        .set(|config| {
            config.audit.file = AuditFile::Path(path.clone());
            config.audit.size = 2_000;
        })
        .run()
        .await;
    let key = add(&daemon, &[]);
    for _ in 0..30 {
        let read = daemon.request("GET", "/api/spaces/coworkers?size=1").bearer_auth(&key);
        read.send().await.unwrap().bytes().await.unwrap();
    }
    daemon.stop().await;

    let verified = verify(&path).unwrap();
    assert_eq!((verified.lines, verified.last, verified.lost), (32, 32, 0));
    assert!(files(&path).unwrap().len() > 3);
}

#[tokio::test]
async fn a_daemon_that_cannot_record_does_not_start() {
    let upstream = upstream().start().unwrap();
    let home = tempfile::tempdir().unwrap();
    let setup = daemon(&upstream).set(|config| {
        config.audit.file = AuditFile::Path(home.path().to_owned());
    });

    let error = setup.start().await.unwrap_err().to_string();

    assert!(error.starts_with("could not open the audit at "), "{error}");
}

#[tokio::test]
async fn without_an_audit_there_is_no_file() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let key = add(&daemon, &[]);
    let read = daemon.request("GET", "/api/spaces/coworkers?size=1").bearer_auth(&key).send();
    assert_eq!(read.await.unwrap().status(), 200);

    let home = daemon.stop().await;

    assert!(!home.path().join("state/audit.jsonl").exists());
    assert_eq!(Config::default().audit.file, AuditFile::Off);
}

#[tokio::test]
async fn a_write_is_refused_where_it_must_be_recorded_and_cannot_be() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream)
        .set(|config| {
            // The device takes no byte.
            config.audit.file = AuditFile::Path(PathBuf::from("/dev/full"));
            config.audit.required = true;
        })
        .run()
        .await;
    let key = add(&daemon, &[]);
    daemon.get("/api/auth/me").await;

    let write = daemon.request("POST", "/api/spaces/visitors").bearer_auth(&key).body("{}");
    let refused = write.send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(problem_json(refused).await["code"], "daemon.overloaded");
    let read = daemon.request("GET", "/api/spaces/coworkers").bearer_auth(&key).send().await;
    assert_eq!(read.unwrap().status(), 200, "a read goes on, and is counted");
    assert!(
        upstream.requests().iter().all(|seen| seen.method != "POST" || seen.path() == "/api/token")
    );
}

/// A pipe that no reader empties is a disk that does not answer.
#[tokio::test]
async fn a_write_is_held_for_a_slow_disk_no_longer_than_configured() {
    let upstream = upstream().start().unwrap();
    let home = tempfile::tempdir().unwrap();
    let pipe = home.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).custom_flags(nix::libc::O_NONBLOCK);
    let mut full = options.open(&pipe).unwrap();
    while full.write(&[b'x'; 4096]).is_ok() {}
    let wait = Duration::from_millis(400);
    let daemon = daemon(&upstream)
        .set(|config| {
            config.audit.file = AuditFile::Path(pipe.clone());
            config.audit.wait = wait;
        })
        .run()
        .await;
    let key = add(&daemon, &[]);
    daemon.get("/api/auth/me").await;

    let began = Instant::now();
    let write = daemon.request("DELETE", "/api/spaces/visitors/1").bearer_auth(&key).send();
    assert_eq!(write.await.unwrap().status(), 404);
    assert!(began.elapsed() >= wait, "{:?}", began.elapsed());

    let mut drained = [0; 4096];
    while full.read(&mut drained).is_ok_and(|read| read > 0) {}
    daemon.stop().await;
}

fn add(daemon: &Daemon, ask: &[&str]) -> String {
    let ask = ask.iter().map(|rule| Rule::parse(rule).unwrap()).collect();
    let limits = ClientPolicy { ask, ..ClientPolicy::default() };
    clients::add(&daemon.home().join("state"), "bot", limits).unwrap().expose().to_owned()
}

/// Checks what [`what_a_client_did_is_told_in_order`] has done.
fn check_story(path: &Path, id: &str) {
    let lines = lines(path);
    let told: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    let expected = [
        "start", "call", "refused", "write", "outcome", "refused", "approval", "write", "outcome",
        "lock", "keys", "stop",
    ];
    assert_eq!(told, expected, "{lines:#?}");
    assert_eq!(lines[1]["query"], json!(["size", "Coworker_Email"]));
    assert_eq!((&lines[1]["client"], &lines[1]["status"]), (&json!("bot"), &json!(200)));
    assert_eq!(
        (&lines[2]["code"], &lines[2]["path"]),
        (&json!("policy.denied"), &json!("/api/sys/users"))
    );
    assert_eq!((&lines[3]["ids"], &lines[3]["call"]), (&json!([5]), &lines[4]["call"]));
    assert_eq!(lines[3]["body_hash"].as_str().unwrap().len(), 32);
    assert_eq!(lines[4]["was_successful"], json!(true));
    assert_eq!(lines[2]["rule"], json!("* /api/sys/**"));
    assert_eq!(lines[1].get("rule"), None, "nothing but the lack of a rule allows it");
    assert_eq!(lines[1].get("redactions"), None);
    assert_eq!(lines[5]["rules"], json!(["DELETE /**"]));
    assert_eq!((&lines[6]["action"], &lines[6]["approval"]), (&json!("approve"), &json!(id)));
    assert_eq!((&lines[7]["approval"], &lines[8]["status"]), (&json!(id), &json!(404)));
    assert_eq!(lines[8]["was_successful"], json!(false));
    assert_eq!((&lines[10]["action"], &lines[10]["client"]), (&json!("revoke"), &json!("bot")));
    let own = nix::unistd::geteuid().as_raw();
    assert!(lines[1..11].iter().all(|line| line["uid"] == own), "{lines:#?}");
    assert_eq!(verify(path).unwrap().lines, 12);
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
