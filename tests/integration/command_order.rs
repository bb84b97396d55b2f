//! A rule about commands decides before the request counts and before the session is waited for.

use nexudus_proxy::clients::{self, ClientPolicy};
use nexudus_proxy::config::{Config, Rule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{EVENT_TIMEOUT, daemon, error_code, problem_json, upstream};

const RUN: &str = "/api/spaces/coworkers/runcommand";
const DELETE: &str = r#"{"Ids":[1],"Key":"COWORKER_DELETE"}"#;
const PRINT: &str = r#"{"Ids":[1],"Key":"COWORKER_PRINT"}"#;

#[tokio::test]
async fn a_denied_command_is_denied_while_logged_out_too() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).without_login().set(deny_deletes).run().await;

    let denied = daemon.post(RUN, DELETE).await;
    assert_eq!((denied.status().as_u16(), error_code(denied).await.as_str()), DENIED);
    assert_eq!(error_code(daemon.post(RUN, PRINT).await).await, "session.not-logged-in");
}

#[tokio::test]
async fn a_denied_command_uses_up_no_quota() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).set(deny_deletes).run().await;
    let limits = ClientPolicy { max_requests: Some(1), ..ClientPolicy::default() };
    let key = clients::add(&daemon.home().join("state"), "agent", limits).unwrap();
    let run = async |body: &'static str| {
        let request = daemon.request("POST", RUN).bearer_auth(key.expose());
        request.header("content-type", "application/json").body(body).send().await.unwrap()
    };

    for _ in 0..3 {
        let denied = run(DELETE).await;
        assert_eq!((denied.status().as_u16(), error_code(denied).await.as_str()), DENIED);
    }
    assert_eq!(run(PRINT).await.status(), 200);
    assert_eq!(error_code(run(PRINT).await).await, "policy.exhausted");
}

#[tokio::test]
async fn the_body_is_asked_for_first_only_where_a_command_decides() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).without_login().set(deny_deletes).run().await;
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: \
             {}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
            daemon.address(),
            DELETE.len()
        )
    };
    let read = async |stream: &mut TcpStream| {
        let mut bytes = vec![];
        let reading = async {
            while !bytes.ends_with(b"\r\n\r\n") {
                bytes.push(stream.read_u8().await.unwrap());
            }
        };
        tokio::time::timeout(EVENT_TIMEOUT, reading).await.expect("a response comes");
        String::from_utf8(bytes).unwrap()
    };

    let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
    stream.write_all(head(RUN).as_bytes()).await.unwrap();
    assert_eq!(read(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(DELETE.as_bytes()).await.unwrap();
    let answer = read(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");

    let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
    stream.write_all(head("/api/spaces/coworkers").as_bytes()).await.unwrap();
    let answer = read(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[tokio::test]
async fn a_body_for_which_there_is_no_memory_is_no_body_that_is_too_long() {
    let upstream = upstream().start().unwrap();
    let setup = daemon(&upstream).set(deny_deletes);
    let daemon = setup.set(|config| config.limits.replay_body = 100 << 20).run().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    // Another client's body fills the memory for bodies (64 MiB), but for one step, and pauses.
    let mut other = TcpStream::connect(daemon.address()).await.unwrap();
    let head = format!(
        "POST /api/spaces/coworkers HTTP/1.1\r\nHost: {}\r\nContent-Length: 99000000\r\n\r\n",
        daemon.address()
    );
    other.write_all(head.as_bytes()).await.unwrap();
    other.write_all(&vec![b'x'; (64 << 20) - (16 << 10)]).await.unwrap();

    let long = format!("{{\"Key\":\"COWORKER_PRINT\",\"x\":\"{}\"}}", "x".repeat(64 << 10));
    let refused = async {
        loop {
            // The daemon may not have read all of the other body yet.
            let answer = daemon.post(RUN, &long).await;
            if answer.status() != 200 {
                return answer;
            }
        }
    };
    let refused = tokio::time::timeout(EVENT_TIMEOUT, refused).await.expect("the memory fills up");

    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    let problem = problem_json(refused).await;
    assert_eq!(problem["code"], "daemon.overloaded", "{problem}");
}

fn deny_deletes(config: &mut Config) {
    config.policy.deny = vec![Rule::parse("RUN *DELETE* /api/spaces/coworkers").unwrap()];
}

const DENIED: (u16, &str) = (403, "policy.denied");
