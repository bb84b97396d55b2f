//! Bytes beyond ASCII in a target, as curl, PHP, Go and R send them: percent-encoded, then judged and
//! forwarded so.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use nexudus_proxy::clients::{self, ClientPolicy};
use nexudus_proxy::config::Rule;
use nexudus_simulator::Simulator;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Daemon, daemon, upstream};

#[tokio::test]
async fn what_curl_sends_raw_arrives_encoded() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.get("/api/auth/me").await;

    for (raw, encoded) in [
        (&b"/api/spaces/coworkers?Coworker_FullName=Jos\xc3\xa9"[..], "Jos%C3%A9"),
        // A script in the code page of Western Windows, as R sends it too.
        (b"/api/spaces/coworkers?Coworker_FullName=Jos\xe9", "Jos%E9"),
        (b"/api/spaces/coworkers?a=%C3%A9[1]&b=\xf0\x9f\x98\x80|\xff\x80", "b=%F0%9F%98%80|%FF%80"),
        (b"/ContentDownload/caf\xe9/\xc3\xa9", "/ContentDownload/caf%E9/%C3%A9"),
    ] {
        let url = [format!("http://{}", daemon.address()).as_bytes(), raw].concat();
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["-sg", "-o", "/dev/null", "-w", "%{http_code}"]).arg(OsStr::from_bytes(&url));
        let output = curl.output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let seen = targets(&upstream).pop().unwrap();
        // Some versions of curl encode a part of it themselves, in lower case.
        let is_encoded = seen.to_uppercase().ends_with(&encoded.to_uppercase());
        assert!(is_encoded && seen.is_ascii(), "{raw:?}: {seen}");
    }
}

#[tokio::test]
async fn a_connection_goes_on_behind_such_a_target() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    daemon.get("/api/auth/me").await;
    let head = |target: &[u8], more: &str| {
        let line = [b"POST ", target, b" HTTP/1.1\r\nHost: localhost\r\n"].concat();
        [&line, more.as_bytes()].concat()
    };
    // In one write: three requests, each with a body, and a last one.
    let body = "Content-Length: 2\r\n\r\n{}";
    let mut bytes = vec![];
    for target in [&b"/api/x/\xe9"[..], b"/api/x/plain", b"/api/x/\xc3\xa9\xe9"] {
        bytes.extend(head(target, body));
    }
    bytes.extend(head(b"/api/x/\xff", &format!("Connection: close\r\n{body}")));

    let answer = exchange(&daemon, &bytes).await;

    assert_eq!(answer.matches("HTTP/1.1 ").count(), 4, "{answer}");
    let expected = ["/api/x/%E9", "/api/x/plain", "/api/x/%C3%A9%E9", "/api/x/%FF"];
    let seen = targets(&upstream);
    assert!(seen.ends_with(&expected.map(str::to_owned)), "{seen:?}");

    // A head that comes in pieces, cut behind its target and before.
    let whole = head(b"/api/y/\xe9\xe9", &format!("Connection: close\r\n{body}"));
    for cut in [6, 13, 14, 15, 20, whole.len() - 3] {
        let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
        for piece in [&whole[..cut], &whole[cut..]] {
            stream.write_all(piece).await.unwrap();
            stream.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = vec![];
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(!answer.starts_with(b"HTTP/1.1 400"), "{cut}");
        assert_eq!(targets(&upstream).pop().unwrap(), "/api/y/%E9%E9", "{cut}");
    }
}

#[tokio::test]
async fn such_a_target_is_judged_in_its_encoded_form() {
    let upstream = upstream().start().unwrap();
    let rule = Rule::parse("* /api/sys/users/**").unwrap();
    let daemon = daemon(&upstream).set(|config| config.policy.deny = vec![rule]).run().await;
    let state = daemon.home().join("state");
    let key = clients::add(&state, "agent", ClientPolicy::default()).unwrap();
    daemon.get("/api/auth/me").await;
    let before = targets(&upstream);
    let key = format!("Nexudus-Proxy-Key: {}\r\n", key.expose());
    let ask = async |target: &[u8], more: &str| {
        let line = [b"GET ", target, b" HTTP/1.1\r\nHost: localhost\r\n"].concat();
        let end = format!("{more}Connection: close\r\n\r\n");
        exchange(&daemon, &[&line, end.as_bytes()].concat()).await
    };

    // What some server reads as `users`.
    for target in [&b"/api/sys/us\xc3\xa8rs"[..], b"/api/sys/us\xe8rs", b"/api/tok\xc3\xa8n"] {
        let answer = ask(target, "").await;
        let is_refused = ["HTTP/1.1 403", "HTTP/1.1 400"].iter().any(|it| answer.starts_with(it));
        assert!(is_refused && answer.contains("application/problem+json"), "{answer}");
    }
    // A limited client writes its paths in UTF-8.
    assert!(ask(b"/api/caf\xe9", &key).await.contains("\"policy.denied\""));
    assert_eq!(targets(&upstream), before);
    assert!(ask(b"/api/caf\xc3\xa9", &key).await.starts_with("HTTP/1.1 404"));
    assert!(ask(b"/api/caf\xe9", "").await.starts_with("HTTP/1.1 404"));
    // Other bytes that no target holds are refused as ever.
    for target in [&b"/api/\xe9\x7f"[..], b"/api/ \xe9", b"/api/\xe9<"] {
        let answer = ask(target, "").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{target:?}: {answer}");
    }
    let long = [b"/api/", &b"\xe9".repeat(6_000)[..]].concat();
    assert!(ask(&long, "").await.starts_with("HTTP/1.1 414"));
}

async fn exchange(daemon: &Daemon, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn targets(upstream: &Simulator) -> Vec<String> {
    let seen = upstream.requests();
    seen.iter().map(|seen| seen.target.clone()).filter(|it| it != "/api/token").collect()
}
