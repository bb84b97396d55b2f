//! A request arrives as it was sent, with one `Authorization`, and its answer comes back whole.

use nexudus_proxy::config::Rule;
use nexudus_simulator::RecordedRequest;

use crate::support::{daemon, upstream};

#[tokio::test]
async fn a_request_is_forwarded_with_the_token_and_a_host_of_the_upstreams() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;

    let answer = daemon.request("GET", "/api/auth/me").bearer_auth("of-the-caller").send();
    let answer = answer.await.unwrap();

    assert_eq!(answer.status(), 200);
    let user: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(user["Email"], crate::support::EMAIL);
    let seen = last(&upstream);
    let token = upstream.live_access_tokens().remove(0);
    assert_eq!(values(&seen, "authorization"), [format!("Bearer {token}")]);
    assert_eq!(values(&seen, "host"), [format!("localhost:{}", upstream.address().port())]);
}

#[tokio::test]
async fn path_and_query_arrive_byte_for_byte() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;

    for target in [
        "/api/billing/charges/?id=[1,2,3]",
        "/api/Spaces//coworkers",
        "/api/spaces/coworkers?",
        "/api/spaces/coworkers?q=a+b%20c&Q=%C3%BC&x",
        "/api/spaces/%63oworkers/../x?a=/../b",
        "/en/a%5Bb%5D?%",
    ] {
        daemon
            .raw(&format!("GET {target} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"))
            .await;
        assert_eq!(last(&upstream).target, target);
    }
}

/// A request target has none (RFC 9112 §3.2). hyper's parser cuts it off before this code sees
/// the target, so that rules judge what is forwarded.
#[tokio::test]
async fn a_fragment_goes_no_further() {
    let upstream = upstream().start().unwrap();
    let setup = daemon(&upstream).set(|config| {
        config.policy.deny = vec![Rule::parse("* /api/sys/**").unwrap()];
    });
    let daemon = setup.run().await;
    let get = async |target: &str| {
        let head = format!("GET {target} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
        daemon.raw(&head).await
    };

    for (target, forwarded) in [
        ("/api/auth/me#x", "/api/auth/me"),
        ("/api/auth/me?a=b#x?c", "/api/auth/me?a=b"),
        ("/api/auth/me#/../../sys/users", "/api/auth/me"),
    ] {
        get(target).await;
        assert_eq!(last(&upstream).target, forwarded, "{target}");
    }
    let refused = get("/api/sys/users#/../../auth/me").await;
    assert!(refused.contains("\"policy.denied\""), "{refused}");
    assert!(get("#x").await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn a_body_arrives_whole_with_its_length_and_is_executed_once() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let body = format!(r#"{{"FullName": "{}"}}"#, "x".repeat(3 << 20));

    let answer = daemon.post("/api/echo", &body).await;

    assert_eq!(answer.status(), 200);
    let seen = last(&upstream);
    assert_eq!(seen.body_length, body.len() as u64);
    assert_eq!(values(&seen, "content-length"), [body.len().to_string()]);
    assert!(values(&seen, "transfer-encoding").is_empty());
    let arrived = upstream.requests().into_iter().filter(|seen| seen.path() == "/api/echo");
    assert_eq!(arrived.count(), 1);
}

#[tokio::test]
async fn a_large_answer_streams_through_unchanged() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;

    let answer = daemon.get("/ContentDownload/report.bin?bytes=5000000").await;

    assert_eq!(answer.headers()["content-length"], "5000000");
    let body = answer.bytes().await.unwrap();
    assert_eq!(body.len(), 5_000_000);
    let expected = |at: usize| nexudus_simulator::pattern_byte(at as u64);
    assert!(body.iter().enumerate().step_by(997).all(|(at, byte)| *byte == expected(at)));
}

#[tokio::test]
async fn both_families_and_the_socket_lead_to_the_same_account() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let port = daemon.address().port();
    assert!(daemon.running.addresses().iter().all(|address| address.port() == port));
    let socket = daemon.running.socket().unwrap().to_str().unwrap().to_owned();

    for words in [
        vec![format!("http://127.0.0.1:{port}/api/auth/me")],
        vec![format!("http://[::1]:{port}/api/auth/me")],
        vec!["--unix-socket".to_owned(), socket, "http://localhost/api/auth/me".to_owned()],
    ] {
        let curl = tokio::process::Command::new("curl").args(["-sfg"]).args(&words).output();
        let output = curl.await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("ada@example.test"), "curl {words:?}: {output:?}");
    }
}

fn last(upstream: &nexudus_simulator::Simulator) -> RecordedRequest {
    let seen = upstream.requests();
    seen.into_iter().rev().find(|seen| seen.path() != "/api/token").unwrap()
}

fn values(seen: &RecordedRequest, name: &str) -> Vec<String> {
    let named = seen.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.clone()).collect()
}
