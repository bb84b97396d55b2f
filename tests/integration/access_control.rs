//! A caller gets as far as it was let, by its user, its key and the rules.

use std::collections::BTreeSet;

use nexudus_proxy::clients::{self, ClientPolicy};
use nexudus_proxy::config::{AnonymousAccess, Rate, Rule};
use nexudus_simulator::Simulator;
use serde_json::{Value, json};

use crate::support::{Daemon, daemon, problem_json, upstream};

#[tokio::test]
async fn a_key_opens_the_door_wherever_it_is_shown_and_goes_no_further() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.policy.anonymous = AnonymousAccess::None);
    let daemon = daemon.run().await;
    let key = client(&daemon, ClientPolicy::default());

    let keyless = daemon.get("/api/spaces/coworkers").await;
    assert_eq!(
        (keyless.status(), problem_json(keyless).await["code"].clone()),
        (403.try_into().unwrap(), json!("guard.client"))
    );
    for (name, value) in [
        ("nexudus-proxy-key", key.clone()),
        ("authorization", format!("Bearer {key}")),
        ("proxy-authorization", format!("Bearer {key}")),
    ] {
        let answer = daemon.request("GET", "/api/spaces/coworkers").header(name, value);
        assert_eq!(answer.send().await.unwrap().status(), 200, "{name}");
    }
    let basic = daemon.request("GET", "/api/spaces/coworkers").basic_auth("me", Some(&key));
    assert_eq!(basic.send().await.unwrap().status(), 200);
    for seen in upstream.requests() {
        assert!(!format!("{seen:?}").contains("nxp_"), "{seen:?}");
    }
    // A query is in every log on the way.
    let path = format!("/api/spaces/coworkers?key={key}&nexudus-proxy-key={key}");
    assert_eq!(problem_json(daemon.get(&path).await).await["code"], "guard.client");
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_and_never_taken_for_none() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let key = client(&daemon, ClientPolicy::default());
    let get = || daemon.request("GET", "/api/auth/me").bearer_auth(&key).send();
    assert_eq!(get().await.unwrap().status(), 200);

    clients::revoke(&daemon.home().join("state"), "agent").unwrap();

    let refused = get().await.unwrap();
    assert_eq!(refused.status(), 403);
    assert_eq!(problem_json(refused).await["code"], "guard.client");
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
}

#[tokio::test]
async fn a_client_that_insists_on_logging_in_keeps_its_key() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.policy.anonymous = AnonymousAccess::None);
    let daemon = daemon.run().await;
    let key = client(&daemon, ClientPolicy::default());
    let form = "application/x-www-form-urlencoded";
    let log_in = |body: String| {
        let request = daemon.request("POST", "/api/token").header("content-type", form);
        request.body(body).send()
    };

    let answer = log_in(format!("grant_type=password&username=me&password={key}")).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!((&answer["access_token"], &answer["refresh_token"]), (&json!(key), &json!(key)));
    let renewed = log_in(format!("grant_type=refresh_token&refresh_token={key}")).await.unwrap();
    let renewed: Value = serde_json::from_slice(&renewed.bytes().await.unwrap()).unwrap();
    assert_eq!(renewed["access_token"], json!(key));

    for password in ["nxp_unknown", "hunter2"] {
        let refused = log_in(format!("grant_type=password&password={password}")).await.unwrap();
        assert_eq!(refused.status(), 403, "{password}");
        assert_eq!(problem_json(refused).await["code"], "guard.client");
    }
}

/// The second endpoint takes JSON, and responds in the envelope of Nexudus.
#[tokio::test]
async fn a_client_that_logs_in_with_json_gets_its_key_back() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.policy.anonymous = AnonymousAccess::None);
    let daemon = daemon.run().await;
    let key = client(&daemon, ClientPolicy::default());
    let warm = daemon.request("GET", "/api/auth/me").bearer_auth(&key).send().await.unwrap();
    assert_eq!(warm.status(), 200);
    let before = paths(&upstream);
    let log_in = |body: String| {
        let request = daemon.request("POST", "/api/sys/users/token");
        request.header("content-type", "application/json").body(body).send()
    };
    let token = async |body: Value| {
        let answer = log_in(body.to_string()).await.unwrap();
        assert_eq!(answer.status(), 200, "{body}");
        serde_json::from_slice::<Value>(&answer.bytes().await.unwrap()).unwrap()
    };

    for name in ["Password", "password", "PASSWORD"] {
        let body = json!({ "Email": "me@example.test", name: key, "validityInMinutes": 30 });
        let answer = token(body).await;
        assert_eq!((&answer["Value"], &answer["access_token"]), (&json!(key), &json!(key)));
        assert_eq!((&answer["Status"], &answer["WasSuccessful"]), (&json!(200), &json!(true)));
    }
    let escaped = format!("{{\"Password\":\"{}\"}}", key.replace('_', "\\u005f"));
    let answer = log_in(escaped).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(answer["Value"], json!(key));
    let in_header = daemon.request("POST", "/api/sys/users/token").bearer_auth(&key).send();
    let answer: Value =
        serde_json::from_slice(&in_header.await.unwrap().bytes().await.unwrap()).unwrap();
    assert_eq!(answer["Value"], json!(key));

    assert_eq!(paths(&upstream), before);
}

#[tokio::test]
async fn a_json_login_with_anything_but_a_key_is_refused_where_keys_are_needed() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(|config| config.policy.anonymous = AnonymousAccess::None);
    let daemon = daemon.run().await;
    let key = client(&daemon, ClientPolicy::default());
    let log_in = |body: String| {
        let request = daemon.request("POST", "/api/sys/users/token");
        request.header("content-type", "application/json").body(body).send()
    };

    for body in [
        json!({ "Email": "me", "Password": "hunter2" }).to_string(),
        json!({ "Email": "me", "Password": "nxp_unknown" }).to_string(),
        // A key in another place is no key, and not for Nexudus.
        json!({ "Email": key, "Password": "x" }).to_string(),
        json!({ "Login": { "Password": key } }).to_string(),
        json!([{ "Password": key }]).to_string(),
        format!("{{\"Password\":\"hunter2\",\"Password\":\"{key}x\"}}"),
        format!("{{\"Password\":\"{key}\""),
    ] {
        let refused = log_in(body.clone()).await.unwrap();
        assert_eq!(refused.status(), 403, "{body}");
        let problem = problem_json(refused).await;
        assert_eq!(problem["code"], "guard.client");
        assert!(!problem.to_string().contains("hunter2"), "{problem}");
    }
    assert!(paths(&upstream).iter().all(|path| path == "/api/token"));
}

#[tokio::test]
async fn a_json_login_without_a_key_gets_a_placeholder() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.get("/api/auth/me").await;
    let before = paths(&upstream);
    let log_in = async || {
        let body = json!({ "Email": "me", "Password": "hunter2" }).to_string();
        let answer = daemon.post("/api/sys/users/token", &body).await;
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        answer["Value"].as_str().unwrap().to_owned()
    };

    let (one, other) = (log_in().await, log_in().await);

    assert!(one.len() >= 16 && one != other && !one.contains("hunter2"));
    let used = daemon.request("GET", "/api/auth/me").bearer_auth(&one).send().await.unwrap();
    assert_eq!(used.status(), 200);
    assert_eq!(paths(&upstream)[..before.len()], before);
    assert!(paths(&upstream)[before.len()..].iter().all(|path| path == "/api/auth/me"));
}

/// A grant of any sort would hand out real tokens, whose they are is no matter.
#[tokio::test]
async fn no_grant_reaches_nexudus_at_either_token_endpoint() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.get("/api/auth/me").await;
    let before = paths(&upstream);

    for path in ["/api/token", "/api/sys/users/token"] {
        let form = "grant_type=password&username=me&password=hunter2";
        let answer = daemon.post(path, form).await;
        assert_eq!(answer.status(), 200, "{path}");
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(answer["token_type"], "bearer", "{path}");

        let answer = daemon.get(path).await;
        assert_eq!(answer.status(), 405, "{path}");
        for odd in [path.to_uppercase(), format!("{path}/"), path.replace("token", "%74oken")] {
            assert_eq!(daemon.post(&odd, form).await.status(), 400, "{odd}");
        }
    }
    assert_eq!(paths(&upstream), before);
}

#[tokio::test]
async fn a_client_is_held_to_its_rate_and_its_count() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let rate = Some(Rate::Fixed { count: 1, per: std::time::Duration::from_secs(3600) });
    let key = client(&daemon, ClientPolicy { rate, ..ClientPolicy::default() });
    let get = |key: &str| daemon.request("GET", "/api/auth/me").bearer_auth(key).send();

    assert_eq!(get(&key).await.unwrap().status(), 200);
    let refused = get(&key).await.unwrap();
    assert_eq!(refused.status(), 429);
    let after: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((3590..=3600).contains(&after), "{after}");
    assert_eq!(problem_json(refused).await["code"], "policy.rate");

    let state = daemon.home().join("state");
    let limits = ClientPolicy { max_requests: Some(1), ..ClientPolicy::default() };
    let key = clients::add(&state, "once", limits).unwrap().expose().to_owned();
    assert_eq!(get(&key).await.unwrap().status(), 200);
    let refused = get(&key).await.unwrap();
    assert_eq!(refused.status(), 403);
    assert_eq!(problem_json(refused).await["code"], "policy.exhausted");
    let view = daemon.running.clients().statuses().unwrap();
    assert_eq!(view.iter().map(|view| view.requests).collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test]
async fn a_limited_caller_gets_no_token_out_of_who_am_i() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let key = client(&daemon, ClientPolicy { read_only: true, ..ClientPolicy::default() });

    let full: Value = body(daemon.get("/api/auth/me").await).await;
    let token = full["AccessToken"].as_str().unwrap().to_owned();
    assert!(!token.is_empty());
    let request = daemon.request("GET", "/api/auth/ME").bearer_auth(&key);
    let limited = request.header("accept", "application/xml").header("accept-encoding", "gzip");
    let limited: Value = body(limited.send().await.unwrap()).await;

    assert_eq!(limited["AccessToken"], "");
    assert_eq!(limited["Email"], full["Email"]);
    for path in ["/api/sys/users/1", "/api/sys/refreshtokens", "/api/sys/users/1/token/refresh"] {
        let refused = daemon.request("GET", path).bearer_auth(&key).send().await.unwrap();
        assert_eq!(problem_json(refused).await["code"], "policy.denied", "{path}");
    }
}

#[tokio::test]
async fn whoever_may_only_read_without_a_key_gets_no_token_either() {
    let upstream = upstream().start().unwrap();
    let daemon =
        daemon(&upstream).set(|config| config.policy.anonymous = AnonymousAccess::ReadOnly);
    let daemon = daemon.run().await;

    for path in ["/api/auth/me", "/api/sys/../auth/me", "/API/auth%2fme", "/api/%61uth/me"] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
        let answer = daemon.raw(&head).await;
        assert!(!upstream.live_access_tokens().iter().any(|it| answer.contains(it)), "{path}");
    }
    let me: Value = body(daemon.get("/api/auth/me").await).await;
    assert_eq!((me["AccessToken"].as_str(), me["Email"].is_string()), (Some(""), true));
    for path in ["/api/sys/users/1", "/api/sys/refreshtokens", "/api/sys/users/1/token/refresh"] {
        let refused = daemon.get(path).await;
        assert_eq!(problem_json(refused).await["code"], "policy.denied", "{path}");
    }
}

#[tokio::test]
async fn no_spelling_of_a_denied_path_reaches_nexudus() {
    let upstream = upstream().start().unwrap();
    let rule = Rule::parse("* /api/sys/users/**").unwrap();
    let daemon = daemon(&upstream).set(|config| config.policy.deny = vec![rule]).run().await;
    daemon.get("/api/auth/me").await;
    let before = paths(&upstream);

    for word in ["/api/sys/users", "/api/token", "/api/sys/users/token"] {
        for path in spellings(word) {
            let answer = daemon
                .raw(&format!("GET {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"))
                .await;
            let status = &answer[9..12];
            assert!(["400", "403", "405"].contains(&status), "{path}: {answer}");
        }
    }
    assert_eq!(paths(&upstream), before);
}

/// Every way of writing a path differently that some server undoes, one at a time and two.
fn spellings(path: &str) -> BTreeSet<String> {
    let ways: [fn(&str) -> String; 14] = [
        |path| path.to_uppercase(),
        |path| path.replace('/', "//"),
        |path| format!("/x/..{path}"),
        |path| path.replacen("/api/", "/api/./", 1),
        |path| path.replacen("/api/", "/api;a=b/", 1),
        |path| path.replacen("/api/", "/api\\", 1),
        |path| path.replacen("/api/", "/api%2f", 1),
        |path| path.replacen("/api/", "/api%5C", 1),
        |path| path.replacen('a', "%61", 1),
        |path| path.replace('%', "%25"),
        |path| format!("{path}/"),
        |path| format!("{path}%20"),
        |path| format!("{path};x"),
        |path| path.replacen('s', "%u0073", 1),
    ];
    let once: Vec<String> = ways.iter().map(|way| way(path)).collect();
    let twice = once.iter().flat_map(|path| ways.iter().map(move |way| way(path)));
    let mut all: BTreeSet<String> = twice.collect();
    all.extend(once);
    all
}

fn client(daemon: &Daemon, limits: ClientPolicy) -> String {
    let key = clients::add(&daemon.home().join("state"), "agent", limits).unwrap();
    key.expose().to_owned()
}

fn paths(upstream: &Simulator) -> Vec<String> {
    upstream.requests().iter().map(|seen| seen.path().to_owned()).collect()
}

async fn body(answer: reqwest::Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn an_exposed_daemon_serves_nobody_without_a_key() {
    let upstream = upstream().start().unwrap();
    let setup = daemon(&upstream).set(|config| {
        config.listen.tcp = vec!["0.0.0.0:0".parse().unwrap()];
        config.listen.expose = true;
    });
    let daemon = setup.run().await;
    let key = client(&daemon, ClientPolicy::default());

    let keyless = daemon.get("/api/auth/me").await;
    assert_eq!(problem_json(keyless).await["code"], "guard.client");
    let keyed = daemon.request("GET", "/api/auth/me").bearer_auth(&key).send().await.unwrap();
    assert_eq!(keyed.status(), 200);
}
