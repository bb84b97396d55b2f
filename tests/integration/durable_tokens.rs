//! What an agent has learned of a person is worth something after a restart, and after a lock it is not.

use std::fs;
use std::path::PathBuf;

use nexudus_proxy::clients::{self, ClientPolicy, RedactionPolicy};
use nexudus_proxy::config::{RedactMode, SessionStore};
use nexudus_proxy::session::SessionStatus;
use serde_json::{Value, json};

use crate::support::{Daemon, daemon, error_code, upstream};

#[tokio::test]
async fn a_token_stands_for_its_value_after_a_restart() {
    let upstream = upstream().start().unwrap();
    let first = daemon(&upstream).stored().run().await;
    let key = add(&first, "bot");
    let token = email(&first, &key).await;
    assert_eq!(filtered(&first, &key, &token).await, 200);

    let second = first.restart().await.run().await;

    // Its first request waits until the tokens are read.
    assert_eq!(filtered(&second, &key, &token).await, 200);
    assert_eq!(email(&second, &key).await, token);
    let admin = second.admin().await;
    let _: SessionStatus = admin.post("/v1/lock").await.unwrap();
    assert_eq!(tables(&second), 0, "a lock leaves nothing on disk");
    let _: SessionStatus = admin.post("/v1/unlock").await.unwrap();
    assert_eq!(filtered(&second, &key, &token).await, 409);
    assert_eq!(email(&second, &key).await, token, "the secret stays");

    let third = second.restart().await.run().await;
    assert_eq!(filtered(&third, &key, &token).await, 200);
    let change = json!({ "action": "revoke", "name": "bot" });
    let _: Value = third.admin().await.post_json("/v1/clients", &change).await.unwrap();
    assert_eq!(tables(&third), 0, "a revoke leaves nothing on disk");
    let next = add(&third, "bot");
    assert_ne!(email(&third, &next).await, token);
}

#[tokio::test]
async fn a_client_that_was_revoked_meanwhile_leaves_nothing_on_disk() {
    let upstream = upstream().start().unwrap();
    let first = daemon(&upstream).stored().run().await;
    let (key, other) = (add(&first, "bot"), add(&first, "other"));
    email(&first, &key).await;
    let kept = email(&first, &other).await;
    let setup = first.restart().await;
    let second = setup.run().await;
    assert_eq!(tables(&second), 2);
    let state = second.home().join("state");
    let setup = second.restart().await;
    clients::revoke(&state, "bot").unwrap();

    let third = setup.run().await;

    assert_eq!(filtered(&third, &other, &kept).await, 200);
    assert_eq!(tables(&third), 1);
}

#[tokio::test]
async fn a_damaged_table_is_an_empty_one() {
    let upstream = upstream().start().unwrap();
    let first = daemon(&upstream).stored().run().await;
    let key = add(&first, "bot");
    let token = email(&first, &key).await;
    let path = first.home().join("state/tokens");
    let setup = first.restart().await;
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    }

    let second = setup.run().await;

    assert_eq!(filtered(&second, &key, &token).await, 409);
    assert_eq!(email(&second, &key).await, token);
    assert_eq!(filtered(&second, &key, &token).await, 200);
}

#[tokio::test]
async fn without_a_durable_key_tokens_are_in_memory() {
    let upstream = upstream().start().unwrap();
    let first = daemon(&upstream).run().await;
    assert_eq!(first.config.session.store, SessionStore::Memory);
    let key = add(&first, "bot");
    let token = email(&first, &key).await;
    assert_eq!(filtered(&first, &key, &token).await, 200);
    assert_eq!(tables(&first), 0);

    let second = first.restart().await.run().await;

    assert_eq!(filtered(&second, &key, &token).await, 409);
    assert_ne!(email(&second, &key).await, token);
    assert_eq!(tables(&second), 0);
}

fn add(daemon: &Daemon, name: &str) -> String {
    let redaction = RedactionPolicy { mode: RedactMode::Table, resolve: true, share_tokens: None };
    let limits = ClientPolicy { redaction, ..ClientPolicy::default() };
    let key = clients::add(&daemon.home().join("state"), name, limits).unwrap();
    key.expose().to_owned()
}

/// The first address of the list, as this client sees it.
async fn email(daemon: &Daemon, key: &str) -> String {
    let request = daemon.request("GET", "/api/spaces/coworkers?size=1").bearer_auth(key);
    let text = request.send().await.unwrap().text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    let token = body["Records"][0]["Email"].as_str().unwrap().to_owned();
    assert!(token.starts_with("«PII:EMAIL:"), "{text}");
    token
}

async fn filtered(daemon: &Daemon, key: &str, token: &str) -> u16 {
    let token = token.replace('«', "%C2%AB").replace('»', "%C2%BB");
    let path = format!("/api/spaces/coworkers?Coworker_Email={token}");
    let response = daemon.request("GET", &path).bearer_auth(key).send().await.unwrap();
    let status = response.status().as_u16();
    if status == 409 {
        assert_eq!(error_code(response).await, "policy.token-unknown");
    }
    status
}

fn tables(daemon: &Daemon) -> usize {
    let path: PathBuf = daemon.home().join("state/tokens");
    fs::read_dir(path).map_or(0, Iterator::count)
}
