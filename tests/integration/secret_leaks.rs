//! Passwords and tokens stay where they belong.

use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use nexudus_proxy::ca::AuthorityKind;
use nexudus_proxy::clients::{self, ClientPolicy, RedactionPolicy};
use nexudus_proxy::config::{AuditFile, RedactMode, Rule};
use nexudus_proxy::credentials::{Credentials, Login, SecondFactor};
use nexudus_proxy::secret::Secret;
use serde_json::{Value, json};

use crate::support::forward::{Forward, origin, root, with_forward_proxy};
use crate::support::{EMAIL, PASSWORD, SESSION_KEY, daemon, upstream};

#[tokio::test]
async fn a_caller_never_sees_a_secret_in_an_answer_of_ours() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    let token = upstream.live_access_tokens().remove(0);
    let (refresh, _client_id) = upstream.live_refresh_tokens().remove(0);

    let grant = daemon.request("POST", "/api/token").body("grant_type=password").send();
    let mut said = format!("{:?}", grant.await.unwrap().text().await.unwrap());
    for request in
        ["GET / HTTP/1.1\r\n\r\n", "TRACE / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"]
    {
        said.push_str(&daemon.raw(request).await);
    }
    said.push_str(&format!("{:?}", daemon.running));

    for secret in [PASSWORD, &token, &refresh] {
        let before = said.split_once(secret).map(|(before, _)| before);
        let before = before.map(|text| text.chars().rev().take(300).collect::<String>());
        let before = before.map(|text| text.chars().rev().collect::<String>());
        assert_eq!(before, None, "a secret stands behind this");
    }
}

#[tokio::test]
async fn a_daemon_that_keeps_its_session_in_memory_writes_no_secret() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    let token = upstream.live_access_tokens().remove(0);

    let home = daemon.stop().await;

    for file in files(home.path()) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        for secret in [PASSWORD, &token] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{} holds a secret", file.display());
        }
    }
}

/// The key that signs for Nexudus's name. The root's own is destroyed before it is anywhere.
#[tokio::test]
async fn the_keys_of_the_authorities_are_in_no_file_and_no_text() {
    let upstream = upstream().start().unwrap();
    let setup = with_forward_proxy(daemon(&upstream).stored());
    let setup = setup.set(|config| config.listen.tls = vec![([127, 0, 0, 1], 0).into()]);
    let daemon = setup.run().await;
    let kinds = [AuthorityKind::Intercept, AuthorityKind::Localhost];
    for kind in kinds {
        root(&daemon, kind).await;
    }
    daemon.session_until(|view| view.saved).await;
    let mut said = daemon.metrics().await;
    let mut keys = vec![];
    for kind in kinds {
        let issuer = daemon.running.authorities().wait(kind).await;
        let secret = issuer.authority().to_secret_bytes();
        // RFC 5915: the 32 bytes of the key follow.
        let before = [0x02, 0x01, 0x01, 0x04, 0x20];
        let at = secret.windows(before.len()).rposition(|window| window == before).unwrap();
        keys.push(secret[at + before.len()..][..32].to_vec());
        said.push_str(&format!("{issuer:?}{:?}", issuer.authority()));
    }
    said.push_str(&format!("{:?}{:?}", daemon.running, daemon.running.authorities()));
    let forward = Forward::of(&daemon).await;
    let client = forward.client(None);
    let url = format!("https://{}/api/auth/me", origin(&upstream));
    assert_eq!(client.get(url).send().await.unwrap().status(), 200);
    said.push_str(&format!("{:?}", upstream.requests()));

    let home = daemon.stop().await;

    let sealed =
        files(home.path()).into_iter().filter(|file| file.ends_with("ca-intercept.sealed"));
    assert_eq!(sealed.count(), 1, "an authority is stored");
    for key in keys {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let bytes = format!("{key:?}");
        assert!(!said.contains(&hex) && !said.contains(bytes.trim_matches(['[', ']'])));
        // Each of the three ways in which its bytes fall into groups of three.
        let encoded = [0, 1, 2]
            .map(|skipped| STANDARD_NO_PAD.encode(&key[skipped..skipped + 30]).into_bytes());
        for form in [key, hex.into_bytes()].iter().chain(&encoded) {
            for file in files(home.path()) {
                let content = std::fs::read(&file).unwrap_or_default();
                let found = content.windows(form.len()).any(|window| window == form);
                assert!(!found, "{} holds the key of an authority", file.display());
            }
        }
    }
}

#[tokio::test]
async fn what_a_redacted_client_did_stands_nowhere_in_the_clear() {
    let upstream = upstream().start().unwrap();
    let setup = daemon(&upstream).stored().set(|config| {
        config.audit.file = AuditFile::Auto;
        config.approval.hold = Duration::ZERO;
    });
    let daemon = setup.run().await;
    let plain = daemon.get("/api/spaces/coworkers?size=3").await.text().await.unwrap();
    let plain: Value = serde_json::from_str(&plain).unwrap();
    let records = plain["Records"].as_array().unwrap();
    let personal = records.iter().flat_map(|it| [&it["FullName"], &it["Email"]]);
    let persons: Vec<String> = personal.filter_map(Value::as_str).map(str::to_owned).collect();
    assert!(persons.len() >= 2 && persons.iter().all(|it| it.len() > 4), "{persons:?}");
    let redaction = RedactionPolicy { mode: RedactMode::Table, resolve: true, share_tokens: None };
    let ask = vec![Rule::parse("DELETE /**").unwrap()].into();
    let limits = ClientPolicy { redaction, ask, ..ClientPolicy::default() };
    let key = clients::add(&daemon.home().join("state"), "bot", limits).unwrap();
    let key = key.expose();
    let ask = async |method: &str, path: &str, body: String| {
        let request = daemon.request(method, path).bearer_auth(key).body(body);
        let request = request.header("content-type", "application/json");
        request.send().await.unwrap().text().await.unwrap()
    };

    let list = ask("GET", "/api/spaces/coworkers?size=3", String::new()).await;
    let seen: Value = serde_json::from_str(&list).unwrap();
    let written = json!({ "Id": 1, "FullName": seen["Records"][0]["FullName"] }).to_string();
    let id = records[0]["Id"].to_string();
    let mut received = [
        list,
        ask("PUT", "/api/spaces/coworkers", written).await,
        ask("DELETE", &format!("/api/spaces/coworkers/{id}"), String::new()).await,
        ask("GET", "/api/spaces/coworkers?Coworker_Email=x", String::new()).await,
        ask("GET", "/.well-known/nexudus-proxy", String::new()).await,
    ]
    .join("\n");
    assert!(received.contains("policy.approval-pending") && received.contains("policy.redacted"));
    received.push_str(&daemon.metrics().await);
    received.push_str(&format!("{:?}", daemon.running));
    let token = upstream.live_access_tokens().remove(0);
    let home = daemon.stop().await;

    let secrets = [persons, vec![key.to_owned(), token, PASSWORD.to_owned()]].concat();
    assert_nowhere(&secrets, &received, home.path());
}

/// Neither the client nor a file of the daemon has one of these.
fn assert_nowhere(secrets: &[String], received: &str, home: &std::path::Path) {
    let all = files(home);
    for (what, part) in [("the record", "audit.jsonl"), ("the tokens", "tokens/")] {
        assert!(all.iter().any(|it| it.display().to_string().contains(part)), "{what}: {all:?}");
    }
    for secret in secrets {
        assert!(!received.contains(secret.as_str()), "the client got {secret}");
        for file in &all {
            let bytes = std::fs::read(file).unwrap_or_default();
            let found = bytes.windows(secret.len()).any(|it| it == secret.as_bytes());
            assert!(!found, "{} holds {secret}", file.display());
        }
    }
}

#[test]
fn a_panic_that_names_all_there_is_shows_no_secret() {
    let name = "secret_leaks::a_panic_that_names_all_there_is_shows_no_secret";
    if let Ok(place) = std::env::var("NEXUDUS_PANIC_INTO") {
        return panicking(&place);
    }
    let place = tempfile::tempdir().unwrap();
    let secrets = place.path().join("secrets");
    // With a backtrace the whole message is shown, and every frame.
    for backtrace in [None, Some("full")] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", name, "--nocapture"]).env("NEXUDUS_PANIC_INTO", &secrets);
        child.env_remove("RUST_BACKTRACE").envs(backtrace.map(|value| ("RUST_BACKTRACE", value)));

        let output = child.output().unwrap();

        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!output.status.success() && said.contains("forced"), "{said}");
        assert_eq!(said.contains("Daemon {"), backtrace.is_some(), "{said}");
        let secrets = std::fs::read_to_string(&secrets).unwrap();
        assert_eq!(secrets.lines().count(), 6);
        for secret in secrets.lines() {
            assert!(!said.contains(secret), "a panic shows a secret");
        }
    }
}

/// Panics as the program does, with everything that holds a secret in its message.
fn panicking(place: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let upstream = upstream().start().unwrap();
        let key_file = format!("{place}.key");
        std::fs::write(&key_file, SESSION_KEY).unwrap();
        // The command is configuration, and may be shown; what it prints is not.
        let setup = daemon(&upstream).stored().set(|config| {
            config.session.key_command = vec!["cat".to_owned(), key_file];
        });
        let daemon = setup.run().await;
        assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
        let token = upstream.live_access_tokens().remove(0);
        let (refresh, _) = upstream.live_refresh_tokens().remove(0);
        let shared = "JBSWY3DPEHPK3PXP";
        let login = Login {
            email: EMAIL.to_owned(),
            password: Secret::new(PASSWORD),
            second_factor: Some(SecondFactor::Shared(Secret::new(shared))),
        };
        let key = clients::add(daemon.home(), "client", Default::default()).unwrap();
        let credentials = Credentials::in_memory(Some(login.clone()));
        let secrets = [PASSWORD, shared, SESSION_KEY, &token, &refresh, key.expose()].join("\n");
        std::fs::write(place, secrets).unwrap();
        let file_key = credentials.session_key(&daemon.config.session, None).await.unwrap();
        let bearer = daemon.running.session().bearer().unwrap();

        // From here on panics are told as the program tells them.
        nexudus_proxy::cli::main(["nexudus-proxy", "--version"].map(Into::into));
        let everything =
            (&daemon.running, login, credentials, file_key, bearer, key, upstream.address());
        panic!("forced\n{everything:?}");
    });
}

fn files(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
