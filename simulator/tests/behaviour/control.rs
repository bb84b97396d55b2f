//! The control address, as a shell script uses it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use nexudus_simulator::Simulator;
use serde_json::{Value, json};

use crate::client::{access, get, log_in};

fn simulator() -> Simulator {
    Simulator::builder().control(SocketAddr::from(([127, 0, 0, 1], 0))).start().unwrap()
}

fn ask(simulator: &Simulator, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(simulator.control_address().unwrap()).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

fn json(simulator: &Simulator, path: &str) -> Value {
    serde_json::from_str(&ask(simulator, "GET", path, "").1).unwrap()
}

#[test]
fn knobs_are_shown_turned_and_reset() {
    let simulator = simulator();

    let (status, _) = ask(&simulator, "PATCH", "/knobs", r#"{"token":{"access_life":"20s"}}"#);
    assert_eq!(status, 200);
    assert_eq!(json(&simulator, "/knobs")["token"]["access_life"], "20s");
    assert_eq!(log_in(&simulator, None).json()["expires_in"], 20);

    let (status, error) = ask(&simulator, "PATCH", "/knobs", r#"{"token":{"acess_life":1}}"#);
    assert!(status == 400 && error.contains("acess_life"));
    ask(&simulator, "DELETE", "/knobs", "");
    assert_eq!(json(&simulator, "/knobs")["token"]["access_life"], "604799s");
    assert!(ask(&simulator, "GET", "/", "").1.contains("token.access_life"));
}

#[test]
fn time_tokens_and_faults_are_in_reach_of_a_script() {
    let simulator = simulator();
    let token = access(&simulator);
    let me = || get(&simulator, "/api/auth/me", &token).status;

    let fault = r#"{"path":"/api/auth","times":1,"deed":{"html_error":503}}"#;
    assert_eq!(ask(&simulator, "POST", "/faults", fault).0, 200);
    assert_eq!([me(), me()], [503, 200]);
    ask(&simulator, "POST", "/advance", r#"{"seconds": 604800}"#);
    assert_eq!(me(), 401);
    assert_eq!(json(&simulator, "/seen").as_array().unwrap().len(), 4);
    assert_eq!(json(&simulator, "/seen?after=3").as_array().unwrap().len(), 1);
    assert_eq!(json(&simulator, "/token-calls")[0]["grant"], "password");

    let account = json!({"email": "bob@example.test", "password": "x"}).to_string();
    assert_eq!(ask(&simulator, "POST", "/accounts", &account).0, 200);
    assert_eq!(ask(&simulator, "POST", "/revoke", "\"refresh\"").0, 200);
    assert!(simulator.live_refresh_tokens().is_empty());
    assert_eq!(ask(&simulator, "POST", "/revoke", "\"everything\"").0, 400);
}
